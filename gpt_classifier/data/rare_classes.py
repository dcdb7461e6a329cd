"""Drops or merges the classes that have too few distinct texts to be divided."""

from collections import Counter
from collections.abc import Collection
from typing import Literal

from gpt_classifier.data.datasets import Tables
from gpt_classifier.data.labels import sort_class_names
from gpt_classifier.data.splits import Split, SplittingConfig, count_units, find_units
from gpt_classifier.errors import InputError

OTHER = "other"  # class into which rare classes are merged

RareClasses = Literal["error", "drop", "merge"]


def handle_rare_classes(
    tables: Tables,
    how: RareClasses,
    declared: list[str] | None,
    known: list[str] | None,
    split: Split,
    config: SplittingConfig,
) -> tuple[Tables, list[str] | None, str]:
    """The tables without classes that are too rare to be divided, or that a trained model does not know.

    Also the class names in the order of the logits, None where they follow from the rows, and a note on what was
    dropped or merged, or ``""``.

    Args:
        tables: By split, before they are divided.
        how: What is done with such classes.
        declared: Names of classes that are declared.
        known: Those of the trained model; which classes are rare was determined when it was trained.
        split: How rows will be divided.
        config: Settings of that.
    """
    merge = how == "merge"
    if how == "error" or (known is not None and merge and OTHER not in known):
        return tables, declared, ""
    if known is not None:
        kept, note = _drop_or_merge(tables, known, merge)
        return kept, declared, note
    train = tables["train"]
    units, needed = find_units(train, split), config.count_parts(tables)
    counts = count_units(train, units)
    keep = [name for name in counts.index[counts >= needed] if name != ""]
    kept, note = _drop_or_merge(tables, keep, merge)
    if not note:
        return kept, declared, ""
    names = [name for name in declared or sort_class_names(keep) if name in keep or name not in counts.index]
    if not merge:
        return kept, names, note
    if OTHER in counts.index:
        raise InputError(f"rare_classes merge makes a class {OTHER!r}, but there is one: rename it, or use drop")
    if (number := units[kept["train"]["label"] == OTHER].nunique()) < needed:
        raise InputError(
            f"the rare classes together have {number} distinct texts, too few for {needed} splits (near-duplicates "
            "and rows of one group count once): use --data.rare_classes drop, or add rows"
        )
    return kept, list(dict.fromkeys([*names, OTHER])), note


def _drop_or_merge(tables: Tables, keep: Collection[str], merge: bool) -> tuple[Tables, str]:
    """The tables with rows of classes not in ``keep`` dropped, or merged into :data:`OTHER`, and a summary.

    Rows without label are unchanged.
    """
    result, counts = {}, Counter[str]()
    for name, table in tables.items():
        rare = ~table["label"].isin([*keep, "", None])
        counts.update(table["label"][rare])
        result[name] = table.assign(label=table["label"].mask(rare, OTHER)) if merge else table[~rare]
        if len(result[name]) == 0:
            raise InputError(f"all {name} rows belong to classes that are too rare: use --data.rare_classes merge")
    if not counts:
        return tables, ""
    what = f"merged into the class {OTHER!r}" if merge else "dropped"
    listed = ", ".join(f"{count:,} {label}" for label, count in counts.most_common(10))
    others = f" and {len(counts) - 10:,} more classes" if len(counts) > 10 else ""
    return result, f"{counts.total():,} rows of {len(counts):,} rare classes {what}: {listed}{others}"
