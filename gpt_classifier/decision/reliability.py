"""Compares probabilities with how often they are right; knows neither models nor texts.

Shapes: N rows, K classes, M bins.
"""

from typing import Any, NamedTuple

import numpy as np

from gpt_classifier.statistics.intervals import wilson

BINS = 15


class Reliability(NamedTuple):
    """Rows in bins of about equal size, ordered by the probability of the predicted class."""

    confidence: np.ndarray  # (M,) mean probability of the predicted class
    right: np.ndarray  # (M,) how many rows were predicted correctly
    rows: np.ndarray  # (M,) how many there are

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between confidence and accuracy, weighted by rows."""
        return float(np.abs(self.right - self.confidence * self.rows).sum() / self.rows.sum())

    def facts(self) -> dict[str, Any]:
        """As values that JSON knows, the accuracy of each bin with its Wilson interval."""
        bins = []
        for confidence, right, rows in zip(self.confidence, self.right.tolist(), self.rows.tolist(), strict=True):
            accuracy, *interval = wilson(right, rows)
            bins.append(
                {"confidence": float(confidence), "accuracy": accuracy, "accuracy_interval": interval, "rows": rows}
            )
        return {"error": self.error, "bins": bins}


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """The reliability of the most probable classes, with at most so many bins of equal mass.

    Most probabilities of a good model lie near 1, where bins of equal width would hold nearly all rows and the others
    hardly any. Rows of the same probability are never divided, so there may be fewer bins of less equal sizes.
    M. P. Naeini, G. F. Cooper and M. Hauskrecht, 2015; C. Guo et al., 2017.

    Args:
        probabilities: (N, K), N > 0.
        labels: (N,) class numbers, or (N, K) which of several labels each row has: then each is a decision by itself.
        bins: Maximum number of bins.
    """
    if labels.ndim == 2:
        of_labels = probabilities.ravel()
        probabilities, labels = np.stack([1 - of_labels, of_labels], -1), labels.ravel()
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    order = np.argsort(confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    n = len(confidence)
    cuts = np.round(np.arange(1, bins) * n / bins).astype(int)
    cuts = np.searchsorted(confidence, confidence[np.maximum(cuts, 1) - 1], side="right")  # behind rows that are alike
    starts = np.unique(np.concatenate([[0], cuts[cuts < n]]))
    rows = np.diff(np.append(starts, n))
    return Reliability(np.add.reduceat(confidence, starts) / rows, np.add.reduceat(right.astype(int), starts), rows)
