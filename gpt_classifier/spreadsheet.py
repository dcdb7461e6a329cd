"""Writes and reads CSV files that a person edits in a spreadsheet; knows nothing about what the labels are for.

A spreadsheet takes cells for formulas, numbers and dates. So a cell that has a digit or begins like a formula begins
with an apostrophe here, which is no part of it; and what a spreadsheet may change in a cell (white space, upper case,
the zeros of a number) makes no difference when the file is read again.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_classifier.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("row", "label", "suggested_label", "new_label", "suspicion", "p_label", "p_suggested_label", "text")
READ = ("row", "label", "new_label", "text")  # those that are read again
LONGEST = 32_000  # characters of a text that are shown: a cell of a spreadsheet holds 32,767
FORMULA = "=+-@'\uff1d\uff0b\uff0d\uff20"  # also the apostrophe itself, and the full-width forms of these signs


def cell(text: str) -> str:
    """``text`` behind an apostrophe where a spreadsheet could take it for a formula, a number or a date."""
    risky = text.startswith(tuple(FORMULA)) or any(map(str.isdigit, text))
    return f"'{text}" if risky else text


def content(cell: str) -> str:
    """The text that :func:`cell` wrote."""
    return cell.removeprefix("'")


def one_line(text: str) -> str:
    """A text as one line that a cell can hold."""
    return " ".join(text.split())[:LONGEST]


def read(review: str) -> "pd.DataFrame":
    """The columns READ of a file that a spreadsheet may have saved, without its empty lines; rows are whole numbers."""
    import pandas as pd

    from gpt_classifier.data.reading import read_columns

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


def write(path: Path, columns: Sequence[str], lines: Iterable[Sequence[object]], encoding: str) -> None:
    from gpt_classifier.files import whole_file

    with whole_file(path) as scratch, open(scratch, "w", newline="", encoding=encoding) as stream:
        writer = csv.writer(stream)  # its line ends, CR LF, have it quote texts with either of them
        writer.writerow(columns)
        writer.writerows(lines)
