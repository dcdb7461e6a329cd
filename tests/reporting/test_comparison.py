"""The command ``compare``: what it says of two tests of the same rows, and what it refuses."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from gpt_classifier import TextDataModule
from gpt_classifier.cli.main import main
from gpt_classifier.data.duplicates import compute_digest
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.statistics.paired_tests import paired_difference

NAMES = ["ham", "spam"]


def write(run: Path, labels: list[int], predicted: list[int], names: list[str] = NAMES, **results: object) -> Path:
    """The files of a test of which only the predictions matter."""
    run.mkdir(parents=True)
    right = int(np.sum(np.array(labels) == predicted))
    accuracy = {"accuracy": right / len(labels), "accuracy_interval": wilson(right, len(labels))[1:]}
    (run / "scores.json").write_text(json.dumps({"rows": len(labels)} | accuracy | results), encoding="utf-8")
    with open(run / "predictions.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["row", "label", "predicted", *(f"probability_{name}" for name in names)])
        for row, (true, given_class) in enumerate(zip(labels, predicted, strict=True)):
            probability = 0.6 + 0.3 * row / len(labels)
            others = (1 - probability) / max(1, len(names) - 1)
            given = [probability if c == given_class else others for c in range(len(names))]
            writer.writerow([row, names[true], names[given_class], *given])
    return run


@pytest.fixture
def runs(tmp_path) -> list[Path]:
    """Of 100 rows the first run is wrong on rows 0 to 19, the second on rows 15 to 24."""
    labels = [row % 2 for row in range(100)]
    one = [1 - label if row < 20 else label for row, label in enumerate(labels)]
    other = [1 - label if 15 <= row < 25 else label for row, label in enumerate(labels)]
    settings = [{"model": {"pooling": pooling, "optimizer": {"name": "AdamW"}}} for pooling in ("mean", "last_token")]
    return [
        write(tmp_path / name, labels, predicted, configuration=configuration)
        for name, predicted, configuration in zip(("a", "b"), (one, other), settings, strict=True)
    ]


def as_json(runs: list[Path], capsys) -> dict:
    capsys.readouterr()
    assert main(["report", *map(str, runs), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_difference_its_interval_and_its_test_are_those_of_the_paired_rows(runs, capsys):
    found = as_json(runs, capsys)
    one, other = np.arange(100) >= 20, (np.arange(100) < 15) | (np.arange(100) >= 25)
    assert found["difference"] == pytest.approx(0.1)
    assert found["difference_interval"] == pytest.approx(list(paired_difference(other, one)[1:]))
    counts = [found[name] for name in ("both_right", "only_first_right", "only_second_right", "both_wrong")]
    assert counts == [75, 5, 15, 5]
    assert found["p"] == pytest.approx(binomtest(15, 20).pvalue)
    assert found["told_apart"] is True
    low, high = found["f1_macro_difference_interval"]
    assert low <= found["f1_macro_difference"] <= high

    back = as_json(runs[::-1], capsys)
    assert back["difference"] == pytest.approx(-found["difference"])
    assert back["difference_interval"] == pytest.approx([-bound for bound in found["difference_interval"][::-1]])
    assert back["p"] == found["p"]


def test_of_a_run_without_its_configuration_only_the_data_are_compared(tmp_path, capsys):
    data = {"data": {"source": "a.csv", "max_length": 64}}
    whole = {"configuration": {**data, "model": {"pooling": "mean"}, "trainer": {"max_epochs": 2}}}
    of_folder = {"configuration": {"data": {"source": "a.csv", "max_length": 32}, "model": {"n_layer": 2}}}
    both = [write(tmp_path / name, [0, 1], [0, 1], **results) for name, results in (("a", whole), ("b", of_folder))]
    found = as_json(both, capsys)
    assert found["settings_of"] == ["data"]
    assert found["settings"] == [{"setting": "data.max_length", "first": 64, "second": 32}]


def test_the_settings_that_differ_are_named_and_the_rows_whose_probabilities_differ_most(runs, capsys):
    found = as_json(runs, capsys)
    assert found["settings"] == [{"setting": "model.pooling", "first": "mean", "second": "last_token"}]
    assert found["disagreements"] == 20
    assert {each["row"] for each in found["examples"]} == {*range(15), *range(20, 25)}
    assert found["examples"][0]["row"] == 24  # where both are most certain
    for each in found["examples"]:
        assert each["first"] != each["second"]
        assert each["true"] in (each["first"], each["second"])


def test_people_read_a_sentence_and_tables(runs, capsys, tmp_path):
    page = tmp_path / "page.html"
    assert main(["report", *map(str, runs), "--html", str(page)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("B is 10.00 points more accurate than A\n")
    assert "The difference is statistically significant." in told
    assert "20 of 20 rows, without their texts: they were given in memory, or as data loaders." in " ".join(
        told.split()
    )
    assert told.isascii()
    assert re.search(r"only B right +15 +15.0 %", told)
    assert re.search(r"model.pooling +mean +last_token", told)
    shown = page.read_text(encoding="utf-8")
    assert "<h1>B is 10.00 points more accurate than A</h1>" in shown
    assert "<script" not in shown


def test_equal_runs_are_as_accurate_as_each_other(runs, capsys):
    found = as_json([runs[0], runs[0]], capsys)
    assert (found["difference"], found["p"], found["told_apart"], found["settings"]) == (0, 1, False, [])
    assert found["examples"] == []
    main(["report", str(runs[0]), str(runs[0])])
    told = capsys.readouterr().out
    assert told.startswith("B is as accurate as A\n")
    assert "The difference is not statistically significant." in told


def test_classes_in_another_order_are_the_same_classes(runs, capsys, tmp_path):
    labels = [row % 2 for row in range(100)]
    swapped = write(tmp_path / "swapped", [1 - n for n in labels], [1 - n for n in labels], names=NAMES[::-1])
    found = as_json([runs[0], swapped], capsys)
    assert (found["only_first_right"], found["only_second_right"]) == (0, 20)


def refusal(runs: list[Path], capsys) -> str:
    capsys.readouterr()
    assert main(["report", *map(str, runs)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_other_rows_are_refused_with_the_number_of_common_ones(runs, capsys, tmp_path):
    fewer = write(tmp_path / "fewer", [row % 2 for row in range(60)], [0] * 60)
    told = refusal([runs[0], fewer], capsys)
    assert "60 row numbers with the same label are common to the 100 of the first and the 60 of the second" in told


def test_other_labels_other_texts_and_a_folder_without_scores_are_refused(runs, capsys, tmp_path):
    labels = [row % 2 if row else 1 for row in range(100)]
    others = [runs[0], write(tmp_path / "c", labels, labels)]
    assert "99 row numbers with the same label are common" in refusal(others, capsys)
    both = [write(tmp_path / name, [0, 1], [0, 1], test_fingerprint=name) for name in ("d", "e")]
    assert "on different texts, or the texts have other labels: 2 row numbers" in refusal(both, capsys)
    assert "no scores at" in refusal([runs[0], tmp_path / "none"], capsys)


def test_the_same_texts_in_another_order_are_matched_by_their_words(tmp_path, capsys):
    texts, labels = [f"text {chr(97 + n)}" for n in range(6)], [0, 1, 0, 1, 1, 0]
    order = [3, 0, 5, 1, 4, 2]
    predicted = {"a": [0, 1, 1, 1, 1, 0], "b": [labels[n] for n in order]}
    runs = []
    for name, which in {"a": range(6), "b": order}.items():
        file = tmp_path / f"{name}.csv"
        file.write_text("text,label\n" + "".join(f"{texts[n]},{NAMES[labels[n]]}\n" for n in which))
        data = {"source": str(file), "test_source": str(file), "tokenizer": "bytes"}
        data |= {"splitting": {"fractions": [0.8, 0.0, 0.2]}}
        about = {"data": data, "test_fingerprint": compute_digest([texts[n] for n in which])}
        about |= {"version": "", "trained_steps": None, "rows_trained_on": None}
        runs.append(write(tmp_path / name, [labels[n] for n in which], predicted[name], **about))
    found = as_json(runs, capsys)
    assert (found["rows"], found["both_right"], found["only_second_right"]) == (6, 5, 1)
    (example,) = found["examples"]
    assert (example["row"], example["text"], example["first"], example["second"]) == (2, "text c", "spam", "ham")


def test_many_classes_long_names_and_markup_are_shown_as_they_are(tmp_path, capsys):
    names = ["<script>alert(1)</script>", "عربي", "[bold]x[/bold]", "n" * 60, *(f"class {i}" for i in range(46))]
    labels = [row % 50 for row in range(200)]
    one, other = labels.copy(), labels.copy()
    one[:4], other[:4] = [1, 2, 3, 0], [2, 3, 0, 1]
    page = tmp_path / "page.html"
    both = [write(tmp_path / f"{n}", labels, each, names=names) for n, each in enumerate((one, other))]
    assert main(["report", *map(str, both), "--html", str(page)]) == 0
    told = capsys.readouterr().out
    for name in names[:3]:
        assert name in told
    assert "<script" not in page.read_text(encoding="utf-8")


def test_two_tested_runs_are_compared_with_the_texts_of_their_rows(trained, fit, tmp_path, capsys):
    first = Path(shutil.copytree(trained, tmp_path / "version_0"))
    assert fit(tmp_path / "other", "--model.pooling=last_token", "--trainer.max_epochs=1") == 0
    both = [first, tmp_path / "other" / "version_0"]
    for run in both:
        assert main(["test", str(run), "--baselines=none", "--report=none"]) == 0
    found = as_json(both, capsys)
    names = {each["setting"] for each in found["settings"]}
    assert names == {"model.pooling", "trainer.max_epochs"}
    table = TextDataModule("sample", tokenizer="bytes").read_tables()["test"].set_index("row")
    assert found["examples"]
    assert found["texts_missing"] is None
    for each in found["examples"]:
        assert (each["text"], each["true"]) == (table["text"][each["row"]], table["label"][each["row"]])
    scores = [json.loads((run / "scores.json").read_text())["accuracy"] for run in both]
    assert found["difference"] == pytest.approx(scores[1] - scores[0])
