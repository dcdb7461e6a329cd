"""Intervals of scores that are not proportions of rows, by resampling the rows."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpt_classifier.statistics.intervals import number_clusters

RESAMPLES = 1000
DRAWS = 200_000_000  # rows times resamples, at most: of more than 200,000 rows there are fewer resamples
CHUNK = 4_000_000  # of them in memory at once

# A score of B resamples, (B,), from how often each row is in each of them, (B, N).
Score = Callable[[np.ndarray], np.ndarray]


def intervals(
    labels: np.ndarray, scores: Mapping[str, Score], clusters: Sequence[Hashable] | None = None
) -> dict[str, tuple[float, float] | None]:
    """The 95 % percentile interval of each score (B. Efron and R. J. Tibshirani, 1993, chapter 13).

    Rows are drawn within each class, so that every resample has as many of it as there are, or, for multi-label rows
    (N, K), from all rows; ``clusters`` (N,) are drawn as wholes, each in the class of its first row. None where all
    resamples score the same, as those of perfect predictions do: that says nothing about other rows.
    """
    values: dict[str, list[np.ndarray]] = {name: [] for name in scores}
    for counts in _resamples(labels, clusters):
        for name, score in scores.items():
            values[name].append(score(counts))
    return {name: _percentiles(np.concatenate(parts)) for name, parts in values.items()}


def _resamples(labels: np.ndarray, clusters: Sequence[Hashable] | None) -> Iterator[np.ndarray]:
    """(B, N) each, how often each row was drawn; the same ones every time."""
    n, rng = len(labels), np.random.default_rng(0)
    unit = np.arange(n) if clusters is None else number_clusters(clusters)
    _, first = np.unique(unit, return_index=True)
    strata_of = labels[first] if labels.ndim == 1 else np.zeros(len(first))
    _, stratum = np.unique(strata_of, return_inverse=True)
    strata = [np.flatnonzero(stratum == s) for s in range(stratum.max() + 1)]
    left, at_once = max(100, min(RESAMPLES, DRAWS // n)), max(1, CHUNK // n)
    while left > 0:
        b = min(left, at_once)
        drawn = np.concatenate([units[rng.integers(len(units), size=(b, len(units)))] for units in strata], axis=1)
        drawn += np.arange(b)[:, None] * len(first)
        counts = np.bincount(drawn.ravel(), minlength=b * len(first)).reshape(b, -1)
        yield counts[:, unit].astype(float)
        left -= b


def _percentiles(values: np.ndarray) -> tuple[float, float] | None:
    values = values[np.isfinite(values)]
    if len(values) == 0 or values.min() == values.max():
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


# ---------------------------------------------------------------- scores


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> Score:
    """The mean F1 of the classes that occur or are predicted.

    ``labels`` and ``predicted`` (N,) name or number them; (N, K) tell of each class whether it is among several.
    """
    if labels.ndim == 2:
        return _mean_f1(*(which.astype(float) for which in (labels, predicted, labels & predicted)))
    from scipy.sparse import csr_array

    classes, number = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    true, found = number[: len(labels)], number[len(labels) :]
    ones, rows, shape = np.ones(len(labels)), np.arange(len(labels)), (len(labels), len(classes))
    truths, predictions = (csr_array((ones, (rows, c)), shape=shape) for c in (true, found))  # (N, K)
    both = csr_array((np.where(true == found, 1.0, 0.0), (rows, true)), shape=shape)
    return _mean_f1(truths, predictions, both)


def micro_f1(labels: np.ndarray, predicted: np.ndarray) -> Score:
    """F1 of all decisions on the labels of rows, (N, K) each, taken together."""
    each = (which.sum(1, keepdims=True) for which in (labels, predicted, labels & predicted))
    return _mean_f1(*(counts.astype(float) for counts in each))


def _mean_f1(truths: Any, predictions: Any, both: Any) -> Score:
    """From the classes that each row is of, that are predicted for it, and that are right; arrays (N, K), or sparse."""

    def score(counts: np.ndarray) -> np.ndarray:
        right, either = counts @ both, counts @ truths + counts @ predictions  # (B, K)
        measured = either > 0  # a class that is neither drawn nor predicted has none
        f1 = np.divide(2 * right, either, out=np.zeros_like(right), where=measured)
        with np.errstate(invalid="ignore"):
            return f1.sum(1) / measured.sum(1)

    return score


def auroc(truth: np.ndarray, values: np.ndarray) -> Score:
    """The area under the ROC curve of ``values`` (N,), which rank the rows for which ``truth`` (N,) holds."""
    ranked = _Ranked(truth, values)

    def score(counts: np.ndarray) -> np.ndarray:
        hits, false = ranked.at_thresholds(counts)
        area = (np.diff(false) * (hits[:, 1:] + hits[:, :-1])).sum(1) / 2
        with np.errstate(invalid="ignore", divide="ignore"):  # clusters may leave a resample without one of the classes
            return area / (hits[:, -1] * false[:, -1])

    return score


def average_precision(truth: np.ndarray, values: np.ndarray) -> Score:
    """The precision at each threshold, weighted by the recall that it adds."""
    ranked = _Ranked(truth, values)

    def score(counts: np.ndarray) -> np.ndarray:
        hits, false = ranked.at_thresholds(counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(hits[:, 1:] / (hits[:, 1:] + false[:, 1:]))  # 0 / 0 adds no recall
            return (np.diff(hits) * precision).sum(1) / hits[:, -1]

    return score


class _Ranked:
    """Rows in descending order of their values."""

    def __init__(self, truth: np.ndarray, values: np.ndarray) -> None:
        self.order = np.argsort(-values, kind="stable")
        self.truth = truth[self.order].astype(float)
        ranked = values[self.order]
        self.ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of rows with the same value

    def at_thresholds(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, thresholds + 1) true positives and false ones, from nothing to everything."""
        drawn = counts[:, self.order]
        hits = np.cumsum(drawn * self.truth, axis=1)[:, self.ends]
        every = np.cumsum(drawn, axis=1)[:, self.ends]
        return np.pad(hits, ((0, 0), (1, 0))), np.pad(every - hits, ((0, 0), (1, 0)))


def mean(scores: Sequence[Score]) -> Score:
    return lambda counts: np.mean([score(counts) for score in scores], axis=0)


def difference(one: Score, other: Score) -> Score:
    """Of two systems on the same rows, which every resample draws for both."""
    return lambda counts: one(counts) - other(counts)
