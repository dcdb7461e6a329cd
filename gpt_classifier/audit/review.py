"""Writes the labels that are probably wrong into a file for spreadsheets, and reads what a person corrected in it.

Knows nothing about how labels are judged.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_classifier.data import spreadsheet, writers
from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.settings import flat

if TYPE_CHECKING:
    import pandas as pd

    from gpt_classifier.data.datamodule import TextDataModule
    from gpt_classifier.data.splits import Splits

DROP = "drop"  # the new label of a row to leave out, unless a class has this name
MOST = 10  # rows that a message names
SAME = "are source and settings of the data those of review export?"

# ---------------------------------------------------------------- export


def export_review(data: "TextDataModule", path: Path) -> None:
    """Writes the training rows that ``data`` describes into the CSV file ``path``, the most suspicious first."""
    import numpy as np

    from gpt_classifier.data.splits import linked_rows
    from gpt_classifier.evaluation.label_quality import cross_fitted_probabilities, suspicions

    train, names = data.read_tables()["train"], data.class_names
    labels = train["label"].map({name: number for number, name in enumerate(names)}).to_numpy(int)
    numbers, texts = train["row"].tolist(), train["text"].tolist()
    probabilities = cross_fitted_probabilities(texts, labels, linked_rows(train).to_numpy(), len(names))
    suggested, suspicion = suspicions(probabilities, labels)
    cell, order = spreadsheet.cell, np.argsort(-suspicion, kind="stable")
    lines = (
        (numbers[i], cell(names[labels[i]]), cell(names[suggested[i]]), "", f"{suspicion[i]:.4f}",
         cell(spreadsheet.one_line(texts[i])))
        for i in order
    )  # fmt: skip
    writers.write(path, chain([spreadsheet.COLUMNS], lines), spreadsheet.MARK)
    print(f"{len(train):,} training rows, the most suspicious first: {path}")
    print("write into new_label (empty: as it is; drop: leave the row out), save as CSV, then")


# ---------------------------------------------------------------- apply


def apply_review(data: "TextDataModule", review: str, path: Path) -> str:
    """Writes the sources of all rows, as they are, with the labels of the reviewed file into ``path``.

    Rows keep their order and their columns; a column says in which split each is. Rows that a fit leaves out, such as
    those without text, are left out. Returns the name of that column. Raises ``InputError`` for a file that does not
    fit the training rows, or would be replaced.
    """
    check_csv(path)
    _check_replaces_nothing(path, data, review)
    tables = data.read_tables()
    train = tables["train"]
    new = _new_labels(review, train, data.class_names)
    kept = train[~train["row"].isin([row for row, label in new.items() if label is None])]
    labels = [new.get(row, label) for row, label in zip(kept["row"], kept["label"], strict=True)]
    if lost := sorted(set(train["label"]) - set(labels)):
        raise InputError(f"{review} leaves no training row with the label {lost[0]!r}: a class needs rows to train on")
    corrected = {row: label for row, label in new.items() if label is not None}
    column, frames = _sources(data, tables | {"train": kept}, corrected)
    names = list(frames[0])
    if any(list(frame) != names for frame in frames):  # else two columns may have one name
        names = list(dict.fromkeys(name for frame in frames for name in frame))
        frames = [frame.reindex(columns=names) for frame in frames]
    rows = (frame.astype(object).itertuples(index=False, name=None) for frame in frames)
    writers.write(path, chain([names], *(([_cell(value) for value in row] for row in part) for part in rows)))
    old = dict(zip(train["row"], train["label"], strict=True))
    print(f"labels changed: {sum(label != old[row] for row, label in corrected.items()):,}")
    print(f"rows left out: {len(train) - len(kept):,}")
    if (number := data.rows.without_text) and data.preparation.empty == "drop":
        print(f"rows left out without text: {number:,}")
    print(*data.rows.notes, f"{sum(map(len, frames)):,} rows with their columns and {column}: {path}", sep="\n")
    return column


def fit_options(data: "TextDataModule", path: Path, column: str) -> list[str]:
    """Settings of data, as options, with which fit reads ``path``, whose ``column`` has the splits."""
    from gpt_classifier.data.splits import OF_THE_BOOK

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


def _sources(
    data: "TextDataModule", tables: "Splits", corrected: Mapping[int, str]
) -> tuple[str, "list[pd.DataFrame]"]:
    """The column of splits, and for each source its rows that are in a split, in their order, with all columns."""
    import pandas as pd

    from gpt_classifier.data.datasets import is_named
    from gpt_classifier.data.readers import kind_of, paths, read_columns

    given = {"train": data.source, "val": data.val_source, "test": data.test_source}
    sources = {split: source for split, source in given.items() if source is not None}
    frames = []
    for split, source in sources.items():
        parts = [name for name in tables if name == split or (split == "train" and name not in sources)]
        if not parts:
            continue
        rows = pd.concat([tables[name].assign(split=name) for name in parts]).set_index("row").sort_index()
        named, label = is_named(source), "label"
        frame = rows[["text", "label"]]
        if not named:
            frame = pd.concat(read_columns(source, None, file_format=data.file_format), ignore_index=True)
            frame, label = frame.loc[rows.index], str(data.hparams["label_column"])
        # A cell that is no text may be written otherwise than the name of its class is.
        texts = not named and all(kind_of(path) in (".csv", ".tsv") for path in paths(source))
        labels = {} if texts else dict(rows["label"])
        labels |= {row: name for row, name in corrected.items() if split == "train" and row in frame.index}
        cells = [labels.get(row, cell) for row, cell in zip(frame.index, frame[label], strict=True)]
        frame = frame.copy()
        frame[label] = cells
        frames.append((frame, rows["split"]))
    taken = {name for frame, _ in frames for name in frame}
    new = ("split", *(f"split_{n}" for n in range(2, 1000)))
    column = data.splitting.split_column or next(name for name in new if name not in taken)
    for frame, of_splits in frames:
        frame[column] = of_splits
    return column, [frame for frame, _ in frames]


def _cell(value: object) -> object:
    """A cell as it is; what is missing is empty."""
    return None if value is None or value != value else value


def _new_labels(review: str, train: "pd.DataFrame", names: Sequence[str]) -> dict[int, str | None]:
    """The new label of each row that has one in the reviewed file, None for a row to leave out.

    Raises ``InputError`` for whatever does not fit the training rows.
    """
    import numpy as np

    from gpt_classifier.data.duplicates import near_duplicate_key

    def refuse(wrong: Iterable[bool], what: str) -> None:
        found = list(dict.fromkeys(lines["row"][np.array(list(wrong), dtype=bool)]))
        if found:
            more = f" and {len(found) - MOST:,} more" if len(found) > MOST else ""
            rows = f"row{'s' * (len(found) > 1)} {', '.join(str(row) for row in found[:MOST])}{more}"
            raise InputError(f"{review}, {rows}: {what}")

    lines = spreadsheet.read(review)
    given = train.set_index("row")
    refuse(~lines["row"].isin(given.index), f"no such training row; {SAME}")
    refuse(lines["row"].duplicated(), "there are several lines for it; leave one")
    rows = given.loc[lines["row"]]
    other = [
        near_duplicate_key(spreadsheet.one_line(text)) != near_duplicate_key(spreadsheet.content(cell))
        for text, cell in zip(rows["text"], lines["text"], strict=True)
    ]
    refuse(other, f"the text is another one; was a column sorted without the others, or {SAME}")
    other = [
        spreadsheet.class_name(cell, names) != label for cell, label in zip(lines["label"], rows["label"], strict=True)
    ]
    refuse(other, f"the label is another one; correct it in new_label, or {SAME}")
    choices = list(dict.fromkeys([*names, DROP]))
    answers = {
        row: (cell, spreadsheet.class_name(cell, choices))
        for row, cell in zip(lines["row"], lines["new_label"], strict=True)
        if cell.strip()
    }
    if unknown := {row: cell for row, (cell, name) in answers.items() if name is None}:
        wrong = list(dict.fromkeys(unknown.values()))
        expected = f"expected {', '.join(choices)}{did_you_mean(wrong[0], choices)}"
        refuse(lines["row"].isin(unknown), f"new_label is {', '.join(map(repr, wrong[:MOST]))}, {expected}")
    return {row: None if name == DROP and DROP not in names else name for row, (_, name) in answers.items()}


# ---------------------------------------------------------------- files


def check_new(path: Path) -> None:
    """Raises ``InputError`` for a file that cannot be written, or is there already."""
    check_csv(path)
    if path.exists():
        raise InputError(f"{path} is there already, perhaps with labels that you edited: name another with --output")


def check_csv(path: Path) -> None:
    """Raises ``InputError`` unless a CSV file can have this name."""
    if path.suffix.lower() != ".csv" or path.is_dir():
        raise InputError(f"output is {path}, expected the name of a .csv file")


def _check_replaces_nothing(path: Path, data: "TextDataModule", review: str) -> None:
    """Raises ``InputError`` if ``path`` is one of the files that are read."""
    from gpt_classifier.data.datasets import is_named
    from gpt_classifier.data.readers import paths

    sources = [source for source in (data.source, data.val_source, data.test_source) if source is not None]
    files = [file for source in sources if not is_named(source) for file in paths(source)]
    if path.resolve() in [Path(file).resolve() for file in (*files, review)]:
        raise InputError(f"--output {path} would replace a file that it is made of: name another")
