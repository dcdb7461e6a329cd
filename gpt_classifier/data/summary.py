"""Tells in lines what the rows of a fit are and what became of them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from torch import Tensor

from gpt_classifier.data.augmentation import AugmentationConfig
from gpt_classifier.data.balance import count_classes
from gpt_classifier.data.duplicates import find_trained_on, training_fingerprints
from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.data.labels import is_multi_label
from gpt_classifier.data.preparation import Rows
from gpt_classifier.data.splits import NAMES, Splits

MAX_CLASSES = 10  # with more classes than this, a summary names only the most frequent ones
SHOWN = 3  # most frequent classes that are listed if there are too many for all


def summarize(
    title: str,
    split: str,
    empty: str,
    rows: Rows,
    encoded: Mapping[str, EncodedTexts],
    augmentation: AugmentationConfig,
    known: Tensor | None,
) -> str:
    """A line for each split of the data ``title``, then a line for each change to rows and texts.

    ``known`` are fingerprints of the training texts of a trained model, by default those of the training rows.
    """
    few = len(rows.class_names) <= MAX_CLASSES
    classes = f"classes {', '.join(rows.class_names)}" if few else f"{len(rows.class_names)} classes"
    lines = [f"{title}, split {split}, {classes}"]
    lines += [_split_line(name, rows, encoded[name]) for name in NAMES if name in rows.tables]
    if rows.without_text:
        row = "row" if rows.without_text == 1 else "rows"
        lines.append(f"  {rows.without_text} {row} without text: {'dropped' if empty == 'drop' else 'kept'}")
    lines += [f"  {note}" for note in rows.notes]
    lines += _describe_long_texts(encoded)
    if augmentation and "train" in rows.tables:
        how = ", ".join(f"{name} {value:g}" for name, value in asdict(augmentation).items() if value)
        lines.append(f"  training texts are changed at random ({how}); the frozen layers run for them in each epoch")
    if known is None and "train" in rows.tables:
        known = training_fingerprints(rows.tables["train"]["text"])
    for name, copies in ({} if known is None else _count_leaks(rows.tables, known)).items():
        what = "text is a near-duplicate" if copies == 1 else "texts are near-duplicates"
        lines.append(f"  {copies} {name} {what} of training texts: {name} scores are optimistic")
    return "\n".join(lines)


def _split_line(name: str, rows: Rows, encoded: EncodedTexts) -> str:
    table = rows.tables[name]
    counts = count_classes(table, rows.class_names)
    by_class = format_class_counts(dict(zip(rows.class_names, counts.tolist(), strict=True)), MAX_CLASSES)
    if is_multi_label(table["label"]):
        by_class += f", {(table['label'].str.len() == 0).sum():,} without label"
    return f"  {name:5} {len(table):7,} rows ({by_class}), longest {encoded.lengths.max()} tokens"


def _describe_long_texts(encoded: Mapping[str, EncodedTexts]) -> Iterator[str]:
    """How many texts are read in windows, and how many not to their end."""
    text_encoder = next(iter(encoded.values())).text_encoder
    if windowed := _join_counts({name: int((texts.windows > 1).sum()) for name, texts in encoded.items()}):
        yield f"  texts longer than {text_encoder.max_length} tokens, read in windows: {windowed}"
    if truncated := _join_counts({name: texts.truncated for name, texts in encoded.items()}):
        how = f"truncated to {text_encoder.max_length} tokens ({text_encoder.truncation} kept)"
        if text_encoder.windows:
            how = f"read in {text_encoder.windows.limit} windows with gaps"
        yield f"  texts {how}: {truncated}"


def _count_leaks(tables: Splits, known: Tensor) -> dict[str, int]:
    """How many val and test rows are among the texts with the fingerprints ``known``, where any are."""
    counts = {name: int(find_trained_on(tables[name]["text"], known).sum()) for name in NAMES[1:] if name in tables}
    return {name: count for name, count in counts.items() if count}


def describe_leaks(tables: Splits, before: Tensor, weights: str) -> str:
    """A warning of rows that will be scored among the texts ``before`` that ``weights`` were trained on, or ``""``."""
    counts = " and ".join(f"{count:,} {name}" for name, count in _count_leaks(tables, before).items())
    what = f"rows, or near-duplicates of them, are among the texts that {weights} was trained on"
    return f"warning: {counts} {what}: their scores are optimistic" if counts else ""


def _join_counts(by_split: dict[str, int]) -> str:
    return ", ".join(f"{count:,} in {name}" for name, count in by_split.items() if count)


def format_class_counts(counts: Mapping[str, int], maximum: int = 10) -> str:
    """Rows of each class in the given order; of more than ``maximum`` classes, the range and some of them.

    >>> format_class_counts({"ham": 4825, "spam": 747})
    '4,825 ham, 747 spam'
    >>> format_class_counts({"a": 5, "b": 1, "c": 9, "d": 3, "e": 7, "f": 0}, maximum=3)
    '6 classes, 5 of 1 to 9 rows: 9 c, 7 e, 5 a, ..., 1 b; without rows: f'
    """
    if len(counts) <= maximum:
        return ", ".join(f"{rows:,} {name}" for name, rows in counts.items())
    absent = [name for name, rows in counts.items() if not rows]
    ranked = sorted(((rows, name) for name, rows in counts.items() if rows), key=lambda pair: -pair[0])
    line = f"{len(counts)} classes"
    if ranked:
        of_these = f", {len(ranked)}" if absent else ""
        fewest, most = ranked[-1][0], ranked[0][0]
        size = f"{fewest:,} to {most:,} rows" if fewest < most else f"{most:,} row{'s' if most > 1 else ''} each"
        named = [f"{rows:,} {name}" for rows, name in ranked]
        if len(named) > SHOWN + 1:
            named[SHOWN:-1] = ["..."]
        line += f"{of_these} of {size}: {', '.join(named)}"
    if absent:
        more = f" and {len(absent) - maximum} more" if len(absent) > maximum else ""
        line += f"; without rows: {', '.join(absent[:maximum])}{more}"
    return line
