"""Says whether labelled texts can be trusted, before anything is trained on them; knows nothing about models.

:func:`look_at` looks at everything; :func:`warnings` at what costs a fit no time and its summary does not say anyway.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from gpt_classifier.data import reading, scripts, sources, splits, wording
from gpt_classifier.data.reading import FileFormat
from gpt_classifier.data.splits import near_duplicate_key
from gpt_classifier.encoding import TextEncoder

if TYPE_CHECKING:
    from gpt_classifier.data.datamodule import TextDataModule

Severity = Literal["warning", "note"]
Table = pd.DataFrame
Mask = Any  # (N,) bool, an array or a Series

SHOWN = 5  # rows, classes or words that a finding names
PERCENTILES = (50, 90, 95, 99, 100)
CONTEXT = 1024  # GPT-2's
WHOLE = 10**9  # tokens, more than any text has
MAX_CHARACTERS = 200_000_000  # that are tokenized; of more, every n-th text
MAX_COMPARED = 1_000_000  # distinct texts whose wording is compared
MAX_WORDS = 20_000_000  # of all texts together; of more, the beginning of each text
MAX_QUICK = 5_000  # training rows whose words the start of a fit looks at, about
FEW = 10  # rows to score: with one less, the 95 % interval of a recall of 100 % begins at 70 %
UNEQUAL = 5  # so many times as many rows of the largest class as of the smallest
TRUNCATED = 0.01  # share of truncated texts, from which on it is a warning
SIMILAR = 0.05  # share of texts worded like training texts, likewise
GIVEN_AWAY = 0.9  # share of the errors of a constant answer that a trivial model avoids, likewise
MIN_TEXTS = 5  # that a word must stand in to say something about their class
COVERED = 0.5  # share of a class's texts with a word that gives it away
NAMED = 0.05  # likewise with the name of the class, for a note
DEPTH = 3  # of the decision trees

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # tabs and line ends are white space
MISREAD = re.compile("[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac|\u00ef\u00bb\u00bf")  # Ã©, â€™, ï»¿
ENCODING = "--data.file_format.encoding"
CORRECT = "correct them in the file"


class Row(NamedTuple):
    """Where a row is found: its number in its source, counted from 0, and the split it is in, if that matters."""

    split: str
    number: int


@dataclass(frozen=True)
class Finding:
    """Something to know before training.

    Args:
        kind: One word for programs.
        severity: ``warning`` where scores would mislead or training suffer, else ``note``.
        sentence: What was found.
        count: Number of rows that are concerned.
        rows: The first few of them.
        setting: The setting that fixes it, or else what does.
    """

    kind: str
    severity: Severity
    sentence: str
    count: int = 0
    rows: tuple[Row, ...] = ()
    setting: str = ""


@dataclass(frozen=True)
class Audit:
    """All that was found out about a source of labelled texts.

    Args:
        source: Its name.
        split: How its rows are divided.
        files: For each file, its name and its lines (of Parquet, its rows).
        rows: That were read.
        splits: For each split its rows, distinct texts, distinct near-duplicate keys, and the rows that are exact
            copies of training texts, near-copies of them, or worded alike (each including the former).
        classes: For each class its rows in each split and its lengths in tokens by percentile.
        max_length: Maximum number of tokens per text.
        needed: Tokens that hold the whole of 50, 90, 95, 99 and 100 % of the texts.
        scripts: Shares of the letters by script.
        trivial: Accuracy of trivial models on the rows to score, by what they look at.
        scored: The split of these rows.
        words: For each class the word that tells it best from the others.
        limits: What was looked at only in part, a sentence each.
        findings: What to know, warnings first.
    """

    source: str
    split: str
    files: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    classes: dict[str, dict[str, Any]] = field(default_factory=dict)
    max_length: int = 0
    needed: dict[int, int] = field(default_factory=dict)
    scripts: dict[str, float] = field(default_factory=dict)
    trivial: dict[str, float] = field(default_factory=dict)
    scored: str = ""
    words: dict[str, dict[str, Any]] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def warnings(self) -> list[Finding]:
        """The findings that should be dealt with before training."""
        return [finding for finding in self.findings if finding.severity == "warning"]

    def plain(self) -> dict[str, Any]:
        """All of it as values that JSON knows."""
        findings = [asdict(finding) | {"rows": [row._asdict() for row in finding.rows]} for finding in self.findings]
        return asdict(self) | {"findings": findings}


def look_at(data: "TextDataModule", read: splits.Splits, refused: str, needed: int, files: Sequence[Any]) -> Audit:
    """Everything about the rows of ``data``.

    Args:
        data: Has divided the rows, unless that was refused.
        read: The tables as they were read, by split or, of undivided rows, as ``train``.
        refused: Why a fit would not take the rows, or nothing.
        needed: Number of splits that every class has to be divided into.
        files: The sources that are files.
    """
    everything = _joined(read, "" if len(read) == 1 else None)
    keys = {text: near_duplicate_key(text) for text in everything["text"]}
    everything["key"] = [keys[text] for text in everything["text"]]
    labelled = everything[everything["label"].notna() & (everything["label"] != "")]
    divided = data.tables if not refused else {name: labelled[labelled["split"].isin([name, ""])] for name in read}
    rows = _joined({name: divided[name] for name in splits.NAMES if name in divided}, None)
    rows["key"] = [keys[text] for text in rows["text"]]
    names = data.class_names if not refused else sorted(labelled["label"].unique())
    lines = [fact for source in files for fact in lines_of(source, data.file_format)]
    if data.split in splits.OF_THE_BOOK:
        lines = [{"file": "SMSSpamCollection", "lines": len(sources.load_sms_spam()["train"])}]

    findings = [Finding("refused", "warning", f"a fit would stop here: {refused}")] if refused else []
    findings += of_lines(everything, lines, data.split)
    findings += of_empty_texts(everything, data.empty)
    findings += of_characters(everything)
    findings += of_labels(everything)
    findings += of_conflicts(labelled)
    findings += of_rare_classes(labelled, needed, data.rare_classes)

    copies, found, worded = of_copies(rows, data.split)
    findings += found
    findings += of_class_sizes(rows, names, data.balance)
    counts, found, lengths, limits = of_lengths(rows, names, data)
    findings += found
    shares, found = of_scripts(rows, data.tokenizer)
    findings += found
    trivial, scored, found = of_trivial_models(rows)
    findings += found
    telling, found = of_words(worded.words, worded.labels, worded.rows)
    findings += found
    if worded.left_out:
        limits.append(f"wording compared for the first {MAX_COMPARED:,} distinct texts, {worded.left_out:,} left out")
    if (worded.words.lengths == worded.maximum).any():
        limits.append(f"words and wording: of the first {worded.maximum} words of each text")
    findings.sort(key=lambda finding: finding.severity != "warning")
    return Audit(
        source=sources.title(data.source),
        split=data.split,
        files=lines,
        rows=len(everything),
        splits=copies,
        classes=counts,
        max_length=lengths.limit,
        needed=lengths.needed,
        scripts=shares,
        trivial=trivial,
        scored=scored,
        words=telling,
        limits=limits,
        findings=findings,
    )


def warnings(tables: splits.Splits, names: Sequence[str]) -> list[str]:
    """A line for each defect that a summary of these splits does not show by itself, and that is found at once."""
    rows = _joined({name: tables[name] for name in splits.NAMES if name in tables}, None)
    train = rows[rows["split"] == "train"]
    train = train[:: max(1, len(train) // MAX_QUICK)]  # files are often ordered by class
    found = [*of_characters(rows), *of_labels(rows), *of_class_sizes(rows, names, "none")]
    found += of_words(wording.words(train["text"]), train["label"].to_numpy(), train)[1]
    # Which class has no rows in a split, the counts of the summary say.
    return [line_of(found_) for found_ in found if found_.severity == "warning" and found_.kind != "absent_classes"]


def line_of(finding: Finding) -> str:
    """A finding in one line."""
    rows = f" ({rows_of(finding)})" if finding.rows else ""
    return f"{finding.sentence}{rows}" + (f": {finding.setting}" if finding.setting else "")


def rows_of(finding: Finding) -> str:
    """The rows of a finding: ``train rows 3, 8; test row 5; 40 in all``."""
    parts = []
    for split in dict.fromkeys(row.split for row in finding.rows):
        numbers = [row.number for row in finding.rows if row.split == split]
        parts.append(f"{split} row{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}".strip())
    more = [f"{finding.count:,} in all"] if finding.count > len(finding.rows) else []
    return "; ".join([*parts, *more])


# ---------------------------------------------------------------- the file


def lines_of(source: str | list[str], file_format: FileFormat) -> list[dict[str, Any]]:
    """The lines of each file of a source; of Parquet, the rows; of a JSON array, nothing."""
    found = []
    for path in reading.paths(source):
        kind = reading.kind_of(path)
        lines: int | None = None
        if kind == ".parquet":
            import pyarrow.parquet as pq

            lines = pq.ParquetFile(path).metadata.num_rows
        elif kind != ".json":
            with file_format.open(path) as stream:
                lines = sum(1 for line in stream if line.strip("\r\n"))
                lines -= int(kind != ".jsonl" and file_format.header)
        found.append({"file": path, "lines": lines})
    return found


def of_lines(rows: Table, files: Sequence[Mapping[str, Any]], split: str) -> list[Finding]:
    """Lines of the files that did not become rows of their own."""
    several = rows[["\n" in text for text in rows["text"]]]
    # A number behind a line end and before a comma is ordinary text.
    labels = [name for name in rows["label"].dropna().unique()[:1000] if name and not name.isdigit()]
    classes = "|".join(map(re.escape, labels))
    found = []
    if classes and len(several):
        swallowed = re.compile(rf"\n\"?(?:{classes})\"?[\t,;|]|[\t,;|]\"?(?:{classes})\"?\r?\n")
        lost = several["text"].str.contains(swallowed)
        if lost.any():
            fix = (
                "--data.split grouped or random, which read every line"
                if split in splits.OF_THE_BOOK
                else ("close or double the quotation marks in the file, or save it as .tsv or .jsonl")
            )
            sentence = f"{_texts(lost.sum(), 'holds', 'hold')} further rows of the file, behind a quotation mark"
            found.append(_finding("swallowed_rows", "warning", sentence, several[lost.to_numpy()], fix))
    lines = sum(fact["lines"] or 0 for fact in files)
    inner = (text.split("\n")[1:-1] for text in several["text"])
    further = len(several) + sum(bool(line.strip("\r")) for part in inner for line in part)
    if all(fact["lines"] is not None for fact in files) and files and lines not in (len(rows), len(rows) + further):
        what = f"{lines:,} lines with content became {len(rows):,} rows, which texts of several lines do not explain"
        fix = "look for fields of several lines, or a quotation mark that is never closed"
        found.append(_finding("lines", "note", what, several, fix))
    return found


def of_empty_texts(rows: Table, empty: str) -> list[Finding]:
    """Rows without text, and what happens to them."""
    blank = (rows["text"].str.strip() == "").to_numpy()
    if not blank.any():
        return []
    null = int(rows["null"].sum())
    what = f"{_rows(blank.sum(), 'has', 'have')} no text ({null:,} null, {blank.sum() - null:,} empty or white space)"
    told = {"drop": "; they are dropped", "keep": "; they are trained on and scored", "error": ""}[empty]
    setting = "--data.empty drop" if empty != "drop" else "--data.empty error stops at them, keep keeps them"
    return [_finding("empty", "note" if empty == "drop" else "warning", what + told, rows[blank], setting)]


def of_characters(rows: Table) -> list[Finding]:
    """Characters that tell of a wrong encoding."""
    texts = rows["text"]
    kinds: list[tuple[str, Severity, Callable[[str], object], str, str]] = [
        (
            "undecodable",
            "warning",
            lambda text: "\ufffd" in text,
            "with U+FFFD, which stands for bytes that could not be decoded",
            f"{ENCODING} NAME, if the file still has the bytes",
        ),
        (
            "misread",
            "warning",
            lambda text: not text.isascii() and MISREAD.search(text),
            "with signs of UTF-8 that was read in another encoding, such as \u00c3\u00a9",
            f"{ENCODING} utf-8, or save the file anew from its origin",
        ),
        (
            "control_characters",
            "note",
            lambda text: not text.isprintable() and CONTROL.search(text),
            "with control characters",
            f"{ENCODING} cp1252, for a file where they stand for quotation marks and dashes",
        ),
    ]
    found = []
    for kind, severity, test, what, setting in kinds:
        mask = np.fromiter((bool(test(text)) for text in texts), bool, len(texts))
        if mask.any():
            sentence = f"{_texts(mask.sum())} {what}"
            found.append(_finding(kind, severity, sentence, rows[mask], setting))
    return found


# ---------------------------------------------------------------- labels


def of_labels(rows: Table) -> list[Finding]:
    """Rows without label, and class names that differ in case or white space only."""
    missing = (rows["label"].isna() | (rows["label"] == "")).to_numpy()
    found = []
    if missing.any():
        sentence = f"{_rows(missing.sum(), 'has', 'have')} no label"
        found.append(_finding("unlabelled", "warning", sentence, rows[missing], "label them, or take them out"))
    alike: dict[str, list[str]] = {}
    for name in rows["label"][~missing].unique():
        alike.setdefault(" ".join(name.lower().split()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            counts = rows["label"].value_counts()
            rarer = sorted(names, key=lambda name: -counts[name])[1:]
            listed = ", ".join(map(repr, names))
            sentence = f"the classes {listed} differ in case or white space only"
            found.append(_finding("class_names", "warning", sentence, rows[rows["label"].isin(rarer)], CORRECT))
    return found


def of_conflicts(rows: Table) -> list[Finding]:
    """Texts, near-copies counting as one, that have more than one label."""
    codes = pd.factorize(rows["label"])[0]
    key = pd.factorize(rows["key"])[0]
    if not len(key):
        return []
    low, high = np.full(key.max() + 1, len(codes)), np.full(key.max() + 1, -1)
    np.minimum.at(low, key, codes)
    np.maximum.at(high, key, codes)
    mask = low[key] < high[key]
    if not mask.any():
        return []
    count = len(np.unique(key[mask]))
    ordered = rows[mask].iloc[np.argsort(key[mask], kind="stable")]  # those of one text side by side
    what = f"{_texts(count, 'has', 'have')} more than one label, near-copies counting as one"
    return [_finding("label_conflicts", "warning", what, ordered, CORRECT)]


def of_rare_classes(rows: Table, needed: int, rare_classes: str) -> list[Finding]:
    """Classes of fewer distinct texts than there are splits."""
    counts = rows.groupby("label")["key"].nunique()
    rare = list(counts.index[counts < needed])
    if not rare:
        return []
    told = {"drop": "; they are dropped", "merge": "; they are merged"}.get(rare_classes, "")
    what = f"{_classes(rare)} {'have' if len(rare) > 1 else 'has'} too few distinct texts for {needed} splits{told}"
    severity: Severity = "note" if told else "warning"
    setting = "" if told else "--data.rare_classes drop, or merge"
    return [_finding("rare_classes", severity, what, rows[rows["label"].isin(rare)], setting)]


def of_class_sizes(rows: Table, names: Sequence[str], balance: str) -> list[Finding]:
    """Classes that a split lacks, that are too small to be scored, or that are of very unequal sizes."""
    found = []
    counts = {name: part["label"].value_counts() for name, part in rows.groupby("split", sort=False)}
    for split, sizes in counts.items():
        absent = [name for name in names if not sizes.get(name)]
        if absent:
            sentence = f"no {split!s} row is of {_classes(absent)}"
            elsewhere = rows[rows["label"].isin(absent)]
            found.append(
                _finding("absent_classes", "warning", sentence, elsewhere, "--data.split grouped, or add rows")
            )
        few = [name for name in names if 0 < sizes.get(name, 0) < FEW]
        if few and split == ("test" if "test" in counts else "val"):
            sentence = (
                f"{_classes(few)} {'have' if len(few) > 1 else 'has'} fewer than {FEW} {split} rows to be scored on"
            )
            of_these = rows[(rows["split"] == split) & rows["label"].isin(few)]
            found.append(
                _finding("small_classes", "warning", sentence, of_these, "--data.splitting.folds 5, or add rows")
            )
    train = counts.get("train")
    if train is not None and balance == "none" and len(train) > 1 and train.max() > UNEQUAL * train.min():
        what = f"the largest class has {train.max():,} training rows, the smallest {train.min():,}"
        setting = "--data.balance class_weights, or undersample"
        found.append(Finding("unequal_classes", "note", what, setting=setting))
    return found


# ---------------------------------------------------------------- copies


class Worded(NamedTuple):
    """The words of distinct training texts and where these are found."""

    words: wording.Words
    labels: np.ndarray
    rows: Table
    maximum: int  # words of each text
    left_out: int  # texts whose words were not looked at


def of_copies(rows: Table, split: str) -> tuple[dict[str, dict[str, int]], list[Finding], Worded]:
    """Copies, near-copies and similar texts within splits and across them; ``rows`` begin with those of train."""
    text, key = pd.factorize(rows["text"])[0], pd.factorize(rows["key"])[0]
    part = rows["split"].to_numpy()
    first = np.unique(key, return_index=True)[1]  # the first row of each key
    known = int(key[part == "train"].max(initial=-1)) + 1  # keys are numbered as they occur: those of train first
    compared = first[:MAX_COMPARED]
    maximum = min(wording.MAX_WORDS, max(10, MAX_WORDS // max(1, len(compared))))
    words = wording.words(rows["text"].iloc[compared], maximum)
    alike = np.zeros(len(first), dtype=bool)
    alike[: len(compared)] = wording.similar(words, known) >= 0
    table: dict[str, dict[str, int]] = {}
    findings: list[Finding] = []
    inside = "--data.split grouped keeps them on one side" if split != "grouped" else "they stay on one side"
    for name in dict.fromkeys(part):
        own = part == name
        size = int(own.sum())
        table[name] = {"rows": size, "texts": len(np.unique(text[own])), "distinct": len(np.unique(key[own]))}
        if (repeated := size - table[name]["distinct"]) > 0:
            later = pd.Series(key[own]).duplicated().to_numpy()
            what = f"{repeated:,} of {size:,} {name} rows repeat an earlier one, near-copies included"
            findings.append(_finding("copies_inside", "note", what, rows[own][later], inside))
        if name == "train":
            continue
        exact = own & np.isin(text, text[part == "train"])
        near = own & (key < known)
        similar = own & alike[key] & ~near
        table[name] |= {"exact": int(exact.sum()), "near": int(near.sum()), "similar": int((near | similar).sum())}
        if near.any():
            what = f"{near.sum():,} of {size:,} {name} texts are near-copies of training texts"
            what += f", {exact.sum():,} of them exact copies" if exact.any() else ""
            fix = "--data.split grouped" if split != "grouped" else "take them out of the one file or the other"
            findings.append(_finding("copies_across", "warning", what, rows[near], fix))
        if similar.any():
            further = "further " if near.any() else ""
            what = f"{similar.sum():,} {further}{name} texts share most of their wording with training texts"
            severity: Severity = "warning" if similar.sum() >= SIMILAR * size else "note"
            fix = "--data.splitting.group_column COLUMN, if one names what such texts have in common"
            findings.append(_finding("similar_across", severity, what, rows[similar], fix))
    if {"val", "test"} <= table.keys():
        both = (part == "test") & np.isin(key, key[part == "val"]) & (key >= known)
        if both.any():
            what = f"{both.sum():,} test texts are near-copies of validation texts"
            findings.append(_finding("copies_val_test", "note", what, rows[both], "--data.split grouped"))
    within = np.flatnonzero(alike[:known])
    if len(within):
        what = f"{len(within):,} distinct training texts share most of their wording with an earlier one"
        findings.append(_finding("similar_inside", "note", what, rows.iloc[first[within]]))
    trained = compared[:known]
    own_words = _of_first(words, len(trained))
    left_out = len(first) - len(compared)
    worded = Worded(own_words, rows["label"].to_numpy()[trained], rows.iloc[trained], maximum, left_out)
    return table, findings, worded


def _of_first(words: wording.Words, count: int) -> wording.Words:
    lengths = words.lengths[:count]
    return wording.Words(words.ids[: lengths.sum()], lengths, words.vocabulary)


# ---------------------------------------------------------------- lengths, scripts


class Lengths(NamedTuple):
    """What texts need and what they get, in tokens."""

    limit: int
    needed: dict[int, int]


def of_lengths(
    rows: Table, names: Sequence[str], data: "TextDataModule"
) -> tuple[dict[str, dict[str, Any]], list[Finding], Lengths, list[str]]:
    """Rows and lengths of each class, truncated texts, what most texts need, and what was not tokenized."""
    limits = []
    if step := -(-int(rows["text"].str.len().sum()) // MAX_CHARACTERS) - 1:
        limits.append(f"lengths: of every {step + 1}. text, as all have more than {MAX_CHARACTERS:,} characters")
    some = rows[:: step + 1]
    encoder = TextEncoder(data.tokenizer, WHOLE)
    which, distinct = pd.factorize(some["text"])
    tokens = np.array([len(encoder.encode(text)[0]) for text in distinct], dtype=np.int64)[which]
    limit, width = data.max_length, data.batching.pad_to
    if width == "longest_train":
        limit = min(limit, int(tokens[some["split"] == "train"].max(initial=1)))
    elif width != "longest":
        limit = min(limit, int(width))
    counts = rows.groupby(["label", "split"], sort=False).size()
    classes: dict[str, dict[str, Any]] = {}
    codes = pd.Categorical(some["label"], categories=list(names)).codes
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(names) + 1))
    for number, name in enumerate(names):
        own = tokens[order[ends[number] : ends[number + 1]]]
        there = {split: int(counts.get((name, split), 0)) for split in dict.fromkeys(rows["split"])}
        truncated = int((own > limit).sum())
        classes[name] = there | {"tokens": _percentiles(own), "truncated": truncated}
    needed = _percentiles(tokens)
    found = []
    long = tokens > limit
    if long.any():
        share = long.mean()
        what = f"{long.sum():,} of {len(long):,} texts ({share:.1%}) are truncated to {limit:,} tokens"
        room = -(-needed[99] // 32) * 32  # a multiple of 32 suits the hardware
        fix = f"--data.max_length {room}, which holds 99 % of the texts, or --data.truncation head+tail"
        if data.tokenizer == "gpt2" and room > CONTEXT:
            fix = f"--data.truncation head+tail, as GPT-2 reads {CONTEXT:,} tokens at most"
        if width != "longest":
            fix = f"--data.batching.pad_to longest, {fix}"
        found.append(_finding("truncated", "warning" if share >= TRUNCATED else "note", what, some[long], fix))
    return classes, found, Lengths(limit, needed), limits


def _percentiles(values: np.ndarray) -> dict[int, int]:
    if not len(values):
        return dict.fromkeys(PERCENTILES, 0)
    found = np.percentile(values, PERCENTILES, method="higher")
    return {share: int(value) for share, value in zip(PERCENTILES, found, strict=True)}


def of_scripts(rows: Table, tokenizer: str) -> tuple[dict[str, float], list[Finding]]:
    """Shares of the letters by script, and texts in another script than most."""
    found = scripts.letters(rows["text"].tolist())
    shares = scripts.shares(found)
    if not shares:
        return {}, []
    findings = []
    most = next(iter(shares))
    if tokenizer == "gpt2" and shares.get("Latin", 0.0) < 0.5:
        what = "most letters are not Latin: GPT-2 takes a token for every byte or two of them"
        fix = "--model.encoder of the language with its --data.tokenizer, or --data.tokenizer bytes from random weights"
        findings.append(Finding("foreign_script", "warning", what, setting=fix))
    usual = {found.names.index(name) for name, share in shares.items() if name == most or share >= 0.1}
    other = (found.main >= 0) & ~np.isin(found.main, list(usual))
    if other.any():
        by_script = pd.Series(np.array(found.names)[found.main[other]]).value_counts()
        named = ", ".join(f"{count:,} {name}" for name, count in by_script.head(SHOWN).items())
        what = f"{_texts(other.sum(), 'is', 'are')} mostly in another script than the rest: {named}"
        findings.append(_finding("other_script", "note", what, rows[other]))
    return shares, findings


# ---------------------------------------------------------------- what gives a class away


def of_trivial_models(rows: Table) -> tuple[dict[str, float], str, list[Finding]]:
    """Accuracy of a constant answer and of small decision trees, trained on train, on the test rows or else val."""
    splits_ = set(rows["split"])
    scored = next((name for name in ("test", "val") if name in splits_), "")
    if not scored or "train" not in splits_:
        return {}, "", []
    from sklearn.tree import DecisionTreeClassifier

    texts = rows["text"]
    digits = re.compile(r"\d")
    features = np.stack([texts.str.len().to_numpy(), [len(digits.findall(text)) for text in texts]], axis=1)
    train, test = (rows["split"] == "train").to_numpy(), (rows["split"] == scored).to_numpy()
    labels = rows["label"].to_numpy()
    constant = float((labels[test] == pd.Series(labels[train]).mode()[0]).mean())
    trivial = {"nothing": constant}
    for name, columns in (("length", [0]), ("length and digits", [0, 1])):
        tree = DecisionTreeClassifier(max_depth=DEPTH, random_state=0)
        tree.fit(features[train][:, columns], labels[train])
        trivial[name] = float((tree.predict(features[test][:, columns]) == labels[test]).mean())
    for name in list(trivial)[1:]:
        if constant < 1 and trivial[name] - constant >= GIVEN_AWAY * (1 - constant):
            what = f"a decision tree of depth {DEPTH} on {name} alone scores {trivial[name]:.2%} of the {scored} rows"
            fix = "compare every score with it, or look for how the classes were collected"
            return trivial, scored, [Finding("length_tells", "warning", what, setting=fix)]
    return trivial, scored, []


def of_words(words: wording.Words, labels: np.ndarray, rows: Table) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
    """For each class its most telling word, and words that give a class away.

    Args:
        words: Of N training texts.
        labels: (N,) of these.
        rows: Where they are found.
    """
    from scipy.sparse import csr_array

    classes, names = pd.factorize(labels)
    if len(names) < 2 or not len(words.ids):
        return {}, []
    of_class = np.bincount(classes, minlength=len(names))
    present = words.present()
    text, word = present.nonzero()
    texts_with = np.bincount(word, minlength=present.shape[1])
    cells = csr_array((present.data, (word, classes[text]))).tocoo()  # (V, K), texts of each class with each word
    (cell_word, cell_class), counts = cells.coords, cells.data
    precision = counts / texts_with[cell_word]
    coverage = counts / of_class[cell_class]
    enough = texts_with[cell_word] >= MIN_TEXTS
    others = (texts_with[cell_word] - counts) / np.maximum(1, len(classes) - of_class[cell_class])
    tells = np.where(enough, coverage - others, 0)  # Youden's J, of the answer "this class" to the word
    telling: dict[str, dict[str, Any]] = {}
    order = np.lexsort((-tells, cell_class))
    for place in order[np.flatnonzero(np.diff(cell_class[order], prepend=-1))]:
        if tells[place] > 0:
            shares = {"precision": float(precision[place]), "coverage": float(coverage[place])}
            telling[str(names[cell_class[place]])] = {"word": words.vocabulary[cell_word[place]]} | shares
    telling = {name: telling[name] for name in sorted(telling)}

    prior = of_class / len(classes)
    sure = enough & (1 - precision <= (1 - GIVEN_AWAY) * (1 - prior[cell_class]))
    own_name = {name: str(name).lower().split()[-1:] for name in names}
    is_name = np.array(
        [[words.vocabulary[w]] == own_name[names[c]] for w, c in zip(cell_word[sure], cell_class[sure], strict=True)],
        dtype=bool,
    )
    places = np.flatnonzero(sure)
    told = places[(coverage[places] >= COVERED) | (is_name & (coverage[places] >= NAMED))]
    findings = []
    for number in dict.fromkeys(cell_class[told[np.argsort(-coverage[told], kind="stable")]].tolist()):
        own = told[cell_class[told] == number]
        own = own[np.argsort(-coverage[own], kind="stable")]
        which = own[0]
        found = words.vocabulary[cell_word[which]]
        further = [repr(words.vocabulary[cell_word[place]]) for place in own[1 : 1 + SHOWN]]
        more = f", as do {', '.join(further)}" if further else ""
        what = (
            f"the word {found!r} gives the class {names[number]!r} away{more}: {precision[which]:.1%} of the training "
            f"texts with it are of this class, {coverage[which]:.1%} of the class have it"
        )
        with_it = text[(word == cell_word[which]) & (classes[text] == number)]
        fix = "take labels and whatever stands for them out of the texts"
        # A word such as "tech" may well stand in some texts on technology.
        severity: Severity = "warning" if coverage[which] >= COVERED else "note"
        findings.append(_finding("leaking_word", severity, what, rows.iloc[with_it], fix))
    if len(findings) > SHOWN:
        findings = findings[:SHOWN]
    return telling, findings


# ---------------------------------------------------------------- words


def _joined(tables: splits.Splits, name: str | None) -> Table:
    """The rows of all tables, their split (or ``name``), and whether their text was missing, which then is ``""``."""
    parts = [
        table[["text", "label", "row"]].assign(split=split if name is None else name) for split, table in tables.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(null=rows["text"].isna(), text=rows["text"].fillna(""))


def _finding(kind: str, severity: Severity, sentence: str, rows: Table, setting: str = "") -> Finding:
    first = zip(rows["split"].head(SHOWN), rows["row"].head(SHOWN), strict=True)
    named = tuple(Row(str(split), int(number)) for split, number in first)
    return Finding(kind, severity, sentence, len(rows), named, setting)


def _texts(count: int, one: str = "", many: str = "") -> str:
    return f"{count:,} text{'' if count == 1 else 's'} {one if count == 1 else many}".rstrip()


def _rows(count: int, one: str = "", many: str = "") -> str:
    return f"{count:,} row{'' if count == 1 else 's'} {one if count == 1 else many}".rstrip()


def _classes(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"class{'es' * (len(names) > 1)} {', '.join(map(repr, names[:SHOWN]))}{more}"
