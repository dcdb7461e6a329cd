"""A study runs what is not done yet, survives failures and SIGKILL, and says no more than its numbers carry."""

import csv
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
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_curve

from gpt_classifier.cli import study as command
from gpt_classifier.cli.main import main
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import build_baseline
from gpt_classifier.experiments.study import figures, runner
from gpt_classifier.experiments.study.job import Scored, build_result, describe_model, perform
from gpt_classifier.experiments.study.plan import Question, Row, Run, read_study
from gpt_classifier.experiments.study.runner import combine_results, read_results
from gpt_classifier.experiments.study.sentences import answer_questions
from gpt_classifier.experiments.study.table import RATES, RECALLS, build_table, format_csv, format_markdown
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
    assert rows["1"]["title"] == "everything (GPT, 2 blocks of hidden size 16, random weights, all layers, mean)"
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
    monkeypatch.setattr(runner, "_list_gpus", lambda: ["0", "1"])  # two at a time; there need not be any
    folder = tmp_path / "folds"
    assert main(["study", "--config", str(study), "--output", str(folder), "--rows", "4", "--folds", "2"]) == 0
    counts = [result["accuracy"]["test"][1] for result in read_results(folder)]
    assert len(counts) == 2
    assert sum(counts) == 1373


def result(correct: str, seed: int = 1, **others) -> dict:
    counts = {name: [correct.count("1"), len(correct)] for name in ("train", "val", "test")}
    statistics = {"seconds": 1.0, "epochs": 1, "trainable": 5, "peak_memory": 2**30, "initial_weights": "random"}
    statistics |= {"family": "gpt", "trained": "GPT-2 124M, last block", "settings": {"model.pooling": "last_token"}}
    statistics |= {"test_classes": {"ham": [len(correct), len(correct), correct.count("1")]}}
    return {"seed": seed, "accuracy": counts, "test_correct": correct, "test_rows": "same"} | statistics | others


def other(correct: str, seed: int = 1, **others) -> dict:
    """A result of what pools in another way."""
    settings = {"model.pooling": "mean"}
    return result(correct, seed, **{"settings": settings, "trained": "GPT-2 124M, last block, mean"} | others)


WHAT = {"what": Question("What?", about="model.pooling", first="gpt")}


def table_of(*results: list[dict], wanted: int = 0, **settings) -> pd.DataFrame:
    """The table of rows 1, 2, ... with the given results, one for each seed, of at least ``wanted`` runs."""
    rows, runs, found = [], [], {}
    for number, of_row in enumerate(results, 1):
        changed = {"model.pooling": "mean"} if number > 1 else {}
        rows.append(Row(str(number), f"row {number}", None if number == 1 else "what", changed))
        for one in [*of_row, *({"seed": 9 + n, "none": True} for n in range(wanted - len(of_row)))]:
            run = Run(str(number), one["seed"], one.get("fold"), "", changed, None, "last", **settings)
            runs.append(run)
            if "none" not in one:
                found[run.key] = one
    return build_table(rows, combine_results(runs, found), WHAT)


def csv_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(format_csv(table))))


def answers(table: pd.DataFrame) -> list[str]:
    return answer_questions(table, WHAT)


GOOD, BAD = "1" * 90 + "0" * 10, "1" * 60 + "0" * 40
FIRST = "row 1 (GPT-2 124M, last block)"


def test_a_clear_difference_is_claimed_and_an_unclear_one_is_not():
    table = table_of([result(GOOD)], [other(BAD)], [other("0" + "1" * 90 + "0" * 9)])
    assert table["difference_points"][1] == pytest.approx(-30)
    assert table["p_corrected"][1] < 0.001
    assert table["p_corrected"][2] == 1
    assert answers(table) == [
        f"What? Row 2 scored 30.0 points less than {FIRST} (p < 0.001); "
        "no evidence either way for row 3 (0.0 points); n = 100, 1 seed."
    ]
    (sentence,) = answers(table.iloc[[0, 2]])
    assert f"No evidence either way for row 3 (0.0 points), compared with {FIRST}; n = 100" in sentence


def test_a_row_is_compared_with_the_row_that_it_names():
    outcomes = {"high": result(GOOD), "low": other(BAD), "lower": other("0" * 90 + "1" * 10)}

    def compared(*names):
        changed = {"model.pooling": "mean"}
        rows = [Row(name, name, "what", changed, against="low" if name == "lower" else None) for name in names]
        runs = [Run(name, 1, None, "", changed, None, "last") for name in names]
        return build_table(rows, combine_results(runs, {run.key: outcomes[run.row] for run in runs}), WHAT)

    table = compared("high", "low", "lower")
    assert list(table["against"]) == ["", "high", "low"]
    assert list(table["difference_points"][1:]) == pytest.approx([-30, -50])
    shown = [row.split(" | ")[-3] for row in format_markdown(table).splitlines()[2:5]]
    assert shown == ["", "< 0.001 against high", "< 0.001 against low"]
    said = answers(table)
    assert any(sentence.startswith("What? Low scored 30.0 points less than high") for sentence in said)
    assert "Row lower gives no answer to 'What?', because model.pooling is the same in row low." in said
    labels = [label.get_text() for label in figures.forest_plot(table).axes[0].get_yticklabels()]
    assert any(label.endswith("(lower, against low)") for label in labels)
    assert [row["against"] for row in csv_rows(table)] == ["", "high", "low"]
    without = compared("high", "lower")
    assert "p against row high" in format_markdown(without)
    assert without["difference_points"][1] == pytest.approx(-80)
    (sentence,) = answers(without)
    assert sentence.endswith("gives no answer to 'What?', because row low did not run.")


# ---------------------------------------------------------------- what may be said


SVM = {"family": "classical", "trained": "svm", "settings": {"data.split": "random"}}
OTHERS = {"model.pooling": "mean", "model.gpt": {"n_layer": 1}}


@pytest.mark.parametrize(
    ("first", "second", "title", "sentence"),
    [
        (result(GOOD, **SVM), result(BAD, **SVM), "row 2", "Row 2 REFUSED row 1 is classical, not gpt."),
        (result(GOOD), result(GOOD), FIRST[7:-1], "Row 2 REFUSED model.pooling is the same in row 1."),
        (
            result(GOOD),
            other(BAD, settings=OTHERS, trained="GPT, 1 block, mean"),
            "GPT, 1 block, mean",
            f"Row 2: GPT, 1 block, mean scored 30.0 points less than {FIRST} (p < 0.001); n = 100, 1 seed. "
            "It REFUSED it differs from row 1 in model.gpt too.",
        ),
        (
            result(GOOD),
            other("1" * 100, test_rows="others"),
            "row 2",
            "Row 2 is not compared with row 1: it was tested on other texts.",
        ),
        (result(GOOD), {"seed": 1, "error": "broken"}, "row 2", None),
        (
            {"seed": 1, "error": "broken"},
            other(GOOD),
            "GPT-2 124M, last block, mean",
            "Nothing is compared with row 1, as it is incomplete (failed: broken).",
        ),
    ],
    ids=["first row of another family", "nothing differs", "more differs", "other texts", "failed", "first failed"],
)
def test_what_does_not_answer_a_question_says_why(first, second, title, sentence):
    table = table_of([first], [second])
    assert table["title"][1] == title
    expected = [] if sentence is None else [sentence.replace("REFUSED", "gives no answer to 'What?', because")]
    assert answers(table) == expected


def test_what_a_row_sets_besides_what_is_asked_is_said():
    settings = {"model.pooling": "mean", "model.learning_rate": 1.0, **{f"model.gpt.{n}": 1 for n in "abc"}}
    rows = [Row("1", "row 1"), Row("2", "row 2", "what", settings)]
    runs = [Run(row.name, 1, None, "", row.settings, None, "last") for row in rows]
    found = {runs[0].key: result(GOOD), runs[1].key: other(BAD, settings=settings)}
    (sentence,) = answers(build_table(rows, combine_results(runs, found), WHAT))
    described = "Row 2 (with model.gpt.a, model.gpt.b, model.gpt.c and 1 more of its own) scored 30.0 points less"
    assert sentence.startswith(f"What? {described}")


def test_nothing_is_claimed_of_rows_with_some_of_their_runs():
    assert answers(table_of([result(GOOD)])) == []
    (sentence,) = answers(table_of([], [other(GOOD)], wanted=1))
    assert sentence.endswith("(not run).")
    first = [result(GOOD, seed) for seed in range(5)]
    table = table_of(first, [other(BAD, 0), other(BAD, 1)], wanted=5)
    assert answers(table) == ["Row 2 is not compared with row 1: 2 of 5 runs."]
    assert "(2 of 5 runs)" in format_markdown(table)
    table = table_of(first[:2], [other(BAD, seed) for seed in range(5)], wanted=5)
    assert "Nothing is compared with row 1, as it is incomplete (2 of 5 runs)" in answers(table)[0]


def test_sentences_and_table_tell_the_seeds_and_folds_that_there_are():
    def folds(of, seed):
        return [of("1" * 25 + "0" * 25, seed, fold=fold, test_rows=str(fold)) for fold in range(2)]

    table = table_of(folds(result, 1) + folds(result, 2), folds(other, 1))
    assert list(table["seeds"]) == [2, 1]
    assert answers(table)[0].endswith("; n = 100, 1 or 2 seeds, 2 folds.")
    assert "(1 or 2 seeds, 2 folds)" in format_markdown(table)


def test_a_smoke_test_says_that_it_is_one_and_answers_nothing():
    table = table_of([result(GOOD)], [other(BAD)], smoke=True)
    assert answers(table) == ["A smoke test answers no question."]
    assert format_markdown(table).startswith("**Smoke test: tiny models")
    assert {row["smoke"] for row in csv_rows(table)} == {"true"}
    assert figures.forest_plot(table).axes[0].get_title("left") == "Smoke test: tiny models"


def test_a_title_is_not_used_where_a_smoke_test_replaced_what_it_names():
    padded = [row for row in read_study(CONFIGS / "study" / "article.yaml")[0].rows if row.name in ("1", "13")]
    for smoke, title in ((True, "GPT, 2 blocks"), (False, "padded to 1,024")):
        runs = [Run(row.name, 1, None, "", row.settings | (row.smoke if smoke else {}), None, "last") for row in padded]
        settings = {"model.pooling": "last_token", "data.batching.pad_to": 64 if smoke else 1024}
        found = {runs[0].key: result(GOOD), runs[1].key: result(GOOD, trained="GPT, 2 blocks", settings=settings)}
        assert build_table(padded, combine_results(runs, found), {})["title"][1] == title


def test_settings_of_the_command_line_are_named():
    text = format_markdown(table_of([result(GOOD)], [other(BAD)], given={"model.gpt": {"n_layer": 1}}))
    assert '- With --model.gpt {"n_layer": 1}: rows 1, 2' in text


# ---------------------------------------------------------------- what was trained


def described(config, backbone=None, weights="pretrained", trainable="last_block", lora=None, pooling="last_token"):
    with without_weights():
        network = GPT(config) if isinstance(config, GPTConfig) else random_network(config, None)
        model = SequenceClassifier(network, 2, pooling)
        if lora:
            model.add_lora(lora)
    settings = {"trainable": trainable, "lora": asdict(lora) if lora else None, "pooling": pooling}
    return describe_model(SimpleNamespace(model=model, hparams=settings), backbone, weights)


def test_a_network_is_called_what_it_is():
    sizes = ["GPT-2 124M", "GPT-2 355M", "GPT-2 774M", "GPT-2 1558M"]
    assert [described(config) for config in SIZES.values()] == [f"{size}, last block, last token" for size in sizes]
    assert described(replace(SIZES["gpt2"], dropout=0.1, causal=False), weights="random", trainable="all") == (
        "GPT-2 124M, no causal mask, random weights, all layers, last token"
    )
    small = replace(SIZES["gpt2"], n_layer=1)
    assert described(small, trainable=1) == "GPT, 1 block of hidden size 768, last block, last token"
    assert described(small, weights="runs/model", trainable=0, pooling="mean") == (
        "GPT, 1 block of hidden size 768, weights of runs/model, head only, mean"
    )
    assert described(SIZES["gpt2"], trainable=3).startswith("GPT-2 124M, last 3 blocks")
    assert described(SIZES["gpt2"], trainable="lora", lora=LoRAConfig(rank=8)).startswith(
        "GPT-2 124M, LoRA, rank 8, alpha 16, "
    )


def test_a_bidirectional_encoder_is_named_or_described_by_its_type():
    pytest.importorskip("transformers")
    bert = {"model_type": "bert", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    bert |= {"num_attention_heads": 2}
    assert described(bert, bert, "random", "all", pooling="first_token") == (
        "bert, 2 blocks of hidden size 32, random weights, all layers, first token"
    )
    assert described(bert, "google/bert-tiny").startswith("bert-tiny 1M, last block")


def test_a_run_tells_what_it_trained_and_a_changed_command_line_changes_the_title(study, tmp_path):
    plan, base = read_study(study)
    given = {"model.gpt": {"n_layer": 1, "n_head": 1, "n_embd": 8, "context_length": 64}, "trainer.max_epochs": 1}
    rows = [plan.rows[0], plan.rows[1], plan.rows[3]]
    runs = plan.plan_runs(rows, base, 1, 0, given, smoke=False)
    found = {run.key: perform(run, tmp_path, tmp_path) | {"seed": run.seed, "peak_memory": 1} for run in runs}
    table = build_table(rows, combine_results(runs, found), plan.questions)
    trained = "GPT, 1 block of hidden size 8, random weights, all layers, mean"
    assert list(table["title"]) == [f"everything ({trained})", "head only", "character SVM"]
    assert list(table["family"]) == ["gpt", "gpt", "classical"]
    assert list(table["obstacle"]) == ["", "", ""]
    said = answer_questions(table, plan.questions)
    assert [sentence.split("?")[0] for sentence in said] == ["Which layers", "Is it worth it"]
    assert all(trained in sentence for sentence in said)

    data = build(base, runs[2].settings, tmp_path).datamodule
    data.prepare_data()
    data.setup("fit")
    train, test = data.tables["train"], data.tables["test"]
    predicted = build_baseline("character_svm").fit(train["text"], train["label"]).predict(test["text"])
    assert table["test_f1_macro"][2] == pytest.approx(f1_score(test["label"], predicted, average="macro"))


def test_a_study_of_multi_label_data_is_refused(study, tmp_path):
    plan, base = read_study(study)
    (tmp_path / "rows.csv").write_text("text,label\na,x|y\nb,\nc,x\n")
    given = {"data.source": str(tmp_path / "rows.csv"), "data.multi_label": "|"}
    for run in plan.plan_runs([plan.rows[0], plan.rows[3]], base, 1, 0, given, smoke=False):
        with pytest.raises(InputError, match=r"a study compares models on single-label data: leave out data"):
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
            runs.append(result("", seed, fold=fold) | build_result({"test": scored}, ["a", "b", "c"]))
            for split in ("train", "val"):
                runs[-1]["accuracy"][split] = [1, 1]
    table = table_of(runs)
    f1 = table["test_f1_macro"][0]
    assert f1 == pytest.approx(np.mean(by_seed))
    assert f"| {100 * f1:.2f} |" in format_markdown(table)
    assert float(csv_rows(table)[0]["test_f1_macro"]) == f1


@pytest.mark.parametrize("names", [["ham", "spam"], ["spam", "ham"]])
def test_recall_at_a_false_positive_rate_ranks_the_texts_of_all_folds(names):
    rng = np.random.default_rng(1)
    spam = rng.random(1500) < 0.2
    runs, recalls, precisions = [], [], []
    for seed in (1, 2):
        scores = rng.normal(3 * spam).round(5)
        fpr, tpr, _ = roc_curve(spam, scores, drop_intermediate=False)
        recalls.append([tpr[fpr <= rate].max() for rate in RATES])
        precisions.append(average_precision_score(spam, scores))
        labels = np.where(spam, "spam", "ham").astype(object)
        log_odds = scores if names[1] == "spam" else -scores
        for fold, part in enumerate((slice(700), slice(700, None))):
            scored = Scored(labels[part], labels[part], np.arange(1500)[part], log_odds[part])
            runs.append(result("", seed, fold=fold) | build_result({"test": scored}, names))
            runs[-1]["accuracy"] |= {split: [1, 1] for split in ("train", "val")}
    table = table_of(runs)
    line = table.iloc[0]
    assert line["rarer"] == "spam"
    assert list(line[list(RECALLS)]) == pytest.approx(np.mean(recalls, axis=0))
    assert line["average_precision"] == pytest.approx(np.mean(precisions))
    assert line["average_precision_low"] < line["average_precision"] < line["average_precision_high"]
    shown, (row,) = format_markdown(table), csv_rows(table)
    assert f"| {100 * line['average_precision']:.2f} [" in shown
    assert "| recall at FPR 0.1% | recall at FPR 1.0% |" in shown
    assert f"| {100 * line[RECALLS[1]]:.2f} [" in shown
    assert "% of class spam found" in shown
    assert float(row["average_precision"]) == line["average_precision"]
    assert float(row["recall_at_fpr_0.001"]) == line[RECALLS[0]]
    few = table_of(runs[:1]).iloc[0]  # of fewer than 1,000 others one is already more than 0.1 %
    assert list(few[list(RECALLS)].isna()) == [True, False]


@pytest.mark.parametrize("rows", [0, 1, 25])
def test_labels_of_a_figure_do_not_overlap(rows):
    long = "ModernBERT-base 149M, random weights, LoRA, rank 16, alpha 16, last position"
    table = table_of(*([result("1" * 99 + "0", trained=long)] for _ in range(max(1, rows))))[:rows]
    figure = figures.forest_plot(table)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == rows or not rows
    assert all(above.y0 > below.y1 for above, below in pairwise(boxes))
    assert all(box.x0 >= 0 and box.x1 < 0.5 * figure.bbox.width for box in boxes[:rows])


def test_p_values_are_corrected_for_the_number_of_rows():
    base, worse = result("1" * 100), result("1" * 92 + "0" * 8)  # exact McNemar: 2 * 0.5 ** 8
    alone = table_of([base], [worse]).iloc[1]
    assert alone["p"] == alone["p_corrected"] == pytest.approx(2 * 0.5**8)
    assert table_of([base], [worse], [base], [base])["p_corrected"][1] == pytest.approx(3 * 2 * 0.5**8)


def test_a_failed_row_shows_its_error_and_an_unfinished_one_how_much_is_there():
    table = table_of([result("10", 1), {"seed": 2, "error": "out of memory"}], [{"seed": 1, "error": "no such | file"}])
    text = format_markdown(table)
    assert "(1 of 2 runs; failed: out of memory)" in text
    assert "failed: no such / file" in text
    assert answers(table) == []


def test_seeds_widen_the_interval():
    calm = table_of([result("1" * 50 + "0" * 50, 1), result("1" * 50 + "0" * 50, 2)]).iloc[0]
    wild = table_of([result("1" * 90 + "0" * 10, 1), result("1" * 10 + "0" * 90, 2)]).iloc[0]
    assert calm["test"] == wild["test"] == 0.5
    assert wild["test_high"] - wild["test_low"] > 2 * (calm["test_high"] - calm["test_low"])


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
