"""The verdict says which is better, by how much, and whether these test rows can tell."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from gpt_classifier.evaluation.baselines import Baselines, Trained
from gpt_classifier.evaluation.verdict import BaselineResults, score_baselines, verdict_sentence
from gpt_classifier.records import to_json

NAMES = np.array(["ham", "spam", "news"])


def with_errors(labels: np.ndarray, wrong: range) -> np.ndarray:
    """Predictions that are wrong in the rows ``wrong`` alone."""
    predicted = labels.copy()
    predicted[list(wrong)] = np.where(labels[list(wrong)] == "ham", "spam", "ham")
    return predicted


def result(network: range, best: range, n: int = 500, clusters=None) -> BaselineResults:
    """Of a network and a baseline with errors in these rows, and of one that is worse and was not chosen."""
    labels = NAMES[np.arange(n) % 2]  # of the class news no row occurs
    trained = [
        Trained("majority class", np.full(n, "ham"), 0.5, 0.1),
        Trained("naive Bayes", with_errors(labels, best), 0.9, 0.2),
        Trained("character SVM", with_errors(labels, range(50)), 0.8, 0.3),
    ]
    baselines = Baselines(trained, {}, 1000, "100 validation rows")
    return score_baselines(with_errors(labels, network), labels, baselines, clusters)


def test_scores_are_scikit_learns_and_scipys():
    found = result(network=range(20), best=range(10, 45))
    json.dumps(to_json(found), allow_nan=False)
    labels = NAMES[np.arange(500) % 2]
    network, best = with_errors(labels, range(20)), with_errors(labels, range(10, 45))
    assert [each.accuracy for each in found.models] == [0.5, 465 / 500, 450 / 500]
    by_hand = sk.f1_score(labels, np.full(500, "ham"), average="macro"), sk.f1_score(labels, best, average="macro")
    assert [each.f1_macro for each in found.models[:2]] == pytest.approx(by_hand)
    assert found.against_best.difference == pytest.approx(15 / 500)
    assert (found.against_best.only_network_right, found.against_best.only_best_right) == (25, 10)
    assert found.against_best.p == binomtest(25, 35).pvalue
    f1 = sk.f1_score(labels, network, average="macro") - by_hand[1]
    assert found.against_best.f1_macro_difference == pytest.approx(f1)
    low, high = found.against_best.f1_macro_difference_interval
    assert low < f1 < high


def test_the_best_is_chosen_by_its_score_on_other_rows_than_the_test_rows():
    """Here by validation rows that favour one of which the test rows show that it is no better than guessing."""
    assert result(network=range(20), best=range(0, 400)).against_best.best == "naive Bayes"


@pytest.mark.parametrize(
    ("network", "difference", "said"),
    [(range(20), 0.06, "is 6.00 points more accurate than it."), (range(50), 0.0, "is as accurate as it.")],
)
def test_a_baseline_that_is_better_on_the_test_rows_than_the_chosen_one_is_said(network, difference, said):
    found = result(network=network, best=range(0, 400)).against_best
    assert found.better == "character SVM"
    assert found.better_difference == pytest.approx(difference)
    assert found.verdict.endswith(f"On these texts character SVM did better than naive Bayes: the network {said}")
    assert result(network=network, best=range(50)).against_best.better is None  # of equals none is better


CASES = {
    "win": (
        range(10),
        range(10, 60),
        "Verdict: on 500 test texts the network is 8.00 points more accurate than naive Bayes, the best baseline "
        "on 100 validation rows (95 % paired interval +5.2 to +11.2 points, exact McNemar p < 0.001): the test tells "
        "them apart.",
    ),
    "loss": (range(10, 60), range(10), "the network is 8.00 points less accurate than naive Bayes"),
    "small": (range(10), range(8, 22), "network is 0.80 points more accurate"),
    "small, with a number": (
        range(10),
        range(8, 22),
        "the test cannot tell them apart; it would take about 5,000 texts, if this is the true difference.",
    ),
    "equal": (
        range(10),
        range(10, 20),
        "the network is as accurate as naive Bayes, the best baseline on 100 validation rows (95 % paired interval "
        "-1.9 to +1.9 points, exact McNemar p = 1.000): the test cannot tell them apart.",
    ),
}


@pytest.mark.parametrize(("network", "best", "said"), CASES.values(), ids=CASES.keys())
def test_the_difference_is_said_with_what_the_test_can_tell(network, best, said):
    found = result(network, best).against_best
    assert said in verdict_sentence(found, 500)
    assert found.told_apart == (abs(found.difference) > 0.05)
    assert (found.rows_needed is None) == (found.difference == 0)
    assert found.told_apart or found.difference == 0 or found.rows_needed > 500


def test_copies_of_one_text_are_no_evidence():
    """Of 500 rows the network alone is right on 30, which are copies of one another."""
    rows = result(network=range(10), best=range(40))
    clusters = [0 if 10 <= n < 40 else n for n in range(500)]
    copies = result(network=range(10), best=range(40), clusters=clusters)
    assert rows.against_best.told_apart
    assert not copies.against_best.told_apart
    assert copies.against_best.rows_needed > rows.against_best.rows_needed


def test_without_any_baseline_there_is_nothing_to_compare():
    labels = NAMES[np.arange(10) % 2]
    found = score_baselines(labels, labels, Baselines([], {"majority class": "the time limit is 0 s"}, 9, "9 rows"))
    assert to_json(found) == {
        "training_rows": 9,
        "skipped": {"majority class": "the time limit is 0 s"},
        "models": [],
    }
