"""Collects a split's predictions and scores them; knows nothing about models."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

PER_CLASS = 20  # with more classes than this, scores of each would drown the others in TensorBoard


class Predictions(Metric):
    """Gathers logits (N, K), labels (N,) and row numbers (N,) over batches and processes.

    Every figure of an epoch is computed once from what this gathered. Averages of batch averages would be wrong with
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

    def gathered(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, labels and row numbers on the CPU, in the order of the rows."""
        logits, labels, rows = self.compute()
        return logits, labels.view(-1), rows.view(-1)  # of a single row, Metric makes what has no dimension


def weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """The mean over texts of weight times cross entropy.

    Divided by the number of texts and not by the sum of their weights, so that the gradient of a batch is the mean of
    its texts' gradients however they are divided into smaller batches.
    """
    return F.cross_entropy(logits, labels, weight=class_weights, reduction="none").mean()


def classification_scores(logits: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Scores of logits (N, K) for labels (N,), all as scikit-learn defines them.

    Means over classes (macro) take the classes that there is something to say about: balanced accuracy is the mean
    recall of the classes that occur in ``labels``, macro F1 the mean over the classes that occur or are predicted,
    AUROC and average precision those of each class against the rest, without classes that have no row or all of them.
    What is undefined is left out: AUROC where only one class occurs, the recall of a class that does not occur, the
    precision of one that does not occur and is not predicted. Each class has scores of its own up to PER_CLASS classes.

    Where a logit is NaN or infinite, as those of a network that diverged, every score is NaN.
    """
    counts = confusion_matrix(logits, labels).double()
    rows, predicted = counts.sum(1), counts.sum(0)
    n, right = rows.sum(), counts.diag().sum()
    spread = (n * n - rows @ rows) * (n * n - predicted @ predicted)
    each = by_class(counts)
    scores = {
        "accuracy": float(right / n),
        "balanced_accuracy": float(each.recall.nanmean()),
        "f1_macro": float(each.f1.nanmean()),
        "mcc": float((right * n - rows @ predicted) / spread.sqrt()) if spread else 0.0,
    }
    if (rows > 0).sum() > 1:
        ranking = ranking_scores(logits, labels)
        scores |= {name: float(values.nanmean()) for name, values in ranking._asdict().items()}
    if len(names) <= PER_CLASS:
        for name, precision, recall in zip(names, each.precision.tolist(), each.recall.tolist(), strict=True):
            values = {f"precision_{name}": precision, f"recall_{name}": recall}
            scores |= {key: value for key, value in values.items() if not math.isnan(value)}
    return scores if logits.isfinite().all() else dict.fromkeys(scores, math.nan)


def score_names(labels: Tensor, names: Sequence[str]) -> list[str]:
    """The loss, and what :func:`classification_scores` gives for ``labels`` (N,) whatever is predicted."""
    return ["loss", *classification_scores(F.one_hot(labels, len(names)).float(), labels, names)]


class ByClass(NamedTuple):
    """(K,) each; NaN where there is nothing to measure."""

    precision: Tensor  # 0 for a class that occurs and is never predicted
    recall: Tensor
    f1: Tensor


def by_class(counts: Tensor) -> ByClass:
    """Precision, recall and F1 of each class, from the counts (K, K) of :func:`confusion_matrix`."""
    right, rows, predicted = counts.diag().double(), counts.sum(1), counts.sum(0)
    precision = (right / predicted.clamp(min=1)).masked_fill(rows + predicted == 0, math.nan)
    return ByClass(precision, right / rows, 2 * right / (rows + predicted))


class Ranking(NamedTuple):
    """(K,) each, one class against the rest; NaN for a class that has no row, or all of them."""

    auroc: Tensor
    average_precision: Tensor


def ranking_scores(logits: Tensor, labels: Tensor) -> Ranking:
    """How well each class's probability ranks the rows; nothing but NaN where a logit is NaN or infinite."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    k = logits.shape[1]
    truth = F.one_hot(labels, k).numpy()  # (N, K)
    ranked = torch.tensor([0 < count < len(labels) for count in truth.sum(0)])
    result = Ranking(*torch.full((2, k), math.nan, dtype=torch.double))
    if ranked.any() and logits.isfinite().all():
        probabilities = logits.double().softmax(-1).numpy()
        for values, score in zip(result, (roc_auc_score, average_precision_score), strict=True):
            values[ranked] = torch.from_numpy(score(truth[:, ranked], probabilities[:, ranked], average=None))
    return result


def confusion_matrix(logits: Tensor, labels: Tensor) -> Tensor:
    """(K, K) counts, a row for each true class and a column for each predicted one."""
    k = logits.shape[1]
    return torch.bincount(labels * k + logits.argmax(-1), minlength=k * k).view(k, k)


def most_confident_errors(logits: Tensor, labels: Tensor, most: int) -> list[int]:
    """Positions of the wrong predictions with the highest probability, highest first."""
    probability, predicted = logits.softmax(-1).max(-1)
    wrong = (predicted != labels).nonzero()[:, 0]
    return wrong[torch.argsort(probability[wrong], descending=True)][:most].tolist()


def found_at(max_fpr: float, scores: np.ndarray, positive: np.ndarray) -> tuple[int, int] | None:
    """How many positives, of how many, are found by the lowest threshold that keeps the false-positive rate.

    Args:
        max_fpr: Maximum share of the negatives that score above the threshold.
        scores: (N,) higher for what is more likely positive.
        positive: (N,) booleans.

    Returns:
        None without positives, or if even one of the negatives is a larger share than ``max_fpr``.
    """
    negatives = np.sort(scores[~positive])[::-1]
    allowed = int(max_fpr * len(negatives) + 1e-9)
    if not allowed or not positive.any():
        return None
    threshold = negatives[allowed] if allowed < len(negatives) else -math.inf
    return int((scores[positive] > threshold).sum()), int(positive.sum())
