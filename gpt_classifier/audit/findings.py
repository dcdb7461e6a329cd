"""Turns facts about labelled texts into findings: a sentence, its rows and a fix; knows nothing about models."""

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
from gpt_classifier.data import splits
from gpt_classifier.data.labels import is_multi_label
from gpt_classifier.text.bpe import TrainTokenizer

Severity = Literal["warning", "note"]

SHOWN = 5  # rows, classes or words that a finding names
FEW = 10  # minimum number of rows to score: with fewer, the 95 % interval of a recall of 100 % begins below 70 %
ENCODING = "--data.file_format.encoding"


EMPTY: dict[str, tuple[Severity, str, str]] = {
    "drop": ("note", "; they are dropped", "--data.empty error stops at them, keep keeps them"),
    "keep": ("warning", "; they are trained on and scored", "--data.empty drop"),
    "error": ("warning", "", "--data.empty drop"),
}
CHARACTERS: dict[str, tuple[Severity, str, str, str]] = {  # with the pattern that finds them
    "undecodable": (
        "warning",
        "\ufffd",
        "U+FFFD, which stands for bytes that could not be decoded",
        f"{ENCODING} NAME, if the file still has the bytes",
    ),
    "misread": (
        "warning",
        "[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac|\u00ef\u00bb\u00bf",  # Ã©, â€™, ï»¿
        "signs of UTF-8 that was read in another encoding, such as \u00c3\u00a9",
        f"{ENCODING} utf-8, or save the file anew from its origin",
    ),
    "control_characters": (
        "note",
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]",  # without tabs and line ends
        "control characters",
        f"{ENCODING} cp1252, for a file where they stand for quotation marks and dashes",
    ),
}


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


def of_lines(rows: Rows, files: Sequence[Mapping[str, Any]], split: str) -> Iterator[Finding]:
    """Lines of the files that did not become rows of their own."""
    several = rows[rows["text"].str.contains("\n", regex=False)]
    swallowed = with_swallowed_rows(several, list(rows["label"].explode().dropna().unique()))
    what = f"{counted(len(swallowed), 'text holds', 'texts hold')} further rows of the file, behind a quotation mark"
    fix = "close or double the quotation marks in the file, or save it as .tsv or .jsonl"
    if split in splits.OF_THE_BOOK:
        fix = "--data.split grouped or random, which read every line"
    yield from _finding("swallowed_rows", "warning", what, swallowed, fix)
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
    severity, told, fix = EMPTY[empty]
    what = f"{counted(len(blank), 'row has', 'rows have')} no text"
    what += f" ({null:,} null, {len(blank) - null:,} empty or white space){told}"
    yield from _finding("empty", severity, what, blank, fix)


def of_characters(rows: Rows) -> Iterator[Finding]:
    """Characters that point to a wrong encoding."""
    for kind, (severity, pattern, what, fix) in CHARACTERS.items():
        found = rows[rows["text"].str.contains(pattern)]
        yield from _finding(kind, severity, f"{counted(len(found), 'text', 'texts')} with {what}", found, fix)


def of_labels(rows: Rows) -> Iterator[Finding]:
    """Rows without label, and class names that differ in case or white space only."""
    missing = rows[rows["label"] == ""]
    what = f"{counted(len(missing), 'row has', 'rows have')} no label"
    yield from _finding("unlabelled", "warning", what, missing, "label them, or take them out")
    counts = rows["label"].explode().value_counts(sort=False).drop("", errors="ignore")
    for _, alike in counts.groupby(lambda name: " ".join(name.lower().split()), sort=False):
        rarer = alike.sort_values(ascending=False, kind="stable").index[1:]
        what = f"the classes {', '.join(map(repr, alike.index))} differ in case or white space only"
        yield from _finding("class_names", "warning", what, with_label(rows, rarer), "correct them in the file")


def of_distinct_texts(rows: Rows, needed: int, rare_classes: str) -> Iterator[Finding]:
    """Texts with more than one label, and classes with fewer than ``needed`` texts; near-duplicates count as one."""
    conflicting = rows[rows.groupby("key")["label"].transform("nunique") > 1]
    keys, distinct = pd.factorize(conflicting["key"])
    multi_label = is_multi_label(rows["label"])
    several = "labels that differ" if multi_label else "more than one label"
    what = f"{counted(len(distinct), 'text has', 'texts have')} {several}, near-duplicates counting as one"
    conflicting = conflicting.iloc[keys.argsort(kind="stable")]  # rows of one text side by side
    yield from _finding("label_conflicts", "warning", what, conflicting, "correct them in the file")
    counts = rows.explode("label").groupby("label")["key"].nunique()
    rare = list(counts.index[counts < needed])
    told = {"drop": "; they are dropped", "merge": "; they are merged"}.get(rare_classes, "")
    what = f"{_classes(rare)} {'have' if len(rare) > 1 else 'has'} too few distinct texts for {needed} splits{told}"
    fix = "" if told else "--data.rare_classes drop, or merge"
    if multi_label:
        fix = "add rows, or take the labels out"
    yield from _finding("rare_classes", "note" if told else "warning", what, with_label(rows, rare), fix)


def of_class_sizes(rows: Rows, names: Sequence[str], balance: str) -> Iterator[Finding]:
    """Classes that a split lacks, classes that are too small to be scored, and classes of very unequal sizes."""
    sizes = {str(split): part["label"].explode().value_counts() for split, part in rows.groupby("split", sort=False)}
    for split, of_split in sizes.items():
        absent = [name for name in names if name not in of_split]
        what = f"no {split} row is of {_classes(absent)}"
        elsewhere = with_label(rows, absent)
        yield from _finding("absent_classes", "warning", what, elsewhere, "--data.split grouped, or add rows")
        few = [name for name in names if of_split.get(name, FEW) < FEW]
        if split == ("test" if "test" in sizes else "val"):
            what = f"{_classes(few)} {'have' if len(few) > 1 else 'has'} fewer than {FEW} {split} rows to be scored on"
            of_these = with_label(rows[rows["split"] == split], few)
            yield from _finding("small_classes", "warning", what, of_these, "--data.splitting.folds 5, or add rows")
    largest, smallest = (sizes["train"].max(), sizes["train"].min()) if "train" in sizes else (0, 0)
    if balance == "none" and largest > 5 * smallest:
        what = f"the largest class has {largest:,} training rows, the smallest {smallest:,}"
        fix = "--data.balance class_weights" + ("" if is_multi_label(rows["label"]) else ", or undersample")
        yield Finding("unequal_classes", "note", what, setting=fix)


def of_duplicates(rows: Rows, split: str) -> Iterator[Finding]:
    """Duplicates and similar texts within splits and across them; ``rows`` are marked."""
    grouped = split == "grouped"
    for name, part in rows.groupby("split", sort=False):
        size = f"{len(part):,} {name}"
        repeated, exact, near, similar = (part[part[what]] for what in ("repeated", "exact", "near", "similar"))
        what = f"{len(repeated):,} of {size} rows repeat an earlier one, near-duplicates included"
        fix = "they stay on one side" if grouped else "--data.split grouped keeps them on one side"
        yield from _finding("copies_inside", "note", what, repeated, fix)
        if name == "train":
            continue
        what = f"{len(near):,} of {size} texts are near-duplicates of training texts"
        what += f", {len(exact):,} of them exact copies" if len(exact) else ""
        fix = "take them out of the one file or the other" if grouped else "--data.split grouped"
        yield from _finding("copies_across", "warning", what, near, fix)
        further = "further " if len(near) else ""
        what = f"{len(similar):,} {further}{name} texts share most of their wording with training texts"
        fix = "--data.splitting.group_column COLUMN, if one names what such texts have in common"
        many = len(similar) >= 0.05 * len(part)
        yield from _finding("similar_across", "warning" if many else "note", what, similar, fix)
    both = rows[rows["near_val"]]
    what = f"{len(both):,} test texts are near-duplicates of validation texts"
    yield from _finding("copies_val_test", "note", what, both, "--data.split grouped")
    within = rows[(rows["split"] == "train") & rows["similar"] & ~rows["repeated"]]
    what = f"{len(within):,} distinct training texts share most of their wording with an earlier one"
    yield from _finding("similar_inside", "note", what, within)


def of_lengths(rows: Rows, limit: int, tokenizer: str | TrainTokenizer, pad_to: int | str) -> Iterator[Finding]:
    """Truncated texts; ``rows`` are measured."""
    truncated = rows[rows["tokens"] > limit]
    share = len(truncated) / max(1, len(rows))
    what = f"{len(truncated):,} of {len(rows):,} texts ({share:.1%}) are truncated to {limit:,} tokens"
    room = -(-percentiles(rows["tokens"])[99] // 32) * 32  # a multiple of 32 suits the hardware
    others = f"--data.windows.stride {max(1, limit // 2)} or --data.truncation head+tail"
    fix = f"--data.max_length {room}, which holds 99 % of the texts, {others}"
    if tokenizer == "gpt2" and room > 1024:
        fix = f"{others}, as GPT-2 reads 1,024 tokens at most"
    if pad_to != "longest":
        fix = f"--data.batching.pad_to longest, {fix}"
    yield from _finding("truncated", "warning" if share >= 0.01 else "note", what, truncated, fix)


def of_scripts(rows: Rows, shares: Mapping[str, float], tokenizer: str | TrainTokenizer) -> Iterator[Finding]:
    """Letters that GPT-2 encodes badly, and texts in another script than most; ``rows`` have their main ``script``."""
    if shares and tokenizer == "gpt2" and shares.get("Latin", 0.0) < 0.5:
        what = "most letters are not Latin: GPT-2 takes a token for every byte or two of them"
        fix = (
            "--model.backbone of the language with its --data.tokenizer, or, from random weights, "
            "--data.tokenizer '{train: 4096}'"
        )
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


def _finding(kind: str, severity: Severity, sentence: str, rows: Rows, setting: str = "") -> list[Finding]:
    """A finding on these rows, or none if there are no rows."""
    return [Finding(kind, severity, sentence, len(rows), _first(rows), setting)] if len(rows) else []


def _first(rows: Rows) -> tuple[Row, ...]:
    return tuple(Row(str(split), int(row)) for split, row in rows[["split", "row"]].head(SHOWN).to_numpy())


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun: ``1 text``, ``2 texts``."""
    return f"{count:,} {one if count == 1 else many}"


def _classes(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"class{'es' * (len(names) > 1)} {', '.join(map(repr, names[:SHOWN]))}{more}"
