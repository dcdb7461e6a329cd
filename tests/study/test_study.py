"""A study runs what is not done yet, survives failures and SIGKILL, and says no more than its numbers carry."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpt_classifier.__main__ import main
from gpt_classifier.errors import InputError
from gpt_classifier.study import command, runner
from gpt_classifier.study import table as tables
from gpt_classifier.study.plan import Row, Run
from gpt_classifier.study.runner import read_results

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = "{n_layer: 2, n_head: 2, n_embd: 16, context_length: 64}"
STUDY = f"""
base: {CONFIGS / "quickstart.yaml"}
weights: best
questions: {{layers: "Which layers?", classical: "Is it worth it?"}}
settings: {{model.gpt: {TINY}, data.max_length: 64, trainer.max_epochs: 2}}
rows:
  - {{name: 1, title: all layers}}
  - {{name: 2, title: head only, question: layers, settings: {{model.trainable: head}}}}
  - {{name: 3, title: broken, question: layers, settings: {{model.trainable: 9}}}}
  - {{name: 4, title: character SVM, question: classical, classical: character_svm, published: {{test: 97.33}}}}
"""


@pytest.fixture
def study(tmp_path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "table.csv", newline="") as stream:
        return {row["row"]: row for row in csv.DictReader(stream)}


@pytest.mark.slow
def test_a_study_ends_with_a_whole_table_though_a_row_fails(study, tmp_path, capsys):
    folder = tmp_path / "out"
    assert main(["study", "--config", str(study), "--output", str(folder)]) == 0
    printed = capsys.readouterr().out
    rows = rows_of(folder)
    assert list(rows) == ["1", "2", "3", "4"]
    assert "but the model has 2 blocks" in rows["3"]["error"]
    assert float(rows["4"]["test"]) > 0.9  # made-up messages are easy
    assert int(rows["2"]["trainable"]) == 2 * 16 + 2
    assert float(rows["1"]["test_low"]) < float(rows["1"]["test"]) < float(rows["1"]["test_high"])
    assert "Which layers?" in printed
    assert (folder / "intervals.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "tensorboard" / "table").iterdir())
    results = (folder / "results.jsonl").read_text()

    assert main(["study", "--config", str(study), "--output", str(folder), "--rows", "1", "2", "4"]) == 0
    assert "3 of 3 runs were done before" in capsys.readouterr().out
    assert (folder / "results.jsonl").read_text() == results
    assert list(rows_of(folder)) == ["1", "2", "3", "4"]  # row 3 was asked for earlier
    assert main(["study", "table", str(folder), "--format", "csv"]) == 0
    assert capsys.readouterr().out == (folder / "table.csv").read_text()


@pytest.mark.slow
def test_a_study_killed_in_the_middle_of_a_row_ends_with_the_table_of_an_uninterrupted_one(study, tmp_path):
    study_of = [sys.executable, "-m", "gpt_classifier", "study", "--config", str(study), "--rows", "1", "2", "--output"]
    subprocess.run([*study_of, str(tmp_path / "whole")], check=True, capture_output=True)
    killed = tmp_path / "killed"
    process = subprocess.Popen([*study_of, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = killed / "logs" / "2-seed123.txt"
    while process.poll() is None and not (log.exists() and "parameters" in log.read_text()):  # row 2 is training
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [result["row"] for result in read_results(killed)] == ["1"]
    done = subprocess.run([*study_of, str(killed)], check=True, capture_output=True, text=True)
    assert "1 of 2 runs were done before" in done.stdout
    timeless = [
        [{k: v for k, v in row.items() if k not in ("seconds", "peak_bytes")} for row in rows_of(folder).values()]
        for folder in (tmp_path / "whole", killed)
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.slow
def test_folds_test_every_text_once_on_several_gpus_at_once(study, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_gpus", lambda: ["0", "1"])  # two at a time; there need not be any
    folder = tmp_path / "folds"
    assert main(["study", "--config", str(study), "--output", str(folder), "--rows", "4", "--folds", "2"]) == 0
    counts = [result["accuracy"]["test"][1] for result in read_results(folder)]
    assert len(counts) == 2
    assert sum(counts) == 410


def result(correct: str, seed: int = 1, **others) -> dict:
    counts = {name: [correct.count("1"), len(correct)] for name in ("train", "val", "test")}
    facts = {"seconds": 1.0, "epochs": 1, "trainable": 5, "peak_memory": 2**30, "initial_weights": "random"}
    return {"seed": seed, "accuracy": counts, "test_correct": correct, "test_rows": "same"} | facts | others


def table_of(*results: list[dict], published: dict | None = None) -> list[tables.Line]:
    """The lines of rows 1, 2, ... with the given results, one for each seed."""
    rows, runs, found = [], [], {}
    for number, of_row in enumerate(results, 1):
        rows.append(Row(str(number), f"row {number}", None if number == 1 else "what", published=published))
        for one in of_row:
            run = Run(str(number), one["seed"], None, "", {}, None, "last")
            runs.append(run)
            found[run.key] = one
    return tables.lines(rows, runs, found)


def test_a_clear_difference_is_claimed_and_an_unclear_one_is_not():
    lines = table_of([result("1" * 90 + "0" * 10)], [result("1" * 60 + "0" * 40)], [result("0" + "1" * 90 + "0" * 9)])
    assert lines[1].difference == pytest.approx(-30)
    assert lines[1].p_corrected < 0.001
    assert lines[2].p_corrected == 1
    (sentence,) = tables.sentences(lines, {"what": "What?"})
    assert "Row 2 is worse than row 1 by 30.0 points (p < 0.001)" in sentence
    assert "no evidence either way at n = 100 for row 3 (+0.0 points)" in sentence


def test_what_pretraining_gives_is_not_said_where_nothing_was_pretrained():
    lines = table_of([result("1" * 90 + "0" * 10)], [result("1" * 60 + "0" * 40)])
    lines[1].row.settings["model.weights"] = "random"
    (sentence,) = tables.sentences(lines, {"what": "Does pretraining help?"})
    assert sentence == "Does pretraining help? Not answered here, because row 1 began with random weights too."


def test_p_values_are_corrected_for_the_number_of_rows():
    base, other = result("1" * 100), result("1" * 92 + "0" * 8)  # exact McNemar: 2 * 0.5 ** 8
    alone = table_of([base], [other])[1]
    assert alone.p == alone.p_corrected == pytest.approx(2 * 0.5**8)
    among = table_of([base], [other], [base], [base])[1]
    assert among.p_corrected == pytest.approx(3 * 2 * 0.5**8)


def test_rows_with_other_test_texts_are_not_paired():
    lines = table_of([result("1" * 10)], [result("1" * 10, test_rows="others")])
    assert lines[1].p is None
    assert "cannot be paired" in tables.sentences(lines, {"what": "What?"})[0]


def test_a_failed_row_shows_its_error_and_an_unfinished_one_how_much_is_there():
    lines = table_of([result("10", 1), {"seed": 2, "error": "out of memory"}], [{"seed": 1, "error": "no such | file"}])
    text = tables.markdown(lines, 2)
    assert "(1 of 2 runs)" in text
    assert "failed: no such / file" in text
    assert tables.sentences(lines, {"what": "What?"}) == []


def test_seeds_widen_the_interval():
    calm = table_of([result("1" * 50 + "0" * 50, 1), result("1" * 50 + "0" * 50, 2)])[0].test
    wild = table_of([result("1" * 90 + "0" * 10, 1), result("1" * 10 + "0" * 90, 2)])[0].test
    assert calm.value == wild.value == 0.5
    assert wild.high - wild.low > 2 * (calm.high - calm.low)


def test_a_half_written_line_is_no_result(tmp_path):
    (tmp_path / "results.jsonl").write_text(json.dumps({"key": "a"}) + "\n" + '{"key": "b", "acc')
    assert read_results(tmp_path) == [{"key": "a"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "7"], "--rows has 7, expected some of 1, 2, 3, 4"),
        (["--seeds", "0"], "--seeds 0 must be at least 1"),
        (["--model.weights"], "expected pairs"),
        (["extra"], "expected pairs"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(study, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        command.main(["--config", str(study), *arguments])
    assert os.listdir(tmp_path) == ["study.yaml"]


def test_a_table_needs_a_study(tmp_path, capsys):
    assert main(["study", "table", str(tmp_path)]) == 2
    assert "no study in" in capsys.readouterr().err
