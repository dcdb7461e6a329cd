"""Finds in the statistics of labelled rows what speaks against training on them: a sentence, its rows and a fix."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from gpt_classifier.audit.leakage import AVOIDED, COVERED, find_class_characters
from gpt_classifier.audit.statistics import DEPTH, Options, Rows, Statistics, count_percentiles, with_keys, with_label
from gpt_classifier.data.labels import is_multi_label

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
GROUPED: Options = {"split": "grouped"}


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


def count_phrase(count: int, phrase: str) -> str:
    """A phrase about a number ``#`` of things, with ``{one|many}`` where that makes a difference.

    >>> count_phrase(1, "# text{|s} {is|are} long"), count_phrase(2000, "# text{|s} {is|are} long")
    ('1 text is long', '2,000 texts are long')
    """
    return re.sub(r"\{(.*?)\|(.*?)\}", r"\1" if count == 1 else r"\2", phrase).replace("#", f"{count:,}", 1)


def _find(
    kind: str, severity: Severity, sentence: str, rows: Rows, setting: str = "", *options: Options
) -> Iterator[Finding]:
    """A finding on these rows, none without rows; a sentence with ``#`` at its beginning is about their number."""
    if len(rows):
        sentence = count_phrase(len(rows), sentence) if sentence.startswith("#") else sentence
        yield Finding(kind, severity, sentence, len(rows), _take_first(rows), setting, options)


def _take_first(rows: Rows) -> tuple[Row, ...]:
    return tuple(Row(str(split), int(row)) for split, row in rows[["split", "row"]].head(SHOWN).to_numpy())


def name_classes(names: Sequence[str], verb: bool = False) -> str:
    """The first few classes, with "has" or "have" where a ``verb`` follows."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    verbs = f" {'have' if len(names) > 1 else 'has'}" if verb else ""
    return f"class{'es' * (len(names) > 1)} {', '.join(map(repr, names[:SHOWN]))}{more}{verbs}"


# ---------------------------------------------------------------- rows and labels


def find_lost_rows(statistics: Statistics) -> Iterator[Finding]:
    """That a fit would refuse the rows, lines of the files that did not become rows of their own, and missing cells."""
    if statistics.refusal:
        yield Finding("refused", "warning", f"a fit would stop here: {statistics.refusal}")
    rows, files, empty = statistics.all_rows, statistics.files, statistics.data.preparation.empty
    several = rows[rows["text"].str.contains("\n", regex=False)]
    # A line that begins or ends with a label is a row; a number after a line end and before a comma is ordinary text.
    labels = rows["label"].explode().dropna().unique()
    names = "|".join(re.escape(label) for label in labels[:1000] if label and not label.isdigit())
    swallowed = several["text"].str.contains(rf'\n"?(?:{names})"?[\t,;|]|[\t,;|]"?(?:{names})"?\r?\n') & bool(names)
    what = "# text{|s} hold{s|} further rows of the file, behind a quotation mark"
    fix = "close or double the quotation marks in the file, or save it as .tsv or .jsonl"
    yield from _find("swallowed_rows", "warning", what, several[swallowed], fix, GROUPED)
    lines = sum(file.lines or 0 for file in files)
    within = sum(bool(line.strip("\r")) for text in several["text"] for line in text.split("\n")[1:-1])
    is_known = files and all(file.lines is not None for file in files)
    if is_known and lines not in (len(rows), len(rows) + len(several) + within):
        what = f"{lines:,} lines with content became {len(rows):,} rows, which texts of several lines do not explain"
        fix = "look for fields of several lines, or a quotation mark that is never closed"
        yield Finding("lines", "note", what, len(several), _take_first(several), fix)
    blank, unlabelled = rows[rows["text"].str.strip() == ""], rows[rows["label"] == ""]
    null = int(blank["null"].sum())
    what = f"# row{{|s}} {{has|have}} no text ({null:,} null, {len(blank) - null:,} empty or white space)"
    if empty == "drop":
        yield from _find("dropped_texts", "note", f"{what}; dropped", blank)
    else:
        what += "; trained on and scored" if empty == "keep" else ""
        yield from _find("empty", "warning", what, blank, "", {"empty": "drop"})
    fix = "label them, or take them out"
    yield from _find("unlabelled", "warning", "# row{|s} {has|have} no label", unlabelled, fix)


def find_odd_characters(statistics: Statistics) -> Iterator[Finding]:
    """Characters that point to a wrong encoding, and markup."""
    rows = statistics.in_files(statistics.rows)
    for kind, (severity, pattern, what) in CHARACTERS.items():
        found = rows[rows["text"].str.contains(pattern)]
        options = [{"file_format.encoding": encoding} for encoding in statistics.encodings] if len(found) else []
        fix = f"{CORRECT}, or save it again from its origin"
        yield from _find(kind, severity, f"# text{{|s}} with {what}", found, fix, *options)
    found = rows[rows["text"].str.contains(MARKUP)]
    what = "# text{|s} {has|have} entities or tags of HTML, such as &amp; or <br />"
    yield from _find("markup", "note", what, found, MARKUP_ADVICE)


def find_similar_names(statistics: Statistics) -> Iterator[Finding]:
    """Class names that differ in case or white space only."""
    rows = statistics.in_files(statistics.rows)
    counts = rows["label"].explode().value_counts(sort=False).drop("", errors="ignore")
    for _, alike in counts.groupby(lambda name: " ".join(name.lower().split()), sort=False):
        rarer = alike.sort_values(ascending=False, kind="stable").index[1:]
        what = f"the classes {', '.join(map(repr, alike.index))} differ in case or white space only"
        yield from _find("class_names", "warning", what, with_label(rows, rarer), CORRECT)


def find_conflicts_and_rare_classes(statistics: Statistics) -> Iterator[Finding]:
    """Texts with more than one label, and classes with too few texts; near-duplicates count as one."""
    rows, parts, rare_classes = statistics.all_rows, statistics.parts, statistics.data.preparation.rare_classes
    rows = with_keys(rows[(rows["label"] != "") & (rows["text"].str.strip() != "")])
    conflicting = rows[rows.groupby("key")["label"].transform("nunique") > 1]
    keys, distinct = pd.factorize(conflicting["key"])
    multi_label = is_multi_label(rows["label"])
    several = "labels that differ" if multi_label else "more than one label"
    what = count_phrase(len(distinct), f"# text{{|s}} {{has|have}} {several}, near-duplicates counting as one")
    conflicting = conflicting.iloc[keys.argsort(kind="stable")]  # rows of one text side by side
    yield from _find("label_conflicts", "warning", what, conflicting, CORRECT)
    counts = rows.explode("label").groupby("label")["key"].nunique()
    rare = list(counts.index[counts < parts])
    what = f"{name_classes(rare, verb=True)} too few distinct texts for {parts} splits"
    if rare_classes != "error":
        become = {"drop": "dropped", "merge": "merged"}[rare_classes]
        yield from _find(f"{become}_classes", "note", f"{what}; {become}", with_label(rows, rare))
        return
    fix = "add rows, or take the labels out" if multi_label else "add rows"
    options = [{"rare_classes": "drop"}, {"rare_classes": "merge"}]
    yield from _find("rare_classes", "warning", what, with_label(rows, rare), fix, *options)


def find_class_sizes(statistics: Statistics) -> Iterator[Finding]:
    """Classes that a split lacks, classes that are too small to be scored, and classes of very unequal sizes."""
    rows, names, folds = statistics.rows, statistics.class_names, statistics.data.splitting.folds
    sizes = {str(split): part["label"].explode().value_counts() for split, part in rows.groupby("split", sort=False)}
    for split, counts in sizes.items():
        absent = [name for name in names if name not in counts]
        what, fix = f"no {split} row is of {name_classes(absent)}", f"add {split} rows"
        yield from _find("absent_classes", "warning", what, with_label(rows, absent), fix, GROUPED)
        if split == ("test" if "test" in sizes else "val"):
            scored, kind = (rows, "") if folds else (rows[rows["split"] == split], f"{split} ")  # folds score each row
            counts = scored["label"].explode().value_counts()
            few = [name for name in names if counts.get(name, FEW) < FEW]
            what = f"{name_classes(few, verb=True)} fewer than {FEW} {kind}rows to be scored on"
            small, fix = with_label(scored, few), f"add {kind}rows"
            yield from _find("small_classes", "warning", what, small, fix, {"splitting.folds": 5})
    largest, smallest = (sizes["train"].max(), sizes["train"].min()) if "train" in sizes else (0, 0)
    if statistics.data.preparation.balance == "none" and largest > 5 * smallest:
        what = f"the largest class has {largest:,} training rows, the smallest {smallest:,}"
        options = ({"balance": "class_weights"}, {"balance": "undersample"})
        yield Finding("unequal_classes", "note", what, options=options)


# ---------------------------------------------------------------- texts


def find_duplicates(statistics: Statistics) -> Iterator[Finding]:
    """Duplicates and similar texts within splits and across them."""
    rows, data = statistics.marked, statistics.data
    for name, part in rows.groupby("split", sort=False):
        repeated, exact, near, similar = (part[part[what]] for what in ("repeated", "exact", "near", "similar"))
        what = f"# of {len(part):,} {name} rows repeat{{s|}} an earlier one, near-duplicates included"
        stay = statistics.is_divided and data.preparation.split == "grouped"
        yield from _find("copies_inside", "note", what, repeated, "they stay on one side" if stay else "")
        if name == "train":
            continue
        what = f"# of {len(part):,} {name} texts {{is a near-duplicate|are near-duplicates}} of training texts"
        what += f", {len(exact):,} of them exact copies" if len(exact) else ""
        fix = "take them out of the one split or the other"
        yield from _find("copies_across", "warning", what, near, fix, GROUPED)
        further = "further " if len(near) else ""
        what = f"# {further}{name} text{{|s}} share{{s|}} most of {{its|their}} wording with training texts"
        fix = "if a column says what such texts have in common, name it with --data.splitting.group_column"
        fix = fix if statistics.is_divided and data.splitting.group_column is None else ""
        severity: Severity = "warning" if len(similar) >= 0.05 * len(part) else "note"
        yield from _find("similar_across", severity, what, similar, fix)
    what = "# test text{|s} {is a near-duplicate|are near-duplicates} of validation texts"
    yield from _find("copies_val_test", "note", what, rows[rows["near_val"]], "", GROUPED)
    within = rows[(rows["split"] == "train") & rows["similar"] & ~rows["repeated"]]
    what = "# distinct training text{|s} share{s|} most of {its|their} wording with an earlier one"
    yield from _find("similar_inside", "note", what, within)


def find_truncated_texts(statistics: Statistics) -> Iterator[Finding]:
    """Texts that are longer than what the network reads of them."""
    encoding, limit, context = statistics.data.encoding, statistics.max_length, statistics.context
    if encoding.windows is not None:
        return
    rows = statistics.in_files(statistics.measured)
    truncated = rows[rows["tokens"] > limit]
    fraction = len(truncated) / max(1, len(rows))
    what = f"# of {len(rows):,} texts ({fraction:.1%}) {{is|are}} truncated to {limit:,} tokens"
    percentiles = count_percentiles(rows["tokens"])
    rounded = [-(-percentiles[percentile] // 32) * 32 for percentile in (100, 99)]  # multiples of 32 suit the hardware
    lengths = dict.fromkeys(min(length, context or length) for length in rounded)
    options: list[Options] = [{"max_length": length} for length in lengths if length > encoding.max_length]
    if limit < encoding.max_length:
        wider = {"batching.pad_to": "longest"}
        options = [wider, *({**wider, **option} for option in options)]
    options.append({"windows.stride": max(1, limit // 2)})
    severity: Severity = "warning" if fraction >= 0.01 else "note"
    yield from _find("truncated", severity, what, truncated, "shorten them in the file", *options)


def find_scripts(statistics: Statistics) -> Iterator[Finding]:
    """Letters that GPT-2 encodes badly, and texts in another script than most."""
    fractions = statistics.scripts
    if fractions and statistics.data.tokenizer == "gpt2" and fractions.get("Latin", 0.0) < 0.5:
        what = "most letters are not Latin: GPT-2 takes a token for every byte or two of them"
        fix = "a network of the language with --model.backbone"
        yield Finding("foreign_script", "warning", what, setting=fix)
    usual = [*list(fractions)[:1], *(name for name, fraction in fractions.items() if fraction >= 0.1)]
    rows = statistics.in_files(statistics.marked)
    other = rows[~rows["script"].isin([*usual, ""])]
    named = ", ".join(f"{count:,} {name}" for name, count in other["script"].value_counts().head(SHOWN).items())
    what = f"# text{{|s}} {{is|are}} mostly in another script than the rest: {named}"
    yield from _find("other_script", "note", what, other)


def find_telling_lengths(statistics: Statistics) -> Iterator[Finding]:
    """The first baseline on lengths that avoids most errors of the most frequent class."""
    accuracies, scored = statistics.baselines
    errors = 1 - accuracies.get("nothing", 1.0)
    for features, accuracy in accuracies.items():
        if errors and accuracy - accuracies["nothing"] >= AVOIDED * errors:
            what = f"a decision tree of depth {DEPTH} on {features} alone scores {accuracy:.2%} of the {scored} rows"
            fix = "compare every score with it, or look for how the classes were collected"
            yield Finding("length_tells", "warning", what, setting=fix)
            return


def find_leakage(statistics: Statistics) -> Iterator[Finding]:
    """Characters and words that reveal a class, for the first few of them.

    Characters that nobody sees and words that look like labels are leaks; others are a property of the class.
    """
    for each in find_class_characters(statistics.training)[:SHOWN]:
        name = unicodedata.name(each.character, "").lower()
        named = f"U+{ord(each.character):04X}" + (f" ({name})" if name else "")
        stands = (
            f"in {each.fraction:.1%} of the texts of {name_classes(each.classes)}, and in "
            f"{each.others:.1%} of all others"
        )
        rows = statistics.in_files(each.rows)
        if each.is_invisible:
            what = f"the character {named}, which nobody sees, stands {stands}"
            fix = "take it out of the texts, and look for how these classes were collected"
            yield from _find("leaking_character", "warning", what, rows, fix)
        else:
            yield from _find("telling_character", "note", f"the character {named} stands {stands}", rows)
    for words, rows in statistics.class_words[1][:SHOWN]:
        label, precision, coverage = words[["label", "precision", "coverage"]].iloc[0]
        word, *others = map(repr, words["word"].head(SHOWN + 1))
        more = f", as do {', '.join(others)}" if others else ""
        is_label = _looks_like_a_label(words["word"].iloc[0], label)
        tells = f"gives the class {label!r} away" if is_label else f"tells the class {label!r}"
        what = f"the word {word} {tells}{more}: {precision:.1%} of the training texts with it are of this class, "
        what += f"{coverage:.1%} of the class have it"
        # The name of a class, such as "tech", may well stand in some of its texts: a note.
        severity: Severity = "warning" if is_label and coverage >= COVERED else "note"
        fix = "take labels and whatever stands for them out of the texts" if is_label else ""
        kind = "leaking_word" if is_label else "telling_word"
        yield from _find(kind, severity, what, statistics.in_files(rows), fix)


def _looks_like_a_label(word: str, label: str) -> bool:
    """Whether a word equals or contains the name of the class or a part of it, or is an identifier."""
    word = word.lower()
    parts = [part for part in re.split(r"\W+|_", label.lower()) if len(part) > 2] or [label.lower()]
    return word in label.lower().split() or any(part in word for part in parts) or any(map(str.isdigit, word))


Finder = Callable[[Statistics], Iterator[Finding]]
QUICK: tuple[Finder, ...] = (find_odd_characters, find_similar_names, find_class_sizes, find_leakage)  # those of a fit
ROWS: tuple[Finder, ...] = (find_lost_rows, find_odd_characters, find_similar_names, find_conflicts_and_rare_classes)
TEXTS: tuple[Finder, ...] = (
    find_duplicates,
    find_class_sizes,
    find_truncated_texts,
    find_scripts,
    find_telling_lengths,
)
FINDERS = (*ROWS, *TEXTS, find_leakage)
