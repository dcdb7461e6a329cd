"""Scores the outputs of an epoch, as scikit-learn defines the scores."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gpt_classifier.data.task import Task
from gpt_classifier.evaluation.outputs import EpochOutputs

PER_CLASS = 20  # with more classes than this, scores of each would drown the others in TensorBoard


def classification_scores(outputs: EpochOutputs, names: Sequence[str]) -> dict[str, float]:
    """Scores by name, all as scikit-learn defines them.

    Means over classes (macro) take the classes that there is something to say about: balanced accuracy is the mean
    recall of the classes that occur among the labels, macro F1 the mean over the classes that occur or are predicted,
    AUROC and average precision those of each class against the rest, without classes that have no row or all of them.
    What is undefined is left out: AUROC where only one class occurs, the recall of a class that does not occur, the
    precision of one that does not occur and is not predicted. Each class has scores of its own up to PER_CLASS classes.

    Of labels (N, K) there are also micro F1, AUROC and average precision, which take each label of each row as one
    decision, the Hamming loss and the label ranking average precision, but neither balanced accuracy nor MCC.

    Where a logit is NaN or infinite, as those of a network that diverged, every score is NaN.
    """
    each = score_classes(outputs)
    scores = {"accuracy": float(outputs.correct.double().mean())}
    if outputs.task.multi_label:
        scores |= {"f1_macro": float(each.f1.nanmean())} | _multi_label_scores(outputs, each)
        scores = {name: value for name, value in scores.items() if not math.isnan(value)}
    else:
        rows, predicted, right = each
        n = rows.sum()
        spread = (n * n - rows @ rows) * (n * n - predicted @ predicted)
        scores["balanced_accuracy"] = float(each.recall.nanmean())
        scores["f1_macro"] = float(each.f1.nanmean())
        scores["mcc"] = float((right.sum() * n - rows @ predicted) / spread.sqrt()) if spread else 0.0
    if ((each.rows > 0) & (each.rows < len(outputs))).any():
        ranking = ranking_scores(outputs)
        scores |= {name: float(values.nanmean()) for name, values in ranking._asdict().items()}
    if len(names) <= PER_CLASS:
        for name, precision, recall in zip(names, each.precision.tolist(), each.recall.tolist(), strict=True):
            values = {f"precision_{name}": precision, f"recall_{name}": recall}
            scores |= {key: value for key, value in values.items() if not math.isnan(value)}
    return scores if outputs.finite else dict.fromkeys(scores, math.nan)


def score_names(labels: Tensor, names: Sequence[str]) -> list[str]:
    """The loss, and what :func:`classification_scores` gives for ``labels`` (N,) whatever is predicted."""
    perfect = Task.from_labels(labels).truth(labels, len(names)).float() - 0.5
    return ["loss", *classification_scores(EpochOutputs.of(perfect, labels), names)]


def _multi_label_scores(outputs: EpochOutputs, each: "ByClass") -> dict[str, float]:
    """Scores of rows and of single decisions, for labels (N, K)."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, logits, finite = outputs.truth, outputs.logits, outputs.finite
    scores = {
        "f1_micro": float(each.sum().f1),
        "hamming_loss": float((outputs.predicted != truth).double().mean()),
        "label_ranking_average_precision": label_ranking_average_precision(outputs) if finite else 0.0,
    }
    if 0 < each.rows.sum() < truth.numel():
        for name, score in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
            scores[f"{name}_micro"] = float(score(truth.ravel(), logits.ravel())) if finite else 0.0
    return scores


def label_ranking_average_precision(outputs: EpochOutputs) -> float:
    """The fraction of true labels among those that rank as high as a true one; the mean over true labels, then rows.

    As scikit-learn defines it, in a tenth of its time: a row without labels, or with all of them, counts as 1.
    """
    from scipy.stats import rankdata

    truth, lowest_first = outputs.truth.numpy(), -outputs.logits.double().numpy()
    rank = rankdata(lowest_first, method="max", axis=1)  # (N, K)
    rank_among_true = rankdata(np.where(truth, lowest_first, np.inf), method="max", axis=1)
    count = truth.sum(1)
    precision = np.where(truth, rank_among_true / rank, 0).sum(1) / np.maximum(1, count)
    return float(np.where((count == 0) | (count == truth.shape[1]), 1, precision).mean())


class ByClass(NamedTuple):
    """Counts of each class, (K,) in float64, and the scores that follow from them; NaN where nothing is measured."""

    rows: Tensor  # of the class
    predicted: Tensor
    right: Tensor  # rows of the class for which it is predicted

    @property
    def precision(self) -> Tensor:
        """0 for a class that occurs and is never predicted."""
        return (self.right / self.predicted.clamp(min=1)).masked_fill(self.rows + self.predicted == 0, math.nan)

    @property
    def recall(self) -> Tensor:
        return self.right / self.rows

    @property
    def f1(self) -> Tensor:
        return 2 * self.right / (self.rows + self.predicted)

    def sum(self) -> "ByClass":
        """Of all classes taken together."""
        return ByClass(*(count.sum() for count in self))


def score_classes(outputs: EpochOutputs) -> ByClass:
    truth, predicted = outputs.truth, outputs.predicted
    return ByClass(*(which.sum(0).double() for which in (truth, predicted, truth & predicted)))


class Ranking(NamedTuple):
    """(K,) each, one class against the rest; NaN for a class that has no row, or all of them."""

    auroc: Tensor
    average_precision: Tensor


def ranking_scores(outputs: EpochOutputs) -> Ranking:
    """How well each class's probability ranks the rows; nothing but NaN where a logit is NaN or infinite."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth = outputs.truth.numpy()  # (N, K)
    ranked = (truth.sum(0) > 0) & (truth.sum(0) < len(outputs))
    result = Ranking(*torch.full((2, outputs.classes), math.nan, dtype=torch.double))
    if ranked.any() and outputs.finite:
        probabilities = outputs.probabilities.numpy()
        for values, score in zip(result, (roc_auc_score, average_precision_score), strict=True):
            found = score(truth[:, ranked], probabilities[:, ranked], average=None)
            values[torch.from_numpy(ranked)] = torch.from_numpy(np.atleast_1d(found))
    return result


def confusion_matrix(outputs: EpochOutputs) -> Tensor:
    """(K, K) counts of a single-label task, a row for each true class and a column for each predicted one."""
    k = outputs.classes
    return torch.bincount(outputs.labels * k + outputs.logits.argmax(-1), minlength=k * k).view(k, k)


def most_confident_errors(outputs: EpochOutputs, limit: int) -> list[int]:
    """Positions of the wrong predictions with the greatest probability, in descending order."""
    wrong = (~outputs.correct).nonzero()[:, 0]
    return wrong[torch.argsort(outputs.confidence[wrong], descending=True)][:limit].tolist()


def count_found(max_fpr: float, scores: np.ndarray, positive: np.ndarray) -> tuple[int, int] | None:
    """How many positives, of how many, are found by the lowest threshold that keeps the false-positive rate.

    Args:
        max_fpr: Maximum fraction of the negatives that score above the threshold.
        scores: (N,) higher for what is more likely positive.
        positive: (N,) booleans.

    Returns:
        None without positives, or if even one of the negatives is a larger fraction than ``max_fpr``.
    """
    negatives = np.sort(scores[~positive])[::-1]
    allowed = int(max_fpr * len(negatives) + 1e-9)
    if not allowed or not positive.any():
        return None
    threshold = negatives[allowed] if allowed < len(negatives) else -math.inf
    return int((scores[positive] > threshold).sum()), int(positive.sum())
