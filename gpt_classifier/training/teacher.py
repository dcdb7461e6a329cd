"""Trains a network on what another one predicts: soft targets of a trained model, with the labels or instead of them.

G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network" (2015), arXiv:1503.02531.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.pace import Pace
from gpt_classifier.data.summary import describe_leaks
from gpt_classifier.data.task import Task
from gpt_classifier.errors import InputError
from gpt_classifier.inference import model_folder
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.settings import grouped
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.training.state_store import sha256

CHUNK = 1000  # minimum number of texts between two lines of progress


@dataclass(frozen=True)
class TeacherConfig:
    """A trained model whose predictions are training targets.

    Args:
        folder: Its model folder, run or checkpoint. It has the same classes.
        weight: Weight of the loss on its predictions, above 0 and up to 1; that of the loss on the labels is the rest.
        temperature: Both networks' logits are divided by it: the higher, the more the improbable classes count.
    """

    folder: str
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str) or not self.folder:
            raise InputError(f"teacher.folder is {self.folder!r}, expected the folder of a trained model")
        if not 0 < self.weight <= 1:
            raise InputError(f"teacher.weight is {self.weight}, expected a number above 0 and up to 1")
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"teacher.temperature is {self.temperature}, expected a number above 0")


def teacher_config(value: str | Mapping[str, Any] | TeacherConfig | None) -> TeacherConfig | None:
    """The configuration that a setting gives: a folder, a mapping of the fields, or none."""
    if value is None or isinstance(value, TeacherConfig):
        return value
    values = {"folder": value} if isinstance(value, str) else value
    if isinstance(values, Mapping) and "folder" not in values:
        whole = ", ".join(f"{name}: {given}" for name, given in {"folder": "checkpoints/large", **values}.items())
        raise InputError(f"teacher is {dict(values)}, without a folder: give all of it at once, as {{{whole}}}")
    return grouped(TeacherConfig, "teacher", values)


class Teacher(nn.Module):
    """The predictions of a trained model for the N training texts, and the loss of other predictions.

    Args:
        logits: (N, K) of the teacher, calibrated as it is.
        rows: (N,) row numbers of the texts.
        task: What its labels mean.
        config: Weight and temperature.
    """

    def __init__(self, logits: Tensor, rows: Tensor, task: Task, config: TeacherConfig) -> None:
        super().__init__()
        self.task, self.config = task, config
        place = torch.zeros(int(rows.max()) + 1, dtype=torch.long)
        place[rows] = torch.arange(len(rows))
        self.logits: Tensor
        self.place: Tensor  # of each row number among the logits
        self.register_buffer("logits", logits.float(), persistent=False)
        self.register_buffer("place", place, persistent=False)

    def loss(self, label_loss: Tensor, logits: Tensor, rows: Tensor | None) -> Tensor:
        """The loss of logits (B, K): ``label_loss`` and that of the teacher's predictions, by their weights.

        That is the mean over texts of the Kullback-Leibler divergence, times the square of the temperature, so that its
        gradients are as large at any temperature.
        """
        assert rows is not None, "data give every text a row number"
        t, ours, theirs = self.config.temperature, logits.float(), self.logits[self.place[rows]]
        if self.task.multi_label:
            soft = F.binary_cross_entropy_with_logits(ours / t, (theirs / t).sigmoid())
            soft = soft - F.binary_cross_entropy_with_logits(theirs / t, (theirs / t).sigmoid())
        else:
            both = ((ours / t).log_softmax(-1), (theirs / t).log_softmax(-1))
            soft = F.kl_div(*both, reduction="batchmean", log_target=True)
        return (1 - self.config.weight) * label_loss + self.config.weight * t**2 * soft


def build_teacher(config: TeacherConfig, data: TextDataModule, device: torch.device) -> tuple[Teacher, Tensor | None]:
    """The teacher of the training texts of ``data``, and fingerprints of the texts that it was itself trained on.

    Raises ``InputError`` if there is no such model, or if it has other classes.
    """
    contents, began = model_folder.load(config.folder), monotonic()
    _check_classes(contents, data, config.folder)
    if contents.trained_on is not None and (leaks := describe_leaks(data.tables, contents.trained_on, config.folder)):
        rank_zero_info(f"  {leaks}")
    weights = sha256(tensor.cpu().contiguous() for tensor in contents.model.state_dict().values())
    data.fit_identity["the teacher's weights"] = weights[:16]  # a folder of runs may have a newer one by now
    classifier, order = TextClassifier(contents, device), [contents.class_names.index(n) for n in data.class_names]

    def predict(texts: list[str]) -> Tensor:
        pace, parts = Pace(), []
        for start in range(0, len(texts), CHUNK):
            pace.tell(f"teacher: {start:,} of {len(texts):,} texts")
            parts.append(contents.decision.calibrated(classifier.logits(texts[start : start + CHUNK])))
        return torch.from_numpy(np.concatenate(parts)[:, order])

    texts, rows = data.training_texts()
    task = Task.of(data.multi_label)
    teacher = Teacher(predict(texts), rows, task, config)
    said = f"teacher {config.folder}: predicted {len(texts):,} training texts in {monotonic() - began:.0f} s"
    if "val" in data.encoded and (labels := data.encoded["val"].labels) is not None:
        right = task.correct(predict(data.tables["val"]["text"].tolist()), labels)
        said += f", and {wilson(int(right.sum()), len(right))} of the validation texts right"
    rank_zero_info(said)
    return teacher, contents.trained_on


def _check_classes(contents: Bundle, data: TextDataModule, folder: str) -> None:
    if contents.decision.multi_label != data.multi_label:
        labels = {True: "multi-label", False: "single-label"}
        raise InputError(
            f"the teacher {folder} is {labels[contents.decision.multi_label]}, but the data are "
            f"{labels[data.multi_label]}: train a teacher on data like these"
        )
    if set(contents.class_names) != set(data.class_names):
        theirs, ours = (", ".join(names[:5]) for names in (contents.class_names, data.class_names))
        raise InputError(f"the teacher {folder} has the classes {theirs}, the data {ours}: expected the same classes")
