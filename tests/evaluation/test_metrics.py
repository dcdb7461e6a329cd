"""Scores are scikit-learn's, collected over batches of any size."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from gpt_classifier.evaluation.metrics import (
    Predictions,
    classification_scores,
    confusion_matrix,
    most_confident_errors,
    weighted_cross_entropy,
)


@pytest.fixture(params=[2, 3, 7], ids=lambda k: f"{k} classes")
def measured(request) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K) that are somewhat right about labels (N,)."""
    labels = torch.randint(request.param, (200,))
    return torch.randn(200, request.param) + 1.5 * torch.nn.functional.one_hot(labels), labels


def test_scores_equal_those_of_scikit_learn(measured):
    logits, labels = measured
    k = logits.shape[1]
    names = [f"class {n}" for n in range(k)]
    scores = classification_scores(logits, labels, names)
    truth, predicted, shares = labels.numpy(), logits.argmax(-1).numpy(), logits.softmax(-1).numpy()
    each = np.eye(k)[truth]  # (N, K) one-hot
    expected = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "f1_macro": sk.f1_score(truth, predicted, average="macro"),
        "mcc": sk.matthews_corrcoef(truth, predicted),
        "auroc": sk.roc_auc_score(each, shares, average="macro"),
        "average_precision": sk.average_precision_score(each, shares, average="macro"),
    }
    for kind, score in (("precision", sk.precision_score), ("recall", sk.recall_score)):
        values = score(truth, predicted, average=None)
        expected |= {f"{kind}_{name}": value for name, value in zip(names, values, strict=True)}
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(confusion_matrix(logits, labels), sk.confusion_matrix(truth, predicted))


def test_where_one_class_occurs_no_score_needs_the_other():
    scores = classification_scores(torch.randn(5, 2), torch.ones(5, dtype=torch.long), ["ham", "spam"])
    assert not {"auroc", "average_precision"} & scores.keys()
    assert all(np.isfinite(value) for value in scores.values())


def test_scores_of_perfect_predictions_are_one(measured):
    _, labels = measured
    k = int(labels.max()) + 1
    scores = classification_scores(
        100 * torch.nn.functional.one_hot(labels, k).float(), labels, list(map(str, range(k)))
    )
    assert set(scores.values()) == {1.0}


@pytest.mark.parametrize("size", [1, 7, 200])
def test_predictions_do_not_depend_on_the_batches_that_brought_them(size, measured):
    logits, labels = measured
    collected = Predictions()
    for rows in torch.randperm(200).split(size):
        collected.update(logits[rows], labels[rows], rows)
    assert all(map(torch.equal, collected.compute(), (logits, labels, torch.arange(200))))
    collected.reset()
    assert collected.logits == []


def test_weighted_cross_entropy_is_the_mean_of_weight_times_cross_entropy(measured):
    logits, labels = measured
    weights = torch.rand(logits.shape[1])
    by_hand = [-weights[y] * row.log_softmax(-1)[y] for row, y in zip(logits, labels, strict=True)]
    assert weighted_cross_entropy(logits, labels, weights).item() == pytest.approx(float(sum(by_hand)) / 200, rel=1e-5)
    assert weighted_cross_entropy(logits, labels, None).item() == pytest.approx(
        sk.log_loss(labels.numpy(), logits.double().softmax(-1).numpy()), rel=1e-5
    )


def test_most_confident_errors_come_first_and_are_errors():
    logits = torch.tensor([[0.0, 9.0], [5.0, 0.0], [0.0, 3.0], [7.0, 0.0], [0.0, 4.0], [1.0, 0.0]])
    labels = torch.tensor([1, 1, 0, 1, 1, 1])  # wrong are rows 1, 2, 3 and 5
    assert most_confident_errors(logits, labels, most=20) == [3, 1, 2, 5]
    assert most_confident_errors(logits, labels, most=2) == [3, 1]
    assert most_confident_errors(logits, logits.argmax(-1), most=20) == []
