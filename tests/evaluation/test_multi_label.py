"""Scores of texts with any number of labels are scikit-learn's, whatever is absent, tied or alone."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from gpt_classifier.evaluation import bootstrap
from gpt_classifier.evaluation.metrics import (
    Predictions,
    classification_scores,
    most_confident_errors,
    score_names,
    weighted_cross_entropy,
)


def scikit_learns(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """What its documentation defines; labels that neither occur nor are predicted are in no mean."""
    truth, shares = labels.numpy().astype(int), logits.double().sigmoid().numpy()
    predicted = (shares >= 0.5).astype(int)
    k = truth.shape[1]
    each = [
        [score(truth[:, c], predicted[:, c], zero_division=np.nan) for c in range(k)]
        for score in (sk.precision_score, sk.recall_score, sk.f1_score)
    ]
    expected = {
        "accuracy": (truth == predicted).all(1).mean(),
        "f1_macro": np.nanmean(each[2]) if not np.isnan(each[2]).all() else math.nan,
        "f1_micro": sk.f1_score(truth.ravel(), predicted.ravel(), zero_division=np.nan),
        "hamming_loss": sk.hamming_loss(truth, predicted) if k > 1 else (truth != predicted).mean(),
        "label_ranking_average_precision": sk.label_ranking_average_precision_score(truth, shares),
    }
    if k > 1 and len(truth) > 1:
        assert expected["accuracy"] == sk.accuracy_score(truth, predicted)
        assert expected["f1_micro"] == pytest.approx(
            sk.f1_score(truth, predicted, average="micro", zero_division=np.nan), nan_ok=True
        )
    ranked = [c for c in range(k) if 0 < truth[:, c].sum() < len(truth)]
    for name, score in (("auroc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        if ranked:
            expected[name] = np.mean([score(truth[:, c], shares[:, c]) for c in ranked])
        if 0 < truth.sum() < truth.size:
            expected[f"{name}_micro"] = score(truth.ravel(), shares.ravel())
    expected |= {f"precision_{c}": each[0][c] for c in range(k) if truth[:, c].any() or predicted[:, c].any()}
    expected |= {f"recall_{c}": each[1][c] for c in range(k)}
    expected |= {f"precision_{c}": 0 for c in range(k) if truth[:, c].any() and not predicted[:, c].any()}
    return {name: float(value) for name, value in expected.items() if not math.isnan(value)}


def awkward(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Any number of rows and labels, with labels of no row or of all, rows of no label or of all, and ties."""
    n, k = int(rng.integers(1, 30)), int(rng.integers(1, 7))
    labels = rng.random((n, k)) < rng.choice([0, 0.1, 0.5, 1], size=k)
    labels &= rng.random((n, 1)) < 0.8
    logits = rng.standard_normal((n, k)) * rng.choice([0.1, 1, 10]) + 2 * labels * rng.integers(2)
    if rng.random() < 0.5:
        logits = logits.round()  # ties, of which 0 is the most awkward
    return torch.from_numpy(logits).float(), torch.from_numpy(labels).float()


@pytest.mark.parametrize("cases", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_scores_equal_those_of_scikit_learn(cases):
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(cases):
            logits, labels = awkward(rng)
            names = list(map(str, range(labels.shape[1])))
            scores = classification_scores(logits, labels, names)
            assert scores == pytest.approx(scikit_learns(logits, labels)), (logits, labels)
            assert set(score_names(labels, names)) - {"loss"} <= set(scores)


def test_the_loss_is_pytorchs_with_its_weights():
    logits, labels = torch.randn(50, 4), (torch.rand(50, 4) < 0.3).float()
    weights = torch.tensor([1.0, 2.0, 5.0, 0.5])
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=weights)(logits, labels)
    assert weighted_cross_entropy(logits, labels, weights).equal(expected)
    parts = [
        weighted_cross_entropy(logits[rows], labels[rows], weights) * len(rows) for rows in torch.arange(50).split(7)
    ]
    assert torch.allclose(sum(parts) / 50, expected)


def test_logits_that_are_no_numbers_have_no_scores():
    logits, labels = torch.randn(20, 3), (torch.rand(20, 3) < 0.5).float()
    expected = classification_scores(logits, labels, list("abc")).keys()
    logits[3, 1] = math.nan
    scores = classification_scores(logits, labels, list("abc"))
    assert scores.keys() == expected
    assert all(map(math.isnan, scores.values()))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 3), (5, 1), (5, 3)])
def test_predictions_keep_their_shape(n, k):
    logits, labels = torch.randn(n, k), torch.ones(n, k)
    predictions = Predictions()
    rows = torch.arange(n).flip(0)
    predictions.update(logits, labels, rows)
    gathered = predictions.gathered()
    assert gathered[0].equal(logits.flip(0))
    assert gathered[1].equal(labels)
    assert gathered[2].tolist() == list(range(n))


def test_the_most_confident_errors_come_first():
    labels = torch.tensor([[1.0, 0], [1, 0], [0, 0], [1, 1]])
    logits = torch.tensor([[9.0, -9], [-1, 5], [-3, 0.5], [2, -3.0]])
    assert most_confident_errors(logits, labels, most=20) == [1, 3, 2]


# ---------------------------------------------------------------- intervals


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_resampled_f1_is_scikit_learns():
    rng = np.random.default_rng(1)
    for _ in range(50):
        logits, labels = awkward(rng)
        truth, found = labels.bool().numpy(), (logits >= 0).numpy()
        counts = rng.integers(0, 3, size=(4, len(truth))).astype(float)
        counts[:, 0] = 1
        for average, score in (("macro", bootstrap.macro_f1), ("micro", bootstrap.micro_f1)):
            values = score(truth, found)(counts)
            for row, value in zip(counts.astype(int), values, strict=True):
                drawn = np.repeat(np.arange(len(truth)), row)
                each = [
                    sk.f1_score(truth[drawn, c], found[drawn, c], zero_division=np.nan) for c in range(truth.shape[1])
                ]
                expected = np.nanmean(each) if not np.isnan(each).all() else np.nan
                if average == "micro":
                    expected = sk.f1_score(truth[drawn].ravel(), found[drawn].ravel(), zero_division=np.nan)
                assert value == pytest.approx(expected, nan_ok=True)


def test_intervals_hold_the_true_score_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    share, recall, false = np.array([0.5, 0.2, 0.1]), np.array([0.9, 0.7, 0.6]), np.array([0.1, 0.05, 0.02])

    def rows(n):
        truth = rng.random((n, 3)) < share
        return truth, rng.random((n, 3)) < np.where(truth, recall, false)

    population = rows(200_000)
    for score in (bootstrap.macro_f1, bootstrap.micro_f1):
        true = score(*population)(np.ones((1, 200_000)))[0]
        inside = 0
        for _ in range(150):
            truth, found = rows(200)
            low, high = bootstrap.intervals(truth, {"f1": score(truth, found)})["f1"]
            inside += low <= true <= high
        assert 0.87 <= inside / 150 <= 0.99
