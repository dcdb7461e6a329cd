"""Wilson's interval equals published values and its own formula, and stays sensible at both ends."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier.evaluation.statistics import wilson

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "trials", "printed"),
    [(285, 300, "95.00 % [91.9, 96.9]"), (290, 300, "96.67 % [94.0, 98.2]"), (0, 10, "0.00 % [0.0, 27.8]")],
)
def test_the_interval_is_the_published_one(successes, trials, printed):
    assert str(wilson(successes, trials)) == printed


@given(counts)
def test_the_interval_is_the_two_solutions_of_the_score_equation(count):
    successes, n = count
    share, low, high = wilson(successes, n)
    z = 1.959963984540054
    centre, half = (share + z * z / (2 * n)), z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    assert (low, high) == pytest.approx(((centre - half) / scale, (centre + half) / scale), abs=1e-9)


@given(counts)
def test_the_interval_holds_the_share_and_stays_within_0_and_1(count):
    share, low, high = wilson(*count)
    assert 0 <= low <= share <= high <= 1
    assert low < high
