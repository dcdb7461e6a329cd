"""Rows as they were read -> cleaned, classed, divided, balanced tables."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from torch import Tensor

from gpt_classifier.data import splits
from gpt_classifier.data.balance import Balance, choose_training_rows, compute_class_weights
from gpt_classifier.data.duplicates import compute_fingerprints
from gpt_classifier.data.labels import decide_class_names, describe_label_conflicts, handle_empty_texts
from gpt_classifier.data.rare_classes import RareClasses, handle_rare_classes
from gpt_classifier.data.splits import Split, Splits, SplittingConfig
from gpt_classifier.errors import InputError
from gpt_classifier.settings import check_choice

Empty = Literal["drop", "keep", "error"]


@dataclass
class Rows:
    """The tables of a fit, or of another use of a trained model."""

    tables: Splits
    class_names: list[str]  # in the order of the logits
    without_text: int  # number of rows
    class_weights: Tensor | None = None  # (K,) of the loss
    natural_counts: dict[str, int] = field(default_factory=dict)  # rows of each class, where the split balances them
    notes: list[str] = field(default_factory=list)  # on what was dropped, merged or found
    given: tuple[str, ...] = ()  # splits that were read, before train was divided
    unlabelled: pd.DataFrame | None = None  # texts that train without labels, columns text and row
    inspected: bool = False  # whether somebody was warned of what is odd about them


@dataclass(frozen=True)
class Preparation:
    """What is done with rows before they are encoded; see :class:`~gpt_classifier.data.datamodule.TextDataModule`."""

    class_names: list[str] | None
    multi_label: bool
    empty: Empty
    rare_classes: RareClasses
    split: Split
    splitting: SplittingConfig
    balance: Balance

    def __post_init__(self) -> None:
        for name, choices in (("split", Split), ("balance", Balance), ("empty", Empty), ("rare_classes", RareClasses)):
            check_choice(name, getattr(self, name), choices)
        if self.multi_label and self.balance == "undersample":
            raise InputError("balance undersample is for single-label texts: use class_weights, or no multi_label")
        if self.multi_label and self.rare_classes != "error":
            raise InputError(
                f"rare_classes {self.rare_classes} is for single-label texts: leave it out, or leave out multi_label"
            )
        if self.splitting.group_column is not None and self.split != "grouped":
            raise InputError(
                f"split {self.split} keeps no groups together: use split grouped, or leave out group_column"
            )

    def rows(self, read: Splits, titles: Mapping[str, str], known: list[str] | None, whole: bool) -> Rows:
        """The rows of a fit, or, of a trained model, those of one split.

        Args:
            read: Tables as they were read, by split.
            titles: Where they come from, for messages.
            known: Class names of the trained model, None where there is none.
            whole: Whether these are the rows of a fit, which are divided and balanced.

        Raises:
            InputError: Rows have no text, no label or an unknown one, or are too few to be divided.
        """
        tables, without_text = handle_empty_texts(read, self.empty)
        declared = known or self.class_names
        tables, names, note = handle_rare_classes(
            tables, self.rare_classes, declared, known, self.split, self.splitting
        )
        names = decide_class_names(tables, names, titles)
        rows = Rows(tables, names, without_text, notes=[note] if note else [], given=tuple(read))
        return self._divide(rows) if whole else rows

    def _divide(self, rows: Rows) -> Rows:
        if self.split in splits.OF_THE_BOOK:
            counts = rows.tables["train"]["label"].value_counts()
            rows.natural_counts = {str(name): int(n) for name, n in counts.items()}
        rows.tables = splits.divide(rows.tables, self.split, self.splitting)
        rows.notes += describe_label_conflicts(rows.tables)
        fraction, seed = self.splitting.train_fraction, self.splitting.seed
        train, notes = choose_training_rows(rows.tables["train"], rows.class_names, self.balance, fraction, seed)
        rows.tables["train"], rows.notes = train, rows.notes + notes
        if self.balance == "class_weights":
            rows.class_weights = compute_class_weights(train, rows.class_names)
        return rows


def choose_unlabelled(chunks: Iterable[pd.DataFrame], tables: Splits, title: str) -> tuple[pd.DataFrame, str]:
    """Chooses the read texts that are new, numbered after all rows of ``tables``, and a remark on the others.

    Near-duplicates of rows of any split are left out: those of val and test rows must not train, and those of training
    rows have a label. Raises ``InputError`` if no text is left.
    """
    read = pd.concat(chunks, ignore_index=True)
    texts = read["text"].fillna("")
    table = read.assign(text=texts)[texts.str.strip() != ""]
    known = np.concatenate([compute_fingerprints(rows["text"]) for rows in tables.values()])
    keys = compute_fingerprints(table["text"])
    new = ~np.isin(keys, known) & ~pd.Series(keys).duplicated().to_numpy()
    left = table[new].reset_index(drop=True)
    if not len(left):
        raise InputError(f"{title} has no text that is not among the labelled rows: leave out data.unlabelled_source")
    first = 1 + max(int(rows["row"].max()) for rows in tables.values())
    counts = {"without text": len(read) - len(table), "near-duplicates of others": len(table) - len(left)}
    without = " and ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    note = f"{len(left):,} texts without labels from {title}" + (f", {without} left out" if without else "")
    return left.assign(row=range(first, first + len(left))), note
