"""Balances the classes of training rows, by rows or weights, and takes a part of them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gpt_classifier.data.labels import is_multi_label
from gpt_classifier.errors import InputError

Balance = Literal["none", "undersample", "class_weights"]


def choose_training_rows(
    train: pd.DataFrame, names: Sequence[str], balance: Balance, fraction: float, seed: int
) -> tuple[pd.DataFrame, list[str]]:
    """The training rows that are used, undersampled and then in part, and a sentence on each choice."""
    notes = []
    if balance == "undersample":
        all_rows, train = train, undersample(train, seed)
        dropped = all_rows["label"].value_counts() - train["label"].value_counts()
        if counts := ", ".join(f"{dropped[name]:,} {name}" for name in names if dropped.get(name)):
            notes.append(f"training rows dropped by undersampling: {counts}")
    if fraction < 1:  # of balanced rows: else subsets would not be nested
        all_rows, train = train, choose_subset(train, fraction, seed)
        used = f"{len(train):,} of {len(all_rows):,}"
        notes.append(f"training rows used: {used} (splitting.train_fraction {fraction:g})")
    return train, notes


def compute_class_weights(train: pd.DataFrame, names: Sequence[str]) -> Tensor:
    """(K,) the weight of each class in the loss: 1 / its frequency, on average 1 over training rows.

    For multi-label data it is the weight of the texts with a label relative to those without it, ``pos_weight`` of
    ``torch.nn.BCEWithLogitsLoss``. Raises ``InputError`` for a class without rows, and for a label that all texts have.
    """
    counts = count_classes(train, names)
    if not counts.all():
        raise InputError(f"class {names[int(counts.argmin())]!r} has no training row to weigh")
    if not is_multi_label(train["label"]):
        return counts.sum() / (len(counts) * counts)
    if (counts == len(train)).any():
        raise InputError(f"all training rows have the label {names[int(counts.argmax())]!r}")
    return (len(train) - counts) / counts


def count_classes(table: pd.DataFrame, names: Sequence[str]) -> Tensor:
    """(K,) rows of each class; where a text has several labels, it counts for each."""
    counts = table["label"].explode().value_counts()
    return torch.tensor([int(counts.get(name, 0)) for name in names])


def undersample(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Samples the same number of rows from every class, that of the smallest, and keeps their order."""
    smallest = table["label"].value_counts().min()
    return table.groupby("label").sample(smallest, random_state=seed).sort_index()


def choose_subset(table: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """This fraction of the rows of each class, in their order, and the first row of each class or label.

    Rows are shuffled by the seed alone and the first ones of each class are taken, so the rows of a smaller fraction
    are among those of a larger one. A text with several labels counts for the rarest of them. The first row of each
    label is in every subset: if it only were in those that lack the label otherwise, they would not be nested.
    """
    order = np.random.default_rng(seed).permutation(len(table))
    labels = table["label"].reset_index(drop=True)[order]
    each = labels.explode().dropna()  # a row for each label of a text
    firsts = each.index[~each.duplicated()]
    if is_multi_label(labels):
        counts = each.value_counts()
        labels = labels.map(lambda names: min(names, key=lambda name: (counts[name], name), default=""))
    rank, wanted = labels.groupby(labels).cumcount(), (labels.map(labels.value_counts()) * fraction).round()
    taken = (rank < wanted) | labels.index.isin(firsts)
    return table[taken.sort_index().to_numpy()]
