"""Scores of texts with any number of labels are scikit-learn's, whatever is absent, tied or alone."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from gpt_classifier.data.task import Task
from gpt_classifier.decision.fitting import fit, log_odds
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import Rows, train_baselines
from gpt_classifier.evaluation.metrics import (
    classification_scores,
    most_confident_errors,
    score_names,
)
from gpt_classifier.evaluation.outputs import EpochOutputs, Predictions
from gpt_classifier.evaluation.results import TestResults
from gpt_classifier.evaluation.scores import report
from gpt_classifier.evaluation.verdict import score_baselines
from gpt_classifier.records import from_json, to_json
from gpt_classifier.reporting.results_tables import format_results
from gpt_classifier.statistics import resampling


def scikit_learns(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """What its documentation defines; labels that neither occur nor are predicted are in no mean."""
    truth, probabilities = labels.numpy().astype(int), logits.double().sigmoid().numpy()
    predicted = (probabilities >= 0.5).astype(int)
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
        "label_ranking_average_precision": sk.label_ranking_average_precision_score(truth, probabilities),
    }
    if k > 1 and len(truth) > 1:
        assert expected["accuracy"] == sk.accuracy_score(truth, predicted)
        assert expected["f1_micro"] == pytest.approx(
            sk.f1_score(truth, predicted, average="micro", zero_division=np.nan), nan_ok=True
        )
    ranked = [c for c in range(k) if 0 < truth[:, c].sum() < len(truth)]
    for name, score in (("auroc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        if ranked:
            expected[name] = np.mean([score(truth[:, c], probabilities[:, c]) for c in ranked])
        if 0 < truth.sum() < truth.size:
            expected[f"{name}_micro"] = score(truth.ravel(), probabilities.ravel())
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


@pytest.mark.parametrize("cases", [50, pytest.param(1_000, marks=[pytest.mark.slow, pytest.mark.nightly])])
def test_scores_equal_those_of_scikit_learn(cases):
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(cases):
            logits, labels = awkward(rng)
            names = list(map(str, range(labels.shape[1])))
            scores = classification_scores(EpochOutputs.of(logits, labels), names)
            assert scores == pytest.approx(scikit_learns(logits, labels)), (logits, labels)
            assert set(score_names(labels, names)) - {"loss"} <= set(scores)


def test_the_loss_is_pytorchs_with_its_weights():
    logits, labels = torch.randn(50, 4), (torch.rand(50, 4) < 0.3).float()
    weights = torch.tensor([1.0, 2.0, 5.0, 0.5])
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=weights)(logits, labels)
    assert Task.MULTI_LABEL.loss(logits, labels, weights).equal(expected)
    parts = [
        Task.MULTI_LABEL.loss(logits[rows], labels[rows], weights) * len(rows) for rows in torch.arange(50).split(7)
    ]
    assert torch.allclose(sum(parts) / 50, expected)


def test_logits_that_are_no_numbers_have_no_scores():
    logits, labels = torch.randn(20, 3), (torch.rand(20, 3) < 0.5).float()
    expected = classification_scores(EpochOutputs.of(logits, labels), list("abc")).keys()
    logits[3, 1] = math.nan
    scores = classification_scores(EpochOutputs.of(logits, labels), list("abc"))
    assert scores.keys() == expected
    assert all(map(math.isnan, scores.values()))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 3), (5, 1), (5, 3)])
def test_predictions_keep_their_shape(n, k):
    logits, labels = torch.randn(n, k), torch.ones(n, k)
    predictions = Predictions()
    rows = torch.arange(n).flip(0)
    predictions.update(logits, labels, rows)
    gathered = predictions.gathered(Task.MULTI_LABEL)
    assert gathered.logits.equal(logits.flip(0))
    assert gathered.labels.equal(labels)
    assert gathered.rows.tolist() == list(range(n))


def test_the_most_confident_errors_come_first():
    labels = torch.tensor([[1.0, 0], [1, 0], [0, 0], [1, 1]])
    logits = torch.tensor([[9.0, -9], [-1, 5], [-3, 0.5], [2, -3.0]])
    assert most_confident_errors(EpochOutputs.of(logits, labels), limit=20) == [1, 3, 2]


def test_every_report_is_json_and_a_table():
    rng = np.random.default_rng(3)
    for _ in range(40):
        logits, labels = awkward(rng)
        names = [f"label {c} with a long name [{c}]" for c in range(labels.shape[1])]
        result = report(
            EpochOutputs.of(logits, labels), names, clusters=rng.integers(0, len(labels), len(labels)).tolist()
        )
        told = TestResults(scores=result, loss=0.5, training_seconds=None, test_seconds=1.0, natural_mix=None)
        content = json.loads(json.dumps(to_json(told), allow_nan=False))
        assert from_json(TestResults, content) == told
        assert all(name in format_results(told, 100) for name in names)
        assert result.accuracy == (labels.bool() == (logits >= 0)).all(1).double().mean()
        scores = classification_scores(EpochOutputs.of(logits, labels), names)
        for name in ("f1_macro", "f1_micro", "auroc", "average_precision_micro"):
            assert content[name] == scores.get(name)
        truth, found = labels.bool().numpy().ravel(), (logits >= 0).numpy().ravel()
        for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score)):
            expected = score(truth, found, zero_division=0)
            assert (content[f"{name}_micro"] or 0) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:Label not 2")
def test_baselines_are_one_model_a_label_and_the_verdict_is_on_whole_texts():
    rng = np.random.default_rng(4)
    words = np.array(["bread", "piano", "tennis"])
    labels = rng.random((300, 3)) < [0.5, 0.3, 0.0]  # a label without rows
    texts = [" ".join([*words[row], *rng.choice(["so", "and", "on"], 3)]) for row in labels]
    parts = [Rows(texts[start:stop], labels[start:stop]) for start, stop in ((0, 200), (200, 250), (250, 300))]
    train, val, test = parts
    found = train_baselines(train, val, test.texts)
    assert not found.skipped
    by_name = {each.name: each.predicted for each in found.trained}
    assert all(predicted.shape == (50, 3) and predicted.dtype == bool for predicted in by_name.values())
    assert (by_name["majority class"] == (train.labels.mean(0) > 0.5)).all()
    words_only = OneVsRestClassifier(make_pipeline(CountVectorizer(), MultinomialNB())).fit(train.texts, train.labels)
    assert (by_name["naive Bayes"] == words_only.predict(test.texts)).all()
    compared = score_baselines(by_name["decision tree"], test.labels, found)
    right = {name: (predicted == test.labels).all(1) for name, predicted in by_name.items()}
    assert compared.against_best.difference == pytest.approx(
        right["decision tree"].mean() - right[compared.against_best.best].mean()
    )
    for model in compared.models:
        each = [sk.f1_score(test.labels[:, c], by_name[model.name][:, c], zero_division=np.nan) for c in range(3)]
        assert model.f1_macro == pytest.approx(np.nanmean(each))
        assert model.accuracy == right[model.name].mean()


# ---------------------------------------------------------------- thresholds


def test_each_label_has_the_threshold_of_its_highest_f1():
    rng = np.random.default_rng(5)
    logits = rng.standard_normal((400, 4)).round(1)
    labels = rng.random((400, 4)) < 1 / (1 + np.exp(-2 * logits + [0, 1, 3, 99]))
    decision = fit(logits, labels, list("abcd"), "max_f1").decision
    probabilities = decision.probabilities(logits)
    for c in range(3):
        scores = {t: sk.f1_score(labels[:, c], probabilities[:, c] >= t) for t in np.unique(probabilities[:, c])}
        assert sk.f1_score(labels[:, c], decision.sets(probabilities)[:, c]) == pytest.approx(max(scores.values()))
    assert decision.thresholds[3] == 0.5  # no row has it


def test_a_recall_of_each_label_holds_on_unseen_rows_on_average():
    def rows(n, seed):
        rng = np.random.default_rng(seed)
        logits = 2 * rng.standard_normal((n, 3)) - [0, 1, 2]
        return 3 * logits, rng.random((n, 3)) < 1 / (1 + np.exp(-logits))

    unseen, truth = rows(20000, 1000)
    found = []
    for seed in range(40):
        point = fit(*rows(600, seed), list("abc"), {"min_recall": 0.9})
        assert point.decision.temperature == pytest.approx(3, rel=0.4)
        said = point.decision.sets(point.decision.probabilities(unseen))
        found.append([said[truth[:, c], c].mean() for c in range(3)])
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.mean(found, axis=0) >= 0.9 - 3 * error).all()
    assert (np.mean(found, axis=0) < 0.95).all()


def test_labels_with_too_few_rows_are_named_with_the_rate_that_they_support():
    logits, labels = np.zeros((50, 2)), np.arange(100).reshape(50, 2) % 4 == 0
    with pytest.raises(InputError, match=r"25 rows of class a support min_recall up to 0\.9615; .* 0 rows of class b"):
        fit(logits, labels, ["a", "b"], {"min_recall": 0.99})
    only_a = fit(logits, labels, ["a", "b"], {"min_recall": 0.9, "of": "a"}).decision
    assert only_a.thresholds == [0.5, 0.5]
    named_each = fit(logits, labels, ["a", "each"], "max_f1").decision
    assert named_each.thresholds == fit(logits, labels, ["a", "b"], "max_f1").decision.thresholds
    for wrong in ("argmax", {"coverage": 0.9}, {"costs": {}}, {"min_recall": 0.9, "of": "c"}, {"min_recall": 2}):
        with pytest.raises(InputError):
            fit(logits, labels, ["a", "b"], wrong)


def test_probabilities_are_adapted_to_the_prevalence_after_weighted_training():
    rng = np.random.default_rng(6)
    labels = rng.random(200_000) < 0.1
    x = rng.standard_normal(len(labels)) + 2 * labels
    weighted = np.stack([2 * x - 2] * 2, 1)  # the log-odds of two normal distributions, equally frequent
    decision = Decision(log_priors=log_odds([0.5, 0.5], [0.1, 0.5]), multi_label=True)
    assert decision.probabilities(weighted).mean(0) == pytest.approx([0.1, weighted_mean(weighted)], abs=0.003)


def weighted_mean(logits: np.ndarray) -> float:
    return float(Decision(multi_label=True).probabilities(logits)[:, 1].mean())


# ---------------------------------------------------------------- intervals


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("cases", [15, pytest.param(50, marks=pytest.mark.nightly)])
def test_resampled_f1_is_scikit_learns(cases):
    rng = np.random.default_rng(1)
    for _ in range(cases):
        logits, labels = awkward(rng)
        truth, found = labels.bool().numpy(), (logits >= 0).numpy()
        counts = rng.integers(0, 3, size=(4, len(truth))).astype(float)
        counts[:, 0] = 1
        for average, score in (("macro", resampling.macro_f1), ("micro", resampling.micro_f1)):
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
    prevalence, recall, false = np.array([0.5, 0.2, 0.1]), np.array([0.9, 0.7, 0.6]), np.array([0.1, 0.05, 0.02])

    def rows(n):
        truth = rng.random((n, 3)) < prevalence
        return truth, rng.random((n, 3)) < np.where(truth, recall, false)

    population = rows(200_000)
    for score in (resampling.macro_f1, resampling.micro_f1):
        true = score(*population)(np.ones((1, 200_000)))[0]
        inside = 0
        for _ in range(150):
            truth, found = rows(200)
            low, high = resampling.intervals(truth, {"f1": score(truth, found)})["f1"]
            inside += low <= true <= high
        assert 0.87 <= inside / 150 <= 0.99
