"""A study runs what is not done yet, survives failures and SIGKILL, and says no more than its numbers carry."""

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_curve

from gpt_classifier.cli import study as command
from gpt_classifier.cli.main import main
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import CLASSICAL
from gpt_classifier.experiments.study import figures, runner, sentences
from gpt_classifier.experiments.study import table as tables
from gpt_classifier.experiments.study.job import Scored, _result, description, perform
from gpt_classifier.experiments.study.plan import Question, Row, Run, read_study
from gpt_classifier.experiments.study.runner import read_results
from gpt_classifier.models.gpt import GPT, SIZES, GPTConfig
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.models.transformers_network import random_network
from gpt_classifier.models.weights import without_weights
from gpt_classifier.training.overrides import build

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = "{n_layer: 2, n_head: 2, n_embd: 16, context_length: 64}"
STUDY = f"""
base: {CONFIGS / "toy.yaml"}
weights: best
questions: {{layers: "Which layers?", classical: "Is it worth it?"}}
settings: {{model.gpt: {TINY}, data.max_length: 64, trainer.max_epochs: 2}}
rows:
  - {{name: 1, title: everything}}
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


@pytest.mark.nightly
@pytest.mark.ci
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
    assert "Which layers? " in printed
    assert rows["1"]["title"] == "everything (GPT, 2 blocks x 16 channels, random weights, all layers, mean)"
    assert 0 < float(rows["4"]["test_f1_macro"]) < 1
    assert (folder / "intervals.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "tensorboard" / "table").iterdir())
    results = (folder / "results.jsonl").read_text()

    assert main(["study", "--config", str(study), "--output", str(folder), "--rows", "1", "2", "4"]) == 0
    assert "3 of 3 runs were done before" in capsys.readouterr().out
    assert (folder / "results.jsonl").read_text() == results
    assert list(rows_of(folder)) == ["1", "2", "3", "4"]  # row 3 was asked for earlier
    assert main(["study", "table", str(folder), "--format", "csv"]) == 0
    assert capsys.readouterr().out == (folder / "table.csv").read_text()


@pytest.mark.nightly
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


@pytest.mark.nightly
@pytest.mark.slow
def test_folds_test_every_text_once_on_several_gpus_at_once(study, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_gpus", lambda: ["0", "1"])  # two at a time; there need not be any
    folder = tmp_path / "folds"
    assert main(["study", "--config", str(study), "--output", str(folder), "--rows", "4", "--folds", "2"]) == 0
    counts = [result["accuracy"]["test"][1] for result in read_results(folder)]
    assert len(counts) == 2
    assert sum(counts) == 1373


def result(correct: str, seed: int = 1, **others) -> dict:
    counts = {name: [correct.count("1"), len(correct)] for name in ("train", "val", "test")}
    facts = {"seconds": 1.0, "epochs": 1, "trainable": 5, "peak_memory": 2**30, "initial_weights": "random"}
    facts |= {"family": "gpt", "trained": "GPT-2 124M, last block", "settings": {"model.pooling": "last_token"}}
    facts |= {"test_classes": {"ham": [len(correct), len(correct), correct.count("1")]}}
    return {"seed": seed, "accuracy": counts, "test_correct": correct, "test_rows": "same"} | facts | others


def other(correct: str, seed: int = 1, **others) -> dict:
    """A result of what pools in another way."""
    settings = {"model.pooling": "mean"}
    return result(correct, seed, **{"settings": settings, "trained": "GPT-2 124M, last block, mean"} | others)


WHAT = {"what": Question("What?", about="model.pooling", first="gpt")}


def table_of(*results: list[dict], wanted: int = 0, **settings) -> list[tables.Line]:
    """The lines of rows 1, 2, ... with the given results, one for each seed, of at least ``wanted`` runs."""
    rows, runs, found = [], [], {}
    for number, of_row in enumerate(results, 1):
        changed = {"model.pooling": "mean"} if number > 1 else {}
        rows.append(Row(str(number), f"row {number}", None if number == 1 else "what", changed))
        for one in [*of_row, *({"seed": 9 + n, "none": True} for n in range(wanted - len(of_row)))]:
            run = Run(str(number), one["seed"], one.get("fold"), "", changed, None, "last", **settings)
            runs.append(run)
            if "none" not in one:
                found[run.key] = one
    return tables.lines(rows, runs, found, WHAT)


GOOD, BAD = "1" * 90 + "0" * 10, "1" * 60 + "0" * 40
FIRST = "row 1 (GPT-2 124M, last block)"


def test_a_clear_difference_is_claimed_and_an_unclear_one_is_not():
    lines = table_of([result(GOOD)], [other(BAD)], [other("0" + "1" * 90 + "0" * 9)])
    assert lines[1].difference == pytest.approx(-30)
    assert lines[1].p_corrected < 0.001
    assert lines[2].p_corrected == 1
    (sentence,) = sentences.sentences(lines, WHAT)
    assert sentence == (
        f"What? Row 2 scored 30.0 points less than {FIRST} (p < 0.001); "
        "no evidence either way for row 3 (0.0 points); n = 100, 1 seed."
    )
    (sentence,) = sentences.sentences([lines[0], lines[2]], WHAT)
    assert f"No evidence either way for row 3 (0.0 points), compared with {FIRST}; n = 100" in sentence


def test_a_row_is_compared_with_the_row_that_it_names():
    outcomes = {"high": result(GOOD), "low": other(BAD), "lower": other("0" * 90 + "1" * 10)}

    def table(*names):
        changed = {"model.pooling": "mean"}
        rows = [Row(name, name, "what", changed, against="low" if name == "lower" else None) for name in names]
        runs = [Run(name, 1, None, "", changed, None, "last") for name in names]
        return tables.lines(rows, runs, {run.key: outcomes[run.row] for run in runs}, WHAT)

    lines = table("high", "low", "lower")
    assert [line.against and line.against.row.name for line in lines] == [None, "high", "low"]
    assert [line.difference for line in lines] == [None, pytest.approx(-30), pytest.approx(-50)]
    assert [row.split(" | ")[-3] for row in tables.markdown(lines).splitlines()[2:5]] == [
        "",
        "< 0.001 against high",
        "< 0.001 against low",
    ]
    said = sentences.sentences(lines, WHAT)
    assert any(sentence.startswith("What? Low scored 30.0 points less than high") for sentence in said)
    assert "Row lower gives no answer to 'What?', because model.pooling is the same in row low." in said
    labels = [label.get_text() for label in figures.forest_plot(lines).axes[0].get_yticklabels()]
    assert any(label.endswith("(lower, against low)") for label in labels)
    without = table("high", "lower")
    assert "p against row high" in tables.markdown(without)
    assert without[1].difference == pytest.approx(-80)
    (sentence,) = sentences.sentences(without, WHAT)
    assert sentence.endswith("gives no answer to 'What?', because row low did not run.")
    rivals = [row["against"] for row in csv.DictReader(io.StringIO(tables.comma_separated(lines)))]
    assert rivals == ["", "high", "low"]


# ---------------------------------------------------------------- what may be said


def test_a_question_about_gpt_is_not_answered_where_the_first_row_is_none():
    svm = {"family": "classical", "trained": "svm", "settings": {"data.split": "random"}}
    lines = table_of([result(GOOD, **svm)], [result(BAD, **svm)])
    assert [line.title for line in lines] == ["row 1", "row 2"]
    (sentence,) = sentences.sentences(lines, WHAT)
    assert not sentence.startswith("What?")
    assert sentence.endswith("gives no answer to 'What?', because row 1 is classical, not gpt.")


def test_a_question_is_not_answered_by_a_row_that_does_not_differ_in_what_it_asks():
    (sentence,) = sentences.sentences(table_of([result(GOOD)], [result(GOOD)]), WHAT)
    assert sentence == "Row 2 gives no answer to 'What?', because model.pooling is the same in row 1."


def test_a_row_that_differs_in_other_settings_too_is_described_by_what_was_trained():
    settings = {"model.pooling": "mean", "model.gpt": {"n_layer": 1}}
    lines = table_of([result(GOOD)], [other(BAD, settings=settings, trained="GPT, 1 block x 64 channels, mean")])
    assert lines[1].title == "GPT, 1 block x 64 channels, mean"
    (sentence,) = sentences.sentences(lines, WHAT)
    assert sentence == (
        f"Row 2: GPT, 1 block x 64 channels, mean scored 30.0 points less than {FIRST} (p < 0.001); n = 100, 1 seed. "
        "It gives no answer to 'What?', because it differs from row 1 in model.gpt too."
    )


def test_what_a_row_sets_besides_what_is_asked_is_said():
    settings = {"model.pooling": "mean", "model.learning_rate": 1.0, **{f"model.gpt.{n}": 1 for n in "abc"}}
    rows = [Row("1", "row 1"), Row("2", "row 2", "what", settings)]
    runs = [Run(row.name, 1, None, "", row.settings, None, "last") for row in rows]
    lines = tables.lines(rows, runs, {runs[0].key: result(GOOD), runs[1].key: other(BAD, settings=settings)}, WHAT)
    (sentence,) = sentences.sentences(lines, WHAT)
    described = "Row 2 (with model.gpt.a, model.gpt.b, model.gpt.c and 1 more of its own) scored 30.0 points less"
    assert sentence.startswith(f"What? {described}")


def test_nothing_is_said_where_nothing_can_be_compared():
    assert sentences.sentences(table_of([result(GOOD)]), WHAT) == []
    assert sentences.sentences(table_of([result(GOOD)], [{"seed": 1, "error": "broken"}]), WHAT) == []
    (sentence,) = sentences.sentences(table_of([{"seed": 1, "error": "broken"}], [other(GOOD)]), WHAT)
    assert sentence == "Nothing is compared with row 1, as it is incomplete (failed: broken)."
    (sentence,) = sentences.sentences(table_of([], [other(GOOD)], wanted=1), WHAT)
    assert sentence.endswith("(not run).")


def test_nothing_is_claimed_of_rows_with_some_of_their_runs():
    first = [result(GOOD, seed) for seed in range(5)]
    lines = table_of(first, [other(BAD, 0), other(BAD, 1)], wanted=5)
    assert sentences.sentences(lines, WHAT) == ["Row 2 is not compared with row 1: 2 of 5 runs."]
    assert "(2 of 5 runs)" in tables.markdown(lines)
    lines = table_of(first[:2], [other(BAD, seed) for seed in range(5)], wanted=5)
    assert "Nothing is compared with row 1, as it is incomplete (2 of 5 runs)" in sentences.sentences(lines, WHAT)[0]


def test_sentences_and_table_tell_the_seeds_and_folds_that_there_are():
    def folds(of, seed):
        return [of("1" * 25 + "0" * 25, seed, fold=fold, test_rows=str(fold)) for fold in range(2)]

    lines = table_of(folds(result, 1) + folds(result, 2), folds(other, 1))
    assert [line.seeds for line in lines] == [2, 1]
    assert sentences.sentences(lines, WHAT)[0].endswith("; n = 100, 1 or 2 seeds, 2 folds.")
    assert "(1 or 2 seeds, 2 folds)" in tables.markdown(lines)


def test_a_smoke_test_says_that_it_is_one_and_answers_nothing():
    lines = table_of([result(GOOD)], [other(BAD)], smoke=True)
    assert sentences.sentences(lines, WHAT) == ["A smoke test answers no question."]
    assert tables.markdown(lines).startswith("**Smoke test: tiny models")
    assert "true" in tables.comma_separated(lines).splitlines()[1].split(",")
    assert figures.forest_plot(lines).axes[0].get_title("left") == "Smoke test: tiny models"


def test_a_title_is_not_used_where_a_smoke_test_replaced_what_it_names():
    padded = [row for row in read_study(CONFIGS / "study" / "article.yaml")[0].rows if row.name in ("1", "13")]
    for smoke, title in ((True, "GPT, 2 blocks"), (False, "padded to 1,024")):
        width = 64 if smoke else 1024
        runs = [Run(row.name, 1, None, "", row.settings | (row.smoke if smoke else {}), None, "last") for row in padded]
        found = dict(zip([run.key for run in runs], [result(GOOD), result(GOOD)], strict=True))
        found[runs[1].key] |= {
            "trained": "GPT, 2 blocks",
            "settings": {"model.pooling": "last_token", "data.batching.pad_to": width},
        }
        assert tables.lines(padded, runs, found, {})[1].title == title


def test_settings_of_the_command_line_are_named():
    text = tables.markdown(table_of([result(GOOD)], [other(BAD)], given={"model.gpt": {"n_layer": 1}}))
    assert '- With --model.gpt {"n_layer": 1}: rows 1, 2' in text


# ---------------------------------------------------------------- what was trained


def described(config, backbone=None, weights="pretrained", trainable="last_block", lora=None, pooling="last_token"):
    with without_weights():
        network = GPT(config) if isinstance(config, GPTConfig) else random_network(config, None)
        model = SequenceClassifier(network, 2, pooling)
        if lora:
            model.add_lora(lora)
    settings = {"trainable": trainable, "lora": asdict(lora) if lora else None, "pooling": pooling}
    return description(SimpleNamespace(model=model, hparams=settings), backbone, weights)


def test_a_network_is_called_what_it_is():
    sizes = ["GPT-2 124M", "GPT-2 355M", "GPT-2 774M", "GPT-2 1558M"]
    assert [described(config) for config in SIZES.values()] == [f"{size}, last block, last token" for size in sizes]
    assert described(replace(SIZES["gpt2"], dropout=0.1, causal=False), weights="random", trainable="all") == (
        "GPT-2 124M, no causal mask, random weights, all layers, last token"
    )
    small = replace(SIZES["gpt2"], n_layer=1)
    assert described(small, trainable=1) == "GPT, 1 block x 768 channels, last block, last token"
    assert described(small, weights="runs/model", trainable=0, pooling="mean") == (
        "GPT, 1 block x 768 channels, weights of runs/model, head only, mean"
    )
    assert described(SIZES["gpt2"], trainable=3).startswith("GPT-2 124M, last 3 blocks")
    assert described(SIZES["gpt2"], trainable="lora", lora=LoRAConfig(rank=8)).startswith(
        "GPT-2 124M, LoRA, rank 8, alpha 16, "
    )


def test_an_encoder_is_called_by_its_name_or_its_kind():
    pytest.importorskip("transformers")
    bert = {"model_type": "bert", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    bert |= {"num_attention_heads": 2}
    assert described(bert, bert, "random", "all", pooling="first_token") == (
        "bert, 2 blocks x 32 channels, random weights, all layers, first token"
    )
    assert described(bert, "google/bert-tiny").startswith("bert-tiny 1M, last block")


def test_a_run_tells_what_it_trained_and_a_changed_command_line_changes_the_title(study, tmp_path):
    plan, base = read_study(study)
    given = {"model.gpt": {"n_layer": 1, "n_head": 1, "n_embd": 8, "context_length": 64}, "trainer.max_epochs": 1}
    rows = [plan.rows[0], plan.rows[1], plan.rows[3]]
    runs = plan.runs(rows, base, 1, 0, given, smoke=False)
    found = {run.key: perform(run, tmp_path, tmp_path) | {"seed": run.seed, "peak_memory": 1} for run in runs}
    lines = tables.lines(rows, runs, found, plan.questions)
    trained = "GPT, 1 block x 8 channels, random weights, all layers, mean"
    assert [line.title for line in lines] == [f"everything ({trained})", "head only", "character SVM"]
    assert [line.family for line in lines] == ["gpt", "gpt", "classical"]
    assert [line.obstacle for line in lines] == ["", "", ""]
    said = sentences.sentences(lines, plan.questions)
    assert [sentence.split("?")[0] for sentence in said] == ["Which layers", "Is it worth it"]
    assert all(trained in sentence for sentence in said)

    data = build(base, runs[2].settings, tmp_path).datamodule
    data.prepare_data()
    data.setup("fit")
    train, test = data.tables["train"], data.tables["test"]
    predicted = CLASSICAL["character_svm"]().fit(train["text"], train["label"]).predict(test["text"])
    assert lines[2].f1 == pytest.approx(f1_score(test["label"], predicted, average="macro"))


def test_a_study_of_texts_with_several_labels_is_refused(study, tmp_path):
    plan, base = read_study(study)
    (tmp_path / "rows.csv").write_text("text,label\na,x|y\nb,\nc,x\n")
    given = {"data.source": str(tmp_path / "rows.csv"), "data.multi_label": "|"}
    for run in plan.runs([plan.rows[0], plan.rows[3]], base, 1, 0, given, smoke=False):
        with pytest.raises(InputError, match=r"a study compares models on one label a text: leave out data"):
            perform(run, tmp_path, tmp_path)


# ---------------------------------------------------------------- figures


def test_macro_f1_is_that_of_scikit_learn_over_the_texts_of_all_folds():
    rng = np.random.default_rng(0)
    names = np.array(["a", "b", "c", "d"])
    by_seed, runs = [], []
    for seed in (1, 2):
        labels, predicted = names[rng.integers(0, 3, 60)], names[rng.integers(0, 4, 60)]  # d occurs nowhere
        labels[:30][labels[:30] == "b"] = "a"  # b is in one fold only
        by_seed.append(f1_score(labels, predicted, average="macro"))
        for fold, part in enumerate((slice(30), slice(30, None))):
            scored = Scored(labels[part], predicted[part], np.arange(60)[part], np.zeros(60)[part])
            runs.append(result("", seed, fold=fold) | _result({"test": scored}, ["a", "b", "c"]))
            for split in ("train", "val"):
                runs[-1]["accuracy"][split] = [1, 1]
    (line,) = table_of(runs)
    assert line.f1 == pytest.approx(np.mean(by_seed))
    assert f"| {100 * line.f1:.2f} |" in tables.markdown([line])
    (row,) = csv.DictReader(io.StringIO(tables.comma_separated([line])))
    assert float(row["test_f1_macro"]) == line.f1


@pytest.mark.parametrize("names", [["ham", "spam"], ["spam", "ham"]])
def test_recall_at_a_false_positive_rate_ranks_the_texts_of_all_folds(names):
    rng = np.random.default_rng(1)
    spam = rng.random(1500) < 0.2
    runs, recalls, precisions = [], [], []
    for seed in (1, 2):
        scores = rng.normal(3 * spam).round(5)
        fpr, tpr, _ = roc_curve(spam, scores, drop_intermediate=False)
        recalls.append([tpr[fpr <= rate].max() for rate in tables.RATES])
        precisions.append(average_precision_score(spam, scores))
        labels = np.where(spam, "spam", "ham").astype(object)
        log_odds = scores if names[1] == "spam" else -scores
        for fold, part in enumerate((slice(700), slice(700, None))):
            scored = Scored(labels[part], labels[part], np.arange(1500)[part], log_odds[part])
            runs.append(result("", seed, fold=fold) | _result({"test": scored}, names))
            runs[-1]["accuracy"] |= {split: [1, 1] for split in ("train", "val")}
    (line,) = table_of(runs)
    assert line.rarer == "spam"
    assert [line.recalls[rate].value for rate in tables.RATES] == pytest.approx(np.mean(recalls, axis=0))
    assert line.average_precision.value == pytest.approx(np.mean(precisions))
    assert line.average_precision.low < line.average_precision.value < line.average_precision.high
    shown = tables.markdown([line])
    assert f"| {str(line.average_precision).replace(' %', '')} |" in shown
    assert "| recall at FPR 0.1% | recall at FPR 1.0% |" in shown
    assert f"| {str(line.recalls[0.01]).replace(' %', '')} |" in shown
    assert "% of class spam found" in shown
    (row,) = csv.DictReader(io.StringIO(tables.comma_separated([line])))
    assert float(row["average_precision"]) == line.average_precision.value
    assert float(row["recall_at_fpr_0.001"]) == line.recalls[0.001].value
    (few,) = table_of(runs[:1])
    assert set(few.recalls) == {0.01}  # of fewer than 1,000 others one is already more than 0.1 %


@pytest.mark.parametrize("rows", [0, 1, 25])
def test_labels_of_a_figure_do_not_overlap(rows):
    long = "ModernBERT-base 149M, random weights, LoRA, rank 16, alpha 16, last position"
    lines = table_of(*([result("1" * 99 + "0", trained=long)] for _ in range(rows))) if rows else []
    figure = figures.forest_plot(lines)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == rows or not rows
    assert all(above.y0 > below.y1 for above, below in pairwise(boxes))
    assert all(box.x0 >= 0 and box.x1 < 0.5 * figure.bbox.width for box in boxes[:rows])


def test_p_values_are_corrected_for_the_number_of_rows():
    base, worse = result("1" * 100), result("1" * 92 + "0" * 8)  # exact McNemar: 2 * 0.5 ** 8
    alone = table_of([base], [worse])[1]
    assert alone.p == alone.p_corrected == pytest.approx(2 * 0.5**8)
    among = table_of([base], [worse], [base], [base])[1]
    assert among.p_corrected == pytest.approx(3 * 2 * 0.5**8)


def test_rows_with_other_test_texts_are_not_paired():
    lines = table_of([result("1" * 10)], [other("1" * 10, test_rows="others")])
    assert lines[1].p is None
    assert sentences.sentences(lines, WHAT) == ["Row 2 is not compared with row 1: it was tested on other texts."]


def test_a_failed_row_shows_its_error_and_an_unfinished_one_how_much_is_there():
    lines = table_of([result("10", 1), {"seed": 2, "error": "out of memory"}], [{"seed": 1, "error": "no such | file"}])
    text = tables.markdown(lines)
    assert "(1 of 2 runs; failed: out of memory)" in text
    assert "failed: no such / file" in text
    assert sentences.sentences(lines, WHAT) == []


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
        (["--seeds", "0"], "--seeds is 0"),
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


def test_results_that_do_not_tell_what_was_trained_are_made_again(tmp_path, capsys):
    run = {"row": "1", "seed": 1, "fold": None, "base": "", "settings": {}, "classical": None, "weights": "last"}
    before = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
    plan = {"questions": {"what": "What?"}, "rows": [{"name": "1", "title": "first"}], "runs": [run]}
    (tmp_path / "study.json").write_text(json.dumps(plan))
    old = {name: value for name, value in result(GOOD).items() if name not in ("family", "trained", "test_classes")}
    (tmp_path / "results.jsonl").write_text(json.dumps(old | {"key": before}) + "\n")
    assert main(["study", "table", str(tmp_path)]) == 0
    assert "not run" in capsys.readouterr().out
