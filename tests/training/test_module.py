"""Training: what is saved, resumed, refused and measured."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar, TQDMProgressBar
from sklearn import metrics as sk
from torch.utils._python_dispatch import TorchDispatchMode

from gpt_classifier import GPTClassifier, TextClassifier, TextDataModule
from gpt_classifier.data.task import Task
from gpt_classifier.errors import InputError
from gpt_classifier.text.encoder import Batch
from gpt_classifier.training.callbacks import Bar
from gpt_classifier.training.callbacks.checkpoints import LastCheckpoint, StopEarly
from gpt_classifier.training.callbacks.stopping import StopCleanly
from gpt_classifier.training.optimization import OptimizerConfig, build_optimizer

TINY = {"n_layer": 2, "n_head": 4, "n_embd": 32, "context_length": 64}
TEXTS = ["WIN a car, call now!", "See you at five", "", "<|endoftext|> ünïcödé"]


def differing(one: torch.nn.Module, other: torch.nn.Module) -> list[str]:
    """Names of the weights of two models that are not equal to the last bit."""
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    return [name for name, tensor in ours.items() if not tensor.equal(theirs[name])]


def probabilities(module: GPTClassifier) -> np.ndarray:
    return TextClassifier(module.bundle()).predict_proba(TEXTS)


# ---------------------------------------------------------------- checkpoints

AS_TEXT_CLASSIFIER = """
import json, sys
from gpt_classifier import TextClassifier
classifier = TextClassifier.load(sys.argv[1])
print(json.dumps(classifier.predict_proba(json.loads(sys.argv[2])).tolist()))
# torch._dynamo: half of PyTorch's compiler, which takes as long to import as the rest of PyTorch
unwanted = {"lightning", "pandas", "pytorch_lightning", "sklearn", "huggingface_hub", "torch._dynamo"}
loaded = unwanted & sys.modules.keys()
assert not loaded, loaded
"""
AS_MODULE = """
import json, sys
from gpt_classifier import GPTClassifier, TextClassifier
module = GPTClassifier.load_from_checkpoint(sys.argv[1])
print(json.dumps(TextClassifier(module.bundle()).predict_proba(json.loads(sys.argv[2])).tolist()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("copy", "model", "script"),
    [
        (shutil.copytree, "model", AS_TEXT_CLASSIFIER),
        pytest.param(shutil.copy, "checkpoints/last.ckpt", AS_TEXT_CLASSIFIER, marks=pytest.mark.nightly),
        pytest.param(shutil.copy, "checkpoints/last.ckpt", AS_MODULE, marks=pytest.mark.nightly),
    ],
    ids=["folder as TextClassifier", "checkpoint as TextClassifier", "checkpoint as GPTClassifier"],
)
def test_a_model_copied_elsewhere_needs_nothing_else(copy, model, script, trained, tmp_path):
    """A fresh process in an empty folder, with an empty home, without caches or configuration, computes the same."""
    elsewhere = copy(trained / model, tmp_path / Path(model).name)
    home, empty = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    empty.mkdir()
    caches = dict.fromkeys(("GPT_CLASSIFIER_CACHE", "TIKTOKEN_CACHE_DIR", "HF_HOME"), str(empty))
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1", **caches}
    done = subprocess.run(
        [sys.executable, "-c", script, elsewhere, json.dumps(TEXTS)],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    here = TextClassifier.load(trained / model).predict_proba(TEXTS)
    assert np.array(json.loads(done.stdout)) == pytest.approx(here, abs=1e-7)
    assert list(empty.iterdir()) == []


def test_a_checkpoint_holds_plain_values_and_tensors_only(trained):
    checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["gpt_classifier"]["config"]["class_names"] == ["ham", "spam"]
    assert checkpoint["hyper_parameters"]["weights"] is None  # whoever loads this downloads nothing


def test_the_folder_and_the_best_checkpoint_are_the_same_model(trained):
    folder, best = (TextClassifier.load(trained / name) for name in ("model", "checkpoints/best.ckpt"))
    assert differing(folder.model, best.model) == []
    assert folder.text_encoder.settings() == best.text_encoder.settings()


NOT_CAUSAL = {"n_layer": 1, "n_head": 2, "n_embd": 16, "context_length": 64, "causal": False}


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "mlp"},
        {"pooling": "mean"},
        {"trainable": "head"},
        {"gpt": NOT_CAUSAL},
        {"trainable": "lora"},
        {"trainable": "lora", "lora": {"rank": 4, "dora": True, "scale": "alpha", "targets": r"c_attn$|^head$"}},
    ],
    ids=str,
)
def test_a_loaded_checkpoint_is_the_model_that_was_saved(settings, quick_trainer, tiny_data, tiny_model, tmp_path):
    module, trainer = tiny_model(**settings), quick_trainer()
    trainer.fit(module, tiny_data())
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    loaded = GPTClassifier.load_from_checkpoint(tmp_path / "saved.ckpt")
    assert differing(loaded.model, module.model) == []
    assert dict(loaded.hparams) == {**module.hparams, "weights": None}
    assert np.array_equal(probabilities(loaded), probabilities(module))


def test_a_loaded_checkpoint_can_be_fitted_saved_and_loaded_again(trained, quick_trainer, tmp_path):
    first = GPTClassifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt")
    before = probabilities(first)
    trainer = quick_trainer()
    trainer.fit(first, TextDataModule("sample", tokenizer="bytes", max_length=64))
    trainer.save_checkpoint(tmp_path / "second.ckpt")
    second = GPTClassifier.load_from_checkpoint(tmp_path / "second.ckpt")
    assert differing(first.model, second.model) == []
    assert np.abs(probabilities(second) - before).max() > 1e-3
    assert np.array_equal(probabilities(second), TextClassifier.load(tmp_path / "second.ckpt").predict_proba(TEXTS))


def test_a_model_that_knows_no_tokenizer_cannot_be_saved(tiny_model):
    module = tiny_model(class_names=["ham", "spam"])
    module.configure_model()
    with pytest.raises(InputError, match="tokenizer"):
        module.bundle()


# ---------------------------------------------------------------- resuming


class Interruption(Callback):
    """Ends a fit when its third epoch begins, as a power cut would."""

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("power cut")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"optimizer": {"schedule": "cosine", "warmup": 0.2}}, marks=[pytest.mark.nightly, pytest.mark.ci]),
        {"optimizer": {"name": "SGD"}, "trainable": "last_block"},
        pytest.param(
            {"trainable": "lora", "lora": {"rank": 4, "dora": True}}, marks=[pytest.mark.nightly, pytest.mark.ci]
        ),
        pytest.param(
            {"trainable": "biases", "optimizer": {"layer_decay": 0.5}}, marks=[pytest.mark.nightly, pytest.mark.ci]
        ),
        {"optimizer": {"unfreeze_every": 1}},
        {"gpt": {**TINY, "dropout": 0.3}},
        pytest.param(
            {"trainable": "lora", "lora": {"rank": 4, "dropout": 0.3}}, marks=[pytest.mark.nightly, pytest.mark.ci]
        ),
    ],
    ids=[
        "AdamW",
        "cosine schedule",
        "SGD of the last block",
        "LoRA",
        "BitFit with layer decay",
        "a block more each epoch",
        "dropout",
        "dropout before LoRA",
    ],
)
def test_an_interrupted_fit_that_is_resumed_ends_where_it_would_have_ended(
    settings, quick_trainer, tiny_data, tiny_model, tmp_path
):
    whole = tiny_model(**settings)
    quick_trainer(max_epochs=4).fit(whole, tiny_data())

    torch.manual_seed(123)  # as at the beginning of every test
    trainer = quick_trainer(max_epochs=4, enable_checkpointing=True, callbacks=[LastCheckpoint(), Interruption()])
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.fit(tiny_model(**settings), tiny_data())
    resumed, last = tiny_model(**settings), tmp_path / "checkpoints" / "last.ckpt"
    quick_trainer(max_epochs=4).fit(resumed, tiny_data(), ckpt_path=last, weights_only=True)
    assert differing(whole.model, resumed.model) == []


@pytest.mark.parametrize(
    ("step", "data"),
    [(2, {}), (4, {}), (7, {}), (7, {"batching": {"group_by_length": True}, "augmentation": {"crop": 0.5}})],
    ids=["within an epoch", "between epochs", "late in an epoch", "within augmented batches of like length"],
)
def test_a_fit_resumed_from_any_of_its_steps_ends_the_same(step, data, quick_trainer, tiny_data, tiny_model, tmp_path):
    """Epochs have four steps here."""
    keep = ModelCheckpoint(every_n_train_steps=1, save_top_k=-1, filename="{step}")
    whole, resumed = (tiny_model(gpt={**TINY, "dropout": 0.3}) for _ in range(2))
    quick_trainer(max_epochs=3, enable_checkpointing=True, callbacks=[keep]).fit(whole, tiny_data(**data))
    path = tmp_path / "checkpoints" / f"step={step}.ckpt"
    quick_trainer(max_epochs=3).fit(resumed, tiny_data(**data), ckpt_path=path, weights_only=True)
    assert differing(whole.model, resumed.model) == []


@pytest.mark.parametrize(
    ("model", "data", "name"),
    [
        ({"learning_rate": 0.5}, {}, "learning_rate is 0.5"),
        ({"pooling": "mean"}, {}, "pooling is 'mean'"),
        ({"trainable": "head"}, {}, "trainable is 'head'"),
        ({"optimizer": {"layer_decay": 0.5}}, {}, "layer_decay is 0.5"),
        ({}, {"max_length": 32}, "encoding.max_length is 32"),
    ],
)
def test_a_fit_is_not_resumed_under_other_settings(model, data, name, quick_trainer, tiny_data, tiny_model, tmp_path):
    trainer = quick_trainer()
    trainer.fit(tiny_model(), tiny_data())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=rf"{name}.*checkpoint was written with"):
        quick_trainer().fit(tiny_model(**model), tiny_data(**data), ckpt_path=tmp_path / "last.ckpt")


HAM, SPAM = ([f"{words} {letter * 4}" for letter in "abcdefghijklmnop"] for words in ("See you", "WIN a prize"))


@pytest.mark.parametrize("batch", range(1, 8))
def test_a_fit_that_is_asked_to_stop_at_any_batch_loses_no_gradient(
    batch, quick_trainer, tiny_data, tiny_model, tmp_path
):
    """Epochs have four batches here, of which three and one make a step."""

    class Ask(Callback):
        def on_train_batch_start(self, trainer, pl_module, *_) -> None:
            if trainer.current_epoch * 4 + trainer.fit_loop.epoch_loop.batch_progress.current.completed == batch:
                stop.asked = signal.SIGTERM

    accumulated = {"accumulate_grad_batches": 3, "max_epochs": 3}
    whole, stopped, resumed = (tiny_model(gpt={**TINY, "dropout": 0.3}) for _ in range(3))
    quick_trainer(**accumulated).fit(whole, tiny_data())
    torch.manual_seed(123)  # as at the beginning of every test
    stop = StopCleanly()
    callbacks = [stop, LastCheckpoint(), Ask()]
    with pytest.raises(SystemExit):
        quick_trainer(**accumulated, enable_checkpointing=True, callbacks=callbacks).fit(stopped, tiny_data())
    quick_trainer(**accumulated).fit(resumed, tiny_data(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert differing(whole.model, resumed.model) == []


def test_a_fit_that_had_stopped_early_is_not_trained_further_when_it_is_resumed(
    quick_trainer, tiny_data, tiny_model, tmp_path
):
    settings = {"patience": 1, "learning_rate": 1e-9}
    trainer = quick_trainer(max_epochs=9, enable_checkpointing=True, callbacks=[LastCheckpoint(), StopEarly()])
    trainer.fit(tiny_model(**settings), tiny_data())
    assert trainer.global_step < 9 * 4
    again = quick_trainer(max_epochs=9, callbacks=[StopEarly()])
    again.fit(tiny_model(**settings), tiny_data(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert again.global_step == trainer.global_step


def test_a_fit_that_is_asked_to_stop_where_a_validation_is_due_validates_first(
    quick_trainer, tiny_data, tiny_model, tmp_path
):
    validated = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, pl_module, *_) -> None:
            if trainer.global_step == asked:
                stop.asked = signal.SIGTERM

        def on_validation_end(self, trainer, pl_module) -> None:
            validated.append(trainer.global_step)

    for asked in (None, 5):  # the batch of the step after it ends before a validation
        stop, settings = StopCleanly(), {"max_epochs": 3, "val_check_interval": 2, "enable_checkpointing": True}
        first = quick_trainer(**settings, callbacks=[stop, LastCheckpoint(), Watch()])
        if asked is None:
            first.fit(tiny_model(), tiny_data())
            expected = validated[:]
            validated.clear()
            continue
        with pytest.raises(SystemExit):
            first.fit(tiny_model(), tiny_data())
    asked = None
    again = quick_trainer(**settings, callbacks=[stop, Watch()])
    again.fit(tiny_model(), tiny_data(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert validated == expected


ONE_MORE = {"texts": [*HAM, *SPAM, "See you in court"], "labels": ["ham"] * 16 + ["spam"] * 16 + ["ham"]}
OTHER_LABELS = {"labels": ["spam", *["ham"] * 16, *["spam"] * 15]}


@pytest.mark.parametrize(
    ("data", "trainer", "seed", "name"),
    [
        (ONE_MORE, {}, 123, "train rows are"),
        (OTHER_LABELS, {}, 123, "train rows are"),
        ({"texts": [*HAM[::-1], *SPAM]}, {}, 123, "train rows are"),
        ({"batch_size": 5}, {}, 123, "batch_size is 5"),
        ({"batching": {"group_by_length": True}}, {}, 123, "group_by_length is True"),
        ({"augmentation": {"crop": 0.5}}, {}, 123, "train rows are|augmentation.crop is"),
        ({"balance": "class_weights"}, {}, 123, "weights"),
        ({}, {"accumulate_grad_batches": 2}, 123, "accumulate_grad_batches is '2'"),
        ({}, {"gradient_clip_val": 1.0}, 123, "gradient_clip_val is '1.0'"),
        ({}, {"gradient_clip_algorithm": "value"}, 123, "gradient_clip_algorithm is 'value'"),
        ({}, {"limit_train_batches": 2}, 123, "limit_train_batches is '2'"),
        ({}, {"limit_val_batches": 1}, 123, "limit_val_batches is '1'"),
        ({}, {"val_check_interval": 0.5}, 123, "val_check_interval is '0.5'"),
        ({}, {"precision": "bf16-mixed"}, 123, "precision is 'bf16-mixed'"),
        ({}, {}, 124, "seed_everything is 124"),
    ],
)
def test_a_fit_is_not_resumed_with_other_batches(
    data, trainer, seed, name, quick_trainer, tiny_data, tiny_model, tmp_path, monkeypatch
):
    first = quick_trainer()
    first.fit(tiny_model(), tiny_data())
    first.save_checkpoint(tmp_path / "last.ckpt")
    monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
    with pytest.raises(InputError, match=rf"({name}).*checkpoint was written with.*weights"):
        quick_trainer(max_epochs=2, **trainer).fit(tiny_model(), tiny_data(**data), ckpt_path=tmp_path / "last.ckpt")


def test_a_longer_fit_is_resumed_unless_its_learning_rates_depend_on_the_length(
    quick_trainer, tiny_data, tiny_model, tmp_path
):
    for number, optimizer in enumerate([{}, {"schedule": "cosine"}, {"warmup": 0.5}]):
        first, path = quick_trainer(), tmp_path / f"{number}.ckpt"
        first.fit(tiny_model(optimizer=optimizer), tiny_data())
        first.save_checkpoint(path)
        again = quick_trainer(max_epochs=2)
        if optimizer:
            with pytest.raises(InputError, match=r"number of steps.* 8.*checkpoint .* 4"):
                again.fit(tiny_model(optimizer=optimizer), tiny_data(), ckpt_path=path)
        else:
            again.fit(tiny_model(), tiny_data(), ckpt_path=path)
            assert again.global_step == 8


def test_an_optimizer_refuses_a_state_of_other_shapes(tiny_model):
    """PyTorch's own check counts parameters, and its fused kernel would read behind the end of the smaller tensor."""
    small, large = (torch.nn.Linear(4, rows) for rows in (1, 3))
    states = []
    for module in (small, large):
        module(torch.ones(4)).sum().backward()
        model = torch.nn.Module()
        model.head, model.backbone = module, SimpleNamespace(config=SimpleNamespace(n_layer=1))
        optimizer = build_optimizer(model, 1e-3, OptimizerConfig())
        optimizer.step()
        states.append((optimizer, optimizer.state_dict()))
    (_, state), (optimizer, own) = states
    optimizer.load_state_dict(own)
    with pytest.raises(InputError, match=r"exp_avg.* is \(1, 4\), but its parameter \(3, 4\)"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_a_model_meets_only_data_of_its_own_classes(verb, quick_trainer, tiny_data, trained):
    module = GPTClassifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt")
    others = tiny_data(labels=["no", "yes"] * 16)
    with pytest.raises(InputError, match=r"'no' in train row 0 of .*ham, spam"):
        getattr(quick_trainer(), verb)(module, others)


# ---------------------------------------------------------------- the loss and its gradient


@pytest.fixture
def module(tiny_model) -> GPTClassifier:
    module = tiny_model(gpt={**tiny_model().hparams["gpt"], "vocab_size": 257}, class_names=["ham", "spam"])
    module.configure_model()
    return module


BATCH = Batch(torch.arange(32).view(8, 4), torch.tensor([4, 3, 2, 1] * 2), torch.tensor([0, 1, 1, 0, 1, 1, 1, 1]))


@pytest.mark.parametrize("weights", [None, torch.tensor([0.25, 1.75])])
def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_halves(weights, module):
    """So gradients may be accumulated, or averaged over processes, whatever the classes of each part."""
    module.class_weights = weights

    def gradient(rows: slice) -> torch.Tensor:
        loss = module.loss(module.model(BATCH.inputs[rows], BATCH.lengths[rows]), BATCH.labels[rows])
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(module.model.parameters()))])

    halves = (gradient(slice(0, 4)) + gradient(slice(4, 8))) / 2
    assert torch.allclose(gradient(slice(0, 8)), halves, rtol=0, atol=1e-6)


def test_class_weights_of_the_data_weigh_the_loss(quick_trainer, tiny_data, tiny_model):
    data = tiny_data(labels=["ham"] * 24 + ["spam"] * 8, balance="class_weights")
    module = tiny_model()
    scores = quick_trainer().fit(module, data) or quick_trainer().validate(module, data)[0]
    table = data.tables["val"]
    probabilities = TextClassifier(module.bundle()).predict_proba(table["text"].tolist())
    labels = table["label"].map(module.class_names.index).to_numpy()
    by_hand = [-data.class_weights[y] * np.log(p[y]) for p, y in zip(probabilities, labels, strict=True)]
    assert scores["val/loss"] == pytest.approx(float(np.mean(by_hand)), abs=1e-5)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=9), st.data())
def test_ignoring_the_end_of_text_token_as_a_label_changes_nothing(logits, data):
    """Row 18 of the article's table: labels are numbers of classes, of which 50256 is none."""
    scores = torch.tensor(logits)
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 1), min_size=len(logits), max_size=len(logits))))
    ignoring = torch.nn.functional.cross_entropy(scores, labels, ignore_index=50256)
    assert torch.allclose(Task.SINGLE_LABEL.loss(scores, labels, None), ignoring)


# ---------------------------------------------------------------- scores


@pytest.mark.parametrize("max_batch_tokens", [1, 100, 4096])
def test_logged_scores_are_those_of_all_predictions_together(max_batch_tokens, trained, quick_trainer):
    data = TextDataModule("sample", tokenizer="bytes", batching={"max_batch_tokens": max_batch_tokens})
    module = GPTClassifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt")
    scores = quick_trainer().test(module, data)[0]
    table = data.tables["test"]
    truth = table["label"].map(module.class_names.index).to_numpy()
    probabilities = TextClassifier(module.bundle()).predict_proba(table["text"].tolist())
    predicted = probabilities.argmax(-1)
    expected = {
        "test/loss": sk.log_loss(truth, probabilities),
        "test/accuracy": sk.accuracy_score(truth, predicted),
        "test/balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "test/f1_macro": sk.f1_score(truth, predicted, average="macro"),
        "test/mcc": sk.matthews_corrcoef(truth, predicted),
        "test/auroc": sk.roc_auc_score(truth, probabilities[:, 1]),
        "test/average_precision": sk.average_precision_score(np.eye(2)[truth], probabilities, average="macro"),
        "test/precision_spam": sk.precision_score(truth, predicted),
        "test/recall_spam": sk.recall_score(truth, predicted),
        "test/precision_ham": sk.precision_score(truth, predicted, pos_label=0),
        "test/recall_ham": sk.recall_score(truth, predicted, pos_label=0),
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-5)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"optimizer": {"warmup": 1.5}}, "warmup is 1.5"),
        ({"trainable": 3}, "trainable is 3, but the model has 2 blocks"),
        ({"gpt": "gpt3"}, "gpt is 'gpt3', expected one of gpt2"),
        ({"gpt": {"n_layers": 2}}, "gpt has no field n_layers"),
        ({"gpt": {"n_head": 5}}, "n_head must divide n_embd"),
        ({"weights": "pretrained"}, "gpt2-medium, gpt2-large, gpt2-xl"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_else(settings, message, tiny_model):
    with pytest.raises(InputError, match=message):
        tiny_model(**settings)


def test_texts_longer_than_the_context_are_refused_with_what_to_do(quick_trainer, tiny_data, tiny_model):
    with pytest.raises(InputError, match=r"set max_length .* to 64"):
        quick_trainer().fit(tiny_model(), tiny_data(max_length=65))


def test_an_unknown_optimizer_is_refused_before_the_first_step(quick_trainer, tiny_data, tiny_model):
    with pytest.raises(InputError, match="optimizer is 'AdamX'"):
        quick_trainer().fit(tiny_model(optimizer={"name": "AdamX"}), tiny_data())


def test_a_fit_learns(quick_trainer, tiny_data, tiny_model):
    module, data = tiny_model(pooling="mean", learning_rate=1e-2), tiny_data()
    trainer = quick_trainer(max_epochs=10)
    trainer.fit(module, data)
    assert trainer.validate(module, data)[0]["val/accuracy"] == 1


# ---------------------------------------------------------------- a GPU's queue of steps


class Readings(TorchDispatchMode):
    """Counts how often a number is read from a tensor. On a GPU, all steps that are queued must end for that."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("trainable", ["last_block", "all"])
def test_no_step_reads_a_number_from_the_device(trainable, tiny_model, tiny_data, quick_trainer, monkeypatch):
    monkeypatch.setattr(Bar, "READ_EVERY", 3600.0)
    readings, at_step = Readings(), []

    class Watch(Callback):
        def on_train_batch_end(self, *_):
            at_step.append(readings.count)

    data = tiny_data(batch_size=1, splitting={"fractions": [0.9, 0.1, 0.0]})
    bars = {"callbacks": [Bar(), Watch()], "enable_progress_bar": True}
    trainer = quick_trainer(**bars, log_every_n_steps=5, limit_val_batches=0)
    with readings:
        trainer.fit(tiny_model(trainable=trainable), data)
    assert len(at_step) == 28
    assert at_step[-1] == at_step[0]
    assert readings.count > at_step[-1]  # an epoch's scores are read at its end


@pytest.mark.parametrize("bar", [Bar, RichProgressBar, TQDMProgressBar])
def test_a_bar_shows_the_loss(bar, tiny_model, tiny_data, quick_trainer, monkeypatch, capsys):
    monkeypatch.setattr(Bar, "READ_EVERY", 0.0)
    trainer = quick_trainer(callbacks=[bar()], enable_progress_bar=True, log_every_n_steps=2, limit_val_batches=0)
    trainer.fit(tiny_model(), tiny_data())
    assert re.search(r"train/loss[:=] ?[01]\.\d", capsys.readouterr().out)
