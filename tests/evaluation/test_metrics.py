"""Scores are scikit-learn's, collected over batches of any size."""

import math

import numpy as np
import pytest
import sklearn
import torch
from sklearn import metrics as sk

from gpt_classifier.data.task import Task
from gpt_classifier.evaluation.metrics import (
    classification_scores,
    confusion_matrix,
    count_found,
    most_confident_errors,
)
from gpt_classifier.evaluation.outputs import EpochOutputs, Predictions


@pytest.fixture(params=[2, 3, 7], ids=lambda k: f"{k} classes")
def measured(request) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K) that are somewhat right about labels (N,)."""
    labels = torch.randint(request.param, (200,))
    return torch.randn(200, request.param) + 1.5 * torch.nn.functional.one_hot(labels), labels


def scikit_learns(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """What its documentation defines; what it calls undefined is left out."""
    k = logits.shape[1]
    truth, predicted = labels.numpy(), logits.numpy().argmax(-1)
    probabilities = logits.double().softmax(-1).numpy()
    occurring = set(truth.tolist())
    arguments = {"labels": range(k), "average": None, "zero_division": 0}
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, predicted, **arguments)
    named = sorted(occurring | set(predicted.tolist()))
    expected = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "f1_macro": f1[named].mean(),
        "mcc": sk.matthews_corrcoef(truth, predicted),
    }
    if len(occurring) > 1:
        for name, score in (("auroc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
            expected[name] = np.mean([score(truth == c, probabilities[:, c]) for c in occurring])
    expected |= {f"precision_{c}": precision[c] for c in named}
    expected |= {f"recall_{c}": recall[c] for c in occurring}
    return expected


@pytest.mark.filterwarnings("ignore:A single label was found", "ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("cases", [100, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.nightly])])
def test_scores_equal_those_of_scikit_learn(cases):
    """On logits and labels of any size, with ties, with classes that do not occur, with one class in all rows."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(cases):
        k, n = int(rng.integers(2, 8)), int(rng.integers(1, 40))
        occurring = rng.choice(k, size=rng.integers(1, k + 1), replace=False)
        labels = torch.from_numpy(rng.choice(occurring, size=n))
        logits = torch.from_numpy(rng.standard_normal((n, k)) * rng.choice([0.1, 1, 30])).float()
        logits += rng.choice([0, 1, 3]) * torch.nn.functional.one_hot(labels, k)
        if rng.random() < 0.4:
            logits = logits.round()  # many ties, of the largest logit too
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # half of its time
            scores = classification_scores(EpochOutputs.of(logits, labels), list(map(str, range(k))))
            expected = scikit_learns(logits, labels)
        assert scores == pytest.approx(expected, abs=1e-12)
        seen |= {len(occurring) == 1, "absent" if len(labels.unique()) < k else "all", *expected}
    assert seen >= {True, False, "absent", "all", "auroc", "recall_6"}


def test_an_absent_class_takes_nothing_from_the_others():
    """The example of three classes, one of them absent, with a perfect ranking and one wrong prediction in three."""
    logits = torch.tensor([[3.0, 0, 0], [3, 0, 0], [2, 0, 4], [0, 3, 0], [0, 3, 0], [0, 3, 0]])
    scores = classification_scores(EpochOutputs.of(logits, torch.tensor([0, 0, 0, 1, 1, 1])), ["a", "b", "absent"])
    assert scores["auroc"] == scores["average_precision"] == 1
    assert scores["balanced_accuracy"] == pytest.approx(5 / 6)
    assert "recall_absent" not in scores
    assert scores["precision_absent"] == 0


def test_a_confusion_matrix_counts_true_classes_in_rows(measured):
    logits, labels = measured
    k = logits.shape[1]
    expected = sk.confusion_matrix(labels, logits.argmax(-1), labels=range(k))
    assert np.array_equal(confusion_matrix(EpochOutputs.of(logits, labels)), expected)


def test_scores_of_each_class_are_for_up_to_twenty():
    few, many = (
        classification_scores(EpochOutputs.of(torch.randn(90, k), torch.arange(90) % k), list(map(str, range(k))))
        for k in (20, 21)
    )
    assert len(few) == 6 + 2 * 20
    assert len(many) == 6


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_give_scores_that_are_none(wrong):
    """A network that diverged has no accuracy, and the end of its epoch must not fail."""
    logits, labels = torch.randn(9, 3), torch.arange(9) % 3
    expected = classification_scores(EpochOutputs.of(logits, labels), list("abc")).keys()
    logits[4, 1] = wrong
    scores = classification_scores(EpochOutputs.of(logits, labels), list("abc"))
    assert scores.keys() == expected
    assert all(map(math.isnan, scores.values()))


def test_scores_of_perfect_predictions_are_one(measured):
    _, labels = measured
    k = int(labels.max()) + 1
    outputs = EpochOutputs.of(100 * torch.nn.functional.one_hot(labels, k).float(), labels)
    scores = classification_scores(outputs, list(map(str, range(k))))
    assert set(scores.values()) == {1.0}


@pytest.mark.parametrize("size", [1, 7, 200])
def test_predictions_do_not_depend_on_the_batches_that_brought_them(size, measured):
    logits, labels = measured
    collected = Predictions()
    for rows in torch.randperm(200).split(size):
        collected.update(logits[rows], labels[rows], rows)
    gathered = collected.gathered(Task.SINGLE_LABEL)
    found = gathered.logits, gathered.labels, gathered.rows
    assert all(map(torch.equal, found, (logits, labels, torch.arange(200))))
    collected.reset()
    assert collected.logits == []


def test_a_single_row_is_a_row():
    collected = Predictions()
    collected.update(torch.tensor([[1.0, 2.0]]), torch.tensor([1]), torch.tensor([7]))
    gathered = collected.gathered(Task.SINGLE_LABEL)
    found = gathered.logits, gathered.labels, gathered.rows
    assert [tuple(tensor.shape) for tensor in found] == [(1, 2), (1,), (1,)]


def test_the_loss_of_single_labels_is_the_mean_of_weight_times_cross_entropy(measured):
    logits, labels = measured
    weights = torch.rand(logits.shape[1])
    by_hand = [-weights[y] * row.log_softmax(-1)[y] for row, y in zip(logits, labels, strict=True)]
    assert Task.SINGLE_LABEL.loss(logits, labels, weights).item() == pytest.approx(float(sum(by_hand)) / 200, rel=1e-5)
    assert Task.SINGLE_LABEL.loss(logits, labels, None).item() == pytest.approx(
        sk.log_loss(labels.numpy(), logits.double().softmax(-1).numpy()), rel=1e-5
    )


def test_most_confident_errors_come_first_and_are_errors():
    logits = torch.tensor([[0.0, 9.0], [5.0, 0.0], [0.0, 3.0], [7.0, 0.0], [0.0, 4.0], [1.0, 0.0]])
    labels = torch.tensor([1, 1, 0, 1, 1, 1])  # wrong are rows 1, 2, 3 and 5
    assert most_confident_errors(EpochOutputs.of(logits, labels), limit=20) == [3, 1, 2, 5]
    assert most_confident_errors(EpochOutputs.of(logits, labels), limit=2) == [3, 1]
    assert most_confident_errors(EpochOutputs.of(logits, logits.argmax(-1)), limit=20) == []


@pytest.mark.parametrize("decimals", [0, 1, 6])  # many ties, some, none
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 1.0])
def test_positives_found_at_a_false_positive_rate_are_those_of_scikit_learn(rate, decimals):
    rng = np.random.default_rng(3)
    for fraction in (0.02, 0.5, 0.97):
        positive = rng.random(300) < fraction
        scores = rng.normal(positive).round(decimals)
        fpr, tpr, _ = sk.roc_curve(positive, scores, drop_intermediate=False)
        found = count_found(rate, scores, positive)
        if rate * (~positive).sum() < 1:
            assert found is None
        else:
            assert found == (round(tpr[fpr <= rate + 1e-12].max() * positive.sum()), positive.sum())


def test_nothing_is_found_where_there_is_no_positive_or_no_negative():
    scores = np.array([0.1, 0.9])
    assert count_found(0.5, scores, np.array([False, False])) is None
    assert count_found(0.5, scores, np.array([True, True])) is None
