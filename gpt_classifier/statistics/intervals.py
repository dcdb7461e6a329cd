"""Intervals for scores that were measured on a limited number of texts, with a limited number of seeds."""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

Interval = tuple[float, float]  # low and high
NORMAL = 1.959963984540054  # quantile of 97.5 %


class Proportion(NamedTuple):
    """A proportion with its 95 % interval, all between 0 and 1."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson(successes: float, trials: float) -> Proportion:
    """The proportion of successes with its Wilson score interval (E. B. Wilson, 1927), also reliable near 0 and 1."""
    proportion, z2 = successes / trials, NORMAL**2
    scale = 1 + z2 / trials
    centre = (proportion + z2 / (2 * trials)) / scale
    half = NORMAL / scale * math.sqrt(proportion * (1 - proportion) / trials + z2 / (4 * trials**2))
    return Proportion(proportion, max(0.0, min(proportion, centre - half)), min(1.0, max(proportion, centre + half)))


def clustered(right: np.ndarray, clusters: Sequence[Hashable]) -> Proportion:
    """The proportion of ``right`` (N,), with an interval that does not take the rows of one cluster for independent.

    It is Wilson's for as many independent rows as would tell as much: N / (1 + r (m - 1)), where m is the size of the
    cluster that a row is in, on average over rows, and r the correlation within clusters by the estimate of J. L.
    Fleiss and J. Cuzick (1979); see K. K. Saha, D. Miller and S. Wang (2016). The quantile is Student's for as many
    clusters. Where nothing tells r (all rows are right, or wrong, or in one cluster) the rows of a cluster count as
    one. With every row in a cluster of its own it is Wilson's.
    """
    cluster = number_clusters(clusters)
    sizes = np.bincount(cluster)
    n, number = len(right), len(sizes)
    proportion = float(np.mean(right))
    if number == n:
        return wilson(float(np.sum(right)), n)
    correlation, widening = 1.0, 1.0
    if number > 1:
        from scipy.stats import t

        widening = float(t.ppf(0.975, number - 1) / t.ppf(0.975, n - 1))
        if 0 < proportion < 1:
            right_within = np.bincount(cluster, weights=right)
            variation = float((right_within * (sizes - right_within) / sizes).sum()) / (n - number)
            correlation = min(1.0, max(0.0, 1 - variation / (proportion * (1 - proportion))))
    effective = n / (1 + correlation * (float(sizes @ sizes) / n - 1)) / widening**2
    return wilson(proportion * effective, effective)


def number_clusters(clusters: Sequence[Hashable]) -> np.ndarray:
    """(N,) the clusters by number, in the order in which they first occur."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in clusters])


def mean_accuracy(accuracies: Sequence[float], texts: int) -> Proportion:
    """The mean over seeds of accuracies on the same texts, with an interval for other seeds and other texts.

    Both variances add up: p(1 - p)/n of the texts and s²/S of S seeds. The quantile is Student's with the degrees of
    freedom of that sum (F. E. Satterthwaite, 1946), as the spread of few seeds is known badly. The interval is
    Wilson's for as many texts as would give the same width; with one seed it is Wilson's own and says nothing of seeds.
    It is too wide where seeds disagree on many texts, as their mean then depends less on the choice of texts.
    """
    proportion = float(np.mean(accuracies))
    text_variance = proportion * (1 - proportion) / texts
    seed_variance = float(np.var(accuracies, ddof=1)) / len(accuracies) if len(accuracies) > 1 else 0.0
    if seed_variance == 0 or text_variance == 0:
        return wilson(proportion * texts, texts)
    from scipy.stats import t

    freedom = (len(accuracies) - 1) * ((text_variance + seed_variance) / seed_variance) ** 2
    widening = float(t.ppf(0.975, freedom)) / NORMAL
    effective = proportion * (1 - proportion) / ((text_variance + seed_variance) * widening**2)
    return wilson(proportion * effective, effective)
