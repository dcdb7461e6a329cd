"""What answering early costs is counted text by text."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.inference.early import early_scores
from gpt_classifier.inference.trace import Trace
from gpt_classifier.reporting.test_tables import early_table
from gpt_classifier.statistics.intervals import wilson


def trace_of(*spam: float, decision: Decision | None = None) -> Trace:
    share, n = np.array(spam), len(spam)
    rule = decision or Decision()
    return Trace("a" * n, n * ("a",), n * (None,), np.stack([1 - share, share], -1), ("ham", "spam"), rule, False)


TRACES = [trace_of(0.8, 0.95, 0.3), trace_of(0.3, 0.1, 0.02, 0.01), trace_of(0.9)]
LABELS = ["ham", "ham", "spam"]


def test_each_level_scores_the_answers_where_it_was_reached():
    scores = early_scores(TRACES, LABELS, [0.75, 0.9, 0.97, 1])
    assert [score.level for score in scores] == [0.75, 0.9, 0.97, 1, None]
    assert [score.accuracy for score in scores] == [wilson(right, 3) for right in (2, 2, 3, 3, 3)]
    read = np.array([[1, 2, 1], [2, 2, 1], [3, 3, 1], [3, 4, 1], [3, 4, 1]])
    assert [score.tokens for score in scores] == pytest.approx(read.mean(1))
    assert [score.share for score in scores] == pytest.approx((read / [3, 4, 1]).mean(1))


def test_answers_are_those_of_the_models_rule_and_unsure_is_not_right():
    rule = Decision(thresholds=[0.6, 0.99])
    scores = early_scores([trace_of(0.8, 0.995, decision=rule)], ["spam"], [0.7])
    assert [score.accuracy.value for score in scores] == [0, 1]


@pytest.mark.parametrize(("labels", "levels"), [(LABELS, [0.5, 0]), ([], [0.5])])
def test_levels_and_texts_are_checked(labels, levels):
    with pytest.raises(InputError):
        early_scores(TRACES, labels, levels)


def test_the_table_has_a_line_for_each_level():
    lines = early_table(early_scores(TRACES, LABELS, [0.9])).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["probability 0.9", "the end"]
    assert lines[2].endswith("1.7        72.2 %")


@pytest.fixture
def model(trained, tmp_path):
    return shutil.copytree(trained / "model", tmp_path / "model")


@pytest.fixture
def rows(tmp_path):
    texts = [f"{'win a prize' if n % 2 else 'see you'} {n} {'x' * n}" for n in range(30)]
    path = tmp_path / "rows.csv"
    pd.DataFrame({"text": texts, "label": ["spam" if n % 2 else "ham" for n in range(30)]}).to_csv(path, index=False)
    return path


def test_calibrate_tells_it_with_the_probabilities_that_it_found(model, rows, capsys):
    assert main(["calibrate", str(model), f"--data.val_source={rows}", "--early", "[0.6, 0.7]"]) == 0
    out = capsys.readouterr().out
    table, classifier = pd.read_csv(rows), TextClassifier.load(model)
    scores = early_scores(map(classifier.trace, table["text"]), table["label"].tolist(), [0.6, 0.7])
    assert early_table(scores) in out
    assert json.loads((model / "config.json").read_text())["decision"]["temperature"] != 1


@pytest.mark.parametrize(
    ("early", "named"), [("2", "the level is 2"), ("[]", "--early is []"), ("[high]", "--early is ['high']")]
)
def test_what_is_no_level_is_one_line_and_changes_nothing(early, named, model, rows, capsys):
    before = (model / "config.json").read_bytes()
    assert main(["calibrate", str(model), f"--data.val_source={rows}", "--early", early]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
    assert (model / "config.json").read_bytes() == before
