"""Compares probabilities with how often they are right.

Shapes: N rows, K classes, M bins.
"""

from dataclasses import dataclass

import numpy as np

from gpt_classifier.statistics.intervals import Interval, wilson

BINS = 15


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Rows of about the same confidence, with the fraction that was predicted correctly."""

    confidence: float  # mean probability of the predicted class
    accuracy: float
    accuracy_interval: Interval
    rows: int


@dataclass(frozen=True, kw_only=True)
class ReliabilityResults:
    error: float  # the expected calibration error: the mean gap of confidence and accuracy, weighted by rows
    bins: list[ReliabilityBin]  # (M,) of about equal size, ordered by confidence


def measure_reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> ReliabilityResults:
    """The reliability of the most probable classes, with at most so many bins of equal mass.

    Most probabilities of a good model lie near 1, where bins of equal width would hold nearly all rows and the others
    hardly any. Rows of the same probability are never divided, so there may be fewer bins of less equal sizes.
    M. P. Naeini, G. F. Cooper and M. Hauskrecht, 2015; C. Guo et al., 2017.

    Args:
        probabilities: (N, K), N > 0.
        labels: (N,) class numbers, or (N, K) booleans for a multi-label model, in which each label counts by itself.
        bins: Maximum number of bins.
    """
    if labels.ndim == 2:
        positive = probabilities.ravel()
        probabilities, labels = np.stack([1 - positive, positive], -1), labels.ravel()
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    order = np.argsort(confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    n = len(confidence)
    ends = np.round(np.arange(1, bins) * n / bins).astype(int)
    ends = np.searchsorted(confidence, confidence[np.maximum(ends, 1) - 1], side="right")  # behind rows that are alike
    starts = np.unique(np.concatenate([[0], ends[ends < n]]))
    rows = np.diff(np.append(starts, n))
    confidence, right = np.add.reduceat(confidence, starts) / rows, np.add.reduceat(right.astype(int), starts)
    found = []
    for mean, hits, number in zip(confidence.tolist(), right.tolist(), rows.tolist(), strict=True):
        accuracy, low, high = wilson(hits, number)
        found.append(ReliabilityBin(confidence=mean, accuracy=accuracy, accuracy_interval=(low, high), rows=number))
    return ReliabilityResults(error=float(np.abs(right - confidence * rows).sum() / n), bins=found)
