"""Resampled intervals: of scikit-learn's scores, and right about as often as they say they are."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as sk

from gpt_classifier.statistics import resampling


def cases(number: int):
    """Labels, predictions and values that rank rows, some with ties, some of classes that do not occur."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        k, n = int(rng.integers(2, 6)), int(rng.integers(4, 40))
        labels, predicted = rng.integers(k, size=n), rng.integers(k, size=n)
        values = rng.standard_normal(n).round(int(rng.integers(0, 4)))
        yield rng, labels, np.where(rng.random(n) < 0.5, labels, predicted), values


def test_scores_of_resamples_are_scikit_learns_of_the_rows_drawn():
    for rng, labels, predicted, values in cases(100):
        counts = rng.integers(0, 4, size=(3, len(labels)))
        counts[0] = 1
        truth = labels == labels[0]
        scores = resampling.macro_f1(labels, predicted), resampling.auroc(truth, values)
        scores = *scores, resampling.average_precision(truth, values)
        found = np.array([score(counts.astype(float)) for score in scores])
        for drawn, (f1, auroc, precision) in zip(counts, found.T, strict=True):
            rows = np.arange(len(labels)).repeat(drawn)
            if len(rows):
                assert f1 == pytest.approx(sk.f1_score(labels[rows], predicted[rows], average="macro"))
            if len(set(truth[rows])) == 2:
                assert auroc == pytest.approx(sk.roc_auc_score(truth[rows], values[rows]))
                assert precision == pytest.approx(sk.average_precision_score(truth[rows], values[rows]))
            else:
                assert np.isnan(auroc)


def test_every_resample_has_as_many_rows_of_each_class():
    labels = np.array(["ham"] * 70 + ["spam"] * 30)
    seen = []

    def score(counts: np.ndarray) -> np.ndarray:
        assert (counts[:, :70].sum(1) == 70).all()
        assert (counts[:, 70:].sum(1) == 30).all()
        seen.append(len(counts))
        return counts[:, 0]

    resampling.intervals(labels, {"a score": score})
    assert sum(seen) == resampling.RESAMPLES


def test_clusters_are_drawn_as_wholes():
    labels, clusters = np.arange(60) % 2, [n // 4 for n in range(60)]  # of both classes, which may happen
    counted = []
    resampling.intervals(labels, {"a score": lambda counts: counted.append(counts) or counts[:, 0]}, clusters)
    counts = np.concatenate(counted).reshape(-1, 15, 4)
    assert (counts == counts[:, :, :1]).all()
    assert (counts.sum((1, 2)) == 60).all()


def test_an_interval_is_the_same_every_time_and_wider_with_copies():
    rng = np.random.default_rng(5)
    labels = rng.integers(3, size=150)
    predicted = np.where(rng.random(150) < 0.8, labels, 0)
    scores = {"f1": resampling.macro_f1(labels, predicted)}
    assert resampling.intervals(labels, scores) == resampling.intervals(labels, scores)
    low, high = resampling.intervals(labels, scores)["f1"]
    copied = {"f1": resampling.macro_f1(labels.repeat(4), predicted.repeat(4))}
    of_clusters = resampling.intervals(labels.repeat(4), copied, np.arange(150).repeat(4))["f1"]
    of_rows = resampling.intervals(labels.repeat(4), copied)["f1"]
    assert of_clusters == pytest.approx((low, high), abs=0.01)
    assert of_rows[1] - of_rows[0] == pytest.approx((high - low) / 2, rel=0.15)


def test_the_width_is_that_of_the_normal_approximation():
    """The interval of the proportion of right rows: 1.96 standard errors to each side, summed over classes."""
    right = np.arange(2000) % 10 != 0
    labels = np.arange(2000) % 2  # all wrong rows are of class 0: 20 % of it
    (low, high) = resampling.intervals(labels, {"accuracy": lambda counts: counts @ right / 2000})["accuracy"]
    assert (low + high) / 2 == pytest.approx(0.9, abs=0.002)
    assert high - low == pytest.approx(2 * 1.96 * sqrt(1000 * 0.2 * 0.8) / 2000, rel=0.08)


def test_perfect_predictions_have_no_interval():
    """All resamples of them are perfect, which does not make all other rows so."""
    labels = np.arange(50) % 2
    assert resampling.intervals(labels, {"f1": resampling.macro_f1(labels, labels)}) == {"f1": None}


def test_a_million_rows_take_fewer_resamples(monkeypatch):
    monkeypatch.setattr(resampling, "DRAWS", 30_000)
    seen = []
    resampling.intervals(np.arange(200) % 2, {"a score": lambda counts: seen.append(len(counts)) or counts[:, 0]})
    assert sum(seen) == 150


COUNTS = np.array([260, 40])  # of 300 rows, about as of the SMS messages
LABELS = np.arange(2).repeat(COUNTS)


def predictions(rng, recalls):
    return np.where(rng.random(len(LABELS)) < np.asarray(recalls)[LABELS], LABELS, 1 - LABELS)


def true_f1(recalls) -> float:
    right = COUNTS * recalls
    predicted = right + (COUNTS - right)[::-1]
    return float(np.mean(2 * right / (COUNTS + predicted)))


def f1(rng, recalls):
    return resampling.macro_f1(LABELS, predictions(rng, recalls))


ONE, OTHER = (0.96, 0.85), (0.95, 0.7)
SCORES = {
    "macro F1": (lambda rng: f1(rng, (0.96, 0.8)), true_f1((0.96, 0.8))),
    "AUROC": (
        lambda rng: resampling.auroc(LABELS == 1, rng.standard_normal(300) + 1.2 * LABELS),
        norm.cdf(1.2 / sqrt(2)),
    ),
    "difference": (lambda rng: resampling.difference(f1(rng, ONE), f1(rng, OTHER)), true_f1(ONE) - true_f1(OTHER)),
}


@pytest.mark.parametrize(("draw", "truth"), SCORES.values(), ids=SCORES.keys())
def test_about_nineteen_intervals_of_twenty_hold_the_true_score(draw, truth):
    rng, held = np.random.default_rng(4), []
    for _ in range(200):
        low, high = resampling.intervals(LABELS, {"score": draw(rng)})["score"]
        held.append(low <= truth <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)
