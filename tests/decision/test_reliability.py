"""Calibration: a case worked by hand, ties, and what must hold for any probabilities."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from gpt_classifier.decision.reliability import reliability
from gpt_classifier.statistics.intervals import wilson


def two_classes(confidence: list[float], right: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that predict class 0 everywhere, and labels that make so many of them right."""
    values = np.array(confidence)
    return np.stack([values, 1 - values], axis=1), 1 - np.array(right)


def test_the_error_of_six_rows_in_three_bins_is_that_worked_by_hand():
    probabilities, labels = two_classes([0.9, 0.6, 0.7, 0.8, 0.95, 0.55], [1, 0, 1, 1, 1, 1])
    found = reliability(probabilities, labels, bins=3)
    # In order: 0.55 right, 0.6 wrong | 0.7 right, 0.8 right | 0.9 right, 0.95 right.
    assert found.confidence == pytest.approx([0.575, 0.75, 0.925])
    assert (found.right.tolist(), found.rows.tolist()) == ([1, 2, 2], [2, 2, 2])
    assert found.error == pytest.approx((0.075 + 0.25 + 0.075) / 3)


def test_rows_of_the_same_probability_share_a_bin_whatever_their_order():
    probabilities, labels = two_classes([0.9] * 5 + [0.6], [1, 1, 1, 0, 0, 1])
    orders = [np.arange(6), np.array([5, 4, 3, 2, 1, 0]), np.array([3, 0, 5, 1, 4, 2])]
    found = [reliability(probabilities[order], labels[order], bins=3) for order in orders]
    for each in found:
        assert each.rows.tolist() == [6] or each.rows.tolist() == [1, 5]
        assert (each.rows.tolist(), each.right.tolist()) == (found[0].rows.tolist(), found[0].right.tolist())


def test_perfect_and_certain_predictions_have_no_error_and_one_bin():
    found = reliability(np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 0]))
    assert (found.error, found.rows.tolist()) == (0.0, [4])


def test_a_single_row_is_one_bin():
    found = reliability(np.array([[0.3, 0.7]]), np.array([0]))
    assert (found.error, found.rows.tolist()) == (pytest.approx(0.7), [1])


@pytest.mark.parametrize("n", [2, 14, 15, 16, 1000])
def test_bins_have_about_equal_mass_and_hold_every_row(n):
    probabilities = np.random.default_rng(n).dirichlet(np.ones(4), n)
    found = reliability(probabilities, np.zeros(n, dtype=int))
    assert found.rows.sum() == n
    assert found.rows.max() - found.rows.min() <= 1
    assert len(found.rows) == min(n, 15)
    assert (np.diff(found.confidence) > 0).all()


def test_rows_that_are_drawn_from_the_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 20_000)
    labels = (rng.random((20_000, 1)) > probabilities.cumsum(1)).sum(1)
    assert reliability(probabilities, labels).error < 0.02
    assert reliability(probabilities**4 / (probabilities**4).sum(1, keepdims=True), labels).error > 0.1


def test_results_hold_wilsons_interval_of_each_bin():
    probabilities, labels = two_classes([0.6, 0.6, 0.9], [1, 0, 1])
    bins = reliability(probabilities, labels, bins=2).results().bins
    assert [each.rows for each in bins] == [2, 1]
    assert bins[0].accuracy_interval == wilson(1, 2)[1:]


def test_the_bins_are_those_of_scikit_learns_curve_by_quantiles():
    rng = np.random.default_rng(2)
    high = rng.uniform(0.5, 1, 3000)  # all different, so that quantiles leave no choice
    probabilities, labels = np.stack([high, 1 - high], -1), (rng.random(3000) > high**2).astype(int)
    observed, predicted = calibration_curve(labels == 0, high, n_bins=15, strategy="quantile")
    found = reliability(probabilities, labels)
    assert found.confidence == pytest.approx(predicted)
    assert found.right / found.rows == pytest.approx(observed)
    assert found.error == pytest.approx(np.abs(observed - predicted) @ found.rows / 3000)


def test_each_of_several_labels_is_a_decision_by_itself():
    probabilities, labels = np.array([[0.9, 0.2], [0.6, 0.4]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    found = reliability(probabilities, labels, bins=4)
    assert found.confidence.tolist() == pytest.approx([0.6, 0.8, 0.9])  # two are alike, and stay together
    assert (found.right.tolist(), found.rows.tolist()) == ([0, 1, 1], [2, 1, 1])
