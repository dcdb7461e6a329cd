"""A fit that ends as NaN says so, stops, and spoils nothing that was saved before."""

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateFinder
from lightning.pytorch.loggers import TensorBoardLogger

from gpt_classifier import GPTClassifier, TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.training.callbacks import default_callbacks
from gpt_classifier.training.divergence import Diverged, LossWatch

SAMPLE = ["--data.tokenizer=bytes", "--data.max_length=64", "--model.gpt={n_layer: 1, n_head: 2, n_embd: 16}"]


@pytest.mark.parametrize("rate", ["1e9", "1e30"])
@pytest.mark.parametrize("logger", [[], ["--trainer.log_every_n_steps=1"], ["--trainer.logger=false"]])
def test_a_fit_that_diverges_names_the_step_and_leaves_nothing(rate, logger, fit, tmp_path, capsys):
    assert fit(tmp_path / "runs", f"--model.learning_rate={rate}", *logger) == 2
    *_, said = capsys.readouterr().err.strip().splitlines()
    assert "no longer finite at step" in said
    assert "learning rate" in said
    assert "train rows" in said
    assert "--model.learning_rate" in said
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("model.safetensors"))


class Spoil(Callback):
    """Makes a weight infinite after a step of the third epoch: its last one, which no training loss sees, or others."""

    def __init__(self, when: str) -> None:
        self.when = when

    @torch.no_grad()
    def spoil(self, module: GPTClassifier) -> None:
        if module.trainer.current_epoch == 2:
            module.model.head.weight[0, 0] = math.inf

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if self.when == "training" or (self.when == "the last step" and trainer.is_last_batch):
            self.spoil(pl_module)

    def on_validation_start(self, trainer, pl_module) -> None:
        if self.when == "validation":
            self.spoil(pl_module)


@pytest.mark.parametrize("validates", [True, False], ids=["", "without validation"])
@pytest.mark.parametrize("when", ["training", "the last step", "validation"])
def test_what_was_saved_before_is_kept(when, validates, tiny_model, tiny_data, quick_trainer, tmp_path, caplog):
    caplog.set_level("INFO")

    def trainer(epochs, *more):
        logger = TensorBoardLogger(tmp_path, name="", version="run", default_hp_metric=False)
        settings = {"max_epochs": epochs, "limit_val_batches": float(validates), "log_every_n_steps": 1}
        callbacks = [*default_callbacks(), *more]
        return quick_trainer(logger=logger, enable_checkpointing=True, callbacks=callbacks, **settings)

    trainer(2).fit(tiny_model(), tiny_data())
    run = tmp_path / "run"
    saved = {path: path.read_bytes() for path in run.rglob("*") if path.suffix in (".ckpt", ".safetensors", ".json")}
    assert len(saved) >= 3
    again = trainer(4, Spoil(when))
    if when == "validation" and not validates:
        again.fit(tiny_model(), tiny_data(), ckpt_path=run / "checkpoints" / "last.ckpt")  # nothing spoils it
        return
    with pytest.raises(Diverged, match="finite"):
        again.fit(tiny_model(), tiny_data(), ckpt_path=run / "checkpoints" / "last.ckpt")
    assert "kept, from before: " in caplog.text
    assert {path: path.read_bytes() for path in saved} == saved
    TextClassifier.load(run)


def test_the_first_batch_of_several_is_named_with_its_own_rate():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    watch, trainer = LossWatch(), SimpleNamespace(world_size=1, global_step=0, logger=None, optimizers=[optimizer])
    losses = [1.0, 2.0, math.inf, 1.0, math.nan]
    for step, loss in enumerate(losses):
        trainer.global_step, trainer.optimizers[0].param_groups[0]["lr"] = step, step / 2
        watch.add(torch.tensor(loss), trainer, torch.arange(step, step + 8))
    with pytest.raises(Diverged, match=r"at step 3 \(learning rate 1, train rows 2, 3, 4, 5, 6 and 3 more\)"):
        watch.check(trainer)
    watch.check(trainer)  # each is reported once
    watch.add(torch.tensor(1.0), trainer, None)
    watch.check(trainer)


def test_lightnings_search_for_a_rate_may_go_where_it_diverges(tiny_model, tiny_data, quick_trainer):
    finder = LearningRateFinder(min_lr=1e-3, max_lr=1e12, num_training_steps=12, early_stop_threshold=None)
    trainer = quick_trainer(callbacks=[finder], enable_checkpointing=True)
    trainer.fit(tiny_model(), tiny_data())
    assert finder.optimal_lr is not None


def test_a_pretraining_that_diverges_leaves_no_model(tmp_path, capsys):
    words = [*SAMPLE, "--data.source=sample", f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1"]
    assert main(["pretrain", *words, "--model.learning_rate=1e9", "--trainer.limit_train_batches=20"]) == 2
    assert "no longer finite at step" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("model.safetensors"))


def test_a_test_of_a_model_whose_numbers_overflow_names_the_rows(tiny_model, tiny_data, quick_trainer):
    module, data = tiny_model(), tiny_data()
    quick_trainer().fit(module, data)
    logits = module.logits
    module.logits = lambda batch: logits(batch) * math.inf
    with pytest.raises(ValueError, match=r"logits .*test rows .*not finite"):
        quick_trainer().test(module, data)


@pytest.mark.parametrize("command", ["fit", "pretrain"])
def test_a_training_whose_last_step_ruins_the_model_leaves_none(command, tmp_path, capsys):
    """Its loss and its weights are finite, but not what the network makes of them; no validation follows."""
    words = [*SAMPLE, "--data.source=sample", f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=1"]
    words += ["--model.learning_rate=1e30", *(["--model.weights=random"] if command == "fit" else [])]
    assert main([command, *words]) == 2
    assert "not finite" in capsys.readouterr().err
    assert not list(tmp_path.rglob("model.safetensors"))
