"""Compares systems on the same texts: tests, intervals of differences, adjusted p-values."""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from gpt_classifier.statistics.intervals import NORMAL, number_clusters

NORMAL_80 = 0.8416212335729143  # quantile of 80 %

ALPHA = 0.05  # with a smaller p-value, a difference is statistically significant


def paired_p_value(one: np.ndarray, other: np.ndarray) -> float:
    """How likely a difference as large as this is between two equally good systems, on the same texts.

    Args:
        one: (S, N) whether each of N texts was classified correctly with each of S seeds.
        other: (R, N) the same of the system to compare with, for the same texts.

    With one seed each this is McNemar's exact test (Q. McNemar, 1947). With more, a text counts by its mean over seeds,
    and the signs of the texts' differences are permuted: the test then speaks of other texts, not of other seeds.
    """
    difference = len(other) * one.sum(0) - len(one) * other.sum(0)  # of the means, times S R: whole, so ties are exact
    difference = difference[difference != 0]
    if len(difference) == 0:
        return 1.0
    if len(one) == len(other) == 1:
        from scipy.stats import binomtest

        return float(binomtest(int((difference > 0).sum()), len(difference)).pvalue)
    # Of the n texts whose differences have the same size, a random number gets a plus: no sign needs to be drawn alone.
    sizes, counts = np.unique(np.abs(difference), return_counts=True)
    plus = np.random.default_rng(0).binomial(counts, 0.5, (9999, len(counts)))
    extreme = np.abs((2 * plus - counts) @ sizes) >= abs(difference.sum())
    return float((1 + extreme.sum()) / (1 + len(extreme)))


class Difference(NamedTuple):
    """The difference of two proportions of the same rows, with its 95 % interval, all between -1 and 1."""

    value: float
    low: float
    high: float


def paired_difference(one: np.ndarray, other: np.ndarray, clusters: Sequence[Hashable] | None = None) -> Difference:
    """The accuracy of ``one`` minus that of ``other``, (N,) each, whether a row was classified correctly.

    The interval is the score interval for paired rows of T. Tango (1998): the differences that McNemar's test, without
    continuity correction, does not reject. Unlike resampled ones it says something where both are right on the same
    rows. Where rows are in ``clusters`` (N,) it is that of :func:`independent_rows`, as many as would tell as much.
    """
    differences = one.astype(float) - other.astype(float)
    n = float(len(differences))
    scale = 1.0 if clusters is None else independent_rows(differences, clusters) / n
    only_one, only_other = scale * float((differences > 0).sum()), scale * float((differences < 0).sum())
    value = float(differences.mean())
    score = _tango_score(only_one, only_other, scale * n)
    low = _sign_change(lambda d: score(d) - NORMAL, -1.0, value)
    return Difference(value, low, _sign_change(lambda d: score(d) + NORMAL, 1.0, value))


def independent_rows(differences: np.ndarray, clusters: Sequence[Hashable]) -> float:
    """As how many independent rows ``differences`` (N,) tell about their mean, if rows of one cluster may be alike.

    It is the variance of a row over that of the mean, which is estimated from the sums of clusters (K.-Y. Liang and
    S. L. Zeger, 1986): a large cluster on whose rows two systems differ is about one row. The quantile is Student's.
    """
    cluster = number_clusters(clusters)
    sizes = np.bincount(cluster)
    n, number = len(differences), len(sizes)
    if number == n:
        return n
    deviations = differences - np.mean(differences)
    squares = float(deviations @ deviations)
    sums = np.bincount(cluster, weights=deviations)
    # Where nothing differs, the rows of a cluster count as one.
    fraction = min(1.0, squares / float(sums @ sums)) if squares > 0 and sums.any() else n / float(sizes @ sizes)
    if number > 1:
        from scipy.stats import t

        fraction *= float(t.ppf(0.975, n - 1) / t.ppf(0.975, number - 1)) ** 2
    return n * fraction


def _tango_score(only_one: float, only_other: float, n: float) -> Callable[[float], float]:
    """Tango's statistic, which falls from -1 to 1 and is 0 at the observed difference."""

    def score(difference: float) -> float:
        # The maximum-likelihood fraction of rows that only the other classifies correctly, for this true difference.
        b = -only_one - only_other + (2 * n - only_one + only_other) * difference
        c = -only_other * difference * (1 - difference)
        fraction = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * fraction + difference * (1 - difference))
        distance = only_one - only_other - n * difference
        if variance <= 0:
            return 0.0 if distance == 0 else math.copysign(math.inf, distance)
        return distance / math.sqrt(variance)

    return score


def _sign_change(function: Callable[[float], float], far: float, near: float) -> float:
    """Where ``function`` changes its sign between ``far`` and ``near``; ``far`` where it does not."""
    if near == far or (function(near) > 0) == (function(far) > 0):
        return far
    from scipy.optimize import bisect

    return float(bisect(function, near, far, xtol=1e-15))


def rows_needed(difference: float, discordant: float) -> int | None:
    """How many rows McNemar's test needs to find a true ``difference`` of two accuracies in 4 of 5 tests.

    ``discordant`` is the fraction of rows that one of the two alone classifies correctly (R. J. Connor, 1987). None
    where there is no difference to find.
    """
    if difference == 0:
        return None
    spread = math.sqrt(max(0.0, discordant - difference**2))
    return math.ceil(((NORMAL * math.sqrt(discordant) + NORMAL_80 * spread) / difference) ** 2)


def format_signed(value: float, digits: int = 1) -> str:
    """With its sign, unless it is rounded to 0, which has none.

    >>> format_signed(0.25, 2), format_signed(-0.04)
    ('+0.25', '0.0')
    """
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


def format_p_value(p: float) -> str:
    """A p-value behind the letter p."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for multiple comparisons (S. Holm, 1979).

    The probability of any false positive among those below 0.05 is at most 5 %.
    """
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1, np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors))
    result = np.empty(len(p_values))
    result[order] = adjusted
    return result.tolist()
