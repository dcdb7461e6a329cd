"""Finds out what the columns of other people's files are: texts, labels, splits; and which files lie beside one."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_classifier.data import datasets, readers
from gpt_classifier.data.datasets import SPLITS
from gpt_classifier.data.values import to_names, to_texts
from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.text.tokenizers import tokenizer_named

LABEL_NAMES = ("label", "labels", "class", "category", "target", "topic", "sentiment", "intent", "tag", "y")
TEXT_NAMES = ("text", "message", "sentence", "review", "content", "body", "document", "comment", "tweet", "question")
TITLE_NAMES = ("title", "headline", "subject", "heading")  # of a text in another column
NO_LABELS = ("id", "index", "idx", "row", "split", "date", "time")
ROWS = 100_000  # maximum number of rows that are inspected
MAX_CLASSES = 1000
SEPARATORS = ("|", ";", ",")  # that may stand between the labels of a text
SEVERAL = 0.02  # fraction of the rows that have a separator in their label, from which texts have several
REPEATED = 0.9  # fraction of the labels between separators that occur more than once


@dataclass(frozen=True)
class FoundColumns:
    """What the columns of a file were found to be."""

    text: list[str]  # one, or a title and the text below it
    label: str
    multi_label: str | None = None  # what stands between the labels of a text; None if each has exactly one
    split: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict)  # files of val and test
    given: Collection[str] = ("train",)  # splits that need not be made
    others: Sequence[str] = ()  # columns that could be the label as well, where no name decided

    def settings(self) -> dict[str, Any]:
        """The settings of a data module that are not the defaults."""
        found: dict[str, Any] = {f"{name}_source": file for name, file in self.beside.items()}
        found |= {"text_column": self.text[0] if len(self.text) == 1 else self.text, "label_column": self.label}
        found |= {} if self.multi_label is None else {"multi_label": self.multi_label}
        return found | ({} if self.split is None else {"splitting": {"split_column": self.split}})


@dataclass(frozen=True)
class Sample:
    """Rows of a file, evenly spaced: files are often ordered by class, or by language."""

    file: str
    rows: int  # number of rows of the file
    columns: dict[str, pd.Series]  # the sampled values by name, without columns that have one name
    names: list[str]


def sample_rows(file: str) -> Sample:
    """Up to twice :data:`ROWS` rows of a file. Raises ``InputError`` if it cannot be read."""
    if datasets.is_named(file):
        raise InputError(f"{file} is a data set of the package, which has configurations for it: gpt-classifier --help")
    datasets.check_files(file)
    kept: list[pd.DataFrame] = []
    stride, rows = 1, 0
    for frame in readers.read_columns(file, None):
        kept.append(frame.iloc[-rows % stride :: stride])
        rows += len(frame)
        while sum(map(len, kept)) >= 2 * ROWS:
            kept, stride = [pd.concat(kept).iloc[::2]], 2 * stride
    table = pd.concat(kept, ignore_index=True)
    names = [str(name) for name in table.columns]
    values = {name: table.iloc[:, n] for n, name in enumerate(names) if names.count(name) == 1}
    return Sample(file, rows, values, names)


def find_columns(sample: Sample, text_column: str | None = None, label_column: str | None = None) -> FoundColumns:
    """What the columns of a file are, unless they are given.

    Raises ``InputError`` if no column can be the text or the label.
    """
    file, columns = sample.file, sample.columns
    for option, name in (("text", text_column), ("label", label_column)):
        if name is not None and name not in columns:
            close = did_you_mean(name, columns) or f"; the columns of {file} are {', '.join(sample.names)}"
            raise InputError(f"--{option}-column is {name!r}{close}")
    split, given = next(((name, splits) for name in columns if (splits := _find_splits(columns[name]))), (None, set()))
    columns = {name: column for name, column in columns.items() if name != split or name in (text_column, label_column)}
    text = [] if text_column is None else [text_column]
    if not text:
        text = _find_text_columns(file, _find_readable(to_texts, columns, [label_column], file))
    others: Sequence[str] = ()
    if label_column is None:
        label_column, *others = _find_label_columns(file, _find_readable(to_names, columns, text, file))
    separator = _find_separator(_read(to_names, columns[label_column], label_column, file).dropna())
    beside = {} if split else _find_files_beside(file, [*text, label_column])
    return FoundColumns(text, label_column, separator, split, beside, given or {"train", *beside}, others)


def read_texts(sample: Sample, found: FoundColumns) -> pd.Series:
    """The texts of the sampled rows, those of several columns joined; without what is blank."""
    joined, *others = (_read(to_texts, sample.columns[name], name, sample.file) for name in found.text)
    for column in others:
        joined = (joined.fillna("") + "\n" + column.fillna("")).str.strip()
    return joined[joined != ""].dropna()


def read_labels(sample: Sample, found: FoundColumns) -> pd.Series:
    """The labels of the sampled rows, one by one where a text has several."""
    labels = _read(to_names, sample.columns[found.label], found.label, sample.file).dropna()
    if found.multi_label is not None:
        labels = labels.str.split(found.multi_label, regex=False).explode().str.strip()
    return labels[labels != ""]


def _read(how: Callable[..., list[str | None]], column: pd.Series, name: str, file: str) -> pd.Series:
    """The column as texts, or names; what is blank is missing."""
    texts = how(column, lambda position: f"{name} in row {position} of {file}")
    return type(column)([text if text and not text.isspace() else None for text in texts], dtype=object)


def _find_readable(
    how: Callable[..., list[str | None]], columns: dict[str, pd.Series], others: Collection[str | None], file: str
) -> dict[str, pd.Series]:
    """The columns apart from ``others`` of which all values are texts, or names, as ``how`` has it."""
    found: dict[str, pd.Series] = {}
    for name in [name for name in columns if name not in others]:
        with suppress(InputError):
            found[name] = _read(how, columns[name], name, file)
    return found


def _find_text_columns(file: str, values: dict[str, pd.Series]) -> list[str]:
    """The column with the longest texts on average, below one of titles if there is one.

    Among columns of similar length it is one with a typical name.
    """
    means = {name: float(column.dropna().str.len().mean()) for name, column in values.items() if column.notna().any()}
    if not means:
        raise InputError(f"{file} has no column with texts in it")
    long = [name for name, mean in means.items() if mean >= 0.5 * max(means.values())]
    text = max([name for name in long if name.strip().lower() in TEXT_NAMES] or long, key=means.__getitem__)
    titles = [name for name in means if name.strip().lower() in TITLE_NAMES and name != text]
    return [*titles[:1], text]


def _find_label_columns(file: str, values: dict[str, pd.Series]) -> list[str]:
    """The column with few distinct values and a typical name, else all such columns, that with the fewest first."""
    candidates = []
    for name, column in values.items():
        word = name.strip().lower()
        words = [word, *re.split(r"\W|_", word)]
        rank = next((n for n, known in enumerate(LABEL_NAMES) if known in words), len(LABEL_NAMES))
        count = column.nunique()
        repeats = count <= column.notna().sum() / 2
        if 2 <= count <= MAX_CLASSES and (repeats or word in LABEL_NAMES) and word not in NO_LABELS:
            candidates.append((rank, count, name))
    if not candidates:
        raise InputError(
            f"no column of {file} has few distinct values, as class names do: name one with --label-column; apart from "
            f"the text there are {', '.join(values) or 'none'}"
        )
    first, *others = sorted(candidates)
    return [first[2], *(name for rank, _, name in others if first[0] == rank == len(LABEL_NAMES))]


def _find_separator(labels: pd.Series) -> str | None:
    """What stands between labels in a column of class names, if that makes fewer names of them, none of them empty."""
    for separator in SEPARATORS:
        having = labels.str.contains(separator, regex=False)
        counts = labels.str.split(separator, regex=False).explode().str.strip().value_counts()
        # Between the labels of a prediction stands |, which therefore is in none of their names.
        are_names = not any(name == "" or "|" in name for name in counts.index)
        fewer = len(counts) < labels.nunique() and bool((counts > 1).mean() >= REPEATED)
        # A comma may well stand in a name: then most parts occur nowhere by themselves.
        alone = counts.index.isin(labels[~having])
        if having.mean() >= SEVERAL and are_names and fewer and (separator != "," or alone.mean() >= 0.5):
            return separator
    return None


def _find_splits(column: pd.Series) -> set[str]:
    """The splits that all values of a column name, train and another one; empty if they name none."""
    if column.isna().any() or not all(isinstance(value, str) for value in column):
        return set()
    named = column.str.strip().str.lower().map(SPLITS)
    return set(named) if not named.isna().any() and {"train"} < set(named) else set()


def _find_files_beside(file: str, columns: list[str]) -> dict[str, str]:
    """The files of val and test beside one of train, that have the same columns: ``test.csv`` beside ``train.csv``."""
    path, found = Path(file), dict[str, str]()
    for word, split in SPLITS.items():
        name, replaced = re.subn(r"(?<![a-z])train(?:ing)?(?![a-z])", word, path.name, count=1, flags=re.IGNORECASE)
        other = path.with_name(name)
        if split == "train" or split in found or not replaced or not other.is_file():
            continue
        with suppress(InputError):  # it is no such file
            names = list(next(readers.read_columns(str(other), None)).columns)
            if all(names.count(column) == 1 for column in columns):
                found[split] = str(other)
    return found


# ---------------------------------------------------------------- for a command line


def find_options(words: Sequence[str]) -> list[str]:
    """The settings that are found for the file of ``--data.source=FILE``, where no configuration has them.

    They are one option, which those of the command line replace. Without a copy of GPT-2's tokenizer, and without a
    connection to fetch it, one is trained on the rows.
    """
    files = [word.partition("=")[2] for word in words if word.startswith("--data.source=")]
    named = {word.partition("=")[0].removeprefix("--data.") for word in words if word.startswith("-")}
    if not files or named & {"--config", "-c"} or datasets.is_named(files[-1]):
        return []
    settings: dict[str, Any] = {}
    with suppress(InputError):  # of what is wrong with the file, reading it has more to say
        settings = find_columns(sample_rows(files[-1])).settings()
    if "splitting.folds" in named:  # which divide a single source
        settings = {name: value for name, value in settings.items() if not name.endswith(("_source", "splitting"))}
    if named & {"val_source", "test_source"}:  # in place of a column that divides the rows
        settings.pop("splitting", None)
    if not any(name.startswith(("tokenizer", "--model.")) for name in named):
        try:
            tokenizer_named("gpt2")
        except InputError:
            settings["tokenizer"] = {"train": 4096}
    return [f"--config={json.dumps({'data': settings})}"] if settings else []
