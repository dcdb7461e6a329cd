"""Reads a study: rows that change one configuration, the questions they answer, the runs they need."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import BASELINES
from gpt_classifier.records import check, from_json
from gpt_classifier.training.declared import by_dotted_key
from gpt_classifier.training.overrides import Settings, check_settings, parse_yaml, read_base, read_yaml, spread

Result = dict[str, Any]  # of a run, as study/job.py makes it
SPLITS = ("train", "val", "test")
BESIDE = ("tfidf_logistic_regression", "character_svm")  # in a learning curve of a study without classical models
FRACTION = "data.splitting.train_fraction"
FAMILIES = ("gpt", "encoder", "decoder", "classical")  # kinds of models that a row can train


@dataclass(frozen=True)
class Row:
    """One row of the table: a variant of the base configuration.

    Args:
        name: Short and unique, as in ``--rows``.
        title: The change in words. Without one, or if the row differs from the one it is compared with in anything
            else, the row is described by what was trained.
        question: Key of the question that it answers; the first row answers none.
        settings: Settings that it changes.
        classical: Name of a model of evaluation/baselines.py to train instead of a network.
        pretrain: Settings of ``pretrain`` with which the network first learns the texts of the same training rows,
            without their labels; ``{}`` for those of configs/pretrain.yaml. The seconds of the run include it. In a
            learning curve it learns all training texts at every fraction, as only labels are scarce there.
        published: Published scores for comparison: train, val and test accuracy in percent, minutes.
        smoke: Further settings that it changes in a smoke test, which uses tiny models.
        note: Remark below the table.
        against: Name of the row above that it is compared with; the first row by default.
        seeds: Maximum number of seeds: 1 where nothing is random, as for a head that is solved.
    """

    name: str
    title: str = ""
    question: str | None = None
    settings: Settings = field(default_factory=dict)
    classical: str | None = None
    pretrain: Settings | None = None
    published: dict[str, float] | None = None
    smoke: Settings = field(default_factory=dict)
    note: str = ""
    against: str | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Question:
    """A question that rows answer by how their scores differ from those of the row that they are compared with.

    Args:
        ask: Its wording.
        about: Setting, such as model.pooling, in which a row must differ from that one to answer it.
        first: Family that that row must belong to: ``gpt``, ``encoder``, ``decoder`` or ``classical``; any by
            default.
    """

    ask: str = ""
    about: str = ""
    first: str = ""


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
    given: Settings = field(default_factory=dict)  # those of the settings that came from the command line
    smoke: bool = False
    pretrain: Settings | None = None
    fraction: float = 1.0  # point of the learning curve; one below 1 is among the settings

    @property
    def key(self) -> str:
        """Hash of all that determines the result: a run whose key has a result is not repeated.

        A fraction of 1 changes no setting, so the runs of a study without fractions are points of its learning curve.
        """
        content = asdict(self)
        del content["fraction"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """Its name in words that may be a file's, whatever characters the row's name has."""
        return quote_plus(str(self))

    def __str__(self) -> str:
        fraction = "" if self.fraction == 1 else f"-fraction{self.fraction:g}"
        return f"{self.row}{fraction}-seed{self.seed}" + ("" if self.fold is None else f"-fold{self.fold}")


@dataclass(frozen=True)
class Study:
    """A study as its YAML file describes it.

    Args:
        base: Configuration file, relative to the study's own.
        rows: Rows of the table; the first one that runs is what others are compared with, unless they say ``against``.
        questions: Questions by key; in YAML each is a text, or a mapping with the fields of Question.
        settings: Settings that all rows change.
        weights: Which weights are scored, of the ``last`` epoch or the ``best`` one (by ``model.monitor``).
        smoke: Settings that all rows change in a smoke test.
    """

    base: str
    rows: list[Row]
    questions: dict[str, Question] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    weights: str = "best"
    smoke: Settings = field(default_factory=dict)

    def choose_rows(self, names: Sequence[str] | None) -> "list[Row]":
        """The rows with these names in the study's order; all if None. Raises ``InputError`` for an unknown name."""
        known = [row.name for row in self.rows]
        if unknown := [name for name in names or [] if name not in known]:
            raise InputError(f"--rows has {', '.join(unknown)}, expected some of {', '.join(known)}")
        return [row for row in self.rows if names is None or row.name in names]

    def plan_runs(
        self,
        rows: Sequence[Row],
        base: str,
        seeds: int,
        folds: int,
        given: Settings,
        smoke: bool,
        fractions: Sequence[float] = (),
    ) -> list[Run]:
        """The runs of all fractions, seeds and folds, row by row.

        Precedence of settings: study < ``given`` < row < smoke test. Raises ``InputError`` if there are ``fractions``
        and one of these, or the base, sets a fraction too.
        """
        parsed = parse_yaml(base)
        first_seed = int(parsed.get("seed_everything", 123))
        of_base = {f"data.{key}" for key in by_dotted_key("data", parsed.get("data") or {})}
        runs = []
        for row in rows:
            settings = self.settings | given | row.settings | (self.smoke | row.smoke if smoke else {})
            if fractions and FRACTION in of_base | settings.keys():
                raise InputError(f"--fractions sets {FRACTION}, and so does row {row.name}: leave out one of them")
            model = (row.classical, self.weights, given, smoke, row.pretrain)
            for fraction, fold in product(fractions or [1.0], range(folds) if folds else [None]):
                parts: Settings = {"data.splitting.folds": folds, "data.splitting.fold": fold} if folds else {}
                parts |= {FRACTION: fraction} if fraction < 1 else {}
                maximum = 1 if row.classical else row.seeds or seeds  # classical models have no randomness
                for seed in range(first_seed, first_seed + min(maximum, seeds)):
                    runs.append(Run(row.name, seed, fold, base, settings | parts, *model, fraction))
        return runs


def read_study(path: Path) -> tuple[Study, str]:
    """The study of a YAML file and the contents of its base configuration. Raises ``InputError`` for mistakes."""
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("rows"), list) or "base" not in content:
        raise InputError(f"{path} is not a study: expected base, the path of a configuration, and a list of rows")
    content = content | {
        "rows": [_with_words(row, ("name", "title", "question", "against")) for row in content["rows"]]
    }
    if isinstance(asked := content.get("questions", {}), dict):
        as_mappings = ({"ask": each} if isinstance(each, str) else each for each in asked.values())
        content["questions"] = dict(zip(map(str, asked), as_mappings, strict=True))
    try:
        check(Study, content)
    except InputError as error:
        raise InputError(f"{path} is not a study: {error}") from error
    study = from_json(Study, content)
    _check_study(study, path)
    rows = [replace(row, settings=spread(row.settings), smoke=spread(row.smoke)) for row in study.rows]
    study = replace(study, rows=rows, settings=spread(study.settings), smoke=spread(study.smoke))
    return study, read_base(path, study.base)


def _with_words(row: Any, keys: Sequence[str]) -> Any:
    """The row with numbers as words where YAML has made numbers of words."""
    if not isinstance(row, dict):
        return row
    return row | {key: str(row[key]) for key in keys if type(row.get(key)) in (int, float)}


def _check_study(study: Study, path: Path) -> None:
    """Raises ``InputError`` for what does not fit together."""
    names = [row.name for row in study.rows]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"{path} has the rows {', '.join(names)}: expected one or more, each with a name of its own")
    if study.weights not in ("last", "best"):
        raise InputError(f"weights of {path} are {study.weights!r}, expected last or best")
    for key, asked in study.questions.items():
        if asked.first not in ("", *FAMILIES):
            raise InputError(f"first of question {key} of {path} is {asked.first!r}, expected {', '.join(FAMILIES)}")
        answering = [row for row in study.rows if row.question == key]
        if asked.about and not any(concerns(asked.about, find_changes(row)) for row in answering):
            raise InputError(f"question {key} of {path} is about {asked.about}, but none of its rows sets it")
    for i, row in enumerate(study.rows):
        if row.against not in (None, *names[:i]):
            raise InputError(f"row {row.name} of {path} is compared with {row.against!r}, expected a row above it")
        if row.seeds is not None and row.seeds < 1:
            raise InputError(f"seeds of row {row.name} of {path} are {row.seeds!r}, expected a number from 1 on")
        if row.published is not None and "test" not in row.published:
            raise InputError(f"published scores of row {row.name} of {path} are {row.published!r}, expected test, ...")
        if row.question is not None and row.question not in study.questions:
            known_questions = ", ".join(study.questions) or "there are none"
            raise InputError(
                f"row {row.name} of {path} answers {row.question!r}, expected one of its questions: {known_questions}"
            )
        if row.pretrain is not None and row.classical is not None:
            raise InputError(f"row {row.name} of {path} has pretrain, expected that of a network only")
        if row.classical is not None and row.classical not in BASELINES:
            raise InputError(f"row {row.name} of {path} is {row.classical!r}, expected one of {', '.join(BASELINES)}")
        check_settings(row.settings, f"settings of row {row.name} of {path}")
        check_settings(row.smoke, f"smoke of row {row.name} of {path}")
    check_settings(study.settings, f"settings of {path}")
    check_settings(study.smoke, f"smoke of {path}")


def check_fractions(given: Sequence[float]) -> list[float]:
    """The sizes of a learning curve in ascending order. Raises ``InputError`` for what is none."""
    fractions = sorted(set(given))
    if wrong := [fraction for fraction in fractions if not 0 < fraction <= 1]:
        raise InputError(f"--fractions has {wrong[0]:g}, expected fractions of the training rows above 0 and up to 1")
    if len(fractions) == 1:
        raise InputError(
            f"--fractions has {fractions[0]:g} alone, expected two or more; for a study with this fraction of the "
            f"training rows, give --{FRACTION} {fractions[0]:g}"
        )
    return fractions


def read_rows(
    config: Path, names: Sequence[str] | None, fractions: Sequence[float], smoke: bool
) -> tuple[Study, str, list[Row]]:
    """A study's file as it is to be run: the study, its base configuration, and the rows of these names, or all.

    With ``fractions`` of the training rows there are classical models among them, and the file may be an ordinary
    configuration too, of a study with this single row.
    """
    if fractions and "rows" not in (read_yaml(config) or {}):
        study, base = Study(config.name, [Row(config.stem)]), read_base(config, config.name)
    else:
        study, base = read_study(config)
    study = add_classical(study) if fractions else study
    rows = study.choose_rows(names)
    if fractions and not any(row.classical for row in rows):
        rows += [row for row in study.rows if row.classical]
    if smoke:  # published scores mean nothing beside those of a tiny network
        rows = [replace(row, published=None) for row in rows]
    return study, base, rows


def add_classical(study: Study) -> Study:
    """The study, with two classical models if it has none, as a learning curve compares networks with them."""
    if any(row.classical for row in study.rows):
        return study
    return replace(study, rows=[*study.rows, *(Row(name.replace("_", " "), classical=name) for name in BESIDE)])


def find_changes(row: Row) -> list[str]:
    """Keys of all that the row changes: its settings, and ``pretrain`` if it has that."""
    return [*row.settings, *([] if row.pretrain is None else ["pretrain"])]


def concerns(key: str, others: Iterable[str]) -> bool:
    """Whether one of the settings ``others`` is ``key``, lies within it or has it within; any does with no key.

    So model.gpt is concerned by model.gpt.dropout, and model.optimizer.warmup by model.optimizer.
    """
    return any(not key or f"{key}.".startswith(f"{o}.") or o.startswith(f"{key}.") for o in others)
