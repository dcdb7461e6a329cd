"""Splits a table into train, val and test, reproducibly."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from gpt_classifier.data.duplicates import near_duplicate_key
from gpt_classifier.data.labels import is_multi_label
from gpt_classifier.errors import InputError

Splits = dict[str, pd.DataFrame]
NAMES = ("train", "val", "test")
Split = Literal["grouped", "random", "chapter6", "article_table"]
OF_THE_BOOK = {"chapter6": 1, "article_table": 2}  # how often the rows are shuffled


@dataclass(frozen=True)
class SplittingConfig:
    """How rows are split into train, val and test.

    Args:
        fractions: Fractions of the rows for train, val and test.
        seed: Seed of the split and of undersampling.
        folds: Number of folds for cross-validation; 0 for a single split by fractions.
        fold: Index of the test fold, from 0; the others are train and val, in the proportion of fractions.
        group_column: Column of the source with the group of each row, for example its author or thread; a grouped split
            keeps the rows of a group in the same split.
        split_column: Column of the source with the split of each row: train, val (or validation, dev), test.
        train_fraction: Fraction of the training rows that is used, after undersampling, with at least one row of each
            class or label; rows of a smaller fraction are among those of a larger one. Val and test stay as they are.
    """

    fractions: list[float] = field(default_factory=lambda: [0.7, 0.1, 0.2])
    seed: int = 123
    folds: int = 0
    fold: int = 0
    group_column: str | None = None
    split_column: str | None = None
    train_fraction: float = 1.0

    def fractions_beside(self, given: Collection[str]) -> tuple[float, ...]:
        """The fractions with 0 for the splits that are ``given`` besides train, sum 1."""
        named = zip(NAMES, self.fractions, strict=True)
        fractions = [0.0 if name in given and name != "train" else fraction for name, fraction in named]
        return tuple(fraction / sum(fractions) for fraction in fractions)

    def count_parts(self, given: Collection[str]) -> int:
        """Number of splits or folds in each of which every class should occur."""
        return self.folds or sum(fraction > 0 for fraction in self.fractions_beside(given))

    def __post_init__(self) -> None:
        fractions = list(self.fractions)
        object.__setattr__(self, "fractions", fractions)  # YAML has no tuples
        if len(fractions) != 3 or min(fractions) < 0 or fractions[0] == 0 or abs(sum(fractions) - 1) > 1e-6:
            raise InputError(f"fractions are {fractions}, expected three of train, val and test that sum to 1")
        if not 0 < self.train_fraction <= 1:
            raise InputError(f"train_fraction is {self.train_fraction}, expected a fraction above 0 and up to 1")
        if (self.folds or self.fold) and (self.folds < 2 or not 0 <= self.fold < self.folds):
            raise InputError(
                f"folds are {self.folds} and fold is {self.fold}, expected at least 2 folds and 0 <= fold < folds"
            )


@dataclass(frozen=True)
class Fold:
    """Iteration ``number`` of ``count`` of a cross-validation, which tests on the fold of that number."""

    number: int
    count: int


def divide(tables: Splits, split: Split, config: SplittingConfig) -> Splits:
    """The rows of ``train`` divided, unless all splits are given already."""
    if split in OF_THE_BOOK:
        return split_as_the_book(tables["train"], split)
    if not is_divided(tables, split, config):
        return tables
    fold = Fold(config.fold, config.folds) if config.folds else None
    parts = split_rows(tables["train"], split, config.fractions_beside(tables), config.seed, fold)
    return parts | {name: table for name, table in tables.items() if name != "train"}


def is_divided(given: Collection[str], split: Split, config: SplittingConfig) -> bool:
    """Whether train is divided, where tables of the ``given`` splits were read."""
    return split in OF_THE_BOOK or config.folds > 0 or any(config.fractions_beside(given)[1:])


def split_rows(
    table: pd.DataFrame, split: Split, fractions: Sequence[float], seed: int, fold: Fold | None = None
) -> Splits:
    """Splits rows stratified by class or label, ``grouped`` with near-duplicates and rows of a group in the same split.

    In a ``random`` split, copies of a text may be in different splits.
    """
    return _split_units(table, find_units(table, split), fractions, seed, fold)


def find_units(table: pd.DataFrame, split: Split) -> pd.Series:
    """The unit of each row that ``split`` does not divide."""
    return linked_rows(table) if split == "grouped" else table["row"].astype(str)


def linked_rows(table: pd.DataFrame) -> pd.Series:
    """The unit of each row: rows linked by :func:`near_duplicate_key` or a group, also indirectly, share one."""
    keys = table["text"].map(near_duplicate_key)
    if "group" not in table:
        return keys
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    key_of, names = pd.factorize(keys)
    group_of, groups = pd.factorize(table["group"].replace("", None))
    there = group_of >= 0  # rows without a group are linked by their text only
    nodes = len(names) + len(groups)
    links = (np.ones(there.sum(), dtype=np.int8), (key_of[there], len(names) + group_of[there]))
    _, components = connected_components(coo_array(links, shape=(nodes, nodes)), directed=False)
    return pd.Series(components[key_of], index=table.index)


def count_units(table: pd.DataFrame, units: pd.Series) -> pd.Series:
    """Number of units with rows of each class."""
    return units.groupby(table["label"].to_numpy()).nunique()


def _split_units(
    table: pd.DataFrame, units: pd.Series, fractions: Sequence[float], seed: int, fold: Fold | None
) -> Splits:
    """Splits units of rows, stratified by the label of their first row, or with groups by their rarest label."""
    from sklearn.model_selection import train_test_split

    if is_multi_label(table["label"]):
        return _split_multi_label(table, units, fractions, seed, fold)
    needed = sum(f > 0 for f in fractions) if fold is None else fold.count
    counts = count_units(table, units)
    if counts.min() < needed:
        what = "splits with every class in each" if fold is None else "folds"
        once = "near-duplicates and rows of one group count once" if "group" in table else "near-duplicates count once"
        way_out = "add rows, set a fraction in --data.splitting.fractions to 0" if fold is None else "use fewer folds"
        raise InputError(
            f"class {counts.idxmin()!r} has {counts.min()} distinct texts, too few for {needed} {what} ({once}): "
            f"{way_out}, or leave such classes out with --data.rare_classes drop or merge"
        )
    first = table["label"]
    if "group" in table:
        first = first.iloc[np.argsort(first.map(counts).to_numpy(), kind="stable")]
    labels = first.groupby(units[first.index].to_numpy(), sort=False).first()
    firsts = labels.value_counts()  # a class that labels too few units is stratified with the largest
    labels = labels.where(labels.map(firsts) >= needed, firsts.idxmax())
    if fold is not None:
        return _split_fold(table, units, labels, fractions, seed, fold)
    assigned: dict[str, pd.Index] = {}
    rest = labels
    left = sum(fractions)
    for name, fraction in list(zip(NAMES, fractions, strict=True))[:0:-1]:  # test, then val
        if fraction == 0:
            continue
        try:
            rest, taken = train_test_split(rest, test_size=fraction / left, stratify=rest, random_state=seed)
        except ValueError as error:
            raise InputError(
                f"{len(rest)} distinct texts of {rest.nunique()} classes are too few for fractions {list(fractions)}: "
                "add rows or change --data.splitting.fractions"
            ) from error
        assigned[name] = taken.index
        left -= fraction
    assigned["train"] = rest.index
    return {name: table[units.isin(assigned[name]).to_numpy()] for name in NAMES if name in assigned}


def _split_fold(
    table: pd.DataFrame, units: pd.Series, labels: pd.Series, fractions: Sequence[float], seed: int, fold: Fold
) -> Splits:
    """Tests on one fold and splits the rest into train and val in the proportion of ``fractions``."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(fold.count, shuffle=True, random_state=seed)
    _, tested = list(folds.split(labels, labels))[fold.number]
    return _split_around_test(table, units, units.isin(labels.index[tested]).to_numpy(), fractions, seed)


def _split_around_test(
    table: pd.DataFrame, units: pd.Series, test: np.ndarray, fractions: Sequence[float], seed: int
) -> Splits:
    """The rows for which ``test`` (N,) holds for testing, the others divided into train and val."""
    train, val, _ = fractions
    others = _split_units(table[~test], units[~test], (train / (train + val), val / (train + val), 0.0), seed, None)
    return others | {"test": table[test]}


def _split_multi_label(
    table: pd.DataFrame, units: pd.Series, fractions: Sequence[float], seed: int, fold: Fold | None
) -> Splits:
    """Splits units of rows, stratified by all labels of their rows; a rare label may be missing in a split."""
    unit, names = pd.factorize(units)
    one_each = table["label"].reset_index(drop=True).explode().dropna()
    label, labels = pd.factorize(one_each)
    has = np.zeros((len(names), len(labels)), dtype=bool)
    has[unit[one_each.index], label] = True
    sizes = [1 / fold.count] * fold.count if fold else [fraction for fraction in fractions if fraction]
    part = iterative_stratification(has, sizes, seed)[unit]
    if len(np.unique(part)) < len(sizes):
        what = f"{fold.count} folds" if fold else f"fractions {list(fractions)}"
        raise InputError(f"{len(names)} distinct texts are too few for {what}: add rows, or change --data.splitting")
    if fold is not None:
        return _split_around_test(table, units, part == fold.number, fractions, seed)
    given = [name for name, fraction in zip(NAMES, fractions, strict=True) if fraction]
    return {name: table[part == number] for number, name in enumerate(given)}


def iterative_stratification(has: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    """The part of each unit (U,), so that each of J parts has about its fraction of the units of each label.

    The rarest label is divided first, each of its units going to the part that wants it most (K. Sechidis, G. Tsoumakas
    and I. Vlahavas, "On the Stratification of Multi-Label Data", 2011). Here a part that has no unit of the label comes
    before all others, so that a label with J units can occur in each.

    Args:
        has: (U, K) whether a unit has a label.
        fractions: Those of the J parts, each above 0; their sum is 1.
        seed: Decides between equal parts, and the order of units.
    """
    rng = np.random.default_rng(seed)
    wanted = np.outer(has.sum(0), fractions)  # (K, J) units of each label
    room = len(has) * np.array(fractions)  # (J,) units of any kind
    without = np.ones_like(wanted, dtype=bool)  # (K, J)
    part = np.full(len(has), -1)

    def place(unit: int, to: int) -> None:
        part[unit] = to
        room[to] -= 1
        wanted[has[unit], to] -= 1
        without[has[unit], to] = False

    waiting = has.sum(0)
    while waiting.any():
        label = np.where(waiting > 0, waiting, len(has) + 1).argmin()
        for unit in rng.permutation(np.flatnonzero(has[:, label] & (part < 0))):
            place(unit, int(np.lexsort((rng.random(len(room)), room, wanted[label], without[label]))[-1]))
            waiting -= has[unit]
    for unit in rng.permutation(np.flatnonzero(part < 0)):
        place(unit, int(room.argmax()))
    return part


def split_as_the_book(table: pd.DataFrame, split: Split) -> Splits:
    """The split of the book's chapter 6, or of the 19 experiments in its repository, which shuffle twice.

    ``table`` is that of :func:`~gpt_classifier.data.datasets.load_sms_spam_as_the_book`.
    """
    rows = balance_as_the_book(table)
    for _ in range(OF_THE_BOOK[split]):
        rows = rows.sample(frac=1, random_state=123).reset_index(drop=True)
    first = int(len(rows) * 0.7)
    second = first + int(len(rows) * 0.1)
    return {"train": rows[:first], "val": rows[first:second], "test": rows[second:]}


def balance_as_the_book(table: pd.DataFrame) -> pd.DataFrame:
    ham, spam = table[table["label"] == "ham"], table[table["label"] == "spam"]
    return pd.concat([ham.sample(len(spam), random_state=123), spam])
