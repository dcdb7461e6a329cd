"""Writes whole CSV, JSONL and Parquet files for programs, with cells as they are."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_classifier.files import whole_file
from gpt_classifier.text.normalize import replace_surrogates

# Some reader takes these for the end of a cell, of a line or of the whole file's byte order mark. And pandas skips a
# line of blanks, so blanks at either end are enclosed as well.
ENCLOSED = re.compile(r'^\s|\s$|[",;\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029\ufeff]')


def write(path: Path, rows: Iterable[Iterable[object]], mark: bytes = b"") -> None:
    """Writes a whole CSV file, or none; the first row has the names of the columns."""
    with whole_file(path) as scratch, open(scratch, "wb") as stream:
        stream.write(mark)
        stream.writelines(csv_lines(rows))


def csv_lines(rows: Iterable[Iterable[object]]) -> Iterator[bytes]:
    """The rows as lines of CSV in UTF-8, which Python's csv module, pandas and our reader read as the same cells.

    Lines end with LF. None is an empty cell, which pandas takes for a missing one unless it is told
    ``keep_default_na=False`` (as it does with NA and the like). NUL is written as it is. Half of a surrogate pair,
    which UTF-8 cannot hold, becomes U+FFFD.
    """
    for row in rows:
        line = ",".join(map(_field, row)) or '""'  # an empty line would be no row
        yield f"{replace_surrogates(line)}\n".encode()


def _field(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return '"{}"'.format(text.replace('"', '""')) if ENCLOSED.search(text) else text


def _write_csv(path: Path, frames: Iterator[pd.DataFrame]) -> int:
    count = 0
    with open(path, "wb") as stream:
        for frame in frames:
            if count == 0:
                stream.writelines(csv_lines([frame.columns]))
            for name in frame.select_dtypes(float):
                frame[name] = frame[name].map("{:.6f}".format, na_action="ignore")
            stream.writelines(csv_lines(_rows(frame)))
            count += len(frame)
    return count


def _write_json_lines(path: Path, frames: Iterator[pd.DataFrame]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        for frame in frames:
            for row in _rows(frame):
                content = dict(zip(frame.columns, row, strict=True))
                text = json.dumps(content, ensure_ascii=False, default=str)
                stream.write(replace_surrogates(text).translate(ESCAPES) + "\n")
            count += len(frame)
    return count


# Some readers take these characters, which JSON allows in strings, for the end of a line.
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}


def _rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """The rows as values of Python; None for a missing one."""
    return frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)


def _write_parquet(path: Path, frames: Iterator[pd.DataFrame]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for frame in frames:
            if writer is None:  # kept columns may be empty in the first rows; strings can hold all later values
                kept = [name for name in frame.columns if frame[name].dtype == object]
                numbers = pa.Table.from_pandas(frame.drop(columns=kept), preserve_index=False).schema
                schema = pa.schema([numbers.field(n) if n not in kept else pa.field(n, pa.string()) for n in frame])
                writer = stack.enter_context(pq.ParquetWriter(path, schema))
            texts = {
                name: frame[name].map(lambda value: replace_surrogates(str(value)), na_action="ignore") for name in kept
            }
            writer.write_table(pa.Table.from_pandas(frame.assign(**texts), schema=schema, preserve_index=False))
            count += len(frame)
    return count


# Each writes a file and returns the number of its rows.
WRITERS: dict[str, Callable[[Path, Iterator[pd.DataFrame]], int]] = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}
