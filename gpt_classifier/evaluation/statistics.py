"""Intervals for figures that were measured on a limited number of texts."""

from typing import NamedTuple


class Proportion(NamedTuple):
    """A share with its 95 % interval, all between 0 and 1."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson(successes: int, trials: int) -> Proportion:
    """The share of successes with its Wilson score interval (E. B. Wilson, 1927), which stays sensible near 0 and 1."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return Proportion(successes / trials, float(interval.low), float(interval.high))
