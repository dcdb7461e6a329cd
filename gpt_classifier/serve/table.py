"""Tables in CSV, as bytes: their texts, and the same rows with predictions."""

from csv import reader
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from gpt_classifier.data import spreadsheet, writers
from gpt_classifier.data.readers import read_columns
from gpt_classifier.data.values import to_texts
from gpt_classifier.decision.rule import SEPARATOR
from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.inference.classifier import Prediction

FIRST_ROWS = 5
SHOWN = 300  # characters of a cell
MAX_COLUMNS = 1000  # a header of millions would take minutes to read
OTHER_FILES = {  # by their first bytes
    b"PK\x03\x04": "a workbook (.xlsx, .ods) or another zip archive",
    b"\xd0\xcf\x11\xe0": "a workbook of old Excel (.xls)",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "compressed (gzip)",
    b"%PDF": "a PDF",
}


def read_table(content: bytes, rows: int) -> pd.DataFrame:
    """All columns, read as those of any file. Raises ``InputError`` for more than ``rows`` rows or MAX_COLUMNS."""
    if kind := next((kind for start, kind in OTHER_FILES.items() if content.startswith(start)), None):
        raise InputError(f"the table is {kind}, expected CSV: save it as CSV UTF-8")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the table is not UTF-8 at byte {error.start:,}: save it as CSV UTF-8") from error
    headers = (next(filter(None, reader(StringIO(text, newline=""), delimiter=mark)), []) for mark in ",;\t")
    if (width := max(map(len, headers))) > MAX_COLUMNS:
        raise InputError(f"the table has {width:,} columns, expected at most {MAX_COLUMNS:,}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(content)
        try:
            chunks, count = [], 0
            for chunk in read_columns(str(path), None):
                chunks.append(chunk)
                if (count := count + len(chunk)) > rows:
                    raise InputError(f"the table has more than {rows:,} rows: send it in parts")
        except InputError as error:
            raise InputError(str(error).replace(str(path), "the table")) from error
    return pd.concat(chunks, ignore_index=True)


def find_texts(table: pd.DataFrame, name: str | None) -> list[str]:
    """The texts; without a ``name`` those of the column ``text``, or of the only one. A missing text is empty."""
    columns = list(table.columns)
    if name is None:
        name = columns[0] if len(columns) == 1 else "text"
    if columns.count(name) != 1:
        trouble = "two columns" if name in columns else "no column"
        hint = did_you_mean(name, columns) or f"; its columns are {', '.join(columns)}: name one as text_column"
        raise InputError(f"the table has {trouble} {name!r}{hint}")
    texts = to_texts(table[name].tolist(), lambda row: f"{name} in row {row} of the table")
    return [text or "" for text in texts]


def add_predictions(
    table: pd.DataFrame,
    predictions: list[Prediction],
    class_names: list[str],
    for_spreadsheet: bool = False,
    multi_label: bool = False,
) -> bytes:
    """The table as CSV, with the columns that ``predict`` writes too: predicted, probability_NAME of each class.

    ``for_spreadsheet`` makes formulas texts, also those in names of columns, and marks the encoding as Excel wants it;
    without it all cells are as they were sent.
    """
    check_columns(table, class_names)
    rows = [[*table.columns, "predicted", *(f"probability_{name}" for name in class_names)]]
    cells = table.astype(object).fillna("").itertuples(index=False, name=None)
    for row, each in zip(cells, predictions, strict=True):
        predicted = SEPARATOR.join(each.labels) if multi_label else each.label
        rows.append([*row, predicted, *(f"{each.probabilities[name]:.6f}" for name in class_names)])
    if not for_spreadsheet:
        return b"".join(writers.csv_lines(rows))
    return spreadsheet.MARK + b"".join(writers.csv_lines(map(spreadsheet.no_formula, row) for row in rows))


def check_columns(table: pd.DataFrame, class_names: list[str]) -> None:
    """Raises ``InputError`` for a column that the predictions would have a second time."""
    ours = {"predicted", *(f"probability_{name}" for name in class_names)}
    if taken := [name for name in table.columns if name in ours]:
        raise InputError(f"the table has {', '.join(taken)}, which predictions have themselves: leave it out")


def preview(table: pd.DataFrame) -> dict[str, Any]:
    """Its columns, its number of rows and the first of them, shortened, to choose a column by."""
    first = table.head(FIRST_ROWS).astype(object).fillna("").astype(str)
    rows = [[cell[:SHOWN] for cell in row] for row in first.to_numpy().tolist()]
    return {"columns": list(table.columns), "rows": rows, "count": len(table)}
