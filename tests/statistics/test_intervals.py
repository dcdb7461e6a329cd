"""Intervals and p-values: equal to published values and to scipy's, and right as often as they say they are."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from gpt_classifier.statistics.intervals import clustered, mean_accuracy, wilson
from gpt_classifier.statistics.paired_tests import (
    holm,
    independent_rows,
    paired_difference,
    paired_p_value,
    rows_needed,
)

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "trials", "printed"),
    [(285, 300, "95.00 % [91.9, 96.9]"), (290, 300, "96.67 % [94.0, 98.2]"), (0, 10, "0.00 % [0.0, 27.8]")],
)
def test_the_interval_is_the_published_one(successes, trials, printed):
    assert str(wilson(successes, trials)) == printed


@given(counts)
def test_the_interval_is_scipys_and_holds_the_proportion(count):
    proportion, low, high = wilson(*count)
    expected = binomtest(*count).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= proportion <= high <= 1
    assert low < high


# ---------------------------------------------------------------- clusters of near-duplicates


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_rows_in_clusters_of_their_own_have_wilsons_interval(right):
    assert clustered(np.array(right), range(len(right))) == wilson(sum(right), len(right))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=100))
def test_the_interval_by_clusters_holds_wilsons_and_the_proportion(rows):
    right, clusters = np.array([r for r, _ in rows]), [c for _, c in rows]
    proportion, low, high = clustered(right, clusters)
    assert proportion == pytest.approx(right.mean())
    _, narrow_low, narrow_high = wilson(right.sum(), len(right))
    assert 0 <= low <= narrow_low + 1e-9
    assert 1 >= high >= narrow_high - 1e-9


@pytest.mark.parametrize("right", [True, False])
def test_where_all_rows_are_right_or_wrong_each_cluster_is_one_row(right):
    """Of clusters that are equally large; Student's quantile makes 200 of them a little fewer."""
    _, low, high = clustered(np.full(600, right), np.arange(600) % 200)
    assert (low, high) == pytest.approx(wilson(200 * right, 200)[1:], abs=5e-4)


@pytest.mark.parametrize("proportion", [0.0, 0.5, 1.0])
def test_one_cluster_is_one_row(proportion):
    assert clustered(np.arange(100) < 100 * proportion, ["the same"] * 100) == wilson(proportion, 1)


def test_copies_of_every_row_tell_nothing_new():
    rng = np.random.default_rng(7)
    right = rng.random(500) < 0.9
    _, low, high = clustered(right.repeat(4), np.arange(500).repeat(4))
    assert (low, high) == pytest.approx(wilson(right.sum(), 500)[1:], abs=5e-4)


CLUSTER_SIZES = {
    "pairs and singles": lambda rng: np.r_[np.ones(200, int), np.full(50, 2)],
    "a long tail": lambda rng: np.minimum(rng.zipf(2.0, 150), 100),
    "one text in 30 % of rows": lambda rng: np.r_[np.ones(210, int), 90],
    "thirty of ten": lambda rng: np.full(30, 10),
    "about five": lambda rng: rng.geometric(0.2, 80),
}


@pytest.mark.parametrize("sizes", CLUSTER_SIZES.values(), ids=CLUSTER_SIZES.keys())
@pytest.mark.parametrize("truth", [0.97, 0.9, 0.7])
def test_nineteen_intervals_of_twenty_hold_the_accuracy_over_all_clusters(sizes, truth):
    """Near-duplicates get the same prediction. Wilson's own interval for rows holds it less often, mostly much less."""
    rng = np.random.default_rng(3)
    held = []
    for _ in range(400):
        clusters = np.arange(len(m := sizes(rng))).repeat(m)
        right = (rng.random(len(m)) < truth).repeat(m)
        intervals = clustered(right, clusters), wilson(right.sum(), len(right))
        held.append([low <= truth <= high for _, low, high in intervals])
    ours, wilsons = np.mean(held, 0)
    assert ours > 0.9
    assert wilsons < ours - 0.015


# ---------------------------------------------------------------- several seeds


@given(counts)
def test_with_one_seed_the_interval_is_wilsons(count):
    successes, n = count
    assert mean_accuracy([successes / n], n) == pytest.approx(wilson(successes, n), abs=1e-9)


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8), st.integers(10, 5000))
def test_the_interval_over_seeds_holds_wilsons_of_their_mean(accuracies, texts):
    mean, low, high = mean_accuracy(accuracies, texts)
    _, narrow_low, narrow_high = wilson(np.mean(accuracies) * texts, texts)
    assert mean == pytest.approx(np.mean(accuracies))
    assert 0 <= low <= narrow_low + 1e-9
    assert 1 >= high >= narrow_high - 1e-9


@pytest.mark.parametrize("accuracy", [0.9, 0.95, 0.7 + 0.1, 1.0])
def test_seeds_that_agree_add_nothing(accuracy):
    assert mean_accuracy([accuracy] * 3, 300) == pytest.approx(wilson(300 * accuracy, 300), abs=1e-9)


def test_the_interval_widens_with_the_spread_and_narrows_with_the_number_of_seeds():
    def width(accuracies):
        return mean_accuracy(accuracies, 300).high - mean_accuracy(accuracies, 300).low

    spreads = [width([0.9 - spread, 0.9, 0.9 + spread]) for spread in (0, 0.005, 0.01, 0.02, 0.05)]
    assert spreads == sorted(set(spreads))
    numbers = [width([0.85, 0.95] * number) for number in (1, 2, 4, 8)]
    assert numbers == sorted(set(numbers), reverse=True)


def coverage(spread: float, seeds: int, agreement: float) -> tuple[float, float]:
    """How often the interval, and Wilson's of the mean, hold the accuracy over all seeds and texts.

    Seeds are right on nine texts of ten, each seed on its own fraction more or less. Whether a text is an easy one is,
    in the fraction ``agreement``, the same for all seeds.
    """
    rng = np.random.default_rng(1)
    truth = norm.cdf(1.28 / sqrt(1 + spread**2))  # 1.28 is the normal quantile of 0.9
    held = []
    for _ in range(500):
        quality = 1.28 + spread * rng.standard_normal(seeds)[:, None]
        of_text, of_both = rng.standard_normal(300), rng.standard_normal((seeds, 300))
        accuracies = (sqrt(agreement) * of_text + sqrt(1 - agreement) * of_both < quality).mean(1).tolist()
        intervals = mean_accuracy(accuracies, 300), wilson(300 * np.mean(accuracies), 300)
        held.append([low <= truth <= high for _, low, high in intervals])
    return tuple(np.mean(held, 0))


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.05, 0.1, 0.3])
def test_nineteen_intervals_of_twenty_hold_the_accuracy_over_all_seeds_and_texts(seeds, spread):
    assert coverage(spread, seeds, agreement=1.0)[0] == pytest.approx(0.95, abs=0.035)


def test_the_interval_is_on_the_safe_side_but_for_two_seeds_and_wilsons_of_the_mean_promises_too_much():
    for seeds in (3, 10):  # that disagree on texts
        assert coverage(0.1, seeds, agreement=0.5)[0] > 0.95
    assert 0.88 < coverage(0.3, 2, agreement=1.0)[0] < 0.95  # too few to know a large spread
    assert coverage(0.3, 3, agreement=1.0)[1] < 0.85  # leaves out the variance of seeds


# ---------------------------------------------------------------- differences

outcomes = st.integers(1, 60).flatmap(lambda n: st.lists(st.tuples(*[st.booleans()] * 2), min_size=n, max_size=n))


@given(outcomes)
def test_with_one_seed_each_the_p_value_is_mcnemars(pairs):
    one, other = np.array(pairs).T[:, None]  # (1, N) each
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    different = only_one + only_other
    expected = binomtest(only_one, different).pvalue if different else 1.0
    assert paired_p_value(one, other) == pytest.approx(expected)


seeds_of_two = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 40), st.integers(0, 2**32 - 1))


@given(seeds_of_two)
def test_which_system_comes_first_does_not_matter(sizes):
    s, r, n, seed = sizes
    rng = np.random.default_rng(seed)
    one, other = rng.random((s, n)) < 0.8, rng.random((r, n)) < 0.6
    value = paired_p_value(one, other)
    assert 0 < value <= 1
    assert paired_p_value(other, one) == value
    order = rng.permutation(n)
    assert paired_p_value(one[:, order], other[:, order]) == value


def test_seeds_that_repeat_each_other_leave_the_exact_p_value_up_to_random_signs():
    rng = np.random.default_rng(2)
    one, other = rng.random((1, 200)) < 0.95, rng.random((1, 200)) < 0.9
    exact = paired_p_value(one, other)
    assert 0.01 < exact < 0.5
    assert paired_p_value(one.repeat(3, 0), other.repeat(3, 0)) == pytest.approx(exact, abs=0.015)


def test_a_system_differs_from_itself_by_nothing():
    right = np.random.default_rng(0).random((3, 100)) < 0.9
    assert paired_p_value(right, right) == 1.0


@pytest.mark.parametrize(("s", "r"), [(1, 1), (3, 3), (5, 2)])
def test_between_equally_good_systems_a_p_value_below_a_level_is_as_rare_as_the_level(s, r):
    rng = np.random.default_rng(3)
    difficulty = rng.random((200, 150))
    values = np.array(
        [paired_p_value(rng.random((s, 150)) < 0.5 + 0.5 * d, rng.random((r, 150)) < 0.5 + 0.5 * d) for d in difficulty]
    )
    for level in (0.05, 0.2, 0.5):
        assert (values <= level).mean() <= level + 2.5 * sqrt(level * (1 - level) / 200)
    if s != r:  # else few differences are possible, so that the test is on the safe side
        for level in (0.2, 0.5):
            assert (values <= level).mean() >= level - 2.5 * sqrt(level * (1 - level) / 200)


def test_a_large_difference_is_found():
    rng = np.random.default_rng(4)
    assert paired_p_value(rng.random((3, 300)) < 0.97, rng.random((3, 300)) < 0.85) < 0.001


def build_pairs(both: int, only_one: int, only_other: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two systems, (N,) each, of which so many rows are classified correctly by both, one alone, or neither."""
    one, other = ([True] * both + [left] * only_one + [not left] * only_other for left in (True, False))
    return np.array(one + [False] * neither), np.array(other + [False] * neither)


@pytest.mark.parametrize(
    ("table", "difference", "low", "high", "p"),
    [((1, 1, 7, 12), -0.2857, -0.517, -0.026, 0.0703), ((59, 6, 16, 80), -0.0621, -0.1240, -0.0054, 0.052479)],
    ids=["airway hyper-responsiveness", "complete response"],
)
def test_the_paired_interval_and_mcnemars_exact_test_are_those_of_a_textbook(table, difference, low, high, p):
    """M. W. Fagerland, S. Lydersen, P. Laake, Statistical Analysis of Contingency Tables (2017), chapter 8, and the
    tests of its R package contingencytables: Tango's asymptotic score interval, McNemar's exact conditional test."""
    one, other = build_pairs(*table)
    assert paired_difference(one, other) == pytest.approx((difference, low, high), abs=6e-5 if p < 0.06 else 6e-4)
    assert paired_p_value(one[None], other[None]) == pytest.approx(p, abs=5e-5)


tables = st.tuples(*[st.integers(0, 40)] * 4).filter(any)


@given(tables)
def test_the_paired_interval_holds_the_difference_and_turns_with_the_systems(table):
    one, other = build_pairs(*table)
    value, low, high = paired_difference(one, other)
    assert value == pytest.approx(one.mean() - other.mean())
    assert -1 <= low <= value <= high <= 1
    assert low < high
    assert paired_difference(other, one) == pytest.approx((-value, -high, -low), abs=1e-9)


@given(tables)
def test_the_paired_interval_holds_zero_where_mcnemars_test_without_correction_does_not_reject(table):
    _, only_one, only_other, _ = table
    _, low, high = paired_difference(*build_pairs(*table))
    z = abs(only_one - only_other) / sqrt(max(1, only_one + only_other))
    if abs(z - 1.959963984540054) > 1e-6:
        assert (low <= 0 <= high) == (z < 1.959963984540054)


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize(("only_one", "only_other"), [(0.02, 0.02), (0.05, 0.02), (0.2, 0.1)])
def test_nineteen_paired_intervals_of_twenty_hold_the_true_difference(only_one, only_other, copies):
    """Also of rows that are there three times, whose clusters are told."""
    rng = np.random.default_rng(11)
    held = []
    for _ in range(300):
        which = rng.choice(3, 300, p=[only_one, only_other, 1 - only_one - only_other]).repeat(copies)
        _, low, high = paired_difference(which != 1, which != 0, np.arange(300).repeat(copies))
        held.append(low <= only_one - only_other <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)


def test_copies_of_rows_are_worth_one_row_of_a_difference_and_so_is_a_cluster_without_any_difference():
    rng = np.random.default_rng(2)
    values = rng.choice([-1.0, 0.0, 1.0], 200, p=[0.1, 0.7, 0.2])
    assert independent_rows(values, range(200)) == 200
    assert independent_rows(values.repeat(3), np.arange(200).repeat(3)) == pytest.approx(200, rel=0.02)
    assert independent_rows(np.zeros(400), np.arange(400) % 100) == pytest.approx(100, rel=0.02)


def test_one_cluster_on_which_two_systems_differ_is_about_one_row_of_difference():
    one, other = build_pairs(440, 30, 0, 30)
    clusters = [0 if 440 <= n < 470 else n for n in range(500)]
    assert paired_difference(one, other).low > 0.04
    assert paired_difference(one, other, clusters).low < 0
    assert 30 * independent_rows(one * 1.0 - other, clusters) / 500 == pytest.approx(1, abs=0.1)


def test_the_number_of_rows_needed_is_the_published_one():
    """R. J. Connor, Sample size for testing differences in proportions for the paired-sample design, Biometrics 43
    (1987): the proportions 0.05 and 0.45, here as in the examples of the R function pwr.mcnemar of B. Greenwell: 22."""
    assert rows_needed(0.05 - 0.45, 0.05 + 0.45) in (22, 23)  # 22.01
    assert rows_needed(0.0, 0.1) is None


@pytest.mark.parametrize(("only_one", "only_other"), [(0.06, 0.03), (0.3, 0.2), (0.04, 0.0)])
def test_with_the_rows_needed_four_tests_of_five_find_the_difference(only_one, only_other):
    """A little fewer by the exact test, which the formula is not for."""
    n = rows_needed(only_one - only_other, only_one + only_other)
    rng = np.random.default_rng(8)
    found = []
    for one, other, _ in rng.multinomial(n, [only_one, only_other, 1 - only_one - only_other], size=600):
        found.append(binomtest(one, one + other).pvalue < 0.05 if one + other else False)
    assert 0.7 < np.mean(found) < 0.84


# ---------------------------------------------------------------- many comparisons


def test_holm_of_a_worked_example_of_one_and_of_none():
    """Four hypotheses: 4 · 0.005, 3 · 0.01, 2 · 0.03, and 0.04, which may not be smaller than the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.03]) == pytest.approx([0.03])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_holm_keeps_the_order_and_is_between_the_value_and_bonferronis(values, rng):
    adjusted = holm(values)
    for value, result in zip(values, adjusted, strict=True):
        assert value <= result <= min(1, len(values) * max(values))
        assert result <= 1
    pairs = sorted(zip(values, adjusted, strict=True))
    assert [result for _, result in pairs] == sorted(adjusted)
    assert adjusted[int(np.argmin(values))] == pytest.approx(min(1, len(values) * min(values)))
    order = rng.sample(range(len(values)), len(values))
    assert holm([values[n] for n in order]) == pytest.approx([adjusted[n] for n in order])


def test_of_twenty_true_hypotheses_any_is_rejected_in_one_family_of_twenty():
    families = np.random.default_rng(5).random((2000, 20))
    rejected = np.mean([min(holm(family)) < 0.05 for family in families])
    assert rejected == pytest.approx(1 - (1 - 0.05 / 20) ** 20, abs=0.012)
