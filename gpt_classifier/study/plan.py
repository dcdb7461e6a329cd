"""Reads a study: rows that change one configuration, the questions they answer, the runs that follow."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import CLASSICAL

Settings = dict[str, Any]  # dotted keys of a configuration, such as model.pooling
Result = dict[str, Any]  # of a run, as study/job.py makes it
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: Short and unique, as in ``--rows``.
        title: What it is.
        question: Key of the question that it answers; the row that others are compared with answers none.
        settings: What it changes.
        classical: Instead of a network, a model of evaluation/baselines.py.
        published: Figures to show beside: train, val and test accuracy in percent, minutes.
        smoke: What else it changes in a smoke test, where everything is tiny.
        note: What a reader should know.
    """

    name: str
    title: str
    question: str | None = None
    settings: Settings = field(default_factory=dict)
    classical: str | None = None
    published: dict[str, float] | None = None
    smoke: Settings = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Run:
    """One training: a row with one seed, on one fold of the data."""

    row: str
    seed: int
    fold: int | None
    base: str  # contents of the configuration that the settings change
    settings: Settings
    classical: str | None
    weights: str

    @property
    def key(self) -> str:
        """Names what decides the result: a run that was done is not done again."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.row}-seed{self.seed}" + ("" if self.fold is None else f"-fold{self.fold}")


@dataclass(frozen=True)
class Study:
    """A study as its YAML file describes it.

    Args:
        base: Configuration file, relative to the study's own.
        rows: Lines of the table; those that run are compared with the first of them.
        questions: What is asked, by key.
        settings: What all rows change.
        weights: Whether the weights of the ``last`` epoch are scored, or the ``best`` ones (lowest validation loss).
        smoke: What all rows change in a smoke test.
    """

    base: str
    rows: list[Row]
    questions: dict[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    weights: str = "best"
    smoke: Settings = field(default_factory=dict)

    def chosen(self, names: Sequence[str] | None) -> "list[Row]":
        """The rows of these names, in the study's order; all of them by default."""
        known = [row.name for row in self.rows]
        if unknown := [name for name in names or [] if name not in known]:
            raise InputError(f"--rows has {', '.join(unknown)}, expected some of {', '.join(known)}")
        return [row for row in self.rows if names is None or row.name in names]

    def runs(self, rows: Sequence[Row], base: str, seeds: int, folds: int, given: Settings, smoke: bool) -> list[Run]:
        """All seeds and folds of one row, then of the next; ``given`` counts more than the study, less than a row."""
        first_seed = int(yaml.safe_load(base).get("seed_everything", 123))
        runs = []
        for row in rows:
            settings = self.settings | given | row.settings | (self.smoke | row.smoke if smoke else {})
            for fold in range(folds) if folds else [None]:
                parts = {"data.folds": folds, "data.fold": fold} if folds else {}
                for seed in range(first_seed, first_seed + (1 if row.classical else seeds)):  # chance plays no part
                    runs.append(Run(row.name, seed, fold, base, settings | parts, row.classical, self.weights))
        return runs


def read_study(path: Path) -> tuple[Study, str]:
    """The study and the contents of the configuration that it is based on."""
    content = _read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("rows"), list) or "base" not in content:
        raise InputError(f"{path} is not a study: expected base, the path of a configuration, and a list of rows")
    try:
        rows = [Row(**{**row, "name": str(row["name"])}) for row in content["rows"]]
        study = Study(**content | {"rows": rows})
    except (TypeError, KeyError) as error:
        known = (", ".join(f.name for f in fields(c)) for c in (Study, Row))
        raise InputError(f"{path} is not a study ({error}): it has {next(known)}; a row has {next(known)}") from error
    names = [row.name for row in rows]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"{path} has the rows {', '.join(names)}: expected one or more, each with a name of its own")
    if study.weights not in ("last", "best"):
        raise InputError(f"weights of {path} are {study.weights!r}, expected last or best")
    for row in rows:
        if row.question is not None and row.question not in study.questions:
            raise InputError(f"row {row.name} of {path} answers {row.question!r}, which is none of its questions")
        if row.classical is not None and row.classical not in CLASSICAL:
            raise InputError(f"row {row.name} of {path} is {row.classical!r}, expected one of {', '.join(CLASSICAL)}")
    base = path.parent / study.base
    _read_yaml(base)
    return study, base.read_text(encoding="utf-8")


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no file {path}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
