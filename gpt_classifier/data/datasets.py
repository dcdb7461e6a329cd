"""Reads labelled texts from named data sets and files into tables.

A table is a DataFrame with the columns ``text`` and ``label``, which may be None, and ``row``, the number of the row in
its source, counted from 0. With a group column, it also has the column ``group``. Where a text may have any number of
labels, ``label`` is a sorted tuple of them.
"""

import hashlib
import itertools
import re
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from numbers import Number
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from gpt_classifier.data.readers import AS_NAMED, FORMATS, FileFormat, expand_paths, read_columns
from gpt_classifier.data.values import is_missing, to_names, to_text, to_texts
from gpt_classifier.errors import InputError
from gpt_classifier.files import fetch

Tables = dict[str, pd.DataFrame]  # by split: "train", and "val" and "test" if the source has them

SMS_SPAM_SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
SMS_SPAM_URLS = (
    "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
    "https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
)
IMDB_MD5 = "7c2ac02c03563afcf9b574c7e56c153a"
IMDB_URLS = (
    "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    "https://d2l-data.s3-accelerate.amazonaws.com/aclImdb_v1.tar.gz",
)
SPLITS = {"train": "train", "val": "val", "validation": "val", "dev": "val", "test": "test"}  # values of a split column
LISTS, COLUMNS = "lists", "columns"  # how multi-label data are written, unless with a separator in one column
TRUE, FALSE = ("1", "true", "1.0"), ("0", "false", "0.0")
HINT = "Name yours with --data.text_column and --data.label_column"
NO_DOWNLOAD = "use `--data.source sample` or a file of your own, which need no download"


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a source that a table is built from.

    Args:
        text: One or several columns with the text; several are joined by ``separator``, without empty ones.
        label: The class name, or None for unlabelled texts; with ``multi_label`` columns, one column for each label.
        group: Rows with the same value belong to one group.
        split: The split that a row belongs to: train, val (also validation or dev) or test.
        separator: Inserted between the columns of a text.
        multi_label: How the labels of a text are written: None for exactly one, ``lists``, ``columns`` of 0 and 1, or
            their separator.
        known: Class names that are known before the rows are read.
    """

    text: str | Sequence[str] = "text"
    label: str | Sequence[str] | None = "label"
    group: str | None = None
    split: str | None = None
    separator: str = "\n"
    multi_label: str | None = None
    known: Collection[str] = ()

    def __post_init__(self) -> None:
        if not (self.label is None or isinstance(self.label, str) or self.multi_label == COLUMNS):
            raise InputError(f"label_column names {len(self.label)} columns: set multi_label to columns, or name one")

    def without_labels(self) -> "Columns":
        """The columns of the texts alone, for rows without labels."""
        return replace(self, label=None, group=None, split=None)

    def names(self) -> list[str]:
        return [*_as_list(self.text), *_as_list(self.label or []), *filter(None, (self.group, self.split))]

    def table(self, frame: pd.DataFrame, first_row: int = 0, where: str = "the given table") -> pd.DataFrame:
        """Builds a table from a frame, with ``group`` and ``split`` only if they have a column.

        Raises ``InputError`` for a value that is no text or name; the message says which row of ``where`` has it.
        """

        def place(column: str) -> Callable[[int], str]:
            return lambda position: f"{column} in row {first_row + position} of {where}"

        parts = [to_texts(frame[name], place(name)) for name in _as_list(self.text)]
        texts = parts[0] if len(parts) == 1 else [self._join(row) for row in zip(*parts, strict=True)]
        table: dict[str, Sequence[Any]] = {"text": texts, "label": self._labels(frame, place)}
        for name, column in (("group", self.group), ("split", self.split)):
            if column is not None:
                table[name] = to_names(frame[column], place(column))
        result = pd.DataFrame(table, dtype=object)  # otherwise pandas converts None to NaN
        result.insert(2, "row", range(first_row, first_row + len(frame)))
        return result

    def _labels(
        self, frame: pd.DataFrame, place: Callable[[str], Callable[[int], str]]
    ) -> Sequence[str | tuple[str, ...] | None]:
        if self.label is None:
            return [None] * len(frame)
        if self.multi_label == COLUMNS:
            names = _as_list(self.label)
            flags = [[_read_flag(value, place(name)(n)) for n, value in enumerate(frame[name])] for name in names]
            return [tuple(sorted(itertools.compress(names, row))) for row in zip(*flags, strict=True)]
        assert isinstance(self.label, str), "checked when this was made"
        where = place(self.label)
        if self.multi_label is None:
            return to_names(frame[self.label], where, self.known)
        cells = [_several(value, self.multi_label, where(n)) for n, value in enumerate(frame[self.label])]
        rows = [n for n, cell in enumerate(cells) for _ in (() if cell is None else cell)]
        labels = itertools.chain.from_iterable(cell for cell in cells if cell is not None)
        each = iter(to_names(labels, lambda n: f"a label of {where(rows[n])}", self.known))
        return [None if cell is None else _build_label_set(itertools.islice(each, len(cell))) for cell in cells]

    def _join(self, parts: Iterable[str | None]) -> str | None:
        there = [part for part in parts if part and not part.isspace()]
        return self.separator.join(there) if there else None


DEFAULT = Columns()


def load(source: str | Sequence[str], columns: Columns = DEFAULT, file_format: FileFormat = AS_NAMED) -> Tables:
    """All labelled rows of a named data set or of CSV, TSV, JSON, JSONL or Parquet files."""
    if is_named(source):
        if extra := columns.group or columns.split:
            raise InputError(f"{source} has no column {extra!r}: give group_column and split_column for files only")
        return NAMED[str(source)]()
    check_files(source)
    frame = pd.concat(read_columns(source, columns.names(), hint=HINT, file_format=file_format), ignore_index=True)
    return divide_by_column(columns.table(frame, 0, title(source)), columns, title(source))


def divide_by_column(table: pd.DataFrame, columns: Columns, where: str) -> Tables:
    """Divides the table by its split column; without one, all rows are ``train``."""
    if columns.split is None:
        return {"train": table}
    names = table["split"].str.strip().str.lower().map(SPLITS)
    if (unknown := names.isna()).any():
        first = table[unknown].iloc[0]
        raise InputError(
            f"{columns.split} is {first['split']!r} in row {first['row']} of {where}, expected {', '.join(SPLITS)}"
        )
    if not (names == "train").any():
        raise InputError(f"{columns.split} is train in no row of {where}: a classifier needs training rows")
    rest = table.drop(columns="split")
    return {name: rest[names == name] for name in dict.fromkeys(SPLITS.values()) if (names == name).any()}


def is_named(source: str | Sequence[str]) -> bool:
    """Whether the source is a data set of the package and not a file."""
    return isinstance(source, str) and source in NAMED


def title(source: str | Sequence[str]) -> str:
    """The name of a source in messages."""
    names = _as_list(source)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def stem(source: str | Sequence[str]) -> str:
    """Stem for names of output files: that of the first file, or the folder of a pattern."""
    first = Path(_as_list(source)[0])
    return re.sub(r"[*?\[\]]+", "", first.name.split(".")[0]).strip("-_") or first.resolve().parent.name


def prepare(source: str | Sequence[str]) -> None:
    """Downloads the files that :func:`load` needs."""
    if is_named(source) and source in DOWNLOADS:
        DOWNLOADS[str(source)]()


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def read_chunks(
    source: str | Sequence[str], columns: Columns = DEFAULT, file_format: FileFormat = AS_NAMED, rows: int = 10_000
) -> Iterator[pd.DataFrame]:
    """Reads a source in tables of at most ``rows`` rows, so that files of any size can be read.

    Row numbers continue across files. Class names that are numbers depend on the rows of a table; see :func:`load`.
    """
    check_files(source)
    count = 0
    for frame in read_columns(source, columns.names(), rows, HINT, file_format):
        yield columns.table(frame, count, title(source))
        count += len(frame)


def check_files(source: str | Sequence[str]) -> None:
    """Raises ``InputError`` if a file does not exist."""
    for path in expand_paths(source):
        if not Path(path).is_file():
            raise InputError(f"no file {path}: expected {', '.join(NAMED)}, or a {', '.join(FORMATS)} file")


def _build_label_set(names: Iterable[str | None]) -> tuple[str, ...]:
    """The labels of a text, each once; what is missing or empty is no label."""
    return tuple(sorted({name.strip() for name in names if name is not None} - {""}))


def _several(value: Any, multi_label: str, where: str) -> Sequence[Any] | None:
    """The labels in one cell; None where the cell is missing, which says nothing about them."""
    is_list = isinstance(value, list | tuple | np.ndarray)
    if not is_list and is_missing(value):
        return None
    if is_list != (multi_label == LISTS):
        way_out = "name the separator instead" if multi_label == LISTS else "use lists"
        raise InputError(f"multi_label is {multi_label!r}, but {where} is {value!r}: {way_out}")
    if is_list:
        return value
    return [value] if isinstance(value, Number) else str(to_text(value, lambda: where)).split(multi_label)


def _read_flag(value: Any, where: str) -> bool:
    word = str(value).strip().lower()
    if word not in (*TRUE, *FALSE):
        raise InputError(f"{where} is {value!r}, expected 0 or 1 (or false, true) in the column of a label")
    return word in TRUE


def load_sample() -> Tables:
    """1,373 SMS-like messages written by the authors of this package for demonstrations, not for benchmarks."""
    text = resources.files("gpt_classifier.data").joinpath("sample.tsv").read_text(encoding="utf-8")
    return {"train": _read_label_tab_text(text)}


def fetch_sms_spam() -> Path:
    return fetch("sms+spam+collection.zip", SMS_SPAM_URLS, _read_sms_spam, NO_DOWNLOAD)


def load_sms_spam() -> Tables:
    """The SMS Spam Collection v.1 (Almeida and Hidalgo, UCI 228): 5,574 messages, 747 of them spam."""
    return {"train": _read_label_tab_text(_read_sms_spam(fetch_sms_spam()).decode("utf-8"))}


def load_sms_spam_as_the_book() -> Tables:
    """The same file as read in the book: pandas' default quoting merges three lines, which results in 5,572 rows."""
    with zipfile.ZipFile(fetch_sms_spam()) as archive, archive.open("SMSSpamCollection") as stream:
        return {"train": _table(pd.read_csv(stream, sep="\t", header=None, names=["label", "text"], dtype=object))}


def _read_label_tab_text(text: str) -> pd.DataFrame:
    return _table([line.split("\t", 1) for line in text.removesuffix("\n").split("\n")])


def _table(rows: Any) -> pd.DataFrame:
    """A table of rows of label and text."""
    frame = pd.DataFrame(rows, columns=["label", "text"], dtype=object)
    return frame.assign(row=range(len(frame)))[["text", "label", "row"]]


def _read_sms_spam(path: Path) -> bytes:
    """The file in the zip archive. Its own checksum is verified, as archives of mirrors differ."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read("SMSSpamCollection")
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{path} is not the SMS Spam Collection ({error}): delete it and fetch it again") from error
    _check_hash(f"SMSSpamCollection in {path}", hashlib.sha256(content).hexdigest(), SMS_SPAM_SHA256)
    return content


def _check_hash(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise InputError(f"{what} has the hash {found}, expected {expected}: delete it and fetch it again")


def fetch_imdb() -> Path:
    def verify(path: Path) -> None:
        with open(path, "rb") as stream:
            _check_hash(str(path), hashlib.file_digest(stream, "md5").hexdigest(), IMDB_MD5)

    return fetch("aclImdb_v1.tar.gz", IMDB_URLS, verify, NO_DOWNLOAD)


def load_imdb() -> Tables:
    """The Large Movie Review Dataset v1.0 (Maas et al., 2011): 25,000 reviews for training and 25,000 for testing."""
    return read_imdb(fetch_imdb())


def read_imdb(path: Path) -> Tables:
    """Reads the archive's members from the tar stream, without extracting them to disk."""
    rows: dict[str, list[tuple[str, str, str]]] = {"train": [], "test": []}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            if member.isfile() and len(parts) == 4 and parts[1] in rows and parts[2] in ("pos", "neg"):
                stream = archive.extractfile(member)
                assert stream is not None  # as the member is a file
                rows[parts[1]].append((parts[2], parts[3], stream.read().decode("utf-8")))
    return {split: _table([(label, text) for label, _, text in sorted(members)]) for split, members in rows.items()}


NAMED: dict[str, Callable[[], Tables]] = {"sample": load_sample, "sms_spam": load_sms_spam, "imdb": load_imdb}
DOWNLOADS: dict[str, Callable[[], Path]] = {"sms_spam": fetch_sms_spam, "imdb": fetch_imdb}
