"""Turns the results of a study into a table that claims no more than the tests support."""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gpt_classifier.data.writers import csv_lines
from gpt_classifier.evaluation.metrics import count_found
from gpt_classifier.experiments.study.plan import SPLITS, Question, Row, concerns, find_changes
from gpt_classifier.statistics import resampling
from gpt_classifier.statistics.intervals import Proportion, mean_accuracy
from gpt_classifier.statistics.paired_tests import format_p_value, holm, paired_p_value

RATES = (0.001, 0.01)  # false-positive rates at which recall is reported
RECALLS = tuple(f"recall_at_fpr_{rate}" for rate in RATES)
INTERVAL = ("", "_low", "_high")
COLUMNS = (  # of table.csv
    *("row", "fraction", "training_texts", "title", "question", "trained", "smoke", "runs", "runs_wanted", "seeds"),
    *("weights", "epochs", "trainable"),
    *(f"{split}{end}" for split in SPLITS for end in INTERVAL),
    "test_f1_macro",
    *RECALLS,
    *(f"average_precision{end}" for end in INTERVAL),
    *("against", "difference_points", "p", "p_corrected", "seconds", "peak_bytes"),
    *(f"published_{name}" for name in (*SPLITS, "minutes")),
    "error",
)
Line = Any  # a row of the table, as DataFrame.itertuples returns it


def build_table(rows: Sequence[Row], results: pd.DataFrame, questions: Mapping[str, Question]) -> pd.DataFrame:
    """The table: each of ``rows`` at each fraction of the training rows, in ascending order.

    Each is compared with the row that it names, or with the first one, at the same fraction. Beside COLUMNS, where
    scores are between 0 and 1 and NaN without a result, there are

    - ``state``: the number of its runs that have results, or the reason why none has; ``complete`` if all have
    - ``texts``: number of test texts; ``rarer``: name of the class with fewer of them, if there are two classes
    - ``right``: (S, N) whether text n was classified correctly with seed s; ``test_rows``: hashes of the test rows;
      None unless the row is complete
    - ``obstacle``: the reason why the comparison does not answer the row's question
    - ``also``: settings that differ besides the one that its question is about
    - ``family``, ``settings``: those of the model, defaults included; ``asked``: settings that its runs changed;
      ``given``: settings of the command line; ``folds``: their number
    - ``classical``, ``note``, ``names_rival``: what the study says about the row

    Args:
        rows: Rows of the study.
        results: As runner.collect_results returns them.
        questions: Questions of the study by key.
    """
    tables = []
    for fraction, part in results.groupby("fraction"):
        summaries = [_summarize_row(row, part[part["row"] == row.name]) for row in rows]
        table = pd.DataFrame(summaries, dtype=object).assign(fraction=fraction)
        tables.append(_with_comparisons(table, rows, questions))
    return pd.concat(tables, ignore_index=True)


def keep_largest_fraction(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a study without a learning curve, or the last point of one."""
    return table[table["fraction"] == table["fraction"].max()]


def read_lines(table: pd.DataFrame) -> list[Line]:
    """The rows of the table, whose cells are attributes."""
    return list(table.itertuples(index=False))


# ---------------------------------------------------------------- a row


def _summarize_row(row: Row, runs: pd.DataFrame) -> dict[str, object]:
    done = runs[runs["done"]]
    errors = [error for error in runs["error"] if error]
    by_seed = [folds for _, folds in done.groupby("seed", sort=False)]
    complete = len(done) == len(runs)
    state = f"{len(done)} of {len(runs)} runs" if len(done) else "" if errors else "not run"
    cells: dict[str, object] = {
        "row": row.name,
        "question": row.question or "",
        "smoke": str(bool(runs["smoke"].any())).lower(),
        "runs": len(done),
        "runs_wanted": len(runs),
        "seeds": len(by_seed),
        "error": next(iter(errors), ""),
        "state": "; ".join(part for part in (state, *(f"failed: {error}" for error in errors[:1])) if part),
        "complete": complete,
        "folds": runs["fold"].nunique(),
        "given": runs["given"].iloc[0] if len(runs) else {},
        "asked": runs["asked"].iloc[0] if len(runs) else {},
        "classical": row.classical is not None,
        "note": row.note,
    }
    cells |= {f"published_{name}": (row.published or {}).get(name, nan) for name in (*SPLITS, "minutes")}
    return cells | (_summarize_results(by_seed, complete) if by_seed else NO_RESULT)


def _with_interval(name: str, proportion: Proportion | None) -> dict[str, object]:
    return dict(zip([f"{name}{end}" for end in INTERVAL], proportion or [nan] * 3, strict=True))


NO_RESULT: dict[str, object] = {
    **{f"{name}{end}": nan for name in (*SPLITS, *RECALLS, "average_precision") for end in INTERVAL},
    **{"training_texts": nan, "test_f1_macro": nan},
    **dict.fromkeys(("weights", "epochs", "trained", "family", "rarer"), ""),
    **{"trainable": 0, "seconds": 0.0, "peak_bytes": 0, "texts": 0, "settings": {}, "right": None, "test_rows": None},
}


def _summarize_results(by_seed: list[pd.DataFrame], complete: bool) -> dict[str, object]:
    """The cells of a row that has results: those of each seed, of all its folds."""
    results = pd.concat(by_seed)
    first = results.iloc[0]
    cells = {name: first[name] for name in ("trainable", "family", "trained", "settings")}
    cells |= {
        "training_texts": round(float(np.mean(results["train_texts"]))),
        "test_f1_macro": float(np.mean([_compute_macro_f1(folds) for folds in by_seed])),
        "weights": first["initial_weights"],
        "epochs": ", ".join(map(str, sorted(set(results["epochs"].astype(int))))),
        "seconds": float(np.mean(results["seconds"])),
        "peak_bytes": int(results["peak_memory"].max()),
    }
    for split in SPLITS:  # the accuracy of a seed is over the texts of all its folds; if some are missing, the minimum
        counts = [(int(folds[f"{split}_hits"].sum()), int(folds[f"{split}_texts"].sum())) for folds in by_seed]
        cells["texts"] = min(texts for _, texts in counts)
        cells |= _with_interval(split, mean_accuracy([hits / texts for hits, texts in counts], cells["texts"]))
    if complete:
        right = [[c == "1" for c in "".join(folds["test_correct"])] for folds in by_seed]
        cells |= {"right": np.array(right, dtype=float), "test_rows": list(by_seed[0]["test_rows"])}
    if complete and "test_log_odds" in results and results["test_log_odds"].notna().all():
        cells |= _rank(by_seed)
    return NO_RESULT | cells


def _compute_macro_f1(folds: pd.DataFrame) -> float:
    """Macro-F1 over the test texts of all ``folds``: the mean over the classes that occur or are predicted."""
    total: dict[str, np.ndarray] = {}
    for classes in folds["test_classes"]:
        for name, counts in classes.items():
            total[name] = total.get(name, 0) + np.array(counts)
    return float(np.mean([2 * right / (rows + predicted) for rows, predicted, right in total.values()]))


def _rank(by_seed: list[pd.DataFrame]) -> dict[str, object]:
    """The rarer class, recall at each of RATES where the texts support it, and average precision: means over seeds.

    The texts of all folds are ranked together, as each was scored by a model that had not seen it. The interval of
    average precision is for other texts, by resampling them.
    """
    truths = [np.array([c == "1" for c in "".join(folds["test_labels"])]) for folds in by_seed]
    scores = [np.concatenate(folds["test_log_odds"].tolist()) for folds in by_seed]
    second = bool(2 * truths[0].sum() <= len(truths[0]))
    if not second:
        truths, scores = [~truth for truth in truths], [-values for values in scores]
    cells: dict[str, object] = {"rarer": by_seed[0].iloc[0]["class_names"][int(second)]}
    for rate, name in zip(RATES, RECALLS, strict=True):
        found = [count_found(rate, values, truth) for truth, values in zip(truths, scores, strict=True)]
        counts = [count for count in found if count is not None]
        if len(counts) == len(found):
            recall = mean_accuracy([hits / total for hits, total in counts], min(total for _, total in counts))
            cells |= _with_interval(name, recall)
    if all(truth.any() for truth in truths):
        precisions = [resampling.average_precision(*pair) for pair in zip(truths, scores, strict=True)]
        score = resampling.mean(precisions)
        value = float(score(np.ones((1, len(truths[0]))))[0])
        interval = resampling.intervals(truths[0].astype(int), {"score": score})["score"] or (value, value)
        cells |= _with_interval("average_precision", Proportion(value, *interval))
    return cells


# ---------------------------------------------------------------- comparisons


class Comparison(NamedTuple):
    """Two lines of the table that were tested on the same texts."""

    line: Line
    other: Line
    difference: float  # of the test accuracies, in percentage points
    p: float
    p_corrected: float  # for the number of comparisons


def compare_lines(pairs: Iterable[tuple[Line, Line]]) -> list[Comparison]:
    """The pairs that were tested on the same texts with all their runs, with p-values corrected for their number."""
    pairs = [pair for pair in pairs if pair[0].right is not None and pair[0].test_rows == pair[1].test_rows]
    p_values = [paired_p_value(line.right, other.right) for line, other in pairs]
    return [
        Comparison(line, other, 100 * (line.test - other.test), p, corrected)
        for (line, other), p, corrected in zip(pairs, p_values, holm(p_values), strict=True)
    ]


def _with_comparisons(table: pd.DataFrame, rows: Sequence[Row], questions: Mapping[str, Question]) -> pd.DataFrame:
    lines = {line.row: line for line in read_lines(table)}
    by_name = {row.name: row for row in rows}
    rivals = {row.name: by_name.get(row.against or "", rows[0]) for row in rows[1:]}
    pairs = compare_lines([(lines[name], lines[rival.name]) for name, rival in rivals.items()])
    compared = {pair.line.row: pair for pair in pairs}
    cells = []
    for row in rows:
        line, pair, rival = lines[row.name], compared.get(row.name), rivals.get(row.name)
        obstacle, also = "", []
        if rival is not None:
            first, question = lines[rival.name], questions.get(row.question or "", Question())
            obstacle = _find_obstacle(row, line, rival, first, question)
            if not obstacle and question.about and "classical" not in (line.family, first.family):
                also = sorted(key for key in _find_differences(line, first) if not concerns(question.about, [key]))
        cells.append(
            {
                "title": _describe_row(row, line, is_first=rival is None, obstacle=obstacle),
                "against": rival.name if rival else "",
                "names_rival": rival is not None and rival.name == row.against,
                "obstacle": obstacle,
                "also": also,
                "difference_points": pair.difference if pair else nan,
                "p": pair.p if pair else nan,
                "p_corrected": pair.p_corrected if pair else nan,
            }
        )
    return table.join(pd.DataFrame(cells, dtype=object))


def _find_obstacle(row: Row, line: Line, rival: Row, first: Line, question: Question) -> str:
    """The reason why how ``line`` differs from ``first`` does not answer ``question``; empty if it does."""
    if row.against not in (None, rival.name):
        return f"row {row.against} did not run"
    if not first.seeds:
        return f"row {rival.name} has no result"
    if question.first and question.first != first.family:
        return f"row {rival.name} is {first.family}, not {question.first}"
    different, own = _find_differences(line, first), set(find_changes(row))
    if "classical" in (line.family, first.family):  # its result depends on settings of the data only
        different = {key for key in different if key.startswith("data.")}
        own |= set(find_changes(rival))
    if others := {key for key in different if not concerns(key, own)}:
        return f"it differs from row {rival.name} in {', '.join(sorted(others))} too"
    if line.family != "classical" and not concerns(question.about, different):
        return f"{question.about or 'every setting'} is the same in row {rival.name}"
    return ""


def _find_differences(line: Line, first: Line) -> set[str]:
    """Settings in which the two differ; each fold is one of both."""
    keys = (line.settings.keys() | first.settings.keys()) - {"data.splitting.fold"}
    return {key for key in keys if line.settings.get(key) != first.settings.get(key)}


def _describe_row(row: Row, line: Line, *, is_first: bool, obstacle: str) -> str:
    """The row's title if only its settings differ from the row that it is compared with, else what was trained."""
    if not line.seeds:
        return (
            row.title
            or ", ".join(f"{key} {_as_text(v)}" for key, v in row.settings.items())
            or "the base configuration"
        )
    if row.title and is_first and line.family != "classical":  # no row confirms the title of the first one
        return f"{row.title} ({line.trained})"
    kept = all(line.asked.get(key) == value for key, value in row.settings.items())  # not in some smoke tests
    return row.title if row.title and (line.family == "classical" or (kept and not obstacle)) else line.trained


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ---------------------------------------------------------------- output


def format_csv(table: pd.DataFrame) -> str:
    """The table as CSV, unrounded."""
    cells = table[list(COLUMNS)]
    cells = cells.where(cells.notna(), None)
    return b"".join(csv_lines([COLUMNS, *cells.itertuples(index=False)])).decode()


def format_markdown(table: pd.DataFrame) -> str:
    """The table in Markdown, with its notes."""
    done, trained = table["seeds"] > 0, table["trainable"] > 0
    columns: dict[str, Iterable[str]] = {
        "row": table["row"],
        "setting": table["title"],
        "initial weights": table["weights"],
        "epochs": table["epochs"].where(trained, ""),
        "trains": _show(table["trainable"].where(trained), "{:,}"),
        "seeds": _show(table["seeds"].where(done), "{}"),
        "train %": _show(100 * table["train"], "{:.2f}"),
        "val %": _show(100 * table["val"], "{:.2f}"),
        "test % [95 % interval]": [show_test(line) for line in read_lines(table)],
        "test macro-F1 %": _show(100 * table["test_f1_macro"], "{:.2f}"),
    }
    optional = {f"recall at FPR {r:.1%}": _show_intervals(table, n) for r, n in zip(RATES, RECALLS, strict=True)}
    optional["average precision % [95 % interval]"] = _show_intervals(table, "average_precision")
    optional["published test %"] = _show(table["published_test"], "{:.2f}")
    columns |= {name: cells for name, cells in optional.items() if any(cells)}
    rivals = sorted({*table["against"]} - {""}) or [table["row"].iloc[0]]
    p_values = ["" if pd.isna(p) else format_p_value(p).removeprefix("= ") for p in table["p_corrected"]]
    if len(rivals) > 1:
        p_values = [p and f"{p} against {rival}" for p, rival in zip(p_values, table["against"], strict=True)]
    columns["p" if len(rivals) > 1 else f"p against row {rivals[0]}"] = p_values
    columns["s"] = _show(table["seconds"].where(done), "{:.1f}")
    columns["GB"] = _show((table["peak_bytes"] / 2**30).where(done), "{:.1f}")
    parts = [markdown_table(pd.DataFrame(columns)) + f"\n{_explain(table)}\n"]
    if smoke := list(table["row"][table["smoke"] == "true"]):
        which = "" if len(smoke) == len(table) else f" of rows {', '.join(smoke)}"
        warning = "It shows that rows run; scores say nothing about the real models."
        parts.insert(0, f"**Smoke test{which}: tiny models, with the study's smoke settings. {warning}**\n")
    if notes := _format_notes(table):
        parts.append("".join(f"- {note}\n" for note in notes))
    return "\n".join(parts)


def markdown_table(cells: pd.DataFrame) -> str:
    rows: list[Any] = [cells.columns, *cells.itertuples(index=False)]
    head, *lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows]
    return "".join([head, "|" + "---|" * len(cells.columns) + "\n", *lines])


def _show(values: pd.Series, form: str) -> list[str]:
    return ["" if pd.isna(value) else form.format(value) for value in values]


def _show_intervals(table: pd.DataFrame, name: str) -> list[str]:
    triples = table[[f"{name}{end}" for end in INTERVAL]].itertuples(index=False)
    return ["" if pd.isna(triple[0]) else str(Proportion(*triple)).replace(" %", "") for triple in triples]


def show_test(line: Line) -> str:
    """The test accuracy in percent with its interval, and what is missing; or the reason why there is none."""
    if not line.seeds:
        return line.state
    test = str(Proportion(line.test, line.test_low, line.test_high)).replace(" %", "")
    return test if line.complete else f"{test} ({line.state})"


def count_seeds_and_folds(lines: Iterable[Line]) -> str:
    """The numbers of seeds and folds of these rows in words, such as ``2 seeds, 5 folds``."""
    counts = sorted({line.seeds for line in lines if line.seeds})
    folds = sorted({line.folds for line in lines if line.folds})
    seeds = " or ".join(map(str, counts)) + (" seed" if counts == [1] else " seeds")
    return seeds + (f", {' or '.join(map(str, folds))} folds" if folds else "")


def _explain(table: pd.DataFrame) -> str:
    """How accuracy, intervals and p-values were computed, in a sentence each."""
    done = table[table["seeds"] > 0]
    text = []
    if len(done):
        means = "means over seeds; the interval is for other texts and, with several seeds, other seeds"
        one = "the interval is for other texts, not for other seeds"
        counted = count_seeds_and_folds(read_lines(done))
        text.append(f"Accuracy and macro-F1 ({counted}): {means if done['seeds'].max() > 1 else one}")
    if len(compared := table[table["p"].notna()]):
        seeds = table.set_index("row")["seeds"]
        single = (compared["seeds"] == 1) & (compared["against"].map(seeds) == 1)
        names = [
            *(["exact McNemar test"] if single.any() else []),
            *(["paired permutation test"] if not single.all() else []),
        ]
        tests = " or, with more than one seed, ".join(names)
        text.append(f"p: {tests} on the test texts, corrected for their number, {len(compared)} (Holm)")
    if rarer := sorted({*done["rarer"][done[list(RECALLS)].notna().any(axis=1)]}):
        text.append(
            f"Recall at FPR: % of class {' or '.join(rarer)} found where at most this fraction of the other class "
            "passes the threshold, which the interval takes as given"
        )
    if rarer := sorted({*done["rarer"][done["average_precision"].notna()]}):
        text.append(
            f"Average precision: of class {' or '.join(rarer)}, mean over seeds; the interval is for other texts"
        )
    text.append("s: seconds of training; GB: peak memory of the process")
    return ". ".join(text) + "."


def _format_notes(table: pd.DataFrame) -> list[str]:
    """What the study says about its rows, and which of them ran with which settings of the command line."""
    given = pd.Series([" ".join(f"--{k} {_as_text(v)}" for k, v in each.items()) for each in table["given"]])
    names = table["row"].reset_index(drop=True)
    notes = [f"Row {name}: {note}" for name, note in zip(table["row"], table["note"], strict=True) if note]
    notes += [f"With {words}: rows {', '.join(names[given == words])}" for words in given.unique() if words]
    if given.any() and table["published_test"].notna().any():
        notes.append("Published scores are of the study without settings of a command line")
    return notes
