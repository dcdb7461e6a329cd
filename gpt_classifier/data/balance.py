"""Balances the classes of training rows, and takes a part of them; knows nothing about tokens."""

import numpy as np
import pandas as pd

from gpt_classifier.data.labels import is_multi_label


def undersample(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Samples the same number of rows from every class, that of the smallest, and keeps their order."""
    smallest = table["label"].value_counts().min()
    return table.groupby("label").sample(smallest, random_state=seed).sort_index()


def nested_subset(table: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """This share of the rows of each class, in their order, and the first row of each class or label.

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
