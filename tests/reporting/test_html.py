"""The report of a test as a page and as Markdown: what it holds, what it escapes, and that it needs no other file."""

import csv
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt_classifier.cli.main import main
from gpt_classifier.decision.reliability import measure_reliability
from gpt_classifier.evaluation.groups import count_errors, group_by_length, group_by_script
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.evaluation.scores import report
from gpt_classifier.records import to_json
from gpt_classifier.reporting.render import escape_markdown, render_html, render_markdown, split_text
from gpt_classifier.reporting.report import build_report, write_report
from gpt_classifier.reporting.saved import read_test

ODD = [
    "<script>alert(1)</script>",
    "عربي טקסט",
    "🙂 emoji 👩‍👩‍👧",
    "Donaudampfschifffahrtsgesellschaft" * 4,
    "漢字の名前",
    "$x^2$ | `a` **b**",
    "\"quoted\" & 'b' <b>",
]
TEXTS = [
    "<script>alert('x')</script> &amp; <b>",
    "هذا نص طويل",
    "🙂" * 50,
    "w" * 590,
    "a line\n\n\nanother",
    "```|``` $",
    "",
]
VOID = {"meta", "br", "wbr", "link", "img", "input"}


def saved(folder: Path, k: int, n: int = 300, **more: Any) -> Path:
    """The files of a made-up test of k classes, of which the last one has no row unless there are two."""
    rng = np.random.default_rng(k)
    names = [*ODD, *(f"class_{i}" for i in range(k))][:k]
    labels = rng.integers(0, max(2, k - 1), n)
    logits = rng.normal(size=(n, k))
    logits[range(n), labels] += rng.normal(2, 1, n)
    results = to_json(report(EpochOutputs.of(torch.tensor(logits), torch.tensor(labels)), names))
    probabilities = torch.tensor(logits).softmax(-1).numpy()
    predicted = probabilities.argmax(1)
    right, lengths = predicted == labels, rng.integers(1, 60, n)
    errors = [
        {
            "row": int(i),
            "text": TEXTS[j % len(TEXTS)],
            "true": names[labels[i]],
            "predicted": names[predicted[i]],
            "probability": float(probabilities[i].max()),
            "neighbour": {
                "text": TEXTS[(j + 1) % 7],
                "class": names[j % k],
                "similarity": 0.3,
                "near_duplicate": j == 0,
            },
        }
        for j, i in enumerate(np.flatnonzero(~right)[:20])
    ]
    results |= {
        "loss": 0.5,
        "training_seconds": 10.0,
        "test_seconds": 1.0,
        "trained_steps": 20,
        "calibration": {"before": measure_reliability(probabilities, labels)},
        "learning_curves": {"train": [[i, 1 / i] for i in range(1, 40)], "val": [[20, 0.1], [40, 0.2]]},
        "leaks": {"seen": count_errors(right[:9]), "unseen": replace(count_errors(right[9:]), f1_macro=0.5)},
        "errors": errors,
        "lengths": group_by_length(right, lengths),
        "scripts": group_by_script(right, [TEXTS[i % 7] for i in range(n)]),
        "truncation": {
            "max_length": 50,
            "kept": "head",
            "windows": None,
            "longer": count_errors(right[lengths > 50]),
            "whole": count_errors(right[lengths <= 50]),
            "otherwise": {
                "windows": {"stride": 25, "aggregate": "mean", "limit": 16},
                "as_read": count_errors(right[lengths > 50]),
                "otherwise": count_errors(np.ones((lengths > 50).sum(), dtype=bool)),
                "difference": [0.12, -0.01, 0.25],
            },
        },
        "decision": {"asked": {"max_fpr": 0.01, "of": names[0]}, "on_these_rows": ["accuracy of predictions: 90 %"]},
        "baselines": {
            "models": [{"name": "naive Bayes", "accuracy": 0.5, "accuracy_interval": [0.4, 0.6], "f1_macro": 0.4,
                        "f1_macro_interval": None, "seconds": 0.1}],
            "skipped": {"character SVM": "time <limit>"},
            "verdict": "Verdict: on 300 test texts the network is better: the test tells them apart.",
        },
        "training": {"source": "<b>.csv", "seed": 1, "fingerprint": "ab", "distinct_texts": 3,
                     "rows": {"train": dict.fromkeys(names, 5)}},
        "network": {"type": "GPT", "blocks": 1, "channels": 8, "heads": 1, "context": 64, "pooling": "mean",
                    "parameters": 99},
        "configuration": {"data": {"source": "</pre><script>"}, "model": {"lora": None}},
        "versions": {"torch": "2"},
        "machine": {"processor": "a CPU", "cores": 2, "gpus": []},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(to_json(results | more)), encoding="utf-8")
    with open(folder / "predictions.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["row", "label", "predicted", *(f"probability_{name}" for name in names)])
        for i in range(n):
            writer.writerow([i, names[labels[i]], names[predicted[i]], *(f"{p:.6f}" for p in probabilities[i])])
    return folder


class Page(HTMLParser):
    """Collects the elements, attributes and text of a page, and refuses elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(params=[2, 20, 77])
def folder(request, tmp_path) -> Path:
    return saved(tmp_path / "run", request.param)


def test_a_page_needs_no_other_file_and_no_script(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    found = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(found.elements)
    assert [name for name, _ in found.attributes if name.startswith("on")] == []
    for name, value in found.attributes:
        if name in ("src", "href", "xlink:href", "action"):
            assert str(value).startswith("#s")
    assert not re.search(r"url\(|@import|https?://", page)
    assert len(page.encode()) < 2_000_000


def test_every_name_and_text_of_the_data_is_shown_as_it_is(folder):
    test = read_test(folder)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    for name in test.names:
        assert name in page.text
    for error in test.results.errors:
        assert split_text(error.text)[0] in page.text


def test_every_section_is_there_with_a_sentence_on_how_to_read_it(folder):
    found = build_report(read_test(folder))
    assert [section.title for section in found.sections] == [
        "Baselines",
        "Scores",
        "Classes",
        "Confusions",
        "Ranking",
        "Calibration",
        "Learning curves",
        "Training texts among the test texts",
        "Most confident errors",
        "Errors by length and script",
        "Operating point",
        "Settings",
    ]
    page, text = Page(render_html(found)), render_markdown(found)
    for section in found.sections:
        assert section.how_to_read.endswith(".")
        assert section.how_to_read in page.text
        assert f"## {section.title}\n" in text
        assert section.blocks


def test_what_nothing_is_known_about_has_no_section(tmp_path):
    folder = saved(tmp_path, 3)
    results = json.loads((folder / "scores.json").read_text())
    first = list(results).index("calibration")
    (folder / "scores.json").write_text(json.dumps(dict(list(results.items())[:first])))
    found = build_report(read_test(folder))
    assert [section.title for section in found.sections] == ["Scores", "Classes", "Confusions", "Ranking"]
    Page(render_html(found))


def test_the_head_says_the_verdict_and_the_accuracy_with_its_interval(tmp_path):
    test = read_test(saved(tmp_path, 2))
    found = build_report(test)
    assert found.headline.startswith(f"{100 * test.results.scores.accuracy:.2f} %")
    assert found.lead == "On 300 test texts the network is better: the test tells them apart."
    low, high = test.results.scores.accuracy_interval
    assert f"{100 * low:.1f} % to {100 * high:.1f} %" in found.evidence


def test_markdown_shows_markup_of_the_data_and_does_not_obey_it(folder):
    write_report(folder)
    text = (folder / "report.md").read_text(encoding="utf-8")
    outside, inside = text.split("```")[::2], text.split("```")[1::2]
    assert len(inside) == 1  # the configuration, in a fence of its own
    for part in outside:
        assert "<" not in part.replace("&lt;", "")
        assert "**b**" not in part
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.count("|") >= 3
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_a_fence_is_longer_than_any_in_its_text(tmp_path):
    folder = saved(tmp_path, 2, configuration={"data": {"text_separator": "```\n<b>"}})
    write_report(folder)
    assert "\n````\n" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_text_with_half_a_surrogate_pair_which_no_file_can_hold_is_shown_escaped(tmp_path):
    error = {"row": 0, "text": "half \ud800 a pair", "true": "a", "predicted": "b", "probability": 0.9}
    page = write_report(saved(tmp_path, 2, errors=[error]))
    assert "half \\ud800 a pair" in page.read_text(encoding="utf-8")


def test_markup_is_escaped_for_markdown_but_for_an_underscore_within_a_word():
    assert escape_markdown("a|b <i> *c* `d`\n# e") == "a&#124;b &#60;i&#62; &#42;c&#42; &#96;d&#96; &#35; e"
    assert escape_markdown("bbc_news _emphasis_") == "bbc_news &#95;emphasis&#95;"


def test_a_long_text_is_folded_behind_a_word_and_nothing_of_it_is_lost():
    text = "word " * 100
    shown, rest = split_text(text)
    assert shown + rest == text
    assert shown.endswith("word")
    assert split_text("short") == ("short", "")
    assert len(split_text("w" * 1000)[0]) == 240


def test_the_command_renders_the_newest_tested_run_of_a_folder_and_other_rows_beside_it(tmp_path, capsys):
    for number, classes in ((2, 3), (10, 4)):
        saved(tmp_path / f"version_{number}", classes)
    (tmp_path / "version_11").mkdir()  # not tested
    run = tmp_path / "version_10"
    for name in ("scores.json", "predictions.csv"):
        shutil.copy(run / name, run / name.replace(".", "-new."))
    for given, ending in ((tmp_path, ""), (run / "scores-new.json", "-new")):
        assert main(["report", str(given)]) == 0
        assert capsys.readouterr().out == f"report: {run / f'report{ending}.html'}\n"
        assert (run / f"report{ending}.html").is_file()
        assert (run / f"report{ending}.md").is_file()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda run: (run / "scores.json").unlink(), "no scores at .*scores.json: gpt-classifier test"),
        (lambda run: (run / "predictions.csv").unlink(), "predictions.csv cannot be read"),
        (lambda run: (run / "scores.json").write_text("{"), "cannot be read .*: test again"),
        (
            lambda run: (run / "scores.json").write_text('{"rows": 3, "rows_with_logits_not_finite": 2}'),
            "there are no scores",
        ),
        (lambda run: (run / "predictions.csv").write_text("a,b\n1,2\n"), "does not hold the predictions of a test"),
        (
            lambda run: (run / "predictions.csv").write_text("row,label,predicted,probability_a\n1,b,a,1.0\n"),
            "does not hold the predictions of a test",
        ),
    ],
)
def test_what_is_no_result_of_a_test_is_refused_in_one_line(tmp_path, capsys, break_it, message):
    folder = saved(tmp_path, 2)
    break_it(folder)
    assert main(["report", str(folder)]) == 2
    told = capsys.readouterr().err
    assert re.search(message, told)
    assert told.count("\n") == 1


def test_a_test_of_one_row_and_of_one_class_has_a_page(tmp_path):
    Page(write_report(saved(tmp_path / "one", 2, n=1)).read_text(encoding="utf-8"))
    Page(write_report(saved(tmp_path / "same", 2, n=40)).read_text(encoding="utf-8"))
