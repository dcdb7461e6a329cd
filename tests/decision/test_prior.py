"""Scores at the natural class prior are those of scikit-learn with weights, and those of rows drawn at that prior."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score

from gpt_classifier.decision.prior import score_at_class_prior

NAMES = ["ham", "spam", "f1_macro"]  # a class may have the name of a score


def rows(k=3, n=600, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    return np.where(rng.random(n) < 0.8, labels, rng.integers(k, size=n)), labels


def test_scores_equal_weighted_ones_of_scikit_learn():
    predicted, labels = rows()
    result = score_at_class_prior(predicted, labels, NAMES, {"ham": 90, "spam": 9, "f1_macro": 1})
    weights = (np.array([0.9, 0.09, 0.01]) / np.bincount(labels))[labels]
    assert result.shares == pytest.approx({"ham": 0.9, "spam": 0.09, "f1_macro": 0.01})
    assert result.accuracy == pytest.approx(accuracy_score(labels, predicted, sample_weight=weights))
    assert result.f1_macro == pytest.approx(f1_score(labels, predicted, average="macro", sample_weight=weights))
    precision = precision_score(labels, predicted, average=None, sample_weight=weights)
    assert [result.precision[name] for name in NAMES] == pytest.approx(list(precision))
    for value, (low, high) in (
        (result.accuracy, result.accuracy_interval),
        (result.f1_macro, result.f1_macro_interval),
    ):
        assert low < value < high
    counts = dict(zip(NAMES, np.bincount(labels).tolist(), strict=True))  # the prior of the rows changes nothing
    assert score_at_class_prior(predicted, labels, NAMES, counts).accuracy == pytest.approx(
        (predicted == labels).mean()
    )


def test_the_precision_is_that_of_rows_drawn_at_the_class_prior():
    rng = np.random.default_rng(1)
    many = rng.random(200_000) < 0.1
    said = np.where(many, rng.random(200_000) < 0.95, rng.random(200_000) < 0.02)
    balanced = np.concatenate([np.flatnonzero(many)[:5000], np.flatnonzero(~many)[:5000]])
    counts = {"ham": int((~many).sum()), "spam": int(many.sum())}
    result = score_at_class_prior(said[balanced].astype(int), many[balanced].astype(int), ["ham", "spam"], counts)
    low, high = result.precision_interval["spam"]
    assert low < precision_score(many, said) < high
    assert precision_score(many[balanced], said[balanced]) > high  # what balanced rows promise


def test_nothing_is_said_of_a_class_without_test_rows_and_a_class_that_is_never_predicted_has_no_precision():
    labels = np.array([0, 0, 1, 1])
    assert score_at_class_prior(labels, labels, NAMES, {"ham": 1, "spam": 1, "f1_macro": 1}) is None
    result = score_at_class_prior(np.zeros(4, dtype=int), labels, NAMES, {"ham": 1, "spam": 1})
    assert result.precision["spam"] is None
    assert result.precision["ham"] == 0.5
    assert result.accuracy_interval is None
