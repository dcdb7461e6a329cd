"""Writes the labels that are probably wrong into a file for spreadsheets, and reads what a person corrected in it.

Knows nothing about how the quality of labels is computed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gpt_classifier.data import spreadsheet, writers
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.datasets import is_named
from gpt_classifier.data.duplicates import near_duplicate_key
from gpt_classifier.data.readers import expand_paths, find_format, read_columns
from gpt_classifier.data.splits import OF_THE_BOOK, Splits, linked_rows
from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.evaluation.label_quality import cross_fitted_probabilities, suggest_labels
from gpt_classifier.settings import flat

DROP = "drop"  # the new label of a row to leave out, unless a class has this name
MAX_NAMED = 10  # rows that a message names
SAME = "are source and settings of the data those of review export?"


def export_review(data: TextDataModule, path: Path) -> None:
    """Writes the training rows that ``data`` describes into the CSV file ``path``, those of lowest quality first."""
    train, names = data.read_tables()["train"], np.array(data.class_names, dtype=object)
    labels = pd.Index(names).get_indexer(train["label"])
    texts = train["text"].tolist()
    probabilities = cross_fitted_probabilities(texts, labels, linked_rows(train).to_numpy(), len(names))
    suggested, suspicion = suggest_labels(probabilities, labels)
    lines = pd.DataFrame(
        {
            "row": train["row"].tolist(),
            "label": [spreadsheet.cell(name) for name in names[labels]],
            "suggested_label": [spreadsheet.cell(name) for name in names[suggested]],
            "new_label": "",
            "suspicion": [f"{value:.4f}" for value in suspicion],
            "text": [spreadsheet.cell(spreadsheet.one_line(text)) for text in texts],
        }
    ).iloc[np.argsort(-suspicion, kind="stable")]
    writers.write(path, chain([spreadsheet.COLUMNS], lines.itertuples(index=False)), spreadsheet.MARK)
    print(f"{len(train):,} training rows, the lowest label quality first: {path}")
    print("write into new_label (empty: as it is; drop: leave the row out), save as CSV, then")


def apply_review(data: TextDataModule, review: str, path: Path) -> str:
    """Writes the sources of all rows, as they are, with the labels of the reviewed file into ``path``.

    Rows keep their order and their columns; a column says in which split each is. Rows that a fit leaves out, such as
    those without text, are left out. Returns the name of that column. Raises ``InputError`` for a file that does not
    fit the training rows, or would be replaced.
    """
    check_csv(path)
    read = [source for source in (data.source, data.val_source, data.test_source) if source is not None]
    files = [review, *(file for source in read if not is_named(source) for file in expand_paths(source))]
    if path.resolve() in [Path(file).resolve() for file in files]:
        raise InputError(f"--output {path} would replace a file that it is made of: name another")
    tables = data.read_tables()
    train = tables["train"].set_index("row")["label"]
    new = _read_new_labels(review, tables["train"], data.class_names)
    kept = ~train.index.isin([row for row, label in new.items() if label is None])
    corrected = {row: label for row, label in new.items() if label is not None}
    if lost := sorted(set(train) - {new.get(row, label) for row, label in zip(train.index, train, strict=True)}):
        raise InputError(f"{review} leaves no training row with the label {lost[0]!r}: a class needs rows to train on")
    column, table = _correct_sources(data, tables | {"train": tables["train"][kept]}, corrected)
    rows = table.where(table.notna(), None).itertuples(index=False, name=None)
    writers.write(path, chain([table.columns], rows))
    print(f"labels changed: {sum(label != train[row] for row, label in corrected.items()):,}")
    print(f"rows left out: {(~kept).sum():,}")
    if (number := data.rows.without_text) and data.preparation.empty == "drop":
        print(f"rows left out without text: {number:,}")
    print(*data.rows.notes, f"{len(table):,} rows with their columns and {column}: {path}", sep="\n")
    return column


def build_fit_options(data: TextDataModule, path: Path, column: str) -> list[str]:
    """Settings of data, as options, with which fit reads ``path``, whose ``column`` has the splits."""
    needed: dict[str, Any] = {
        "source": str(path),
        "splitting.split_column": column,
        "val_source": None,
        "test_source": None,
        "split": "grouped" if data.preparation.split in OF_THE_BOOK else data.preparation.split,
        "splitting.folds": 0,
        "splitting.fold": 0,
        "file_format.delimiter": None,
        "file_format.encoding": "utf-8",
        "file_format.header": True,
    }
    now = flat(data.hparams)
    changed = {key: value for key, value in needed.items() if value != now[key]}
    return [f"--data.{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in changed.items()]


def _correct_sources(data: TextDataModule, tables: Splits, corrected: Mapping[int, str]) -> tuple[str, pd.DataFrame]:
    """The column of splits, and the rows of all sources that are in a split, in their order, with all columns."""
    given = {"train": data.source, "val": data.val_source, "test": data.test_source}
    sources = {split: source for split, source in given.items() if source is not None}
    frames, splits = [], []
    for split, source in sources.items():
        parts = [name for name in tables if name == split or (split == "train" and name not in sources)]
        if not parts:
            continue
        rows = pd.concat([tables[name].assign(split=name) for name in parts]).set_index("row").sort_index()
        frame, label, is_text = rows[["text", "label"]], "label", False
        if not is_named(source):
            frame = pd.concat(read_columns(source, None, file_format=data.file_format), ignore_index=True)
            frame, label = frame.loc[rows.index], str(data.hparams["label_column"])
            is_text = all(find_format(path) in (".csv", ".tsv") for path in expand_paths(source))
        # A cell that is no text may be written otherwise than the name of its class is.
        labels = {} if is_text else dict(rows["label"])
        labels |= corrected if split == "train" else {}
        frame = frame.astype(object)
        frame[label] = [labels.get(row, cell) for row, cell in zip(frame.index, frame[label], strict=True)]
        frames.append(frame)
        splits.append(rows["split"])
    taken = {name for frame in frames for name in frame}
    new = ("split", *(f"split_{n}" for n in range(2, 1000)))
    column = data.splitting.split_column or next(name for name in new if name not in taken)
    return column, pd.concat([frame.assign(**{column: split}) for frame, split in zip(frames, splits, strict=True)])


def _read_new_labels(review: str, train: pd.DataFrame, names: Sequence[str]) -> dict[int, str | None]:
    """The new label of each row that has one in the reviewed file, None for a row to leave out.

    Raises ``InputError`` for whatever does not fit the training rows.
    """

    def refuse(wrong: Iterable[bool], what: str) -> None:
        found = lines["row"][np.array(list(wrong), dtype=bool)].unique()
        if len(found):
            more = f" and {len(found) - MAX_NAMED:,} more" if len(found) > MAX_NAMED else ""
            rows = f"row{'s' * (len(found) > 1)} {', '.join(map(str, found[:MAX_NAMED]))}{more}"
            raise InputError(f"{review}, {rows}: {what}")

    lines = spreadsheet.read(review)
    given = train.set_index("row")
    refuse(~lines["row"].isin(given.index), f"no such training row; {SAME}")
    refuse(lines["row"].duplicated(), "there are several lines for it; leave one")
    given = given.loc[lines["row"]]
    other_text = [
        near_duplicate_key(spreadsheet.one_line(text)) != near_duplicate_key(spreadsheet.content(cell))
        for text, cell in zip(given["text"], lines["text"], strict=True)
    ]
    refuse(other_text, f"the text is another one; was a column sorted without the others, or {SAME}")
    found = np.array([spreadsheet.class_name(cell, names) for cell in lines["label"]], dtype=object)
    refuse(found != given["label"].to_numpy(object), f"the label is another one; correct it in new_label, or {SAME}")
    choices = list(dict.fromkeys([*names, DROP]))
    lines = lines[lines["new_label"].str.strip() != ""]
    new = {
        row: spreadsheet.class_name(cell, choices) for row, cell in zip(lines["row"], lines["new_label"], strict=True)
    }
    unknown = lines["row"].map(new).isna()
    if len(wrong := lines["new_label"][unknown].unique()):
        expected = f"expected {', '.join(choices)}{did_you_mean(wrong[0], choices)}"
        refuse(unknown, f"new_label is {', '.join(map(repr, wrong[:MAX_NAMED]))}, {expected}")
    return {row: None if name == DROP and DROP not in names else name for row, name in new.items()}


def check_new(path: Path) -> None:
    """Raises ``InputError`` for a file that cannot be written, or is there already."""
    check_csv(path)
    if path.exists():
        raise InputError(f"{path} is there already, perhaps with labels that you edited: name another with --output")


def check_csv(path: Path) -> None:
    """Raises ``InputError`` unless a CSV file can have this name."""
    if path.suffix.lower() != ".csv" or path.is_dir():
        raise InputError(f"output is {path}, expected the name of a .csv file")
