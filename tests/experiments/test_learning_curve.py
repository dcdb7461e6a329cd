"""A study over fractions of the training rows: runs, sentences that claim what was tested, a table and a figure."""

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gpt_classifier.cli.main import main
from gpt_classifier.experiments.study import figures, learning_curve
from gpt_classifier.experiments.study.learning_curve import describe_curves, format_curves
from gpt_classifier.experiments.study.plan import Row, Run, add_classical, read_study
from gpt_classifier.experiments.study.runner import combine_results, read_results
from gpt_classifier.experiments.study.table import build_table
from gpt_classifier.reporting.plots import choose_ticks
from gpt_classifier.statistics.paired_tests import holm, paired_p_value

N = 400  # test texts
SIZES = (100, 300, 1000)


def result(run: Run, correct: int, texts: int, val: int = 90) -> dict:
    """What a run leaves that classified ``correct`` of N test texts correctly, the first ones."""
    family = "classical" if run.classical else "gpt"
    return {
        "key": run.key,
        "seed": run.seed,
        "fold": run.fold,
        "accuracy": {"train": [texts, texts], "val": [val, 100], "test": [correct, N]},
        "test_rows": "same",
        "test_correct": "1" * correct + "0" * (N - correct),
        "test_classes": {"a": [N, N, correct]},
        "seconds": 1.0,
        "trainable": 1,
        "peak_memory": 1,
        "epochs": 1,
        "initial_weights": "random",
        "family": family,
        "trained": run.classical or "GPT",
        "settings": {},
    }


def study_of(correct: dict, sizes=SIZES, val=None, seeds=1):
    """Rows, runs and results of rows that classify these numbers of test texts correctly, None where a run is missing.

    A row whose name begins with ``svm`` is a classical model. ``val`` has validation accuracies in percent, by row.
    """
    rows = [Row(name, classical="character_svm" if name.startswith("svm") else None) for name in correct]
    runs, results = [], {}
    for row in rows:
        for fraction, texts, right in zip(np.linspace(0.1, 1, len(sizes)), sizes, correct[row.name], strict=True):
            for seed in range(1 if row.classical else seeds):
                run = Run(row.name, seed, None, "", {"f": float(fraction)}, row.classical, "best", fraction=fraction)
                runs.append(run)
                if right is not None and not (isinstance(right, list) and right[seed] is None):
                    one = right[seed] if isinstance(right, list) else right
                    results[run.key] = result(run, one, texts, (val or {}).get(row.name, 90))
    return rows, runs, results


def table_of(rows, runs, results) -> pd.DataFrame:
    return build_table(rows, combine_results(runs, results), {})


def said_of(*arguments, **settings) -> list[str]:
    return describe_curves(table_of(*study_of(*arguments, **settings)))


# ---------------------------------------------------------------- sentences


def test_a_crossing_is_told_from_the_size_on_at_which_the_network_stays_ahead():
    said = said_of({"net": [200, 329, 390], "svm": [300, 331, 350]})
    best = "the classical model with the best validation accuracy"
    assert said[0].startswith(
        f"net scored more than {best} at every measured size from 1,000 labels on, and less at 1 of 3: "
    )
    assert "with 100 labels -25.0 points against svm (p < 0.001), with 300 labels -0.5 points" in said[0]
    assert said[0].endswith("with 1,000 labels +10.0 points against svm (p < 0.001).")


@pytest.mark.parametrize(
    ("network", "claim"),
    [
        ([350, 370, 390], "at every measured size: with 100"),
        ([200, 370, 390], "at every measured size from 300 labels on, and less at 1 of 3: "),
        ([350, 310, 390], "at every measured size from 1,000 labels on: "),
        ([350, 370, 311], "at 2 of 3 measured sizes, not at the largest one: "),
        ([200, 310, 311], "significantly more than the classical model with the best validation accuracy at none of"),
    ],
    ids=str,
)
def test_the_claim_is_about_the_sizes_that_were_measured(network, claim):
    assert claim in said_of({"net": network, "svm": [310, 310, 310]})[0]


def test_more_labels_may_help_or_not_or_make_worse():
    said = said_of({"up": [200, 300, 390], "level": [300, 350, 351], "down": [300, 390, 350], "svm": [300, 300, 300]})
    assert said[3] == "More labels may help: up, from 300 to 1,000 labels +22.5 points (p < 0.001)."
    assert said[4].startswith("No evidence that more labels would help: level, from 300 to 1,000 labels +0.2 ")
    assert "; svm, from 300 to 1,000 labels 0.0 points (p = 1.000)." in said[4]
    assert said[5].startswith("With more labels scored less: down, from 300 to 1,000 labels -10.0 points")
    assert "(Holm), 9 against classical models and 4 between sizes" in said[6]


def test_p_values_are_corrected_for_all_rows_and_sizes():
    rows, runs, results = study_of({"a": [350, 358], "b": [350, 351], "svm": [350, 350]}, sizes=(100, 1000))
    curves = learning_curve.read_curves(table_of(rows, runs, results))
    sizes = learning_curve.compare_sizes(curves)
    eight, one, none = (paired_p_value(np.ones((1, n)), np.zeros((1, n))) for n in (8, 1, 0))
    assert [pair.p_corrected for pair in sizes] == pytest.approx(holm([eight, one, none]))
    assert sizes[0].p_corrected == pytest.approx(3 * eight)
    against = learning_curve.compare_with_classical(curves)
    assert [pair.p_corrected for pair in against] == pytest.approx(holm([none, eight, none, one]))
    # six more of the 400 are significant by themselves, but not among these rows
    said = " ".join(said_of({f"row {n}": [350, 356] for n in range(5)} | {"svm": [350, 350]}, sizes=(100, 1000)))
    assert "More labels may help" not in said
    assert "More labels may help" in " ".join(said_of({"net": [350, 356], "svm": [None, None]}, sizes=(100, 1000)))


def test_the_classical_model_to_beat_is_the_best_on_validation_rows_not_on_test_rows():
    correct = {"net": [350] * 3, "svm lucky": [390] * 3, "svm better": [310] * 3}
    assert "-10.0 points" in said_of(correct, val={"svm lucky": 95})[0]
    assert "+10.0 points" in said_of(correct, val={"svm better": 95})[0]


def test_incomplete_sizes_are_named_and_neither_drawn_nor_compared():
    correct = {"net": [[200, 210], [330, None], [None, None]], "other": [[300, 300]] * 3, "svm": [300, None, 350]}
    rows, runs, results = study_of(correct, seeds=2)
    found = table_of(rows, runs, results)
    said = describe_curves(found)
    assert "at none of the measured sizes, and less at 1 of 1: with 100 labels -23.8 points against" in said[0]
    assert said[0].endswith("svm (p < 0.001).")
    assert "with 100 labels 0.0" in said[1]
    assert "with 300 labels" not in said[1]
    assert not any("net, from" in sentence for sentence in said)
    assert said[-2] == (
        "Incomplete, so neither drawn nor compared: net at 55 % of the training rows (1 of 2 runs); "
        "net at 100 % of the training rows (not run); svm at 55 % of the training rows (not run)."
    )
    assert said[-1].startswith("n = 400 test texts, 1 or 2 seeds; ")
    (axes,) = figures.draw_learning_curve(found).axes
    assert [len(container.lines[0].get_xdata()) for container in axes.containers] == [1, 3, 2]
    shown = format_curves(found)
    assert "| net | GPT | 51.25 [" in shown
    assert "(1 of 2 runs) | not run |" in shown


def test_without_a_complete_classical_model_the_network_is_compared_with_none():
    said = said_of({"net": [200, 300, 390], "svm": [None] * 3})
    assert said[0].startswith("net is compared with no classical model")
    rows, runs, results = study_of({"net": [200, 300, 390], "svm": [100] * 3})
    for run in runs[:3]:
        results[run.key]["test_rows"] = "others"
    said = describe_curves(table_of(rows, runs, results))
    assert said[0].startswith("net is compared with no classical model")


def test_nothing_is_said_of_a_study_that_has_not_begun():
    rows, runs, results = study_of({"net": [None] * 3, "svm": [None] * 3})
    found = table_of(rows, runs, results)
    (sentence,) = describe_curves(found)
    assert sentence.count("(not run)") == 6
    assert figures.draw_learning_curve(found).axes[0].get_title("left") == "no size is complete"


# ---------------------------------------------------------------- table and figure


def test_sizes_are_those_of_each_row_after_balancing():
    rows, runs, results = study_of({"net": [200, 300, 390], "svm": [200, 300, 390]})
    for run in runs[3:]:
        results[run.key]["accuracy"]["train"] = [10, 10 + int(100 * run.fraction)]
    found = table_of(rows, runs, results)
    assert list(found["training_texts"]) == [100, 20, 300, 65, 1000, 110]
    assert "with 100 labels 0.0 points against svm with 20 (p = 1.000)" in "".join(describe_curves(found))
    assert "| 20 or 100 labels (10 %) | 65 or 300 labels (55 %) |" in format_curves(found)
    lines = [container.lines[0].get_xdata() for container in figures.draw_learning_curve(found).axes[0].containers]
    assert lines[0] == pytest.approx(SIZES, rel=0.03)
    assert lines[1] == pytest.approx([20, 65, 110], rel=0.03)


LONG = "ModernBERT-base 149M, random weights, LoRA, rank 16, alpha 16, last position, of a very long description"


@pytest.mark.parametrize("count", [1, 2, 12, 30])
def test_rows_of_a_figure_have_distinct_names_and_nothing_is_clipped(count):
    correct = {f"a row with a long name, number {n}": [300 + n, 320 + n, 340] for n in range(count)}
    rows, runs, results = study_of(correct)
    for found in results.values():
        found["trained"] = LONG
    figure = figures.draw_learning_curve(table_of(rows, runs, results))
    figure.canvas.draw()
    (axes,) = figure.axes
    lines = [container.lines[0] for container in axes.containers]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == count
    (legend,) = figure.legends
    names = [" ".join(text.get_text().split()) for text in legend.get_texts()]
    assert names == [f"{LONG} ({name})" for name in correct]
    boxes = [text.get_window_extent() for text in legend.get_texts()]
    assert all(above.y0 > below.y1 for above, below in pairwise(boxes))
    for box in [*boxes, axes.yaxis.label.get_window_extent(), axes.xaxis.label.get_window_extent()]:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    assert axes.get_window_extent().width > 0.4 * figure.bbox.width


def test_numbers_of_labels_on_the_axis_do_not_overlap():
    sizes = [39, 42, 78, 195, 390, 391, 780]
    assert choose_ticks(sizes) == [42, 78, 195, 391, 780]
    assert choose_ticks([100]) == [100]


# ---------------------------------------------------------------- the command


@pytest.fixture
def configuration(tmp_path) -> Path:
    """An ordinary configuration of a tiny network."""
    gpt = {"n_layer": 1, "n_head": 2, "n_embd": 16, "context_length": 64}
    data = {"source": "sample", "tokenizer": "bytes", "max_length": 64}
    base = {"data": data, "model": {"gpt": gpt, "weights": "random", "trainable": "all"}}
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(base | {"trainer": {"max_epochs": 1, "accelerator": "cpu"}}))
    return path


def lines_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "table.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.nightly
@pytest.mark.slow
def test_a_plain_configuration_becomes_a_curve_with_classical_models_beside_it(configuration, tmp_path, capsys):
    folder = tmp_path / "out"
    arguments = ["study", f"--config={configuration}", f"--output={folder}"]
    assert main([*arguments, "--fractions", "0.2", "1"]) == 0
    shown = capsys.readouterr().out
    assert "[6/6]" in shown
    assert "labels (20 %)" in shown
    assert "mine-fraction0.2-seed123" in shown
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    before = lines_of(folder)
    assert [(line["row"], line["fraction"]) for line in before] == [
        (row, fraction) for fraction in ("0.2", "1.0") for row in ("mine", "tfidf logistic regression", "character svm")
    ]
    texts = [int(line["training_texts"]) for line in before]
    assert texts[0] == texts[1] == pytest.approx(0.2 * texts[3], abs=1)

    assert main([*arguments, "--fractions", "1", "0.2"]) == 0
    assert "6 of 6 runs were done before" in capsys.readouterr().out
    assert main(["study", "table", str(folder)]) == 0
    assert " at none of the measured sizes" in capsys.readouterr().out
    assert lines_of(folder) == before

    kept = read_results(folder)[:-1]  # as if it had been interrupted
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in kept))
    assert main(["study", "table", str(folder)]) == 0
    assert (
        "neither drawn nor compared: character svm at 100 % of the training rows (not run)" in capsys.readouterr().out
    )


@pytest.mark.nightly
@pytest.mark.slow
def test_a_study_without_fractions_is_continued_and_folds_test_every_text_at_every_size(tmp_path, capsys):
    rows = [{"name": "svm", "classical": "character_svm"}]
    (tmp_path / "base.yaml").write_text("data: {source: sample, tokenizer: bytes}\nmodel: {weights: random}\n")
    (tmp_path / "study.yaml").write_text(json.dumps({"base": "base.yaml", "rows": rows}))
    folder = tmp_path / "out"
    arguments = ["study", f"--config={tmp_path / 'study.yaml'}", f"--output={folder}", "--folds", "2"]
    assert main(arguments) == 0
    assert not (folder / "learning_curve.png").exists()
    assert main([*arguments, "--fractions", "0.1", "1"]) == 0
    assert "2 of 4 runs were done before" in capsys.readouterr().out
    texts = {}
    for one in read_results(folder):
        few = one["accuracy"]["train"][1] < 100
        texts.setdefault(few, []).append(one["accuracy"]["test"][1])
    assert [sum(tested) for tested in texts.values()] == [1373, 1373]
    assert [line["runs"] for line in lines_of(folder)] == ["2"] * 2
    assert "1 seed, 2 folds; p-values" in (folder / "table.md").read_text()


@pytest.mark.slow
@pytest.mark.nightly
def test_a_smoke_test_of_a_curve_runs_and_says_nothing(tmp_path, capsys):
    folder = tmp_path / "smoke"
    options = ["--rows", "mean", "logistic", "--smoke", "--fractions", "0.1", "1", f"--output={folder}"]
    assert main(["study", "--config", "questions", *options]) == 0
    shown = capsys.readouterr().out
    assert "[4/4]" in shown
    assert "A smoke test says nothing about how many labels are needed." in shown
    assert {line["smoke"] for line in lines_of(folder)} == {"true"}


def test_a_study_with_classical_models_gets_no_others():
    study, _ = read_study(Path(__file__).parents[2] / "configs" / "study" / "questions.yaml")
    assert add_classical(study) == study


@pytest.mark.parametrize(
    ("fractions", "said"),
    [
        (["0", "1"], "--fractions has 0, expected fractions of the training rows above 0 and up to 1"),
        (["0.5", "1.2"], "--fractions has 1.2, expected fractions"),
        (["0.5", "0.5"], "--fractions has 0.5 alone, expected two or more"),
        (["a few"], "invalid float value: 'a few'"),
    ],
)
def test_fractions_that_make_no_curve_are_refused(fractions, said, capsys):
    assert main(["study", "--config", "questions", "--fractions", *fractions]) == 2
    assert said in capsys.readouterr().err


def test_a_configuration_that_is_not_there_is_one_clear_line(tmp_path, capsys):
    assert main(["study", f"--config={tmp_path / 'none.yaml'}", "--fractions", "0.5", "1"]) == 2
    error = capsys.readouterr().err
    assert "none.yaml" in error
    assert error.strip().count("\n") == 0
