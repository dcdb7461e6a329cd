"""What a test reports is scikit-learn's report, and its tables hide nothing."""

import json

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch.nn import functional as F

from gpt_classifier.decision.prior import score_at_class_prior
from gpt_classifier.evaluation.baselines import Baselines, Trained
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.evaluation.results import Missing, NotFinite, Scores, TestResults
from gpt_classifier.evaluation.scores import report
from gpt_classifier.evaluation.verdict import score_baselines
from gpt_classifier.records import to_json
from gpt_classifier.reporting.results_tables import format_results
from gpt_classifier.statistics.intervals import clustered, wilson


def predictions(k: int, n: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K), mostly right about labels (N,); the first class is the most frequent, the last one is absent."""
    labels = (torch.rand(n) ** 2 * (k - 1)).long()
    return torch.randn(n, k) + 2.5 * torch.nn.functional.one_hot(labels, k), labels


def build_results(scores: Scores, **more: object) -> TestResults:
    unknown = {"loss": None, "training_seconds": None, "test_seconds": None, "natural_mix": None}
    return TestResults(**{"scores": scores} | unknown | more)


def named(k: int) -> list[str]:
    return [f"class {n}" for n in range(k)]


@pytest.mark.parametrize("k", [3, 7, 50])
def test_a_report_is_scikit_learns(k):
    logits, labels = predictions(k)
    result = report(EpochOutputs.of(logits, labels), named(k))
    probabilities = logits.double().softmax(-1).numpy()
    predicted = logits.argmax(-1)
    theirs = sk.classification_report(labels, predicted, labels=range(k), output_dict=True, zero_division=0)
    for entry in result.classes:
        c = named(k).index(entry.class_)
        expected = theirs[str(c)]
        assert entry.rows == expected["support"]
        assert entry.predicted == (predicted == c).sum()
        if entry.rows:
            values = {"precision": expected["precision"], "recall": expected["recall"], "f1": expected["f1-score"]}
            values |= {"auroc": sk.roc_auc_score(labels == c, probabilities[:, c])}
            assert {name: getattr(entry, name) for name in values} == pytest.approx(values)
        else:
            assert entry.recall is entry.auroc is None
    assert [entry.rows for entry in result.classes] == sorted(labels.bincount(minlength=k).tolist(), reverse=True)
    assert result.accuracy == sk.accuracy_score(labels, predicted)
    assert result.precision_macro == pytest.approx(
        sk.precision_score(labels, predicted, average="macro", zero_division=0)
    )
    for n in (2, 3, 5):
        if n < k:
            expected = sk.top_k_accuracy_score(labels, probabilities, k=n, labels=range(k))
            assert result.top_k[str(n)] == pytest.approx(expected)
    counts = sk.confusion_matrix(labels, predicted, labels=range(k))
    np.fill_diagonal(counts, 0)
    assert sum(c.rows for c in result.confusions) == counts.sum()
    first = result.confusions[0]
    i, j = named(k).index(first.true), named(k).index(first.predicted)
    assert first.rows == counts.max() == counts[i, j]
    assert first.share_of_class == pytest.approx(counts[i, j] / int((labels == i).sum()))


@pytest.mark.parametrize(("copies", "told"), [(100, True), (5, False)])
def test_a_report_is_json_and_the_interval_by_clusters_is_printed_where_copies_are_many(copies, told):
    logits, labels = predictions(3)
    clusters = [n % (300 - copies) for n in range(300)]
    results = build_results(report(EpochOutputs.of(logits, labels), named(3), clusters))
    content = json.loads(json.dumps(to_json(results), allow_nan=False))
    right = (logits.argmax(-1) == labels).numpy()
    assert tuple(content["accuracy_interval"]) == wilson(right.sum(), 300)[1:]
    assert tuple(content["accuracy_interval_by_clusters"]) == clustered(right, clusters)[1:]
    assert (content["rows"], content["distinct_rows"]) == (300, 300 - copies)
    assert (f"{copies}\n  texts are near-duplicates of other test texts" in format_results(results)) == told


@pytest.mark.parametrize("k", [2, 3])
def test_a_report_has_intervals_of_macro_f1_and_of_two_classes_ranking(k):
    labels = torch.arange(300) % k
    logits = torch.randn(300, k) + 1.5 * torch.nn.functional.one_hot(labels)
    result = report(EpochOutputs.of(logits, labels), named(k))
    told = format_results(build_results(result))
    assert "95 % intervals by stratified bootstrap: macro F1 0." in told
    for name in ("f1_macro", "auroc", "average_precision") if k == 2 else ("f1_macro",):
        low, high = getattr(result, f"{name}_interval")
        assert low < getattr(result, name) < high
        assert f"{low:.3f} to {high:.3f}" in " ".join(told.split())
    assert ("auroc_interval" in to_json(build_results(result))) == (k == 2)
    labels = torch.arange(40) % 2  # of perfect predictions there is none
    result = report(EpochOutputs.of(5.0 * torch.nn.functional.one_hot(labels), labels), named(2))
    assert result.f1_macro_interval is None
    assert "bootstrap" not in format_results(build_results(result))


def test_baselines_stand_below_the_network_with_one_verdict_or_the_reason_why_there_are_none():
    skipped = {"character SVM": "9 characters would take it about 20 minutes"}
    logits, labels = predictions(3)
    names = np.array(named(3))
    truth = names[labels.numpy()]
    trained = [
        Trained("majority class", np.full(300, "class 0"), 0.4, 0.01),
        Trained("logistic regression", truth, 1.0, 2.0),
    ]
    scores = report(EpochOutputs.of(logits, labels), named(3))
    compared = score_baselines(names[logits.argmax(-1)], truth, Baselines(trained, skipped, 700, "100 validation rows"))
    missing = format_results(build_results(scores, baselines=Missing(missing="the rows are gone")))
    assert missing.endswith("\n\nno baselines: the rows are gone")
    text = format_results(build_results(scores, training_seconds=1200.1, test_seconds=1.2, baselines=compared))
    rows = text.partition("macro F1, % [95 %]")[2].splitlines()
    assert rows[2].startswith("the network")
    assert rows[2].endswith(" 1,201.3")
    assert [row.split("  ")[0] for row in rows[4:6]] == ["majority class", "logistic regression"]
    assert "without character SVM: 9 characters would take it about 20 minutes" in text
    assert text.count("Verdict: on 300 test texts the network is") == 1
    assert "less accurate than logistic" in " ".join(text.split())
    assert "the best baseline of those that were trained, without character SVM, on 100" in " ".join(text.split())
    assert all(len(line) <= 80 for line in text.splitlines())


def test_balanced_rows_are_also_scored_at_the_natural_class_prior():
    labels = torch.arange(300) % 2
    logits = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)) + 2 * F.one_hot(labels)
    names = ["ham", "spam"]
    prior = score_at_class_prior(logits.argmax(-1).numpy(), labels.numpy(), names, {"ham": 4825, "spam": 747})
    told = " ".join(
        format_results(
            build_results(report(EpochOutputs.of(logits, labels), names), natural_mix=prior), width=100
        ).split()
    )
    low, high = prior.precision_interval["spam"]
    assert "The test rows were balanced. At the natural class prior (86.6% ham, 13.4% spam): accuracy " in told
    assert f"precision of spam {100 * prior.precision['spam']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]" in told


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("length", [25, 150])
def test_names_are_never_truncated_and_lines_not_longer_than_the_width(width, length):
    names = [f"[b]{n}:smile:" + "x" * (length - 12) for n in range(5)]  # neither is rich's markup obeyed
    text = format_results(build_results(report(EpochOutputs.of(*predictions(5)), names)), width)
    assert all(len(line) <= width for line in text.splitlines()[3:])
    table = text.partition("\n\n")[2].partition("true class")[0]
    first_column = "".join(line[: line.find("  ")] if "  " in line else line for line in table.splitlines())
    assert all(name in first_column for name in names)


def test_of_many_confusions_ten_are_printed_and_of_many_classes_the_largest():
    logits, labels = predictions(120, n=5000)
    logits = logits / 3
    result = report(EpochOutputs.of(logits, labels), named(120))
    text = format_results(build_results(result))
    assert len(result.confusions) > 10
    assert len(text.partition("true class")[2].splitlines()) == 2 + 10
    assert "20 more classes" in text
    assert len(result.classes) == 120


def test_rows_without_a_prediction_are_counted_and_nothing_else_is():
    logits, labels = predictions(3)
    logits[:4, 0] = float("nan")
    result = report(EpochOutputs.of(logits, labels), named(3))
    assert result == NotFinite(rows=300, rows_with_logits_not_finite=4)
    assert to_json(result) == {"rows": 300, "rows_with_logits_not_finite": 4}
    assert format_results(result) == "4 of 300 rows have logits that are NaN or infinite: there are no scores"
