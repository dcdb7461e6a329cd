"""Collects a split's predictions and scores them; knows nothing about models.

Labels are class numbers (N,) in int64, or, where a text may have any number of K labels, 1.0 for each that it has and
else 0.0, (N, K). In the first case the most probable class is predicted, in the second every label of probability 0.5
or more, and a text is correct where all its labels are: accuracy is then what is called subset accuracy.
"""

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
    """Gathers logits (N, K), labels (N,) or (N, K), and row numbers (N,) over batches and processes.

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
        rows = rows.view(-1)  # of a single number, Metric makes what has no dimension
        logits = logits.view(len(rows), -1)
        return logits, labels.view_as(logits) if labels.is_floating_point() else labels.view(-1), rows


def weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """The mean over texts of weight times cross entropy.

    Divided by the number of texts and not by the sum of their weights, so that the gradient of a batch is the mean of
    its texts' gradients however they are divided into smaller batches. Of labels (N, K) it is the mean over texts and
    labels of binary cross entropy, as in ``torch.nn.BCEWithLogitsLoss``; weights are those of texts with the label.
    """
    if labels.is_floating_point():
        return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=class_weights)
    return F.cross_entropy(logits, labels, weight=class_weights, reduction="none").mean()


def classification_scores(logits: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Scores of logits (N, K) for labels (N,), all as scikit-learn defines them.

    Means over classes (macro) take the classes that there is something to say about: balanced accuracy is the mean
    recall of the classes that occur in ``labels``, macro F1 the mean over the classes that occur or are predicted,
    AUROC and average precision those of each class against the rest, without classes that have no row or all of them.
    What is undefined is left out: AUROC where only one class occurs, the recall of a class that does not occur, the
    precision of one that does not occur and is not predicted. Each class has scores of its own up to PER_CLASS classes.

    Of labels (N, K) there are also micro F1, AUROC and average precision, which take each label of each row as one
    decision, the Hamming loss and the label ranking average precision, but neither balanced accuracy nor MCC.

    Where a logit is NaN or infinite, as those of a network that diverged, every score is NaN.
    """
    counts = counts_by_class(logits, labels)
    each = by_class(counts)
    scores = {"accuracy": float(correct(logits, labels).double().mean())}
    if labels.is_floating_point():
        scores |= {"f1_macro": float(each.f1.nanmean())} | _multi_label_scores(logits, labels, counts)
        scores = {name: value for name, value in scores.items() if not math.isnan(value)}
    else:
        rows, predicted, right = counts
        n = rows.sum()
        spread = (n * n - rows @ rows) * (n * n - predicted @ predicted)
        scores["balanced_accuracy"] = float(each.recall.nanmean())
        scores["f1_macro"] = float(each.f1.nanmean())
        scores["mcc"] = float((right.sum() * n - rows @ predicted) / spread.sqrt()) if spread else 0.0
    if ((counts.rows > 0) & (counts.rows < len(labels))).any():
        ranking = ranking_scores(logits, labels)
        scores |= {name: float(values.nanmean()) for name, values in ranking._asdict().items()}
    if len(names) <= PER_CLASS:
        for name, precision, recall in zip(names, each.precision.tolist(), each.recall.tolist(), strict=True):
            values = {f"precision_{name}": precision, f"recall_{name}": recall}
            scores |= {key: value for key, value in values.items() if not math.isnan(value)}
    return scores if logits.isfinite().all() else dict.fromkeys(scores, math.nan)


def score_names(labels: Tensor, names: Sequence[str]) -> list[str]:
    """The loss, and what :func:`classification_scores` gives for ``labels`` (N,) whatever is predicted."""
    perfect = one_vs_rest(labels, len(names)).float() - 0.5
    return ["loss", *classification_scores(perfect, labels, names)]


def _multi_label_scores(logits: Tensor, labels: Tensor, counts: "Counts") -> dict[str, float]:
    """Scores of rows and of single decisions, for labels (N, K)."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    rows, predicted, right = (count.sum() for count in counts)
    truth = labels.bool()
    scores = {
        "f1_micro": float(2 * right / (rows + predicted)),
        "hamming_loss": float((predicted_classes(logits, labels) != truth).double().mean()),
    }
    finite = bool(logits.isfinite().all())
    scores["label_ranking_average_precision"] = label_ranking_average_precision(logits, labels) if finite else 0.0
    if 0 < rows < truth.numel():
        for name, score in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
            scores[f"{name}_micro"] = float(score(truth.ravel(), logits.ravel())) if finite else 0.0
    return scores


def label_ranking_average_precision(logits: Tensor, labels: Tensor) -> float:
    """Of the labels that rank as high as a true one, the share of true ones; the mean over true labels, then over rows.

    As scikit-learn defines it: a row without labels, or with all of them, counts as 1.
    """
    from scipy.stats import rankdata

    truth, lowest_first = labels.bool().numpy(), -logits.double().numpy()
    rank = rankdata(lowest_first, method="max", axis=1)  # (N, K)
    rank_among_true = rankdata(np.where(truth, lowest_first, np.inf), method="max", axis=1)
    count = truth.sum(1)
    of_row = np.where(truth, rank_among_true / rank, 0).sum(1) / np.maximum(1, count)
    return float(np.where((count == 0) | (count == truth.shape[1]), 1, of_row).mean())


def one_vs_rest(labels: Tensor, k: int) -> Tensor:
    """(N, K), whether a row is of each class."""
    return labels.bool() if labels.is_floating_point() else F.one_hot(labels, k).bool()


def predicted_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """(N, K), whether each class is predicted; ``labels`` tell whether there may be several."""
    return logits >= 0 if labels.is_floating_point() else one_vs_rest(logits.argmax(-1), logits.shape[1])


def probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """(N, K) in float64; ``labels`` tell whether they sum to 1."""
    return logits.double().sigmoid() if labels.is_floating_point() else logits.double().softmax(-1)


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,), whether what is predicted for a row is what is true."""
    if labels.is_floating_point():
        return (predicted_classes(logits, labels) == labels.bool()).all(-1)
    return logits.argmax(-1) == labels


class Counts(NamedTuple):
    """(K,) each, in float64."""

    rows: Tensor  # of the class
    predicted: Tensor
    right: Tensor  # rows of the class for which it is predicted


def counts_by_class(logits: Tensor, labels: Tensor) -> Counts:
    truth, predicted = one_vs_rest(labels, logits.shape[1]), predicted_classes(logits, labels)
    return Counts(*(which.sum(0).double() for which in (truth, predicted, truth & predicted)))


class ByClass(NamedTuple):
    """(K,) each; NaN where there is nothing to measure."""

    precision: Tensor  # 0 for a class that occurs and is never predicted
    recall: Tensor
    f1: Tensor


def by_class(counts: Counts) -> ByClass:
    """Precision, recall and F1 of each class."""
    rows, predicted, right = counts
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
    truth = one_vs_rest(labels, k).numpy()  # (N, K)
    ranked = (truth.sum(0) > 0) & (truth.sum(0) < len(labels))
    result = Ranking(*torch.full((2, k), math.nan, dtype=torch.double))
    if ranked.any() and logits.isfinite().all():
        shares = probabilities(logits, labels).numpy()
        for values, score in zip(result, (roc_auc_score, average_precision_score), strict=True):
            found = score(truth[:, ranked], shares[:, ranked], average=None)
            values[torch.from_numpy(ranked)] = torch.from_numpy(np.atleast_1d(found))
    return result


def confusion_matrix(logits: Tensor, labels: Tensor) -> Tensor:
    """(K, K) counts, a row for each true class and a column for each predicted one."""
    k = logits.shape[1]
    return torch.bincount(labels * k + logits.argmax(-1), minlength=k * k).view(k, k)


def most_confident_errors(logits: Tensor, labels: Tensor, most: int) -> list[int]:
    """Positions of the wrong predictions with the highest probability, highest first."""
    wrong = (~correct(logits, labels)).nonzero()[:, 0]
    probability = confidence(logits, labels)
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


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,), the probability of the predicted class; of labels (N, K) that of the most confident wrong decision."""
    if not labels.is_floating_point():
        return logits.softmax(-1).max(-1).values
    wrong = predicted_classes(logits, labels) != labels.bool()
    return logits.abs().sigmoid().where(wrong, 0).max(-1).values
