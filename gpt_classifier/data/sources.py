"""Where the rows of each split come from, files or tables in memory, and reading them."""

import glob
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_classifier.data import datasets, readers
from gpt_classifier.data.datasets import Columns, Tables
from gpt_classifier.data.readers import FileFormat
from gpt_classifier.data.splits import NAMES, OF_THE_BOOK, Split, SplittingConfig
from gpt_classifier.data.values import format_value, to_list
from gpt_classifier.errors import InputError

IN_MEMORY = "the given table"  # stands for a source that is no file
ROWS = 2000  # of a table that is read to predict

Source = str | list[str]


@dataclass(frozen=True)
class Sources:
    """The source of each split, and how it is read.

    Args:
        train: Data to train on, and to divide where other splits have no source.
        val: Files to validate on, if they are others.
        test: Files to test on, if they are others.
        unlabelled: Files of texts without labels that train too, if there are any.
        columns: The columns of ``train``.
        file_format: How CSV, TSV and JSON files are read.
        as_the_book: Whether ``train`` is the SMS Spam Collection and is read as the book reads it.
        tables: Tables in memory, by split, in place of all sources.
    """

    train: Source
    val: Source | None = None
    test: Source | None = None
    unlabelled: Source | None = None
    columns: Columns = datasets.DEFAULT
    file_format: FileFormat = readers.AS_NAMED
    as_the_book: bool = False
    tables: Tables | None = None

    def all(self, splits: Collection[str] = NAMES) -> list[Source]:
        """The sources of these splits that are read from files or downloaded."""
        named = {"train": self.train} | self._others if self.tables is None else {}
        return [source for name, source in named.items() if name in splits]

    @property
    def _others(self) -> dict[str, Source]:
        """The sources of val and test that are given."""
        return {name: source for name, source in (("val", self.val), ("test", self.test)) if source is not None}

    def has_own(self, split: str) -> bool:
        """Whether a split has a source of its own, and is no part of ``train``."""
        return split in (self._others if self.tables is None else self.tables)

    def title(self, split: str) -> str:
        """Where the rows of a split come from, in messages."""
        return datasets.title(self._others.get(split, self.train))

    def prepare(self) -> None:
        """Downloads what is missing."""
        for source in self.all():
            datasets.prepare(source)

    def read(self, split: str, known: Collection[str] | None) -> tuple[Tables, list[str]]:
        """The rows of all splits that have a source, or of one ``split`` other than train alone, and remarks on them.

        Args:
            split: ``train`` for all.
            known: Names of the classes, where they are known, which numbers among the labels are to meet.
        """
        if self.tables is not None:
            return self._given(split), []
        if split != "train":
            source = self._others[split]
            return {split: self._load(split, source, known)["train"]}, self._notes(source)
        if self.as_the_book:
            return datasets.load_sms_spam_as_the_book(), []
        tables = self._load("train", self.train, known)
        known = known or find_class_names(tables["train"])
        others = {name: self._load(name, source, known)["train"] for name, source in self._others.items()}
        notes = [note for source in self.all() for note in self._notes(source)]
        return tables | others if datasets.is_named(self.train) else self.joined(tables, others), notes

    def joined(self, tables: Tables, others: Tables) -> Tables:
        """The tables of ``train`` and those of other sources. Raises ``InputError`` if both have the same split."""
        if both := [name for name in tables if name != "train" and name in others]:
            column = self.columns.split
            raise InputError(f"{both[0]} rows are named by {column} and by {both[0]}_source: leave out one of them")
        return tables | {name: table for name, table in others.items() if name not in tables}

    def chunks(self, known: Collection[str] | None) -> tuple[Iterator[pd.DataFrame], list[str]]:
        """The rows to predict, which need no labels, in order, table by table; and remarks on them."""
        if self.tables is not None:
            if not (given := [self.tables[name] for name in ("predict", "train") if name in self.tables]):
                raise InputError("no rows to predict were given")
            return iter(given[:1]), []
        if datasets.is_named(self.train):
            return iter([datasets.load(self.train)["train"]]), []
        columns = self._columns("predict", known)
        return datasets.read_chunks(self.train, columns, self.file_format, ROWS), self._notes(self.train)

    def unlabelled_chunks(self) -> Iterator[pd.DataFrame]:
        """The texts without labels, table by table."""
        assert self.unlabelled is not None
        if datasets.is_named(self.unlabelled):
            return iter(datasets.load(self.unlabelled).values())
        return datasets.read_chunks(self.unlabelled, self.columns.without_labels(), self.file_format, ROWS)

    def kept_columns(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """These columns of the rows to predict, chunk by chunk, in order."""
        if datasets.is_named(self.train):
            raise InputError(f"{self.train} has no columns to keep: name a file with --data.source")
        return readers.read_columns(self.train, names, file_format=self.file_format)

    def _columns(self, split: str, known: Collection[str] | None) -> Columns:
        """The columns of a split; only ``train`` has columns of groups and splits."""
        columns = replace(self.columns, known=frozenset(known or ()))
        if split == "train":
            return columns
        texts = columns.without_labels()
        return texts if split == "predict" else replace(texts, label=self.columns.label)

    def _given(self, split: str) -> Tables:
        assert self.tables is not None
        if split not in self.tables:
            raise InputError(f"no {split} rows were given: expected a table of them")
        names = NAMES if split == "train" else (split,)
        return {name: table for name, table in self.tables.items() if name in names}

    def _load(self, split: str, source: Source, known: Collection[str] | None) -> Tables:
        return datasets.load(source, self._columns(split, known), self.file_format)

    def _notes(self, source: Source) -> list[str]:
        return [] if datasets.is_named(source) else readers.describe_files(source, self.file_format)


def find_sources(settings: Mapping[str, Any], folders: Iterable[Path]) -> dict[str, Any]:
    """Settings of data whose files are named where they lie: here, or else in the first of ``folders`` that has them.

    A fit that was called in another working folder may have named them by relative paths.
    """
    found, folders = dict(settings), [Path(), *folders]
    for name in ("source", "val_source", "test_source", "unlabelled_source"):
        given = settings.get(name)
        if given is None or given == IN_MEMORY or datasets.is_named(given):
            continue
        files = [given] if isinstance(given, str) else given
        places = ([str(folder / file) for file in files] for folder in folders)
        if placed := next((each for each in places if all(map(_exists, each))), None):
            found[name] = placed[0] if isinstance(given, str) else placed
    return found


def _exists(path: str) -> bool:
    """Whether it is a file, or a pattern that matches one."""
    return Path(path).is_file() or (glob.has_magic(path) and bool(glob.glob(path, recursive=True)))


def check_sources(sources: Sources, split: Split, splitting: SplittingConfig) -> None:
    """Raises ``InputError`` for columns, a division or labels that these sources cannot have."""
    named = isinstance(sources.train, str) and datasets.is_named(sources.train)
    if sources.columns.multi_label == "":
        raise InputError("multi_label is empty, expected what stands between labels, such as |, lists or columns")
    if sources.columns.multi_label is not None and named:
        raise InputError(f"{sources.train} is a single-label data set: leave out multi_label")
    if not sources.columns.text:
        raise InputError("text_column is an empty list, expected the name of at least one column")
    if split in OF_THE_BOOK and sources.train != "sms_spam":
        raise InputError(
            f"split {split} is a division of sms_spam, but source is {sources.train}: use grouped or random"
        )
    has_test = split in OF_THE_BOOK or sources.test is not None or splitting.split_column is not None
    if splitting.folds and has_test:
        raise InputError(
            "folds divide one source by split grouped or random: leave out test_source and split_column, or change "
            "split"
        )


def use_tables(sources: Sources, frames: Mapping[str, object], known: Collection[str] | None) -> Sources:
    """``sources`` with tables of pandas, polars or pyarrow in their place, by split; None where there is no table."""
    tables: Tables = {}
    for split, frame in frames.items():
        if frame is not None:
            of_train = find_class_names(tables["train"]) if "train" in tables else None
            columns = sources._columns(split, known or of_train)
            table = _as_pandas(frame, where := f"the given {split} table")
            readers.check_columns(table.columns, columns.names(), "the table")
            tables[split] = columns.table(table, 0, where)
    if "train" in tables:
        tables = sources.joined(datasets.divide_by_column(tables["train"], sources.columns, IN_MEMORY), tables)
    return replace(sources, tables=tables)


def build_table(texts: Any, labels: Any, text_column: str, label_column: str) -> pd.DataFrame:
    """A table of these columns. Raises ``InputError`` unless there is one label for each text."""
    texts, labels = to_list(texts, "the texts"), to_list(labels, "the labels")
    if len(texts) != len(labels):
        raise InputError(f"{len(texts)} texts and {len(labels)} labels were given, expected one label for each text")
    # As objects, and each column by itself: pandas would make floats of whole numbers among which one is missing.
    columns = {text_column: texts, label_column: labels}
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def find_class_names(table: pd.DataFrame) -> Collection[str]:
    """The distinct labels of a table."""
    return table["label"].explode().dropna().unique()


def _as_pandas(table: Any, where: str) -> pd.DataFrame:
    """A table of pandas, pyarrow or polars, with its values as Python has them."""
    if isinstance(table, pd.DataFrame):
        return table
    names = getattr(table, "column_names", getattr(table, "columns", None))  # of pyarrow, and of polars
    if isinstance(table, Mapping) or not isinstance(names, list):
        raise InputError(f"{where} is {format_value(table)}, expected a DataFrame")
    by_number = hasattr(table, "column_names")  # in pyarrow, two columns may have one name
    columns = [table.column(number) if by_number else table[name] for number, name in enumerate(names)]
    frame = pd.DataFrame({n: pd.Series(to_list(v, where), dtype=object) for n, v in enumerate(columns)})
    frame.columns = pd.Index(names)
    return frame
