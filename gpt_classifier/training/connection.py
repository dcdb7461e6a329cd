"""Checks that a model and the data it is used with belong together, before anything is computed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import training_fingerprints
from gpt_classifier.decision.fitting import check_rule
from gpt_classifier.decision.rule import SEPARATOR, Decision
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.metrics import score_names
from gpt_classifier.training.monitor import check_monitors
from gpt_classifier.training.teacher import build_teacher

if TYPE_CHECKING:
    from gpt_classifier.training.module import GPTClassifier


def connect(module: "GPTClassifier", data: TextDataModule, stage: str) -> None:
    """Gives ``module`` class names, text encoder and class weights of ``data``, which then use its state cache."""
    if not hasattr(module, "model"):
        module.decision = replace(module.decision, multi_label=data.multi_label)
    check_labels(data, module.class_names, module.decision)
    module.class_names = list(data.class_names) if module.class_names is None else module.class_names
    module.text_encoder, module.class_weights = data.text_encoder, data.class_weights
    if stage == "fit":
        if type(module).__name__ == "GPTClassifier":  # a subclass may log more
            check_scores(data, module.hparams["monitor"], module.trainer.callbacks)  # type: ignore[attr-defined]
        check_decision(data, module.hparams["decide"])
        module.data_settings = dict(data.hparams)
        module.remember(training_fingerprints(data.training_texts()[0]))
        engage_teacher(module, data)
    module.state_cache = None  # the weights may have changed since the last setup
    data.show_rows_as(module.behind_frozen_layers)


def engage_teacher(module: "GPTClassifier", data: TextDataModule) -> None:
    """Lets the teacher that the settings name, if any, predict the training texts."""
    if (config := module.teacher_config) is not None:
        module.teacher, before = build_teacher(config, data, module.trainer.strategy.root_device)
        module.remember(before)
    elif data.rows.unlabelled is not None:
        raise InputError(
            "data.unlabelled_source has texts without labels, which train only with predictions of a trained model: "
            "give --model.teacher FOLDER"
        )


def check_labels(data: TextDataModule, class_names: list[str] | None, decision: Decision) -> None:
    """Raises ``InputError`` for labels or classes other than those that the model was made for, where it was made."""
    if data.class_names and data.multi_label != decision.multi_label:
        labels = {True: "multi-label", False: "single-label"}
        raise InputError(
            f"the data are {labels[data.multi_label]}, but the model is {labels[decision.multi_label]}: "
            "change --data.multi_label"
        )
    if data.multi_label and (names := [name for name in data.class_names if SEPARATOR in name]):
        raise InputError(f"the label {names[0]!r} has a {SEPARATOR}, which stands between labels: rename it")
    if class_names is not None and data.class_names and data.class_names != class_names:
        raise InputError(f"the data has the classes {data.class_names}, but the model was made for {class_names}")


def check_decision(data: TextDataModule, decide: str | Mapping[str, Any] | None) -> None:
    """Raises ``InputError`` for a rule that cannot be fitted on these data at the end of a fit."""
    check_rule(decide, data.class_names, data.multi_label)
    if decide is not None and "val" not in data.tables:
        raise InputError("decide is fitted on validation rows, but there are none: give --data.val_source FILE")


def check_scores(data: TextDataModule, monitor: str, callbacks: Sequence[Callback]) -> None:
    """Raises ``InputError`` for a monitor that is never logged."""
    if "val" in data.encoded:
        labels = data.encoded["val"].labels
        assert labels is not None, "validation rows have labels"
        names = score_names(labels, data.class_names)
        logged = [f"{stage}/{name}" for stage in ("val", "train") for name in names] + ["train/epoch_loss"]
        check_monitors(callbacks, monitor, logged)


def check_training(
    learning_rate: float | None, dropout: float | None, monitor: str, patience: int | None, lm_loss: float
) -> None:
    """Raises ``InputError`` for invalid values, before anything is built."""
    if dropout is not None and not 0 <= dropout < 1:
        raise InputError(f"dropout is {dropout}, expected a probability below 1, or null for the network's own")
    if not 0 <= lm_loss < math.inf:
        raise InputError(f"lm_loss is {lm_loss}, expected a weight of 0 or more")
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise InputError(f"learning_rate is {learning_rate}, expected a number above 0")
    if not str(monitor).startswith("val/"):
        raise InputError(f"monitor is {monitor!r}, expected a validation score such as val/loss")
    if patience is not None and patience < 1:
        raise InputError(f"patience is {patience}, expected at least 1 validation, or null to train for all epochs")
