"""Turns facts about labelled texts into findings: a sentence, its rows and a fix."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from gpt_classifier.audit.counts import (
    COVERED,
    DEPTH,
    GIVEN_AWAY,
    Rows,
    Telling,
    percentiles,
    with_label,
    with_swallowed_rows,
)
from gpt_classifier.data.encoding import Encoding
from gpt_classifier.data.labels import is_multi_label
from gpt_classifier.text.bpe import TrainTokenizer

Severity = Literal["warning", "note"]

SHOWN = 5  # rows, classes or words that a finding names
FEW = 10  # minimum number of rows to score: with fewer, the 95 % interval of a recall of 100 % begins below 70 %
CHARACTERS: dict[str, tuple[Severity, str, str]] = {  # with the pattern that finds them
    "undecodable": ("warning", "\ufffd", "U+FFFD, which stands for bytes that could not be decoded"),
    "misread": (
        "warning",
        "[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac|\u00ef(?:\u00bb\u00bf|\u00bf\u00bd)",  # Ã©, â€™, ï»¿, ï¿½
        "signs of UTF-8 that was read in another encoding, such as \u00c3\u00a9",
    ),
    "control_characters": (
        "note",
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]",  # without tabs and line ends
        "control characters",
    ),
}
MARKUP = (
    r"&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,6});|</?[a-zA-Z]{1,10}(?: [^<>]*)?/?>"  # entities and tags of HTML
)
MARKUP_ADVICE = "take them out, for example with Python's html.unescape, if the texts to classify have none"
CORRECT = "correct them in the file"

Options = Mapping[str, Any]  # settings of the data by name, such as {"splitting.folds": 5}


@dataclass(frozen=True)
class Row:
    """A row of a source."""

    split: str  # "" for undivided rows
    number: int  # in its source, counted from 0


@dataclass(frozen=True)
class Finding:
    """Something to know before training."""

    kind: str  # identifier for programs
    severity: Severity  # "warning" where scores would be misleading or training would suffer
    sentence: str  # what was found
    count: int = 0  # number of affected rows
    rows: tuple[Row, ...] = ()  # the first few of them
    setting: str = ""  # that fixes it, or another remedy
    options: tuple[Options, ...] = ()  # each of which may fix it

    def __str__(self) -> str:
        rows = f" ({self.row_numbers()})" if self.rows else ""
        return f"{self.sentence}{rows}" + (f": {self.setting}" if self.setting else "")

    def row_numbers(self) -> str:
        """The rows by split: ``train rows 3, 8; test row 5; 40 in all``."""
        parts = []
        for split in dict.fromkeys(row.split for row in self.rows):
            numbers = [str(row.number) for row in self.rows if row.split == split]
            parts.append(f"{split} row{'s' * (len(numbers) > 1)} {', '.join(numbers)}".strip())
        return "; ".join(parts + [f"{self.count:,} in all"] * (self.count > len(self.rows)))


def of_lines(rows: Rows, files: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Lines of the files that did not become rows of their own."""
    several = rows[rows["text"].str.contains("\n", regex=False)]
    swallowed = with_swallowed_rows(several, list(rows["label"].explode().dropna().unique()))
    what = f"{counted(len(swallowed), 'text holds', 'texts hold')} further rows of the file, behind a quotation mark"
    fix = "close or double the quotation marks in the file, or save it as .tsv or .jsonl"
    yield from _finding("swallowed_rows", "warning", what, swallowed, fix, {"split": "grouped"})
    lines = [fact["lines"] for fact in files]
    within = sum(bool(line.strip("\r")) for text in several["text"] for line in text.split("\n")[1:-1])
    if lines and None not in lines and sum(lines) not in (len(rows), len(rows) + len(several) + within):
        became = f"{sum(lines):,} lines with content became {len(rows):,} rows"
        what = f"{became}, which texts of several lines do not explain"
        fix = "look for fields of several lines, or a quotation mark that is never closed"
        yield Finding("lines", "note", what, len(several), _first(several), fix)


def of_empty_texts(rows: Rows, empty: str) -> Iterator[Finding]:
    """Rows without text, and what happens to them."""
    blank = rows[rows["text"].str.strip() == ""]
    null = int(blank["null"].sum())
    what = f"{counted(len(blank), 'row has', 'rows have')} no text"
    what += f" ({null:,} null, {len(blank) - null:,} empty or white space)"
    if empty == "drop":
        yield from _finding("dropped_texts", "note", f"{what}; dropped", blank)
    else:
        what += "; trained on and scored" if empty == "keep" else ""
        yield from _finding("empty", "warning", what, blank, "", {"empty": "drop"})


def of_characters(rows: Rows, encodings: Sequence[str]) -> Iterator[Finding]:
    """Characters that point to a wrong encoding, of files that may be in one of these."""
    for kind, (severity, pattern, what) in CHARACTERS.items():
        found = rows[rows["text"].str.contains(pattern)]
        sentence = f"{counted(len(found), 'text', 'texts')} with {what}"
        fix = "correct them in the file, or save it anew from its origin"
        options = [{"file_format.encoding": encoding} for encoding in encodings]
        yield from _finding(kind, severity, sentence, found, fix, *options)
    found = rows[rows["text"].str.contains(MARKUP)]
    what = f"{counted(len(found), 'text has', 'texts have')} entities or tags of HTML, such as &amp; or <br />"
    yield from _finding("markup", "note", what, found, MARKUP_ADVICE)


def of_unlabelled(rows: Rows) -> Iterator[Finding]:
    """Rows without label."""
    missing = rows[rows["label"] == ""]
    what = f"{counted(len(missing), 'row has', 'rows have')} no label"
    yield from _finding("unlabelled", "warning", what, missing, "label them, or take them out")


def of_labels(rows: Rows) -> Iterator[Finding]:
    """Class names that differ in case or white space only."""
    counts = rows["label"].explode().value_counts(sort=False).drop("", errors="ignore")
    for _, alike in counts.groupby(lambda name: " ".join(name.lower().split()), sort=False):
        rarer = alike.sort_values(ascending=False, kind="stable").index[1:]
        what = f"the classes {', '.join(map(repr, alike.index))} differ in case or white space only"
        yield from _finding("class_names", "warning", what, with_label(rows, rarer), CORRECT)


def of_distinct_texts(rows: Rows, needed: int, rare_classes: str) -> Iterator[Finding]:
    """Texts with more than one label, and classes with fewer than ``needed`` texts; near-duplicates count as one."""
    conflicting = rows[rows.groupby("key")["label"].transform("nunique") > 1]
    keys, distinct = pd.factorize(conflicting["key"])
    multi_label = is_multi_label(rows["label"])
    several = "labels that differ" if multi_label else "more than one label"
    what = f"{counted(len(distinct), 'text has', 'texts have')} {several}, near-duplicates counting as one"
    conflicting = conflicting.iloc[keys.argsort(kind="stable")]  # rows of one text side by side
    yield from _finding("label_conflicts", "warning", what, conflicting, CORRECT)
    counts = rows.explode("label").groupby("label")["key"].nunique()
    rare = list(counts.index[counts < needed])
    what = f"{_classes(rare)} {'have' if len(rare) > 1 else 'has'} too few distinct texts for {needed} splits"
    if rare_classes != "error":
        become = {"drop": "dropped", "merge": "merged"}[rare_classes]
        yield from _finding(f"{become}_classes", "note", f"{what}; {become}", with_label(rows, rare))
        return
    fix = "add rows, or take the labels out" if multi_label else "add rows"
    options = [{"rare_classes": "drop"}, {"rare_classes": "merge"}]
    yield from _finding("rare_classes", "warning", what, with_label(rows, rare), fix, *options)


def of_class_sizes(rows: Rows, names: Sequence[str], balance: str, folds: int) -> Iterator[Finding]:
    """Classes that a split lacks, classes that are too small to be scored, and classes of very unequal sizes.

    With ``folds``, each row is scored once.
    """
    sizes = {str(split): part["label"].explode().value_counts() for split, part in rows.groupby("split", sort=False)}
    for split, of_split in sizes.items():
        absent = [name for name in names if name not in of_split]
        what = f"no {split} row is of {_classes(absent)}"
        elsewhere = with_label(rows, absent)
        yield from _finding("absent_classes", "warning", what, elsewhere, f"add {split} rows", {"split": "grouped"})
        if split == ("test" if "test" in sizes else "val"):
            scored, kind = (rows, "") if folds else (rows[rows["split"] == split], f"{split} ")
            of_scored = scored["label"].explode().value_counts()
            few = [name for name in names if of_scored.get(name, FEW) < FEW]
            what = f"{_classes(few)} {'have' if len(few) > 1 else 'has'} fewer than {FEW} {kind}rows to be scored on"
            of_these, fix = with_label(scored, few), f"add {kind}rows"
            yield from _finding("small_classes", "warning", what, of_these, fix, {"splitting.folds": 5})
    largest, smallest = (sizes["train"].max(), sizes["train"].min()) if "train" in sizes else (0, 0)
    if balance == "none" and largest > 5 * smallest:
        what = f"the largest class has {largest:,} training rows, the smallest {smallest:,}"
        options = ({"balance": "class_weights"}, {"balance": "undersample"})
        yield Finding("unequal_classes", "note", what, options=options)


def of_duplicates(rows: Rows, divided: str | None, group_column: str | None) -> Iterator[Finding]:
    """Duplicates and similar texts within splits and across them; ``rows`` are marked.

    ``divided`` is how the rows were divided, None where they came in splits.
    """
    for name, part in rows.groupby("split", sort=False):
        size = f"{len(part):,} {name}"
        repeated, exact, near, similar = (part[part[what]] for what in ("repeated", "exact", "near", "similar"))
        what = f"{len(repeated):,} of {size} rows {verb(repeated, 'repeats', 'repeat')} an earlier one"
        what += ", near-duplicates included"
        fix = "they stay on one side" if divided == "grouped" else ""
        yield from _finding("copies_inside", "note", what, repeated, fix)
        if name == "train":
            continue
        are = verb(near, "is a near-duplicate", "are near-duplicates")
        what = f"{len(near):,} of {size} texts {are} of training texts"
        what += f", {len(exact):,} of them exact copies" if len(exact) else ""
        fix = "take them out of the one split or the other"
        yield from _finding("copies_across", "warning", what, near, fix, {"split": "grouped"})
        further = "further " if len(near) else ""
        shares = verb(similar, "text shares most of its", "texts share most of their")
        what = f"{len(similar):,} {further}{name} {shares} wording with training texts"
        fix = ""
        if divided and group_column is None:
            fix = "if a column says what such texts have in common, name it with --data.splitting.group_column"
        many = len(similar) >= 0.05 * len(part)
        yield from _finding("similar_across", "warning" if many else "note", what, similar, fix)
    both = rows[rows["near_val"]]
    what = (
        f"{len(both):,} test {verb(both, 'text is a near-duplicate', 'texts are near-duplicates')} of validation texts"
    )
    yield from _finding("copies_val_test", "note", what, both, "", {"split": "grouped"})
    within = rows[(rows["split"] == "train") & rows["similar"] & ~rows["repeated"]]
    shares = verb(within, "text shares most of its", "texts share most of their")
    what = f"{len(within):,} distinct training {shares} wording with an earlier one"
    yield from _finding("similar_inside", "note", what, within)


def of_lengths(rows: Rows, limit: int, encoding: Encoding, context: int | None) -> Iterator[Finding]:
    """Truncated texts; ``rows`` are measured.

    Args:
        rows: All rows, with their number of tokens.
        limit: Maximum number of tokens of a text, which padding to a smaller width may lower.
        encoding: The settings of tokens.
        context: Maximum number of tokens that the network reads; None if no network is known.
    """
    if encoding.windows is not None:
        return
    truncated = rows[rows["tokens"] > limit]
    share = len(truncated) / max(1, len(rows))
    are = verb(truncated, "is", "are")
    what = f"{len(truncated):,} of {len(rows):,} texts ({share:.1%}) {are} truncated to {limit:,} tokens"
    needed = [-(-percentiles(rows["tokens"])[percentile] // 32) * 32 for percentile in (100, 99)]
    rooms = dict.fromkeys(min(room, context or room) for room in needed)  # multiples of 32 suit the hardware
    options: list[dict[str, Any]] = [{"max_length": room} for room in rooms if room > encoding.max_length]
    if limit < encoding.max_length:
        wider = {"batching.pad_to": "longest"}
        options = [wider, *(wider | option for option in options)]
    options.append({"windows.stride": max(1, limit // 2)})
    fix = "shorten them in the file"
    yield from _finding("truncated", "warning" if share >= 0.01 else "note", what, truncated, fix, *options)


def of_scripts(rows: Rows, shares: Mapping[str, float], tokenizer: str | TrainTokenizer) -> Iterator[Finding]:
    """Letters that GPT-2 encodes badly, and texts in another script than most; ``rows`` have their main ``script``."""
    if shares and tokenizer == "gpt2" and shares.get("Latin", 0.0) < 0.5:
        what = "most letters are not Latin: GPT-2 takes a token for every byte or two of them"
        fix = "a network of the language with --model.backbone"
        yield Finding("foreign_script", "warning", what, setting=fix)
    usual = [*list(shares)[:1], *(name for name, share in shares.items() if share >= 0.1)]
    other = rows[~rows["script"].isin([*usual, ""])]
    named = ", ".join(f"{count:,} {name}" for name, count in other["script"].value_counts().head(SHOWN).items())
    what = f"{counted(len(other), 'text is', 'texts are')} mostly in another script than the rest: {named}"
    yield from _finding("other_script", "note", what, other)


def of_trivial_models(accuracies: Mapping[str, float], scored: str) -> Iterator[Finding]:
    """The first model on lengths that avoids most errors of the most frequent class."""
    for features, accuracy in accuracies.items():
        errors = 1 - accuracies["nothing"]
        if errors and accuracy - accuracies["nothing"] >= GIVEN_AWAY * errors:
            model = f"a decision tree of depth {DEPTH} on {features} alone"
            what = f"{model} scores {accuracy:.2%} of the {scored} rows"
            fix = "compare every score with it, or look for how the classes were collected"
            yield Finding("length_tells", "warning", what, setting=fix)
            return


def of_words(revealing: Sequence[tuple[pd.DataFrame, Rows]]) -> Iterator[Finding]:
    """Words that reveal a class, for the first few classes."""
    for words, rows in revealing[:SHOWN]:
        first = str(words["word"].iloc[0])
        word, *others = map(repr, words["word"].head(SHOWN + 1))
        label, precision, coverage = words[["label", "precision", "coverage"]].iloc[0]
        more = f", as do {', '.join(others)}" if others else ""
        is_label = _looks_like_a_label(first, str(label))  # else it is a fact about the language of the class
        tells = f"gives the class {label!r} away" if is_label else f"tells the class {label!r}"
        what = (
            f"the word {word} {tells}{more}: {precision:.1%} of the training "
            f"texts with it are of this class, {coverage:.1%} of the class have it"
        )
        if not is_label:
            yield from _finding("telling_word", "note", what, rows)
            continue
        fix = "take labels and whatever stands for them out of the texts"
        # The name of a class, such as "tech", may well stand in some of its texts: a note.
        yield from _finding("leaking_word", "warning" if coverage >= COVERED else "note", what, rows, fix)


def _looks_like_a_label(word: str, label: str) -> bool:
    """Whether a word equals or contains the name of the class or a part of it, or is an identifier."""
    word = word.lower()
    parts = [part for part in re.split(r"\W+|_", label.lower()) if len(part) > 2] or [label.lower()]
    return word in label.lower().split() or any(part in word for part in parts) or any(map(str.isdigit, word))


def of_class_characters(found: Sequence[Telling]) -> Iterator[Finding]:
    """Characters that give classes away: a warning of those that nobody sees, and only a fact of others."""
    for each in found[:SHOWN]:
        name = unicodedata.name(each.character, "").lower()
        named = f"U+{ord(each.character):04X}" + (f" ({name})" if name else "")
        hidden = ", which nobody sees," if each.is_invisible else ""
        what = (
            f"the character {named}{hidden} stands in {each.share:.1%} of the texts of {_classes(each.classes)}, "
            f"and in {each.others:.1%} of all others"
        )
        if each.is_invisible:
            fix = "take it out of the texts, and look for how these classes were collected"
            yield from _finding("leaking_character", "warning", what, each.rows, fix)
        else:
            yield from _finding("telling_character", "note", what, each.rows)


def _finding(
    kind: str, severity: Severity, sentence: str, rows: Rows, setting: str = "", *options: Options
) -> list[Finding]:
    """A finding on these rows, or none if there are no rows."""
    return [Finding(kind, severity, sentence, len(rows), _first(rows), setting, options)] if len(rows) else []


def _first(rows: Rows) -> tuple[Row, ...]:
    return tuple(Row(str(split), int(row)) for split, row in rows[["split", "row"]].head(SHOWN).to_numpy())


def verb(rows: Rows, one: str, many: str) -> str:
    """The words that go with this number of rows."""
    return one if len(rows) == 1 else many


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun: ``1 text``, ``2 texts``."""
    return f"{count:,} {one if count == 1 else many}"


def _classes(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"class{'es' * (len(names) > 1)} {', '.join(map(repr, names[:SHOWN]))}{more}"
