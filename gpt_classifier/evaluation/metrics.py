"""Collects a split's predictions and scores them; knows nothing about models."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.functional import classification as tm
from torchmetrics.utilities import dim_zero_cat


class Predictions(Metric):
    """Gathers logits (N, K), labels (N,) and row numbers (N,) over batches and processes.

    Every figure of an epoch is computed once from what this gathered. Averages of batch averages would be wrong with
    batches of unequal size, and Lightning's ``sync_dist`` is wrong with processes of unequal load.
    """

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]
    index: list[Tensor]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name in ("logits", "labels", "index"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        self.logits.append(logits.detach())
        self.labels.append(labels)
        self.index.append(index)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, labels and row numbers on the CPU, in the order of the rows."""
        index = dim_zero_cat(self.index).cpu()
        order = index.argsort(stable=True)
        return dim_zero_cat(self.logits).float().cpu()[order], dim_zero_cat(self.labels).cpu()[order], index[order]


def weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """The mean over texts of weight times cross entropy.

    Divided by the number of texts and not by the sum of their weights, so that the gradient of a batch is the mean of
    its texts' gradients however they are divided into smaller batches.
    """
    return F.cross_entropy(logits, labels, weight=class_weights, reduction="none").mean()


def classification_scores(logits: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Threshold-free and threshold-bound scores of logits (N, K) for labels (N,).

    Scores over several classes are means over classes (macro); a class that does not occur counts as torchmetrics
    has it, and AUROC and average precision are left out where only one class occurs.
    """
    k = len(names)
    probabilities = logits.softmax(-1)
    scores: dict[str, Any] = {
        "accuracy": tm.multiclass_accuracy(probabilities, labels, k, average="micro"),
        "balanced_accuracy": tm.multiclass_accuracy(probabilities, labels, k, average="macro"),
        "f1_macro": tm.multiclass_f1_score(probabilities, labels, k, average="macro"),
        "mcc": tm.multiclass_matthews_corrcoef(probabilities, labels, k),
    }
    if len(labels.unique()) > 1:
        scores["auroc"] = tm.multiclass_auroc(probabilities, labels, k, average="macro")
        scores["average_precision"] = tm.multiclass_average_precision(probabilities, labels, k, average="macro")
    precision = tm.multiclass_precision(probabilities, labels, k, average="none")
    recall = tm.multiclass_recall(probabilities, labels, k, average="none")
    for name, p, r in zip(names, precision, recall, strict=True):
        scores[f"precision_{name}"], scores[f"recall_{name}"] = p, r
    return {name: float(value) for name, value in scores.items()}


def confusion_matrix(logits: Tensor, labels: Tensor) -> Tensor:
    """(K, K) counts, a row for each true class and a column for each predicted one."""
    return tm.multiclass_confusion_matrix(logits, labels, logits.shape[1])


def most_confident_errors(logits: Tensor, labels: Tensor, most: int) -> list[int]:
    """Positions of the wrong predictions with the highest probability, highest first."""
    probability, predicted = logits.softmax(-1).max(-1)
    wrong = (predicted != labels).nonzero()[:, 0]
    return wrong[torch.argsort(probability[wrong], descending=True)][:most].tolist()
