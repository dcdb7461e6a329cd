"""Class names and labels of tables: what they are, whether they are missing or in conflict, their numbers."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gpt_classifier.data.datasets import Tables
from gpt_classifier.data.duplicates import near_duplicate_key
from gpt_classifier.data.values import to_names
from gpt_classifier.errors import InputError

INTEGER = re.compile(r"[+-]?[0-9]+")


def handle_empty_texts(tables: Tables, empty: str) -> tuple[Tables, int]:
    """The tables, missing texts as ``""`` or their rows dropped or refused, and the number of rows without text."""
    result, total = {}, 0
    for name, table in tables.items():
        texts = table["text"].fillna("")
        missing = texts.str.strip() == ""
        if missing.any() and empty == "error":
            raise InputError(
                f"{missing.sum()} {name} rows have no text, the first is row {table['row'][missing].iloc[0]}: "
                "fix them, or use --data.empty drop or keep"
            )
        total += int(missing.sum())
        table = table.assign(text=texts)
        result[name] = table[~missing] if empty == "drop" else table
        if len(result[name]) == 0:
            raise InputError(f"no {name} row has a text")
    return result, total


def check_class_names(given: Sequence[str | int | float | bool] | None) -> list[str]:
    """The class names that a setting declares, as texts. Raises ``InputError`` unless they are distinct names."""
    if any(isinstance(name, bool) for name in given or []):
        raise InputError(
            f"class_names are {given}: write names such as yes and no in quotes, or YAML reads true and false"
        )
    names = [str(name) for name in to_names(given or [], lambda n: f"class_names[{n}]")]
    if len(set(names)) != len(names):
        raise InputError(f"class_names are {given}, expected distinct names")
    return names


def decide_class_names(tables: Tables, declared: list[str] | None, files: Mapping[str, str]) -> list[str]:
    """The declared names, or the sorted labels of the training rows; ``files`` are the sources for messages, by split.

    Raises ``InputError`` for rows with another label or none, and for training rows of a single class.
    """
    for name, table in tables.items():
        if (unlabelled := table["label"].isna() | (table["label"] == "")).any():
            raise InputError(
                f"{unlabelled.sum()} {name} rows have no label, the first is row {table['row'][unlabelled].iloc[0]} of "
                f"{files[name]}: label them, or take them out"
            )
    train: pd.Series | None = tables["train"]["label"] if "train" in tables else None
    names = list(declared or ([] if train is None else sort_class_names(train.explode().dropna().unique())))
    for name, table in tables.items():
        labels = table["label"].explode().dropna()  # one at a time, where a text has several
        if (unknown := ~labels.isin(names)).any():
            row = table["row"][labels.index[unknown][0]]
            raise InputError(
                f"unknown label {labels[unknown].iloc[0]!r} in {name} row {row} of {files[name]}, expected one of "
                f"{', '.join(names)}"
            )
    if train is not None and train.nunique() < 2:
        raise InputError(f"all training rows have the label {train.iloc[0]!r}: a classifier needs two classes")
    return names


def sort_class_names(names: Iterable[str]) -> list[str]:
    """Class names sorted, numerically if all are integers."""
    names = list(names)
    numbers = all(INTEGER.fullmatch(name) for name in names)
    return sorted(names, key=lambda name: (int(name), name) if numbers else (0, name))


def describe_label_conflicts(tables: Tables) -> list[str]:
    """A sentence on texts labelled in two ways, and one on near-duplicates labelled in two ways if these are more."""
    rows = pd.concat([table.assign(part=name) for name, table in tables.items()], ignore_index=True)
    what = "labels that differ" if is_multi_label(rows["label"]) else "more than one label"
    sentences, before = [], 0
    for counted, keys in (("", rows["text"]), (" (near-duplicates as one)", rows["text"].map(near_duplicate_key))):
        groups = rows.groupby(keys, sort=False)["label"]
        found = rows[groups.transform("nunique") > 1]
        if len(found) > before:
            same = found[keys[found.index] == keys[found.index[0]]]
            first, other = same.iloc[0], same[same["label"] != same["label"].iloc[0]].iloc[0]
            one, two = (f"{r['label']!r} in {r['part']} row {r['row']}" for r in (first, other))
            count = keys[found.index].nunique()
            sentences.append(
                f"{count:,} text{'s' * (count > 1)}{counted} with {what} ({len(found):,} rows), the first "
                f"is {one} and {two}"
            )
            before = len(found)
    return sentences


def is_multi_label(labels: pd.Series) -> bool:
    """Whether the labels of a table are tuples of any length, or else one class name each."""
    return any(isinstance(label, tuple) for label in labels.dropna().head(1))


def encode_labels(labels: pd.Series, class_names: Sequence[str]) -> Tensor:
    """Class numbers (N,); for multi-label data (N, K), 1.0 for each label that a text has and else 0.0."""
    numbers = {name: number for number, name in enumerate(class_names)}
    if not is_multi_label(labels):
        return torch.tensor(labels.map(numbers).to_numpy(np.int64))
    result = np.zeros((len(labels), len(class_names)), dtype=np.float32)
    one_each = labels.reset_index(drop=True).explode().dropna()
    result[one_each.index, one_each.map(numbers).to_numpy(np.int64)] = 1
    return torch.from_numpy(result)
