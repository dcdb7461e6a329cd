"""Writes CSV files, and reads the one that a person edits in a spreadsheet; knows nothing of what the labels are for.

What a program reads (predictions, scores, the table of a study) has its cells as they are, also those that begin like
a formula: into a spreadsheet they are imported as texts. A spreadsheet takes cells for formulas, numbers and dates. So
in the file that a person edits, a cell that has a digit or begins like a formula begins with an apostrophe, which is no
part of it; and what a spreadsheet may change in a cell (white space, upper case, the zeros of a number) makes no
difference when the file is read again.
"""

import codecs
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_classifier.errors import InputError
from gpt_classifier.text.normalize import valid

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("row", "label", "suggested_label", "new_label", "suspicion", "p_label", "p_suggested_label", "text")
READ = ("row", "label", "new_label", "text")  # those that are read again
LONGEST = 32_000  # characters of a text that are shown: a cell of a spreadsheet holds 32,767
MARK = codecs.BOM_UTF8  # begins a file for a spreadsheet: without it, Excel would not read the file as UTF-8
FORMULA = tuple("=+-@'")  # also the apostrophe itself, so that one that was added can be told from it
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
FILLERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol that show nothing
# Some reader takes these for the end of a cell, of a line or of the whole file's byte order mark. And pandas skips a
# line of blanks, so blanks at either end are enclosed as well.
ENCLOSED = re.compile(r'^\s|\s$|[",;\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029\ufeff]')


def write(path: Path, rows: Iterable[Iterable[object]], mark: bytes = b"") -> None:
    """Writes a whole CSV file, or none; the first row has the names of the columns."""
    from gpt_classifier.files import whole_file

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
        yield f"{valid(line)}\n".encode()


def _field(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return '"{}"'.format(text.replace('"', '""')) if ENCLOSED.search(text) else text


def is_formula(text: str) -> bool:
    """Whether a spreadsheet could run a cell; what looks like a formula but is a plain number is none.

    The signs have other forms, such as full-width ones, and spreadsheets look for them behind characters that show
    nothing (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    first = next((character for character in text if not _is_invisible(character)), "")
    begins_like_one = unicodedata.normalize("NFKC", first).startswith(FORMULA) or text.startswith(("\t", "\r", "\n"))
    return begins_like_one and not NUMBER.fullmatch(text)


def _is_invisible(character: str) -> bool:
    """Whether it is a control or format character, white space, a mark on no letter, or unassigned."""
    return unicodedata.category(character)[0] in "CZM" or character in FILLERS


def no_formula(text: str) -> str:
    """``text``, behind an apostrophe where a spreadsheet could take it for a formula."""
    return f"'{text}" if is_formula(text) else text


def cell(text: str) -> str:
    """``text`` behind an apostrophe where a spreadsheet could take it for a formula, a number or a date."""
    return f"'{text}" if is_formula(text) or any(map(str.isdigit, text)) else text


def content(cell: str) -> str:
    """The text that :func:`cell` or :func:`no_formula` wrote."""
    return cell.removeprefix("'")


def one_line(text: str) -> str:
    """A text as one line that a cell can hold."""
    return " ".join(text.split())[:LONGEST]


def read(review: str) -> "pd.DataFrame":
    """The columns READ of a file that a spreadsheet may have saved, without its empty lines; rows are whole numbers."""
    import pandas as pd

    from gpt_classifier.data.readers import read_columns

    if not Path(review).is_file():
        raise InputError(f"no file {review}: expected one that review export wrote")
    try:
        Path(review).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{review} is not UTF-8: save it as CSV UTF-8 in the spreadsheet") from error
    lines = pd.concat(read_columns(review, READ, hint="Leave the columns of review export")).fillna("")
    lines = lines[(lines != "").any(axis=1)].reset_index(drop=True)
    numbers = lines["row"].str.strip().str.removesuffix(".0")
    if (wrong := ~numbers.str.fullmatch("[0-9]+")).any():
        raise InputError(f"{review}: row is {lines['row'][wrong].iloc[0]!r}, expected the number of a row")
    return lines.assign(row=numbers.astype(int))


def class_name(cell: str, names: Sequence[str]) -> str | None:
    """The name that a cell stands for, also where a spreadsheet changed it if it can be no other name's."""
    if (name := next((exact for exact in (content(cell), cell) if exact in names), None)) is not None:
        return name
    alike = [name for name in names if _as_typed(name) == _as_typed(content(cell))]
    return alike[0] if len(alike) == 1 else None


def _as_typed(name: str) -> str:
    """What is left of a name whatever a spreadsheet or a hurried person does to it: 01, 1 and 1.0 are one."""
    word = " ".join(name.split()).casefold()
    try:
        return str(float(word))
    except ValueError:
        return word


def _comma_separated(path: Path, frames: Iterator[pd.DataFrame]) -> int:
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


def _json_lines(path: Path, frames: Iterator[pd.DataFrame]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        for frame in frames:
            for row in _rows(frame):
                content = dict(zip(frame.columns, row, strict=True))
                text = json.dumps(content, ensure_ascii=False, default=str)
                stream.write(valid(text).translate(ESCAPES) + "\n")
            count += len(frame)
    return count


# Some readers take these characters, which JSON allows in strings, for the end of a line.
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}


def _rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """The rows as values of Python; None for a missing one."""
    return frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)


def _parquet(path: Path, frames: Iterator[pd.DataFrame]) -> int:
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
            texts = {name: frame[name].map(lambda value: valid(str(value)), na_action="ignore") for name in kept}
            writer.write_table(pa.Table.from_pandas(frame.assign(**texts), schema=schema, preserve_index=False))
            count += len(frame)
    return count


# Each writes a file and returns the number of its rows.
WRITERS: dict[str, Callable[[Path, Iterator[pd.DataFrame]], int]] = {
    ".csv": _comma_separated,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
