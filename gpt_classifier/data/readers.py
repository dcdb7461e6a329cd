"""Reads rows of CSV, TSV, JSON and Parquet files in chunks."""

import codecs
import csv
import glob
import itertools
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TextIO, cast

import fsspec
import pandas as pd

from gpt_classifier.data.pace import Pace
from gpt_classifier.errors import InputError, reason
from gpt_classifier.records import with_each_key_once


@dataclass(frozen=True)
class FileFormat:
    """Properties of a file that its name does not specify.

    Args:
        delimiter: Separator of the fields. The default is a tab for TSV files; for CSV files a comma, or ``;`` or a tab
            if the header contains one and no comma.
        encoding: Character encoding of CSV, TSV and JSON files, for example ``cp1252`` or ``utf-16``.
        header: Whether CSV and TSV files begin with a line of column names; if not, these are ``0``, ``1``, ...
    """

    delimiter: str | None = None
    encoding: str = "utf-8"
    header: bool = True

    def __post_init__(self) -> None:
        if self.delimiter == "\\t":  # as typed in a shell
            object.__setattr__(self, "delimiter", "\t")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise InputError(f"delimiter is {self.delimiter!r}, expected one character, for example ';' or '\\t'")
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError) as error:
            raise InputError(
                f"encoding is {self.encoding!r}, expected an encoding of Python, for example utf-8, cp1252 or utf-16"
            ) from error

    def is_utf8(self) -> bool:
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig")

    def open(self, path: str) -> TextIO:
        """Opens the file as decompressed text, with its line ends unchanged."""
        encoding = "utf-8-sig" if self.is_utf8() else self.encoding  # drops a byte order mark
        return cast(TextIO, fsspec.open(path, "rt", compression="infer", encoding=encoding, newline=""))


OBJECTS = (
    "expected an object for each row, in lines or in an array: pandas writes them with to_json(orient='records', "
    "lines=True)"
)
AS_NAMED = FileFormat()  # the default


def read_columns(
    source: str | Sequence[str],
    columns: Sequence[str] | None,
    rows: int = 10_000,
    hint: str = "Name others with --keep",
    file_format: FileFormat = AS_NAMED,
) -> Iterator[pd.DataFrame]:
    """Reads the given columns, or all if None, from the files in order, at most ``rows`` rows at a time.

    The file name determines the format: ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` or ``.parquet``. All but
    Parquet files can be compressed (``.gz``, ``.bz2``, ``.xz``). ``hint`` ends the error message for a missing column.
    """
    for path in expand_paths(source):
        yield from _read_file(path, columns, rows, hint, file_format)


def expand_paths(source: str | Sequence[str]) -> list[str]:
    """Expands a file name, a pattern such as ``data/*.csv``, or a list of these to file names, in order."""
    found: list[str] = []
    for name in [source] if isinstance(source, str) else source:
        is_plain = Path(name).is_file() or not glob.has_magic(name)
        matches = [name] if is_plain else sorted(filter(os.path.isfile, glob.glob(name, recursive=True)))
        if not matches:
            raise InputError(f"no file matches {name}: expected {', '.join(FORMATS)} files")
        found += matches
    if repeated := [path for path in found if found.count(path) > 1]:
        raise InputError(f"{repeated[0]} is named twice as a source: its rows would be duplicated")
    if not found:
        raise InputError("the list of source files is empty: name one")
    return found


def describe_files(source: str | Sequence[str], file_format: FileFormat) -> list[str]:
    """A sentence for each file whose content determined how it is read, or seems to have another encoding."""
    sentences = []
    for path in expand_paths(source):
        kind = find_format(path)
        with _named(path, kind, file_format):
            if kind in (".csv", ".tsv"):
                sentences.append(_find_dialect(path, kind, file_format).note)
            if kind == ".parquet" or file_format.is_utf8():
                continue
            if seems_utf8(path):
                utf8 = "it seems to be UTF-8 (--data.file_format.encoding utf-8)"
                sentences.append(f"{path}: read as {file_format.encoding}, but {utf8}")
    return [sentence for sentence in sentences if sentence]


def _read_file(
    path: str, columns: Sequence[str] | None, rows: int, hint: str, file_format: FileFormat
) -> Iterator[pd.DataFrame]:
    kind = find_format(path)
    if Path(path).stat().st_size == 0:
        raise InputError(f"{path} is empty: expected rows with the columns {', '.join(columns or ['text', 'label'])}")
    count, pace = 0, Pace()
    with _named(path, kind, file_format):
        for frame in FORMATS[kind](path, rows, file_format):
            is_one = len(frame.columns) == 1 and kind in (".csv", ".tsv")
            way_out = f"{hint}, or the separator of columns with --data.file_format.delimiter" if is_one else hint
            check_columns(frame.columns, columns or (), path, f". {way_out}")
            if len(frame):
                # One column may be the text and the label.
                yield frame if columns is None else frame[list(dict.fromkeys(columns))]
            count += len(frame)
            pace.tell(f"reading {path}: {count:,} rows")
    if count == 0:
        raise InputError(f"{path} has {'a header but ' if kind in ('.csv', '.tsv') else ''}no rows")


def check_columns(given: Iterable[str], wanted: Iterable[str], where: str, way_out: str = "") -> None:
    """Raises ``InputError`` unless each of the ``wanted`` columns is ``given`` once."""
    names = [str(name) for name in given]
    for column in wanted:
        if (count := names.count(column)) != 1:
            trouble = "two columns" if count else "no column"
            raise InputError(f"{where} has {trouble} {column!r}; its columns are {', '.join(names)}{way_out}")


@contextmanager
def _named(path: str, kind: str, file_format: FileFormat) -> Iterator[None]:
    """Converts errors while a file is read to an ``InputError`` with its path."""
    try:
        yield
    except InputError:
        raise
    except UnicodeDecodeError as error:
        where = (
            f"UTF-8 in {_find_first_bad_line(path)}" if file_format.is_utf8() else f"{file_format.encoding} ({error})"
        )
        own = "utf-8" if file_format.is_utf8() else codecs.lookup(file_format.encoding).name
        others = (encoding for encoding in ("utf-8", "utf-16", "cp1252") if encoding != own)
        likely = next((encoding for encoding in others if _decodes(_read_beginning(path), encoding)), None)
        option = "--data.file_format.encoding"
        way_out = f"set its encoding, probably {option} {likely}" if likely else f"name its encoding with {option}"
        raise InputError(f"{path} is not valid {where}: {way_out}, or save it as UTF-8") from error
    except RecursionError as error:
        raise InputError(f"{path} is not a readable {kind} file: lists or objects are nested too deep") from error
    except (ValueError, csv.Error, OSError, EOFError, ImportError, OverflowError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path} is not a readable {kind} file: {reason(error)}") from error


def find_format(path: str) -> str:
    """The file's extension, without that of its compression. Raises ``InputError`` if the file does not exist."""
    if not Path(path).is_file():
        raise InputError(f"no file {path}: expected a {', '.join(FORMATS)} file")
    name = Path(path).name.lower()
    kind = Path(next((name.removesuffix(ending) for ending in COMPRESSED if name.endswith(ending)), name)).suffix
    if kind not in FORMATS:
        raise InputError(
            f"{path} has no known format: expected a name ending in {', '.join(FORMATS)}, all but the last "
            f"optionally followed by {', '.join(COMPRESSED)}"
        )
    return kind


class Dialect(NamedTuple):
    """How the fields of a CSV or TSV file are separated, with a sentence if that is not the default."""

    delimiter: str
    quoted: bool
    note: str = ""


def _find_dialect(path: str, kind: str, file_format: FileFormat) -> Dialect:
    delimiter = file_format.delimiter
    if kind == ".tsv":
        quoted = _quotes_enclose_fields(path, delimiter or "\t", file_format)
        what = "enclose fields, as in a CSV file" if quoted else "are ordinary characters"
        return Dialect(delimiter or "\t", bool(quoted), "" if quoted is None else f"{path}: quotation marks {what}")
    note = ""
    if delimiter is None and file_format.header:
        delimiter = next((mark for mark in ",;\t" if len(_read_header(path, mark, file_format)) > 1), ",")
        note = "" if delimiter == "," else f"{path}: columns are separated by {delimiter!r}, as its header has no comma"
    return Dialect(delimiter or ",", True, note)


def _read_header(path: str, delimiter: str, file_format: FileFormat) -> list[str]:
    """The names of the columns, if ``delimiter`` separates them; one between quotation marks separates nothing."""
    csv.field_size_limit(2**31 - 1)  # as for the rows
    with file_format.open(path) as stream:
        return next(filter(None, csv.reader(stream, delimiter=delimiter)), [])


MAX_LINES = 10_000  # of one field in a quoted TSV file; limits the memory that an unclosed quotation mark takes


def _quotes_enclose_fields(path: str, delimiter: str, file_format: FileFormat) -> bool | None:
    """Whether all quotation marks enclose fields; None if there are none."""
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
            if marks % 2:  # a field of several lines, or a literal quotation mark
                if len(pending) > MAX_LINES:
                    return False
                continue
            if not record.fullmatch("".join(pending)):
                return False
            if len(pending) > 1 and all(part.count(delimiter) == width for part in pending):
                return False  # each line is a row of its own
            pending.clear()
    return not pending if seen else None


def _read_delimited(path: str, rows: int, file_format: FileFormat) -> Iterator[pd.DataFrame]:
    """A row for each record of Python's csv module, and for a blank line if there is only one column.

    With several columns, blank lines are skipped, as in :class:`csv.DictReader`.
    """
    dialect = _find_dialect(path, find_format(path), file_format)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    # Fields may exceed the module's default limit of 131,072 characters. The limit is global to the process.
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
            if at_end:  # the csv module requested a line after the last one
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
                    f"there a {dialect.delimiter!r} in a text without quotation marks around it?"
                )
            chunk.append([*(fields or [""]), *[None] * missing])
            if len(chunk) >= rows:
                yield pd.DataFrame(chunk, columns=columns, dtype=object)
                chunk = []
    yield pd.DataFrame(chunk, columns=columns, dtype=object)


def _read_json(path: str, rows: int, file_format: FileFormat) -> Iterator[pd.DataFrame]:
    """Reads an object per line, or one array of objects. Only the array is held in memory as a whole.

    Not read by pandas, which converts the label 1 to 1.0 if another row has no label.
    """
    with file_format.open(path) as stream:
        lines = (line for line in stream if line.strip())
        first = next(lines, "")
        whole = first.lstrip().startswith("[") and find_format(path) == ".json"
        if find_format(path) == ".json" and not whole and first.strip() == "{":
            raise ValueError(f"it is one object over several lines, {OBJECTS}")
        decode = json.JSONDecoder(object_pairs_hook=with_each_key_once).decode
        content = decode(first + stream.read()) if whole else map(decode, itertools.chain([first], lines))
        objects = iter(content if first else [])
        columns: list[str] = []
        size = max(rows, 10_000)  # the first rows need not have all keys
        while chunk := list(itertools.islice(objects, size)):
            if (bad := next((item for item in chunk if not isinstance(item, dict)), chunk)) is not chunk:
                expected = "an array of objects" if whole else "an object in each line"
                raise ValueError(f"expected {expected}, found {bad!r}")
            if not columns and len(chunk) == 1 and _holds_columns(chunk[0]):
                raise ValueError(f"it is one object of columns, {OBJECTS}")
            columns = list(dict.fromkeys([*columns, *(key for item in chunk for key in item)]))
            table = pd.DataFrame([[item.get(c) for c in columns] for item in chunk], columns=columns, dtype=object)
            yield from (table[start : start + rows] for start in range(0, len(table), rows))


def _holds_columns(item: dict[str, object]) -> bool:
    """Whether an object holds a list of values, or a value for each row number, for several columns."""
    return len(item) > 1 and (
        all(isinstance(value, list) for value in item.values())
        or all(isinstance(value, dict) and all(key.isdigit() for key in value) for value in item.values())
    )


def _read_parquet(path: str, rows: int, file_format: FileFormat) -> Iterator[pd.DataFrame]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows):
            columns = [column.to_pylist() for column in batch.columns]
            frame = pd.DataFrame(dict(enumerate(columns)), dtype=object)
            frame.columns = pd.Index(batch.schema.names)  # two may have one name
            yield frame


COMPRESSED = (".gz", ".bz2", ".xz")
FORMATS: dict[str, Callable[[str, int, FileFormat], Iterator[pd.DataFrame]]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}


def seems_utf8(path: str) -> bool:
    """Whether the file begins with valid UTF-8 that is not pure ASCII, which is rare in other encodings."""
    return _decodes(beginning := _read_beginning(path), "utf-8") and not beginning.isascii()


def _read_beginning(path: str) -> bytes:
    with fsspec.open(path, "rb", compression="infer") as stream:
        return bytes(stream.read(2**20))


def _decodes(content: bytes, encoding: str) -> bool:
    """Whether ``content``, which may end within a character, can be decoded.

    As UTF-16 only with its mark, as nearly all bytes can be read so.
    """
    if encoding == "utf-16" and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    try:
        codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return False
    return True


def _find_first_bad_line(path: str) -> str:
    with fsspec.open(path, "rb", compression="infer") as lines:
        number = next((n for n, line in enumerate(lines, start=1) if not _decodes(line, "utf-8")), None)
    return f"line {number} (data row {number - 1} if no text spans several lines)" if number else "the last line"
