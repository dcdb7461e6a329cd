"""The setting ``monitor`` chooses the best epoch for everything that asks for one, and a wrong one is named at once."""

import logging

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gpt_classifier import TextClassifier, default_callbacks
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.metrics import classification_scores, score_names
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.inference.model_folder import load
from gpt_classifier.training.callbacks import BestCheckpoint
from gpt_classifier.training.monitor import is_better, mode


@pytest.fixture
def scripted_fit(tiny_model, tiny_data, tmp_path):
    """Fits with given values of the monitor, one an epoch, and returns the trainer, whose checkpoints tell the rest."""

    def run(monitor, values, **settings):
        model = tiny_model(monitor=monitor, **settings)
        original = model.log_dict
        model.log_dict = lambda scores: original(
            {name: values[model.trainer.current_epoch] if name == monitor else value for name, value in scores.items()}
        )
        trainer = L.Trainer(
            max_epochs=len(values), accelerator="cpu", default_root_dir=tmp_path, callbacks=default_callbacks(),
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(model, tiny_data())
        return trainer

    return run


def epoch_of_best(trainer):
    path = next(c.best_model_path for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint))
    return torch.load(path, weights_only=True)["epoch"]


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("val/loss", [0.5, 0.3, 0.4], 1),
        ("val/accuracy", [0.5, 0.3, 0.4], 0),
        pytest.param("val/f1_macro", [0.5, 0.3, 0.9], 2, marks=pytest.mark.nightly),
        pytest.param("val/recall_spam", [0.5, 0.9, 0.4], 1, marks=pytest.mark.nightly),
        ("val/accuracy", [0.5, 0.5, 0.4], 1),  # of equal ones the last
        ("val/f1_macro", [float("nan"), 0.2, float("nan")], 1),
    ],
)
def test_the_best_checkpoint_is_that_of_the_best_epoch_by_the_monitor(monitor, values, best, scripted_fit):
    trainer = scripted_fit(monitor, values)
    assert epoch_of_best(trainer) == best
    checkpoint, folder = (
        load(p) for p in (trainer.checkpoint_callbacks[0].best_model_path, trainer.log_dir + "/model")
    )
    for name, tensor in checkpoint.model.state_dict().items():
        assert tensor.equal(folder.model.state_dict()[name])


def test_training_stops_when_the_monitor_no_longer_improves(scripted_fit):
    trainer = scripted_fit("val/accuracy", [0.5, 0.9, 0.8, 0.7, 0.6, 0.5], patience=2)
    assert trainer.current_epoch == 4


def test_without_patience_all_epochs_run_even_where_the_monitor_is_not_a_number(scripted_fit):
    assert scripted_fit("val/accuracy", [0.5, float("nan"), 0.4, 0.3], patience=None).current_epoch == 4


@pytest.mark.parametrize("monitor", ["val/acuracy", "val/recall_eggs", "val/auroc_ham"])
def test_a_score_that_no_validation_gives_is_named_before_the_first_epoch(
    monitor, tiny_model, tiny_data, quick_trainer
):
    trainer = quick_trainer()
    with pytest.raises(InputError, match=rf"monitor is '{monitor}'.* val/loss, val/accuracy.*recall_spam"):
        trainer.fit(tiny_model(monitor=monitor), tiny_data())
    assert trainer.global_step == 0


def test_a_score_of_training_rows_chooses_no_epoch(tiny_model):
    with pytest.raises(InputError, match=r"monitor is 'train/loss'.* validation"):
        tiny_model(monitor="train/loss")


def test_a_callback_with_an_unknown_monitor_is_named(tiny_model, tiny_data, quick_trainer):
    with pytest.raises(InputError, match="monitor of EarlyStopping is 'val/los'"):
        quick_trainer(callbacks=[EarlyStopping("val/los")]).fit(tiny_model(), tiny_data())


def test_the_command_line_refuses_an_unknown_monitor_in_one_line(fit, tmp_path, capsys):
    assert fit(tmp_path / "runs", "--model.monitor=val/f1") == 2
    assert "monitor is 'val/f1'" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "runs").glob("version_*")), "a fit that fails leaves no empty run"


def test_names_of_scores_are_those_that_every_prediction_gives():
    labels = torch.tensor([0, 0, 2])
    names = score_names(labels, ["a", "b", "c"])
    assert {"loss", "accuracy", "auroc", "recall_c"} <= set(names)
    assert not {"recall_b", "precision_b"} & set(names)
    for predicted in (torch.zeros(3, 3), torch.eye(3)):
        assert set(names) - {"loss"} <= set(classification_scores(EpochOutputs.of(predicted, labels), ["a", "b", "c"]))


@pytest.mark.parametrize(("monitor", "better", "worse"), [("val/loss", 0.1, 0.2), ("val/mcc", 0.2, 0.1)])
def test_a_first_value_is_the_best_an_equal_one_is_better_and_nan_is_not(monitor, better, worse):
    assert is_better(monitor, worse, None)
    assert is_better(monitor, better, worse)
    assert not is_better(monitor, worse, better)
    assert is_better(monitor, worse, worse)
    assert is_better(monitor, worse, float("nan"))
    assert not is_better(monitor, float("nan"), worse)
    assert not is_better(monitor, float("nan"), float("nan"))


def test_default_callbacks_leave_what_the_command_line_leaves(tiny_model, tiny_data, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    settings = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=2, callbacks=default_callbacks(), default_root_dir=tmp_path, **settings)
    model, data = tiny_model(), tiny_data()
    trainer.fit(model, data)
    run = tmp_path / "lightning_logs" / "version_0"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert TextClassifier.load(run / "model").predict("WIN a car").label in ("ham", "spam")
    for line in ("epoch 1: train loss", "val accuracy", f"next: gpt-classifier classify {run}"):
        assert line in caplog.text
    assert "next: gpt-classifier test" not in caplog.text, "without a file there is nothing that it could test on"
    trainer.test(model, data, verbose=False)
    assert "test accuracy" in caplog.text
    tags = EventAccumulator(str(run), {"scalars": 0}).Reload().Tags()["scalars"]
    assert {"val/f1_macro", "final/val_loss", "test/accuracy"} <= set(tags)


def test_default_callbacks_suit_a_trainer_without_checkpoints_or_logger(tiny_model, tiny_data, quick_trainer, caplog):
    quick_trainer(callbacks=default_callbacks(checkpoints=False)).fit(tiny_model(), tiny_data())
    assert "no model folder" in caplog.text


def test_a_found_learning_rate_is_the_one_that_the_schedule_starts_from(tiny_model, tiny_data, quick_trainer):
    from lightning.pytorch.callbacks import LearningRateFinder

    seen = []

    class Rates(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    finder = LearningRateFinder(min_lr=1e-4, max_lr=1e-1, num_training_steps=30)
    model = tiny_model(optimizer={"schedule": "cosine"}, learning_rate=5e-5)
    quick_trainer(callbacks=[finder, Rates()], max_epochs=10).fit(model, tiny_data())
    found = finder.optimal_lr.suggestion()
    assert found is not None
    assert model.hparams["learning_rate"] == found
    assert seen[0] == pytest.approx(found)
    assert seen[-1] < 0.2 * found


@pytest.mark.parametrize(
    ("monitor", "better"),
    [
        ("val/loss", "min"),
        ("val/hamming_loss", "min"),
        ("train/epoch_loss", "min"),
        ("loss", "min"),
        ("val/recall_loss", "max"),  # of a class
        ("val/recall_a/weight_loss", "max"),
        ("val/f1_macro", "max"),
    ],
)
def test_less_is_better_of_losses_alone(monitor, better):
    assert mode(monitor) == better
