"""Calibration: a case worked by hand, ties, and what must hold for any probabilities."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from gpt_classifier.decision.reliability import ReliabilityResults, measure_reliability
from gpt_classifier.statistics.intervals import wilson


def two_classes(confidence: list[float], right: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that predict class 0 everywhere, and labels that make so many of them right."""
    values = np.array(confidence)
    return np.stack([values, 1 - values], axis=1), 1 - np.array(right)


def rows(found: ReliabilityResults) -> list[int]:
    return [each.rows for each in found.bins]


def right(found: ReliabilityResults) -> list[int]:
    return [round(each.accuracy * each.rows) for each in found.bins]


def confidence(found: ReliabilityResults) -> list[float]:
    return [each.confidence for each in found.bins]


def test_the_error_of_six_rows_in_three_bins_is_that_worked_by_hand():
    probabilities, labels = two_classes([0.9, 0.6, 0.7, 0.8, 0.95, 0.55], [1, 0, 1, 1, 1, 1])
    found = measure_reliability(probabilities, labels, bins=3)
    # In order: 0.55 right, 0.6 wrong | 0.7 right, 0.8 right | 0.9 right, 0.95 right.
    assert confidence(found) == pytest.approx([0.575, 0.75, 0.925])
    assert (right(found), rows(found)) == ([1, 2, 2], [2, 2, 2])
    assert [each.accuracy_interval for each in found.bins] == [wilson(hits, 2)[1:] for hits in (1, 2, 2)]
    assert found.error == pytest.approx((0.075 + 0.25 + 0.075) / 3)


def test_rows_of_the_same_probability_share_a_bin_whatever_their_order():
    probabilities, labels = two_classes([0.9] * 5 + [0.6], [1, 1, 1, 0, 0, 1])
    orders = [np.arange(6), np.array([5, 4, 3, 2, 1, 0]), np.array([3, 0, 5, 1, 4, 2])]
    found = [measure_reliability(probabilities[order], labels[order], bins=3) for order in orders]
    for each in found:
        assert rows(each) == [6] or rows(each) == [1, 5]
        assert (rows(each), right(each)) == (rows(found[0]), right(found[0]))


def test_perfect_and_certain_predictions_and_a_single_row_are_one_bin():
    found = measure_reliability(np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 0]))
    assert (found.error, rows(found)) == (0.0, [4])
    found = measure_reliability(np.array([[0.3, 0.7]]), np.array([0]))
    assert (found.error, rows(found)) == (pytest.approx(0.7), [1])


@pytest.mark.parametrize("n", [2, 14, 15, 16, 1000])
def test_bins_have_about_equal_mass_and_hold_every_row(n):
    probabilities = np.random.default_rng(n).dirichlet(np.ones(4), n)
    found = measure_reliability(probabilities, np.zeros(n, dtype=int))
    assert sum(rows(found)) == n
    assert max(rows(found)) - min(rows(found)) <= 1
    assert len(rows(found)) == min(n, 15)
    assert (np.diff(confidence(found)) > 0).all()


def test_rows_that_are_drawn_from_the_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 20_000)
    labels = (rng.random((20_000, 1)) > probabilities.cumsum(1)).sum(1)
    assert measure_reliability(probabilities, labels).error < 0.02
    assert measure_reliability(probabilities**4 / (probabilities**4).sum(1, keepdims=True), labels).error > 0.1


def test_the_bins_are_those_of_scikit_learns_curve_by_quantiles():
    rng = np.random.default_rng(2)
    high = rng.uniform(0.5, 1, 3000)  # all different, so that quantiles leave no choice
    probabilities, labels = np.stack([high, 1 - high], -1), (rng.random(3000) > high**2).astype(int)
    observed, predicted = calibration_curve(labels == 0, high, n_bins=15, strategy="quantile")
    found = measure_reliability(probabilities, labels)
    assert confidence(found) == pytest.approx(predicted)
    assert [each.accuracy for each in found.bins] == pytest.approx(observed)
    assert found.error == pytest.approx(np.abs(observed - predicted) @ rows(found) / 3000)


def test_each_label_of_a_multi_label_text_counts_by_itself():
    probabilities, labels = np.array([[0.9, 0.2], [0.6, 0.4]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    found = measure_reliability(probabilities, labels, bins=4)
    assert confidence(found) == pytest.approx([0.6, 0.8, 0.9])  # two are alike, and stay together
    assert (right(found), rows(found)) == ([0, 1, 1], [2, 1, 1])
