"""Turns the results of a study into a table that claims no more than the tests support."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpt_classifier.data.writers import csv_lines
from gpt_classifier.evaluation.metrics import found_at
from gpt_classifier.experiments.study.plan import SPLITS, Question, Result, Row, Run, changes, concerns
from gpt_classifier.statistics import resampling
from gpt_classifier.statistics.intervals import Proportion, mean_accuracy
from gpt_classifier.statistics.paired_tests import holm, number, paired_p_value
from gpt_classifier.training.overrides import Settings

RATES = (0.001, 0.01)  # false-positive rates at which recall is reported


@dataclass
class Line:
    """One row with the results of its runs. Without results ``test`` is None, and ``error`` may give the reason."""

    row: Row
    runs: list[Run]
    done: int  # runs with a result
    error: str = ""
    against: "Line | None" = None  # what it is compared with; None for the first row
    title: str = ""  # of the row if only its settings differ from ``against``, else a description of the model
    seeds: int = 0  # number of seeds with results
    train: Proportion | None = None
    val: Proportion | None = None
    test: Proportion | None = None
    f1: float | None = None  # macro-F1 on the test split
    training_texts: int = 0  # number of labelled training texts, after balancing; with folds, the mean
    texts: int = 0  # number of test texts
    rarer: str = ""  # name of the class with fewer test texts, if there are two classes
    recalls: dict[float, Proportion] = field(default_factory=dict)  # of it, by maximum false-positive rate
    average_precision: Proportion | None = None  # of it, with an interval for other texts
    seconds: float = 0.0
    trainable: int = 0
    memory: int = 0  # bytes
    weights: str = ""
    epochs: str = ""
    family: str = ""  # gpt, encoder, decoder or classical
    trained: str = ""  # network and trained parts in words
    settings: Settings = field(default_factory=dict)  # all of them, by dotted key
    obstacle: str = ""  # reason why the comparison with ``against`` does not answer the row's question
    also: list[str] = field(default_factory=list)  # settings that differ besides the one that its question is about
    difference: float | None = None  # test accuracy minus that of ``against``, in percentage points
    p: float | None = None  # p-value of that difference
    p_corrected: float | None = None  # corrected for the number of comparisons

    @property
    def fraction(self) -> float:
        """The fraction of the training rows, below 1 at the smaller sizes of a learning curve."""
        return self.runs[0].fraction if self.runs else 1.0

    @property
    def complete(self) -> bool:
        return self.done == len(self.runs)

    @property
    def state(self) -> str:
        """The number of its runs that have results, or the reason why none has."""
        if self.test is None:
            return f"failed: {self.error}" if self.error else "not run"
        return f"{self.done} of {len(self.runs)} runs" + (f"; failed: {self.error}" if self.error else "")


def lines(
    rows: Sequence[Row], runs: Sequence[Run], results: dict[str, Result], questions: Mapping[str, Question]
) -> list[Line]:
    """One line for each of ``rows``, compared with the row that it names, or with the first one."""
    table = [_line(row, [run for run in runs if run.row == row.name], results) for row in rows]
    by_name = {line.row.name: line for line in table}
    for line in table[1:]:
        line.against = by_name.get(line.row.against or "", table[0])
        question = questions.get(line.row.question or "", Question())
        line.obstacle = _another(line) or _obstacle(line, line.against, question)
        line.also = [] if line.obstacle else _besides(line, line.against, question)
    outcomes = {line.row.name: correct(line.runs, results) for line in table}
    for line in table:
        line.title = _title(line)
        if line.against is None:
            continue
        own, other = outcomes[line.row.name], outcomes[line.against.row.name]
        if own is not None and other is not None and own[1] == other[1]:
            assert line.test is not None
            assert line.against.test is not None
            line.difference = 100 * (line.test.value - line.against.test.value)
            line.p = paired_p_value(own[0], other[0])
    compared = [line for line in table if line.p is not None]
    for line, p in zip(compared, holm([line.p for line in compared if line.p is not None]), strict=True):
        line.p_corrected = p
    return table


def _title(line: Line) -> str:
    title, settings = line.row.title, line.row.settings
    if line.test is None:
        return title or ", ".join(f"{key} {_text(v)}" for key, v in settings.items()) or "the base configuration"
    if title and line.against is None and line.family != "classical":  # no row confirms the title of the first one
        return f"{title} ({line.trained})"
    kept = all(line.runs[0].settings.get(key) == value for key, value in settings.items())  # not in some smoke tests
    return title if title and (line.family == "classical" or (kept and not line.obstacle)) else line.trained


def _another(line: Line) -> str:
    """What is missing where the row that it names did not run; empty if that is not so."""
    named = line.row.against
    return "" if named is None or line.against is None or line.against.row.name == named else f"row {named} did not run"


def _obstacle(line: Line, first: Line, question: Question) -> str:
    """The reason why how ``line`` differs from ``first`` does not answer ``question``; empty if it does."""
    if first.test is None:
        return f"row {first.row.name} has no result"
    if question.first and question.first != first.family:
        return f"row {first.row.name} is {first.family}, not {question.first}"
    different, own = _different(line, first), set(changes(line.row))
    if "classical" in (line.family, first.family):  # its result depends on settings of the data only
        different = {key for key in different if key.startswith("data.")}
        own |= set(changes(first.row))
    if others := {key for key in different if not concerns(key, own)}:
        return f"it differs from row {first.row.name} in {', '.join(sorted(others))} too"
    if line.family != "classical" and not concerns(question.about, different):
        return f"{question.about or 'every setting'} is the same in row {first.row.name}"
    return ""


def _besides(line: Line, first: Line, question: Question) -> list[str]:
    """Settings in which the two networks differ besides what ``question`` is about."""
    if not question.about or "classical" in (line.family, first.family):
        return []
    return sorted(key for key in _different(line, first) if not concerns(question.about, [key]))


def _different(line: Line, first: Line) -> set[str]:
    """Settings in which the two differ; each fold is one of both."""
    keys = (line.settings.keys() | first.settings.keys()) - {"data.splitting.fold"}
    return {key for key in keys if line.settings.get(key) != first.settings.get(key)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _line(row: Row, runs: list[Run], results: dict[str, Result]) -> Line:
    own = [results[run.key] for run in runs if run.key in results]
    good = [result for result in own if "error" not in result]
    line = Line(row, runs, len(good), next((r["error"] for r in own if "error" in r), ""))
    if not good:
        return line
    by_seed = {result["seed"]: [r for r in good if r["seed"] == result["seed"]] for result in good}
    line.seeds = len(by_seed)
    for name in SPLITS:
        setattr(line, name, _accuracy(name, list(by_seed.values())))
    line.training_texts = round(float(np.mean([result["accuracy"]["train"][1] for result in good])))
    line.texts = _texts("test", list(by_seed.values()))
    line.f1 = float(np.mean([_macro_f1(folds) for folds in by_seed.values()]))
    if line.complete and all("test_log_odds" in result for result in good):
        line.rarer, ranked = _ranked(list(by_seed.values()))
        line.recalls, line.average_precision = _recalls(ranked), _average_precision(ranked)
    line.seconds = float(np.mean([result["seconds"] for result in good]))
    line.trainable = good[0]["trainable"]
    line.memory = max(result["peak_memory"] for result in good)
    line.weights = good[0]["initial_weights"]
    line.epochs = ", ".join(map(str, sorted({result["epochs"] for result in good})))
    line.family, line.trained, line.settings = (good[0][name] for name in ("family", "trained", "settings"))
    return line


def _accuracy(split: str, by_seed: list[list[Result]]) -> Proportion:
    """Mean accuracy over seeds; the accuracy of a seed is over the texts of all its folds."""
    counts = [np.sum([result["accuracy"][split] for result in folds], axis=0) for folds in by_seed]
    return mean_accuracy([float(correct / total) for correct, total in counts], _texts(split, by_seed))


def _texts(split: str, by_seed: list[list[Result]]) -> int:
    """Number of texts; if folds are missing, the minimum over seeds."""
    return min(sum(result["accuracy"][split][1] for result in folds) for folds in by_seed)


def _macro_f1(folds: list[Result]) -> float:
    """Macro-F1 over the test texts of all ``folds``: the mean over the classes that occur or are predicted."""
    total: dict[str, np.ndarray] = {}
    for result in folds:
        for name, counts in result["test_classes"].items():
            total[name] = total.get(name, 0) + np.array(counts)
    return float(np.mean([2 * right / (rows + predicted) for rows, predicted, right in total.values()]))


Ranked = list[tuple[np.ndarray, np.ndarray]]  # of each seed, whether each text is of the class, and its score


def _ranked(by_seed: list[list[Result]]) -> tuple[str, Ranked]:
    """The rarer class, and the scores of all texts for it.

    The texts of all folds are ranked together, as each was scored by a model that had not seen it.
    """
    ones = [np.array([c == "1" for result in folds for c in result["test_labels"]]) for folds in by_seed]
    log_odds = [np.array([value for result in folds for value in result["test_log_odds"]]) for folds in by_seed]
    second = bool(2 * ones[0].sum() <= len(ones[0]))
    pairs = zip(ones, log_odds, strict=True)
    ranked = [(truth, scores) if second else (~truth, -scores) for truth, scores in pairs]
    return by_seed[0][0]["class_names"][int(second)], ranked


def _recalls(ranked: Ranked) -> dict[float, Proportion]:
    """The recall at each of RATES, where the texts support it: means over seeds."""
    recalls = {}
    for rate in RATES:
        found = [found_at(rate, scores, truth) for truth, scores in ranked]
        counts = [count for count in found if count is not None]
        if len(counts) == len(found):
            recalls[rate] = mean_accuracy([hits / total for hits, total in counts], min(total for _, total in counts))
    return recalls


def _average_precision(ranked: Ranked) -> Proportion | None:
    """The mean over seeds, and its interval over resampled texts; None if no text is of the class."""
    if not all(truth.any() for truth, _ in ranked):
        return None
    score = resampling.mean([resampling.average_precision(truth, scores) for truth, scores in ranked])
    value = float(score(np.ones((1, len(ranked[0][0]))))[0])
    interval = resampling.intervals(ranked[0][0].astype(int), {"score": score})["score"]
    return Proportion(value, *(interval or (value, value)))


def correct(runs: list[Run], results: dict[str, Result]) -> tuple[np.ndarray, list[str]] | None:
    """(S, N) whether text n was classified correctly with seed s, and hashes of the test rows; None unless all
    runs are done."""
    by_seed: dict[int, list[Result]] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.fold or 0)):
        if "error" in results.get(run.key, {"error": "not done"}):
            return None
        by_seed.setdefault(run.seed, []).append(results[run.key])
    if not by_seed:
        return None
    right = [[c == "1" for result in folds for c in result["test_correct"]] for folds in by_seed.values()]
    return np.array(right, dtype=float), [result["test_rows"] for result in next(iter(by_seed.values()))]


def seeds_and_folds(table: Sequence[Line]) -> str:
    """The numbers of seeds and folds of these rows in words, such as ``2 seeds, 5 folds``."""
    counts = sorted({line.seeds for line in table if line.test is not None})
    folds = sorted(
        {len({run.fold for run in line.runs}) for line in table if line.runs and line.runs[0].fold is not None}
    )
    seeds = " or ".join(map(str, counts)) + (" seed" if counts == [1] else " seeds")
    return seeds + (f", {' or '.join(map(str, folds))} folds" if folds else "")


# ---------------------------------------------------------------- tables


def markdown(table: Sequence[Line]) -> str:
    """The table in Markdown, with its notes."""
    published = any(line.row.published for line in table)
    head = ["row", "setting", "initial weights", "epochs", "trains", "seeds", "train %", "val %"]
    head += ["test % [95 % interval]", "test macro-F1 %"]
    rates = [rate for rate in RATES if any(rate in line.recalls for line in table)]
    head += [f"recall at FPR {rate:.1%}" for rate in rates]
    ranked = any(line.average_precision for line in table)
    head += ["average precision % [95 % interval]"] if ranked else []
    head += ["published test %"] if published else []
    rivals = {line.against.row.name for line in table if line.against} or {table[0].row.name}
    head += ["p" if len(rivals) > 1 else f"p against row {name}" for name in rivals][:1]
    head += ["s", "GB"]
    rows = []
    for line in table:
        cells = [line.row.name, line.title]
        if line.test is None:
            cells += ["", "", "", "", "", "", line.state, ""]
        else:
            assert line.train is not None
            assert line.val is not None
            assert line.f1 is not None
            cells += [
                line.weights,
                line.epochs if line.trainable else "",
                f"{line.trainable:,}" if line.trainable else "",
                str(line.seeds),
                f"{100 * line.train.value:.2f}",
                f"{100 * line.val.value:.2f}",
                str(line.test).replace(" %", "") + ("" if line.complete else f" ({line.state})"),
                f"{100 * line.f1:.2f}",
            ]
        cells += [str(line.recalls[rate]).replace(" %", "") if rate in line.recalls else "" for rate in rates]
        if ranked:
            cells.append(str(line.average_precision or "").replace(" %", ""))
        if published:
            cells.append(f"{line.row.published['test']:.2f}" if line.row.published else "")
        p = "" if line.p_corrected is None else number(line.p_corrected).removeprefix("= ")
        cells.append(f"{p} against {line.against.row.name}" if p and line.against and len(rivals) > 1 else p)
        cells += [f"{line.seconds:.1f}", f"{line.memory / 2**30:.1f}"] if line.test is not None else ["", ""]
        rows.append(cells)
    text = [in_cells(head), "|" + "---|" * len(head), *map(in_cells, rows), "", _how(table)]
    if smoke := [line.row.name for line in table if any(run.smoke for run in line.runs)]:
        which = "" if len(smoke) == len(table) else f" of rows {', '.join(smoke)}"
        text = [
            f"**Smoke test{which}: tiny models, with the study's smoke settings. It shows that rows run; "
            "scores say nothing about the real models.**",
            "",
            *text,
        ]
    notes = [f"Row {line.row.name}: {line.row.note}" for line in table if line.row.note]
    notes += [f"With {given}: rows {', '.join(names)}" for given, names in _given(table).items()]
    if published and _given(table):
        notes.append("Published scores are of the study without settings of a command line")
    return "\n".join(text + ([""] + [f"- {note}" for note in notes] if notes else [])) + "\n"


def _how(table: Sequence[Line]) -> str:
    """How accuracy, intervals and p-values were computed, in a sentence each."""
    done = [line for line in table if line.test is not None]
    compared = [line for line in table if line.p is not None]
    text = []
    if done:
        several = any(line.seeds > 1 for line in done)
        seeds = "means over seeds; the interval is for other texts and, with several seeds, other seeds"
        text.append(
            f"Accuracy and macro-F1 ({seeds_and_folds(done)}): "
            + (seeds if several else "the interval is for other texts, not for other seeds")
        )
    if compared:
        one = {line.seeds == line.against.seeds == 1 for line in compared if line.against is not None}
        tests = " or, with more than one seed, ".join(
            test for single, test in ((True, "exact McNemar test"), (False, "paired permutation test")) if single in one
        )
        text.append(f"p: {tests} on the test texts, corrected for their number, {len(compared)} (Holm)")
    if rarer := sorted({line.rarer for line in done if line.recalls}):
        text.append(
            f"Recall at FPR: % of class {' or '.join(rarer)} found where at most this share of the other class "
            "passes the threshold, which the interval takes as given"
        )
    if rarer := sorted({line.rarer for line in done if line.average_precision}):
        text.append(
            f"Average precision: of class {' or '.join(rarer)}, mean over seeds; the interval is for other texts"
        )
    text.append("s: seconds of training; GB: peak memory of the process")
    return ". ".join(text) + "."


def _given(table: Sequence[Line]) -> dict[str, list[str]]:
    """Settings of the command line, each with the names of the rows that ran with them."""
    names: dict[str, list[str]] = {}
    for line in table:
        if line.runs and (given := line.runs[0].given):
            names.setdefault(" ".join(f"--{key} {_text(v)}" for key, v in given.items()), []).append(line.row.name)
    return names


def in_cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def comma_separated(table: Sequence[Line]) -> str:
    """The table as CSV, unrounded; accuracies between 0 and 1."""
    splits = [f"{name}{end}" for name in SPLITS for end in ("", "_low", "_high")]
    recalls = [f"recall_at_fpr_{rate}" for rate in RATES]
    published = [f"published_{name}" for name in (*SPLITS, "minutes")]
    head = ["row", "fraction", "training_texts", "title", "question", "trained", "smoke", "runs", "runs_wanted"]
    head += [
        "seeds",
        "weights",
        "epochs",
        "trainable",
        *splits,
        "test_f1_macro",
        *recalls,
        *(f"average_precision{end}" for end in ("", "_low", "_high")),
        "against",
        "difference_points",
        "p",
        "p_corrected",
        "seconds",
        "peak_bytes",
    ]
    rows: list[list[object]] = [[*head, *published, "error"]]
    for line in table:
        cells: list[Any] = [line.row.name, line.fraction, line.training_texts or ""]
        cells += [line.title, line.row.question or "", line.trained]
        cells += [str(any(run.smoke for run in line.runs)).lower(), line.done, len(line.runs), line.seeds]
        cells += [line.weights, line.epochs, line.trainable]
        for accuracy in (line.train, line.val, line.test):
            cells += [""] * 3 if accuracy is None else list(accuracy)
        found = [line.recalls[rate].value if rate in line.recalls else None for rate in RATES]
        rival = line.against.row.name if line.against else None
        compared = (rival, line.difference, line.p, line.p_corrected)
        values = (line.f1, *found, *(line.average_precision or [None] * 3), *compared)
        cells += ["" if value is None else value for value in values]
        cells += [line.seconds, line.memory, *((line.row.published or {}).get(name[10:], "") for name in published)]
        rows.append([*cells, line.error])
    return b"".join(csv_lines(rows)).decode()
