"""Turns the results of a study into a table, sentences and a figure that claim no more than the numbers carry."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt_classifier.evaluation.statistics import Proportion, holm, mean_accuracy, paired_p_value
from gpt_classifier.study.plan import SPLITS, Result, Row, Run

ALPHA = 0.05


@dataclass
class Line:
    """One row with what its runs gave. Without ``test`` it has no result; ``error`` may say why."""

    row: Row
    done: int  # runs with a result
    wanted: int
    error: str = ""
    train: Proportion | None = None
    val: Proportion | None = None
    test: Proportion | None = None
    texts: int = 0  # of the test
    seconds: float = 0.0
    trainable: int = 0
    memory: int = 0  # bytes
    weights: str = ""
    epochs: str = ""
    difference: float | None = None  # of the test accuracy to that of the first row, in percentage points
    p: float | None = None  # of that difference
    p_corrected: float | None = None  # for the number of comparisons


def lines(rows: Sequence[Row], runs: Sequence[Run], results: dict[str, Result]) -> list[Line]:
    """A line for each of ``rows``; each is compared with the first one."""
    table = [_line(row, [run for run in runs if run.row == row.name], results) for row in rows]
    first = _correct([run for run in runs if run.row == rows[0].name], results)
    for line in table[1:]:
        other = _correct([run for run in runs if run.row == line.row.name], results)
        if first is not None and other is not None and other[1] == first[1]:
            assert line.test is not None
            assert table[0].test is not None
            line.difference = 100 * (line.test.value - table[0].test.value)
            line.p = paired_p_value(other[0], first[0])
    compared = [line for line in table if line.p is not None]
    for line, p in zip(compared, holm([line.p for line in compared if line.p is not None]), strict=True):
        line.p_corrected = p
    return table


def _line(row: Row, runs: list[Run], results: dict[str, Result]) -> Line:
    found = [results[run.key] for run in runs if run.key in results]
    good = [result for result in found if "error" not in result]
    line = Line(row, len(good), len(runs), next((r["error"] for r in found if "error" in r), ""))
    if not good:
        return line
    for name in SPLITS:
        setattr(line, name, _accuracy(name, good))
    line.texts = sum(r["accuracy"]["test"][1] for r in good if r["seed"] == good[0]["seed"])
    line.seconds = float(np.mean([result["seconds"] for result in good]))
    line.trainable = good[0]["trainable"]
    line.memory = max(result["peak_memory"] for result in good)
    line.weights = good[0]["initial_weights"]
    line.epochs = ", ".join(map(str, sorted({result["epochs"] for result in good})))
    return line


def _accuracy(name: str, results: list[Result]) -> Proportion:
    """The mean over seeds; of each seed, over the texts of all folds."""
    by_seed: dict[int, list[int]] = {}
    for result in results:
        counts = by_seed.setdefault(result["seed"], [0, 0])
        counts[0] += result["accuracy"][name][0]
        counts[1] += result["accuracy"][name][1]
    texts = next(iter(by_seed.values()))[1]
    return mean_accuracy([right / of for right, of in by_seed.values()], texts)


def _correct(runs: list[Run], results: dict[str, Result]) -> tuple[np.ndarray, list[str]] | None:
    """(S, N) whether test text n was right with seed s, and what the texts were; None unless all runs are done."""
    by_seed: dict[int, list[Result]] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.fold or 0)):
        if "error" in results.get(run.key, {"error": "not done"}):
            return None
        by_seed.setdefault(run.seed, []).append(results[run.key])
    if not by_seed:
        return None
    right = [[c == "1" for result in folds for c in result["test_correct"]] for folds in by_seed.values()]
    return np.array(right, dtype=float), [result["test_rows"] for result in next(iter(by_seed.values()))]


# ---------------------------------------------------------------- sentences


def sentences(table: Sequence[Line], questions: dict[str, str]) -> list[str]:
    """One for each question that a row with a result answers."""
    said = []
    for key, question in questions.items():
        answers = [line for line in table[1:] if line.row.question == key and line.test is not None]
        if answers:
            said.append(f"{question} {_answer(answers, table[0])}")
    return said


def _answer(answers: list[Line], first: Line) -> str:
    claims = []
    unclear = []
    for line in answers:
        if "model.weights" in line.row.settings and line.weights == first.weights:
            claims.append(f"not answered here, because row {first.row.name} began with {first.weights} weights too")
        elif line.p_corrected is None or line.difference is None:
            claims.append(f"{line.row.title} cannot be paired with row {first.row.name}")
        elif line.p_corrected < ALPHA:
            better = "better" if line.difference > 0 else "worse"
            claims.append(
                f"{line.row.title} is {better} than {first.row.title} by {abs(line.difference):.1f} points "
                f"(p {number(line.p_corrected)})"
            )
        else:
            unclear.append(f"{line.row.title} ({line.difference:+.1f} points)")
    if unclear:
        claims.append(f"no evidence either way at n = {answers[0].texts:,} for {', '.join(unclear)}")
    text = "; ".join(claims)
    return text[0].upper() + text[1:] + "."


def number(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


# ---------------------------------------------------------------- tables


def markdown(table: Sequence[Line], seeds: int) -> str:
    """The table for people."""
    published = any(line.row.published for line in table)
    head = ["row", "setting", "initial weights", "epochs", "trains", "train %", "val %", "test % [95 % interval]"]
    head += ["published test %"] if published else []
    head += [f"p against row {table[0].row.name}", "s", "GB"]
    rows = []
    for line in table:
        cells = [line.row.name, line.row.title]
        if line.test is None:
            cells += ["", "", "", "", "", f"failed: {line.error}" if line.error else "not run"]
        else:
            assert line.train is not None
            assert line.val is not None
            some = f" ({line.done} of {line.wanted} runs)" if line.done < line.wanted else ""
            cells += [
                line.weights,
                line.epochs if line.trainable else "",
                f"{line.trainable:,}" if line.trainable else "",
            ]
            cells += [
                f"{100 * line.train.value:.2f}",
                f"{100 * line.val.value:.2f}",
                str(line.test).replace(" %", "") + some,
            ]
        if published:
            cells.append(f"{line.row.published['test']:.2f}" if line.row.published else "")
        cells.append("" if line.p_corrected is None else number(line.p_corrected).removeprefix("= "))
        cells += [f"{line.seconds:.1f}", f"{line.memory / 2**30:.1f}"] if line.test is not None else ["", ""]
        rows.append(cells)
    text = [_row(head), "|" + "---|" * len(head), *map(_row, rows), ""]
    if seeds > 1:
        how = f"mean over {seeds} seeds; the interval is for other texts and seeds. p: paired permutation test"
    else:
        how = "of one seed; the interval is for other texts, not for other seeds. p: exact McNemar test"
    comparisons = sum(line.p is not None for line in table)
    text.append(
        f"Accuracy: {how} on the test texts, corrected for {comparisons} comparisons (Holm). "
        "s: seconds of training; GB: peak memory of the process."
    )
    notes = [f"Row {line.row.name}: {line.row.note}" for line in table if line.row.note]
    return "\n".join(text + ([""] + [f"- {note}" for note in notes] if notes else [])) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def comma_separated(table: Sequence[Line]) -> str:
    """The table for programs, unrounded, shares between 0 and 1."""
    stream = io.StringIO()
    splits = [f"{name}{end}" for name in SPLITS for end in ("", "_low", "_high")]
    published = [f"published_{name}" for name in (*SPLITS, "minutes")]
    head = ["row", "title", "question", "runs", "weights", "epochs", "trainable", *splits, "difference_points", "p"]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*head, "p_corrected", "seconds", "peak_bytes", *published, "error"])
    for line in table:
        cells: list[Any] = [line.row.name, line.row.title, line.row.question or "", line.done]
        cells += [line.weights, line.epochs, line.trainable]
        for share in (line.train, line.val, line.test):
            cells += [""] * 3 if share is None else list(share)
        cells += ["" if value is None else value for value in (line.difference, line.p, line.p_corrected)]
        cells += [line.seconds, line.memory, *((line.row.published or {}).get(name[10:], "") for name in published)]
        writer.writerow([*cells, line.error])
    return stream.getvalue()


# ---------------------------------------------------------------- figure


def forest_plot(table: Sequence[Line]) -> Any:
    """Test accuracies with their intervals, one below the other, published ones beside them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [line for line in table if line.test is not None]
    figure = Figure(figsize=(8, 1.3 + 0.32 * len(shown)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for y, line in enumerate(shown):
        assert line.test is not None
        value, low, high = (100 * share for share in line.test)
        clear = line.p_corrected is not None and line.p_corrected < ALPHA
        colour = "black" if line is table[0] else "tab:red" if clear else "tab:blue"
        axes.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(value, y, "s", color=colour, markersize=6)
        if line.row.published:
            axes.plot(line.row.published["test"], y, "D", color="grey", fillstyle="none", markersize=6)
    if shown and shown[0] is table[0] and shown[0].test is not None:
        axes.axvline(100 * shown[0].test.value, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(shown)), [f"{line.row.title}  ({line.row.name})" for line in shown])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    texts = max((line.texts for line in shown), default=0)
    axes.set_xlabel(
        f"test accuracy, % of {texts:,} texts, 95 % interval\nred: unlike the first row, corrected p < {ALPHA}"
    )
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if any(line.row.published for line in shown):
        axes.plot([], [], "D", color="grey", fillstyle="none", label="published")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8)
    return figure
