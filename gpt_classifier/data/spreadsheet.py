"""Cells that spreadsheets take for no formula, and the file that a person edits in one.

What a program reads (predictions, scores, the table of a study) has its cells as they are, also those that begin like
a formula: into a spreadsheet they are imported as texts. A spreadsheet takes cells for formulas, numbers and dates. So
in the file that a person edits, a cell that has a digit or begins like a formula begins with an apostrophe, which is no
part of it; and what a spreadsheet may change in a cell (white space, upper case, the zeros of a number) makes no
difference when the file is read again.
"""

import codecs
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gpt_classifier.errors import InputError

COLUMNS = ("row", "label", "suggested_label", "new_label", "suspicion", "text")
READ = ("row", "label", "new_label", "text")  # those that are read again
LONGEST = 32_000  # characters of a text that are shown: a cell of a spreadsheet holds 32,767
MARK = codecs.BOM_UTF8  # begins a file for a spreadsheet: without it, Excel would not read the file as UTF-8
FORMULA = tuple("=+-@'")  # also the apostrophe itself, so that one that was added can be told from it
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
FILLERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol that show nothing


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


def read(review: str) -> pd.DataFrame:
    """The columns READ of a file that a spreadsheet may have saved, without its empty lines; rows are whole numbers."""
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
