"""Reads the rows of other people's files, some at a time; knows nothing about texts, labels or named data sets."""

import codecs
import csv
import glob
import itertools
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

import fsspec
import pandas as pd

from gpt_classifier.errors import InputError, reason


@dataclass(frozen=True)
class FileFormat:
    """What a file's name does not tell about it.

    Args:
        delimiter: What separates the fields of a CSV or TSV file; by default a comma (or ``;`` or a tab where the
            header has one and no comma) in the former, a tab in the latter.
        encoding: Of the characters of CSV, TSV and JSON files, such as ``cp1252`` or ``utf-16``.
        header: Whether CSV and TSV files begin with the names of their columns; else these are ``0``, ``1``, ...
    """

    delimiter: str | None = None
    encoding: str = "utf-8"
    header: bool = True

    def __post_init__(self) -> None:
        if self.delimiter == "\\t":  # as it is typed in a shell
            object.__setattr__(self, "delimiter", "\t")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise InputError(f"delimiter is {self.delimiter!r}, expected one character, such as ';' or '\\t'")
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError) as error:
            raise InputError(
                f"encoding is {self.encoding!r}, expected one that Python knows, such as utf-8, cp1252 or utf-16"
            ) from error

    def is_utf8(self) -> bool:
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig")

    def open(self, path: str) -> AbstractContextManager[TextIO]:
        """The file's characters, decompressed, line ends as they are."""
        encoding = "utf-8-sig" if self.is_utf8() else self.encoding  # a byte order mark is no part of the first name
        opened: AbstractContextManager[TextIO] = fsspec.open(
            path, "rt", compression="infer", encoding=encoding, newline=""
        )
        return opened


AS_NAMED = FileFormat()  # there is nothing to add to the name


def read_columns(
    source: str | Sequence[str],
    columns: Sequence[str] | None,
    rows: int = 10_000,
    hint: str = "Name others with --keep",
    file_format: FileFormat = AS_NAMED,
) -> Iterator[pd.DataFrame]:
    """These columns, or all, of all rows of the files in order, as they are, at most ``rows`` at a time.

    A file's format follows from its name: ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` or ``.parquet``, all but the last
    also compressed (``.gz``, ``.bz2``, ``.xz``). ``hint`` ends the message where a column is not there.
    """
    for path in paths(source):
        yield from _read_file(path, columns, rows, hint, file_format)


def paths(source: str | Sequence[str]) -> list[str]:
    """The files that a name, a pattern such as ``data/*.csv``, or a list of either stands for, in order."""
    found: list[str] = []
    for name in [source] if isinstance(source, str) else source:
        if Path(name).is_file() or not any(wild in name for wild in "*?["):
            found.append(name)
        elif matches := sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file()):
            found += matches
        else:
            raise InputError(f"no file matches {name}: expected {', '.join(FORMATS)} files")
    if repeated := [path for path in found if found.count(path) > 1]:
        raise InputError(f"{repeated[0]} is named twice as a source: its rows would be there twice")
    if not found:
        raise InputError("the list of source files is empty: name one")
    return found


def notes(source: str | Sequence[str], file_format: FileFormat) -> list[str]:
    """What the files themselves decided about how they are read, a sentence for each such file."""
    sentences = []
    for path in paths(source):
        kind = kind_of(path)
        with _named(path, kind, file_format):
            if kind in (".csv", ".tsv"):
                sentences.append(_dialect(path, kind, file_format).note)
            if kind != ".parquet" and not file_format.is_utf8() and _seems_utf8(path):
                utf8 = "it seems to be UTF-8 (--data.file_format.encoding utf-8)"
                sentences.append(f"{path}: read as {file_format.encoding}, but {utf8}")
    return [sentence for sentence in sentences if sentence]


def _read_file(
    path: str, columns: Sequence[str] | None, rows: int, hint: str, file_format: FileFormat
) -> Iterator[pd.DataFrame]:
    kind = kind_of(path)
    if Path(path).stat().st_size == 0:
        raise InputError(f"{path} is empty: expected rows with the columns {', '.join(columns or ['text', 'label'])}")
    count = 0
    with _named(path, kind, file_format):
        for frame in FORMATS[kind](path, rows, file_format):
            for column in columns or ():
                if list(frame.columns).count(column) != 1:
                    trouble = "has two columns" if column in frame.columns else "has no column"
                    if len(frame.columns) == 1 and kind in (".csv", ".tsv"):
                        hint += ", or what stands between columns with --data.file_format.delimiter"
                    raise InputError(
                        f"{path} {trouble} {column!r}; its columns are {', '.join(map(str, frame.columns))}. {hint}"
                    )
            if len(frame):
                # One column may be the text and the label.
                yield frame if columns is None else frame[list(dict.fromkeys(columns))]
            count += len(frame)
    if count == 0:
        raise InputError(f"{path} has {'a header but ' if kind in ('.csv', '.tsv') else ''}no rows")


@contextmanager
def _named(path: str, kind: str, file_format: FileFormat) -> Iterator[None]:
    """Whatever goes wrong while a file is read, as an ``InputError`` that names it."""
    try:
        yield
    except InputError:
        raise
    except UnicodeDecodeError as error:
        where = f"UTF-8 in {_first_bad_line(path)}" if file_format.is_utf8() else f"{file_format.encoding} ({error})"
        way_out = "save it as UTF-8, or name its encoding, such as --data.file_format.encoding cp1252"
        raise InputError(f"{path} is not valid {where}: {way_out}") from error
    except (ValueError, csv.Error, OSError, EOFError, ImportError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path} is not a readable {kind} file: {reason(error)}") from error


def kind_of(path: str) -> str:
    """The ending in a file's name that tells its format. Raises ``InputError`` where there is no such file."""
    if not Path(path).is_file():
        raise InputError(f"no file {path}: expected a {', '.join(FORMATS)} file")
    name = Path(path).name.lower()
    kind = Path(next((name.removesuffix(ending) for ending in COMPRESSED if name.endswith(ending)), name)).suffix
    if kind not in FORMATS:
        raise InputError(
            f"{path} is of no known format: expected a name ending in {', '.join(FORMATS)}, all but the last also "
            f"followed by {', '.join(COMPRESSED)}"
        )
    return kind


class Dialect(NamedTuple):
    """How the fields of a CSV or TSV file are told apart, and a sentence on what of it is not a matter of course."""

    delimiter: str
    quoted: bool
    note: str = ""


def _dialect(path: str, kind: str, file_format: FileFormat) -> Dialect:
    if kind == ".tsv":
        delimiter = file_format.delimiter or "\t"
        quoted = _quotes_enclose_fields(path, delimiter, file_format)
        if quoted is None:
            return Dialect(delimiter, False)
        what = "enclose fields, as in a CSV file" if quoted else "are ordinary characters"
        return Dialect(delimiter, quoted, f"{path}: quotation marks {what}")
    if file_format.delimiter is not None or not file_format.header:
        return Dialect(file_format.delimiter or ",", True)
    with file_format.open(path) as stream:
        header = next((line for line in stream if line.strip()), "")
    found = next((mark for mark in ";\t" if mark in header.strip("\r\n") and "," not in header), None)
    if found is None:
        return Dialect(",", True)
    return Dialect(found, True, f"{path}: columns are separated by {found!r}, as its header has no comma")


LONGEST = 10_000  # lines of one text in a quoted TSV file; a mark that is never closed must not fill the memory


def _quotes_enclose_fields(path: str, delimiter: str, file_format: FileFormat) -> bool | None:
    """Whether each quotation mark belongs to a field that begins and ends with one; None where there is none."""
    field = f'(?:"[^"]*(?:""[^"]*)*"|[^"\r\n{re.escape(delimiter)}]*)'
    record = re.compile(f"{field}(?:{re.escape(delimiter)}{field})*[\r\n]*")
    seen, width, pending, marks = False, None, list[str](), 0
    with file_format.open(path) as stream:
        for line in stream:
            width = line.count(delimiter) if width is None else width
            if not pending and '"' not in line:
                continue
            seen = True
            pending.append(line)
            marks += line.count('"')
            if marks % 2:  # a text of several lines, or a mark that stands for itself
                if len(pending) > LONGEST:
                    return False
                continue
            if not record.fullmatch("".join(pending)):
                return False
            if len(pending) > 1 and all(part.count(delimiter) == width for part in pending):
                return False  # each line is a row of its own, which must not be lost
            pending.clear()
    return not pending if seen else None


def _delimited(path: str, rows: int, file_format: FileFormat) -> Iterator[pd.DataFrame]:
    """A row for each record that Python's csv module finds, also for a blank line where there is only one column.

    Where there are more, a blank line holds none of their fields and is no row, as in :class:`csv.DictReader`.
    """
    dialect = _dialect(path, kind_of(path), file_format)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    # A text may be longer than the module's own limit of 131,072 characters. It is one limit for the whole process.
    csv.field_size_limit(2**31 - 1)
    columns: list[str] = []
    chunk: list[list[str | None]] = []
    at_end, blank = False, 0

    def lines() -> Iterator[str]:
        nonlocal at_end
        yield from stream
        at_end = True

    with file_format.open(path) as stream:
        reader = csv.reader(lines(), delimiter=dialect.delimiter, quoting=quoting)
        line = 1
        for fields in reader:
            if at_end:  # the module looked for more lines, in vain
                raise ValueError(f"a quotation mark in the record that begins in line {line} is never closed")
            line = reader.line_num + 1
            if not columns:
                if not fields:
                    blank += 1
                    continue
                columns = fields if file_format.header else [str(number) for number in range(len(fields))]
                if file_format.header:
                    continue
                chunk += [[""] for _ in range(blank if len(columns) == 1 else 0)]
            if not fields and len(columns) > 1:
                continue
            if (missing := len(columns) - len(fields or [""])) < 0:
                raise ValueError(
                    f"{len(fields)} fields in line {reader.line_num}, expected {len(columns)} as in the first line: is "
                    f"there a {dialect.delimiter!r} in a text that no quotation marks enclose?"
                )
            chunk.append([*(fields or [""]), *[None] * missing])
            if len(chunk) >= rows:
                yield pd.DataFrame(chunk, columns=columns, dtype=object)
                chunk = []
    yield pd.DataFrame(chunk, columns=columns, dtype=object)


def _json(path: str, rows: int, file_format: FileFormat) -> Iterator[pd.DataFrame]:
    """Of an object in each line, or of one array of objects; only the latter is held in memory as a whole.

    Parsed as JSON and not by pandas, which makes 1.0 of the label 1 where another row has none.
    """
    with file_format.open(path) as stream:
        lines = (line for line in stream if line.strip())
        first = next(lines, "")
        whole = first.lstrip().startswith("[") and kind_of(path) == ".json"
        content = json.loads(first + stream.read()) if whole else map(json.loads, itertools.chain([first], lines))
        objects = iter(content if first else [])
        columns: list[str] = []
        size = max(rows, 10_000)  # the first row need not have every key, nor any
        while chunk := list(itertools.islice(objects, size)):
            if (bad := next((item for item in chunk if not isinstance(item, dict)), chunk)) is not chunk:
                raise ValueError(
                    f"expected {'an array of objects' if whole else 'an object in each line'}, found {bad!r}"
                )
            columns = list(dict.fromkeys([*columns, *(key for item in chunk for key in item)]))
            for part in (chunk[start : start + rows] for start in range(0, len(chunk), rows)):
                yield pd.DataFrame([[item.get(c) for c in columns] for item in part], columns=columns, dtype=object)


def _parquet(path: str, rows: int, file_format: FileFormat) -> Iterator[pd.DataFrame]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows):
            yield pd.DataFrame(batch.to_pydict(), dtype=object)


COMPRESSED = (".gz", ".bz2", ".xz")
FORMATS: dict[str, Callable[[str, int, FileFormat], Iterator[pd.DataFrame]]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".jsonl": _json,
    ".json": _json,
    ".parquet": _parquet,
}


def _seems_utf8(path: str) -> bool:
    """Whether the file begins with valid UTF-8 and more than ASCII, which hardly any text in another encoding does."""
    with fsspec.open(path, "rb", compression="infer") as stream:
        beginning = stream.read(2**20)
    try:
        return not codecs.getincrementaldecoder("utf-8")().decode(beginning).isascii()
    except UnicodeDecodeError:
        return False


def _first_bad_line(path: str) -> str:
    with fsspec.open(path, "rb", compression="infer") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                bytes(line).decode("utf-8")
            except UnicodeDecodeError:
                return f"line {number} (data row {number - 1} where no text spans lines)"
    return "an unknown line"
