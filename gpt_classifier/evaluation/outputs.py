"""Collects what a network put out for the rows of an epoch, over batches and processes; scores nothing."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from gpt_classifier.data.task import Task


@dataclass(frozen=True)
class EpochOutputs:
    """The outputs for N rows, on the CPU and in the order of the rows."""

    logits: Tensor  # (N, K)
    labels: Tensor  # (N,) or (N, K), as the task has them
    rows: Tensor  # (N,) row numbers
    task: Task

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> "EpochOutputs":
        """Of logits and labels alone, numbered as they come."""
        return cls(logits, labels, torch.arange(len(logits)), Task.from_labels(labels))

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, which: Any) -> "EpochOutputs":
        """Those of some rows: positions, a slice or booleans (N,)."""
        return EpochOutputs(self.logits[which], self.labels[which], self.rows[which], self.task)

    @property
    def classes(self) -> int:
        return self.logits.shape[1]

    @property
    def finite(self) -> bool:
        """Whether no logit is NaN or infinite, as those of a network that diverged are."""
        return bool(self.logits.isfinite().all())

    @property
    def truth(self) -> Tensor:
        """(N, K), whether a row is of each class."""
        return self.task.truth(self.labels, self.classes)

    @property
    def predicted(self) -> Tensor:
        """(N, K), whether each class is predicted."""
        return self.task.predicted(self.logits)

    @property
    def probabilities(self) -> Tensor:
        """(N, K) in float64."""
        return self.task.probabilities(self.logits)

    @property
    def correct(self) -> Tensor:
        """(N,), whether what is predicted for a row is what is true."""
        return self.task.correct(self.logits, self.labels)

    @property
    def confidence(self) -> Tensor:
        """(N,), the probability of the predicted class; see :meth:`Task.confidence`."""
        return self.task.confidence(self.logits, self.labels)


class Predictions(Metric):
    """Gathers logits (N, K), labels (N,) or (N, K), and row numbers (N,) over batches and processes.

    Every score of an epoch is computed once from what this gathered. Averages of batch averages would be wrong with
    batches of unequal size, and Lightning's ``sync_dist`` is wrong with processes of unequal load.
    """

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]
    rows: list[Tensor]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name in ("logits", "labels", "rows"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, rows: Tensor) -> None:
        self.logits.append(logits.detach())
        self.labels.append(labels)
        self.rows.append(rows)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        rows = dim_zero_cat(self.rows).cpu()
        order = rows.argsort(stable=True)
        return dim_zero_cat(self.logits).float().cpu()[order], dim_zero_cat(self.labels).cpu()[order], rows[order]

    def gathered(self, task: Task) -> EpochOutputs:
        """All that have labels, in the order of the rows."""
        logits, labels, rows = self.compute()
        rows = rows.view(-1)  # of a single number, Metric makes what has no dimension
        logits = logits.view(len(rows), -1)
        labels = labels.view_as(logits) if task.multi_label else labels.view(-1)
        return EpochOutputs(logits, labels, rows, task)[task.labelled(labels)]
