"""Texts without labels that train beside the labelled rows, where a teacher answers them."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from gpt_classifier.data.duplicates import fingerprints
from gpt_classifier.data.splits import Splits
from gpt_classifier.errors import InputError


def choose_unlabelled(chunks: Iterable[pd.DataFrame], tables: Splits, title: str) -> tuple[pd.DataFrame, str]:
    """Those of the read texts that are new, numbered after all rows of ``tables``, and a remark on the others.

    Near-duplicates of rows of any split are left out: those of val and test rows must not train, and those of training
    rows have a label. Raises ``InputError`` if no text is left.
    """
    read = pd.concat(chunks, ignore_index=True)
    texts = read["text"].fillna("")
    table = read.assign(text=texts)[texts.str.strip() != ""]
    known = np.concatenate([fingerprints(rows["text"]) for rows in tables.values()])
    keys = fingerprints(table["text"])
    new = ~np.isin(keys, known) & ~pd.Series(keys).duplicated().to_numpy()
    left = table[new].reset_index(drop=True)
    if not len(left):
        raise InputError(f"{title} has no text that is not among the labelled rows: leave out data.unlabelled_source")
    first = 1 + max(int(rows["row"].max()) for rows in tables.values())
    counts = {"without text": len(read) - len(table), "near-duplicates of others": len(table) - len(left)}
    without = " and ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    note = f"{len(left):,} texts without labels from {title}" + (f", {without} left out" if without else "")
    return left.assign(row=range(first, first + len(left))), note
