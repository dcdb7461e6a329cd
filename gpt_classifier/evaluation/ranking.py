"""Curves of one class against the rest, over all thresholds of its probability; draws nothing."""

from collections.abc import Callable, Mapping

import numpy as np

Points = tuple[np.ndarray, np.ndarray]  # x and y
# A curve, from which rows (N,) are of the class and the probability (N,) of that.
Curve = Callable[[np.ndarray, np.ndarray], Points]


def class_curves(
    truth: np.ndarray,
    probabilities: np.ndarray,
    scores: Mapping[int, float],
    curve: Curve,
    maximum: int,
    one_of_two: bool,
) -> tuple[dict[int, Points], Points | None]:
    """The curves of the classes with the lowest ``scores``, by number, and the mean of all where several are drawn.

    Args:
        truth: (N, K) whether each row is of each class.
        probabilities: (N, K).
        scores: Of the classes that have a curve, by number.
        curve: :func:`precision_recall` or :func:`roc`.
        maximum: Number of curves at most.
        one_of_two: Whether each row is of one of two classes: then only the second one is drawn.
    """
    points = {c: curve(truth[:, c], probabilities[:, c]) for c in scores}
    drawn = [c for c in scores if c == 1] if one_of_two else sorted(scores, key=scores.__getitem__)[:maximum]
    return {c: points[c] for c in drawn}, mean_curve(list(points.values())) if len(drawn) > 1 else None


def precision_recall(truth: np.ndarray, probability: np.ndarray) -> Points:
    """Recall and precision, as steps whose area is the average precision.

    A recall is reached with the precision of its own threshold. Behind full recall there are only thresholds that let
    in rows of other classes.
    """
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = (values[::-1] for values in precision_recall_curve(truth, probability))
    kept = slice(np.searchsorted(recall, 0, side="right"), np.searchsorted(recall, 1) + 1)
    return np.append(0, recall[kept]).repeat(2)[1:-1], precision[kept].repeat(2)


def roc(truth: np.ndarray, probability: np.ndarray) -> Points:
    """False and true positive rate."""
    from sklearn.metrics import roc_curve

    return roc_curve(truth, probability)[:2]


def mean_curve(curves: list[Points]) -> Points:
    """The mean height of curves between 0 and 1, at the middles of 500 equal parts."""
    middles = (np.arange(500) + 0.5) / 500
    return middles, np.mean([np.interp(middles, x, y) for x, y in curves], axis=0)
