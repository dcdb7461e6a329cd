"""Curves of one class against the rest, over all thresholds of its probability; draws nothing."""

from collections.abc import Callable

import numpy as np

# The points (x, y) of a curve, from which rows (N,) are of the class and the probability (N,) of that.
Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def precision_recall(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, as steps whose area is the average precision.

    A recall is reached with the precision of its own threshold. Behind full recall there are only thresholds that let
    in rows of other classes.
    """
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = (values[::-1] for values in precision_recall_curve(truth, probability))
    kept = slice(np.searchsorted(recall, 0, side="right"), np.searchsorted(recall, 1) + 1)
    return np.append(0, recall[kept]).repeat(2)[1:-1], precision[kept].repeat(2)


def roc(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(truth, probability)
    return false, true


def mean_curve(curves: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean height of curves between 0 and 1, at the middles of 500 equal parts."""
    middles = (np.arange(500) + 0.5) / 500
    return middles, np.mean([np.interp(middles, x, y) for x, y in curves], axis=0)
