"""Reads what a test left in the folder of a run; needs neither the model nor the data."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpt_classifier.decision.rule import SEPARATOR
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.results import TestResults
from gpt_classifier.files import find_in_run
from gpt_classifier.records import from_json

PROBABILITY = "probability_"  # begins the names of the columns of probabilities


class SavedTest(NamedTuple):
    """The results of a test: N rows, K classes."""

    results: TestResults  # of scores.json
    names: list[str]  # (K,) of the classes, in the order of the probabilities
    rows: np.ndarray  # (N,) row numbers in the source
    true: np.ndarray  # (N, K) booleans, the true class of each row, or its labels
    predicted: np.ndarray  # (N, K) booleans
    probabilities: np.ndarray  # (N, K)
    run: Path = Path()


def read_test(path: Path) -> SavedTest:
    """From a run, a folder of runs (the newest tested one), or a file of scores, such as ``scores-new.json``."""
    scores = find_scores_file(path)
    if not scores.is_file():
        raise InputError(f"no scores at {scores}: gpt-classifier test {path} writes them")
    if not scores.name.startswith("scores"):
        raise InputError(f"{scores} is not a file of scores: expected a run's folder, or its scores.json")
    predictions = scores.with_name(f"predictions{scores.stem.removeprefix('scores')}.csv")
    try:
        content = json.loads(scores.read_text(encoding="utf-8"))
        results = from_json(TestResults, content)
        with open(predictions, newline="", encoding="utf-8") as stream:
            header, *lines = csv.reader(stream)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{scores} and {predictions.name} cannot be read ({error}): test again") from error
    if "accuracy" not in content:  # of logits that are NaN or infinite
        raise InputError(f"there are no scores in {scores}: the network diverged, so train with a lower learning rate")
    names = [name.removeprefix(PROBABILITY) for name in header if name.startswith(PROBABILITY)]
    if header[:3] != ["row", "label", "predicted"] or len(names) != len(header) - 3 or not lines:
        raise InputError(f"{predictions} does not hold the predictions of a test: test again")
    multi_label = results.scores.multi_label_scores is not None
    try:
        return SavedTest(
            results,
            names,
            np.array([int(line[0]) for line in lines]),
            _named_classes([line[1] for line in lines], names, multi_label),
            _named_classes([line[2] for line in lines], names, multi_label),
            np.array([[float(value) for value in line[3:]] for line in lines]),
            scores.parent,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{predictions} does not hold the predictions of a test ({error!r}): test again") from error


def find_scores_file(path: Path) -> Path:
    """``path`` itself, or the scores of the run, or of the newest tested run, in this folder."""
    return (find_in_run(path, "scores.json") or path / "scores.json") if path.is_dir() else path


def _named_classes(cells: list[str], names: list[str], multi_label: bool) -> np.ndarray:
    """(N, K) booleans, the classes that each of N cells names."""
    numbers = {name: number for number, name in enumerate(names)}
    which = np.zeros((len(cells), len(names)), dtype=bool)
    for row, cell in enumerate(cells):
        for name in filter(None, cell.split(SEPARATOR)) if multi_label else (cell,):
            which[row, numbers[name]] = True
    return which
