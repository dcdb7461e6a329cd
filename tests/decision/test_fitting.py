"""A decision does on unseen rows what was asked, or says that the rows are too few to promise it."""

import numpy as np
import pytest

from gpt_classifier.decision.fitting import fit, log_priors, temperature
from gpt_classifier.decision.reliability import measure_reliability
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError

NAMES = ("ham", "spam")


def rows(n: int, seed: int, k: int = 2, scale: float = 1.0, positive: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) whose softmax, with temperature ``scale``, are the true probabilities of the labels (N,)."""
    rng = np.random.default_rng(seed)
    true = 2 * rng.standard_normal((n, k)) + np.log([1 - positive, *[positive / (k - 1)] * (k - 1)])
    probabilities = Decision().probabilities(true)
    labels = (probabilities.cumsum(-1) < rng.random((n, 1))).sum(-1)
    return true * scale, labels


def test_the_temperature_is_that_of_the_logits():
    logits, labels = rows(20000, 1, k=4, scale=3.0)
    assert temperature(logits, labels, Decision()) == pytest.approx(3.0, rel=0.05)
    before, after = (measure_reliability(Decision(t).probabilities(logits), labels).error for t in (1.0, 3.0))
    assert after < 0.02 < 0.08 < before


@pytest.mark.parametrize(
    ("rule", "rate"), [("max_fpr", 0.01), ("max_fpr", 0.1), ("min_recall", 0.9), ("min_recall", 0.99)]
)
def test_a_promised_rate_is_kept_on_unseen_rows_on_average(rule, rate):
    unseen, truth = rows(20000, 1000)
    found = []
    for seed in range(60):
        decision = fit(*rows(600, seed), NAMES, {rule: rate, "of": "spam"}).decision
        said = decision.predict(decision.probabilities(unseen)) == 1
        found.append(said[truth == 0].mean() if rule == "max_fpr" else said[truth == 1].mean())
    error = np.std(found) / np.sqrt(len(found))
    if rule == "max_fpr":
        assert np.mean(found) <= rate + 3 * error
        assert np.mean(found) >= 0.3 * rate  # and not by never saying so
    else:
        assert rate - 3 * error <= np.mean(found) < 1


@pytest.mark.parametrize("k", [2, 5])
def test_prediction_sets_cover_what_was_asked_on_unseen_rows(k):
    unseen, truth = rows(20000, 1000, k)
    covered = []
    for seed in range(40):
        decision = fit(*rows(500, seed, k), [str(n) for n in range(k)], {"coverage": 0.9}).decision
        sets = decision.sets(decision.probabilities(unseen))
        covered.append(sets[np.arange(len(truth)), truth].mean())
        predicted = decision.predict(decision.probabilities(unseen))
        assert ((predicted == -1) == (sets.sum(-1) != 1)).all()
    error = np.std(covered) / np.sqrt(len(covered))
    assert 0.9 - 3 * error <= np.mean(covered) <= 0.92


def test_too_few_rows_say_which_rate_they_support():
    logits, labels = rows(60, 3)
    few = int((labels == 0).sum())
    with pytest.raises(InputError, match=f"{few} rows not of class spam support max_fpr from {1 / (few + 1):.4g}"):
        fit(logits, labels, NAMES, {"max_fpr": 0.001})
    with pytest.raises(InputError, match=f"min_recall up to {1 - 1 / (60 - few + 1):.4g}"):
        fit(logits, labels, NAMES, {"min_recall": 0.999})
    with pytest.raises(InputError, match=r"coverage 0\.999.* 60 .*0\.9836"):
        fit(logits, labels, NAMES, {"coverage": 0.999})


def test_the_lowest_threshold_of_a_precision_is_taken():
    logits, labels = rows(2000, 4)
    decision = fit(logits, labels, NAMES, {"min_precision": 0.95}).decision
    scores = decision.probabilities(logits)[:, 1]
    precisions = {t: (labels[scores >= t] == 1).mean() for t in scores}
    assert decision.threshold == min(t for t, precision in precisions.items() if precision >= 0.95)
    with pytest.raises(InputError, match="out of reach"):
        fit(logits[:, ::-1], labels, NAMES, {"min_precision": 0.9999})


@pytest.mark.parametrize(("rule", "rate"), [("min_precision", 0.8), ("max_fpr", 0.02)])
def test_each_class_has_a_threshold_of_its_own(rule, rate):
    logits, labels = rows(3000, 9, 5, positive=0.7)
    names = [f"class {n}" for n in range(5)]
    point = fit(logits, labels, names, {rule: rate, "of": "each"})
    decision, probabilities = point.decision, point.decision.probabilities(logits)
    one_by_one = [fit(logits, labels, names, {rule: rate, "of": name}).decision.threshold for name in names]
    assert decision.thresholds == one_by_one
    assert len(set(decision.thresholds)) == 5
    predicted = decision.predict(probabilities)
    reached = probabilities >= np.array(decision.thresholds)
    assert ((predicted == -1) == ~reached.any(-1)).all()
    assert 0 < (predicted == -1).sum() < len(labels)
    several = np.flatnonzero(reached.sum(-1) > 1)
    assert (predicted[several] == np.where(reached, probabilities, -1)[several].argmax(-1)).all()
    for c in range(5):
        said = predicted == c
        kept = (labels[said] == c).mean() >= rate if rule == "min_precision" else said[labels != c].mean() <= rate
        assert kept
    assert [note.partition(" from")[0] for note in point.notes[1:6]] == names
    assert point.notes[6].startswith("predicted: ")


def test_thresholds_can_be_given():
    logits, labels = rows(300, 10, 3)
    names = ["a", "b", "c"]
    probabilities = fit(logits, labels, names).decision.probabilities(logits)
    for given in (0.7, {"a": 0.7, "b": 0.7, "c": 0.7}):
        decision = fit(logits, labels, names, {"thresholds": given}).decision
        expected = np.where(probabilities.max(-1) >= 0.7, probabilities.argmax(-1), -1)
        assert (decision.predict(probabilities) == expected).all()
    # A class that reaches its own low threshold is predicted where no other class reaches its high one.
    eager = fit(logits, labels, names, {"thresholds": {"a": 0.99, "b": 0.99, "c": 0.1}}).decision
    assert eager.predict(np.array([[0.85, 0, 0.15], [0.95, 0, 0.05], [0.995, 0, 0.005]])).tolist() == [2, -1, 0]


def test_every_class_with_too_few_rows_is_named_with_the_rate_that_it_supports():
    logits, labels = rows(200, 11, 20)
    logits[labels == 7] -= 100 * np.eye(20)[7]  # the class is never probable where it is true
    names = [f"class {n}" for n in range(20)]
    with pytest.raises(InputError, match=r"min_precision 0\.9 .*class 7.* 0\.\d+"):
        fit(logits, labels, names, {"min_precision": 0.9, "of": "each"})
    with pytest.raises(InputError, match=r"rows not of class class 0 support max_fpr from .*; likewise 15 more"):
        fit(logits, labels, names, {"max_fpr": 0.0001, "of": "each"})


def test_costs_move_the_predictions():
    logits, labels = rows(500, 5)
    plain, careful = (
        fit(logits, labels, NAMES, decide).decision for decide in ("argmax", {"costs": {"ham": 20, "spam": 1}})
    )
    probabilities = plain.probabilities(logits)
    assert (careful.predict(probabilities) == (probabilities[:, 1] > 20 / 21)).all()
    full = fit(logits, labels, NAMES, {"costs": {"ham": {"spam": 20}, "spam": {"ham": 1}}}).decision
    assert full.costs == careful.costs == [[0, 20], [1, 0]]


def test_probabilities_are_adapted_to_another_class_prior():
    """Balanced training, and one row in ten where the model is used: probabilities are right there."""
    rng = np.random.default_rng(6)
    labels = (rng.random(200_000) < 0.1).astype(int)
    x = rng.standard_normal(len(labels)) + 2 * labels
    balanced = np.stack([np.zeros_like(x), 2 * x - 2], 1)  # the log-odds of two normal distributions, equally frequent
    adapted = Decision(log_priors=log_priors([1, 1], [0.9, 0.1])).probabilities(balanced)[:, 1]
    assert adapted.mean() == pytest.approx(0.1, abs=0.003)
    assert Decision().probabilities(balanced)[:, 1].mean() > 0.2


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        ("argmin", "decide is 'argmin'.* argmax, "),
        ({"max_fp": 0.1}, "did you mean max_fpr"),
        ({"max_fpr": 0.1}, "of, one of a, b, c"),
        ({"max_fpr": 0.1, "min_recall": 0.9}, "expected argmax, "),
        ({"max_fpr": 2}, "max_fpr is 2.* 0 and 1"),
        ({"max_fpr": 0.1, "of": "eggs"}, "'eggs'.* ham, spam"),
        ({"min_recall": 0.9, "of": "each"}, "max_fpr .*min_precision .*each class"),
        ({"coverage": 0.9, "of": "each"}, "name one class, or ask for coverage"),
        ({"thresholds": {"ham": 0.5}}, "thresholds are {'ham': 0.5}.* 0 and 1"),
        ({"thresholds": {"ham": 0.5, "spam": 2}}, " each of ham, spam"),
        ({"thresholds": {"ham": 0.5, "spam": 0.5, "eggs": 0.5}}, " each of ham, spam"),
        ({"costs": {"ham": 1}}, "costs are {'ham': 1}.* cost of a wrong prediction"),
        ({"costs": {"ham": 1, "spam": "much"}}, "costs of spam are 'much'"),
    ],
)
def test_a_rule_that_is_none_is_refused(decide, message):
    names = ("a", "b", "c") if "a, b, c" in message else NAMES
    with pytest.raises(InputError, match=message):
        fit(*rows(100, 7, len(names)), names, decide)
