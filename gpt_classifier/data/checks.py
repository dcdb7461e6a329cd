"""Checks tables of texts and labels before anything is made of them; knows nothing about tokens."""

from collections.abc import Mapping

import pandas as pd

from gpt_classifier.data.sources import Tables
from gpt_classifier.data.splits import near_duplicate_key
from gpt_classifier.errors import InputError


def without_empty(tables: Tables, empty: str) -> tuple[Tables, int]:
    """The tables, their missing texts as ``""``, and the number of rows without text.

    Args:
        tables: By the name of their split.
        empty: What becomes of those rows: ``drop``, ``keep`` or ``error``.
    """
    result, total = {}, 0
    for name, table in tables.items():
        texts = table["text"].fillna("")
        missing = texts.str.strip() == ""
        if missing.any() and empty == "error":
            raise InputError(
                f"{missing.sum()} {name} rows have no text, the first is row {table['row'][missing].iloc[0]}: "
                "mend them, or use --data.empty drop or keep"
            )
        total += int(missing.sum())
        table = table.assign(text=texts)
        result[name] = table[~missing] if empty == "drop" else table
        if len(result[name]) == 0:
            raise InputError(f"no {name} row has a text")
    return result, total


def class_names(tables: Tables, declared: list[str] | None, files: Mapping[str, str]) -> list[str]:
    """The names that were declared, or those of the training rows, sorted; ``files`` are named in messages.

    Raises ``InputError`` for rows with another label or none, and where there is nothing to tell apart.
    """
    for name, table in tables.items():
        if (unlabelled := table["label"].isna() | (table["label"] == "")).any():
            raise InputError(
                f"{unlabelled.sum()} {name} rows have no label, the first is row {table['row'][unlabelled].iloc[0]} of "
                f"{files[name]}"
            )
    train: pd.Series | None = tables["train"]["label"] if "train" in tables else None
    names = list(declared or ([] if train is None else sorted(train.unique())))
    for name, table in tables.items():
        if (unknown := ~table["label"].isin(names)).any():
            raise InputError(
                f"unknown label {table['label'][unknown].iloc[0]!r} in {name} row {table['row'][unknown].iloc[0]} of "
                f"{files[name]}, expected one of {', '.join(names)}"
            )
    if train is not None and (len(names) < 2 or train.nunique() < 2):
        raise InputError(f"all training rows have the label {train.iloc[0]!r}: a classifier needs two classes")
    return names


def label_conflicts(tables: Tables) -> list[str]:
    """A sentence on texts that have more than one label, and one on near-copies where there are more of those."""
    rows = pd.concat([table.assign(part=name) for name, table in tables.items()], ignore_index=True)
    sentences, before = [], 0
    for counted, keys in (("", rows["text"]), (" (near-copies as one)", rows["text"].map(near_duplicate_key))):
        groups = rows.groupby(keys, sort=False)["label"]
        found = rows[groups.transform("nunique") > 1]
        if len(found) > before:
            same = found[keys[found.index] == keys[found.index[0]]]
            first, other = same.iloc[0], same[same["label"] != same["label"].iloc[0]].iloc[0]
            count = keys[found.index].nunique()
            sentences.append(
                f"{count:,} text{'s' * (count > 1)}{counted} with more than one label ({len(found):,} rows), the first is "
                f"{first['label']!r} in {first['part']} row {first['row']} and {other['label']!r} in {other['part']} "
                f"row {other['row']}"
            )
            before = len(found)
    return sentences
