"""Compares probabilities with how often they are right.

Shapes: N rows, K classes, M bins.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gpt_classifier.statistics.intervals import Interval, wilson

BINS = 15


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    confidence: float
    accuracy: float
    accuracy_interval: Interval
    rows: int


@dataclass(frozen=True, kw_only=True)
class ReliabilityResults:
    error: float  # the expected calibration error
    bins: list[ReliabilityBin]


class Reliability(NamedTuple):
    """Rows in bins of about equal size, ordered by the probability of the predicted class."""

    confidence: np.ndarray  # (M,) mean probability of the predicted class
    right: np.ndarray  # (M,) how many rows were predicted correctly
    rows: np.ndarray  # (M,) how many there are

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between confidence and accuracy, weighted by rows."""
        return float(np.abs(self.right - self.confidence * self.rows).sum() / self.rows.sum())

    def results(self) -> ReliabilityResults:
        """The accuracy of each bin, with its Wilson interval."""
        bins = []
        for confidence, right, rows in zip(
            self.confidence.tolist(), self.right.tolist(), self.rows.tolist(), strict=True
        ):
            accuracy, low, high = wilson(right, rows)
            bins.append(
                ReliabilityBin(confidence=confidence, accuracy=accuracy, accuracy_interval=(low, high), rows=rows)
            )
        return ReliabilityResults(error=self.error, bins=bins)


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
