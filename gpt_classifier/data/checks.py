"""Checks tables of texts and labels before anything is made of them; knows nothing about splits or tokens."""

from collections.abc import Mapping

import pandas as pd

from gpt_classifier.data.sources import Tables
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
