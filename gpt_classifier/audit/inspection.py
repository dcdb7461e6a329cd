"""Audits labelled texts before anything is trained on them: the facts and the findings; knows nothing about models.

:func:`inspect` examines everything; :func:`warnings` only what is quick and not in the summary of a fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gpt_classifier.audit import counts, findings
from gpt_classifier.audit.findings import Finding
from gpt_classifier.data import datasets, minhash, readers, splits
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import near_duplicate_key
from gpt_classifier.data.preparation import Rows as PreparedRows
from gpt_classifier.errors import InputError
from gpt_classifier.text.bpe import tokenizer_for

MAX_COMPARED = 1_000_000  # distinct texts whose wording is compared


@dataclass(frozen=True)
class Audit:
    """Facts and findings on a source of labelled texts."""

    source: str
    split: str  # how the rows are divided
    files: list[dict[str, Any]]  # name and number of lines (of Parquet, of rows)
    rows: int  # number of rows read
    splits: dict[str, dict[str, int]]  # rows, distinct texts and duplicates of training texts in each split
    classes: dict[str, dict[str, Any]]  # rows in each split and lengths of each class
    max_length: int  # maximum number of tokens per text
    needed: dict[int, int]  # percentiles of the lengths in tokens
    scripts: dict[str, float]  # shares of the letters by script
    trivial: dict[str, float]  # accuracy of trivial models by their features
    scored: str  # split on which these are evaluated
    words: dict[str, dict[str, Any]]  # the word that tells each class best from the others
    limits: list[str]  # what was examined only in part, a sentence each
    findings: list[Finding]  # warnings first

    def warnings(self) -> list[Finding]:
        """The findings that should be dealt with before training."""
        return [finding for finding in self.findings if finding.severity == "warning"]


def inspect(data: TextDataModule) -> Audit:
    """What to know of the rows of ``data`` before anything is trained on them, which needs no ``setup``.

    Rows that a fit would refuse are no error but a finding. Raises ``InputError`` for files that cannot be read.
    """
    refused = ""
    read, notes = data.read_rows()
    try:
        data.prepare_rows(read, notes)
    except InputError as error:
        refused = str(error)
    divided = data.preparation.split not in splits.OF_THE_BOOK and len(read) < len(splits.NAMES)
    needed = data.splitting.parts(read) if divided else data.splitting.folds
    files = [source for source in data.sources.all() if not datasets.is_named(source)]
    return look_at(data, read, refused, needed, files)


def look_at(data: TextDataModule, read: splits.Splits, refused: str, needed: int, files: Sequence[Any]) -> Audit:
    """Audits the rows of ``data``.

    Args:
        data: Has divided the rows, unless that was refused.
        read: The tables as they were read, by split or, of undivided rows, as ``train``.
        refused: Why a fit would refuse the rows, or ``""``.
        needed: Number of splits that every class has to be divided into.
        files: The sources that are files.
    """
    everything = counts.joined(read)
    rows = everything[everything["label"] != ""] if refused else counts.joined(data.tables)
    names = sorted(rows["label"].explode().dropna().unique()) if refused else data.class_names
    if len(read) == 1:  # undivided
        everything["split"] = ""
    labelled = everything[everything["label"] != ""]
    labelled, rows = (some.assign(key=some["text"].map(near_duplicate_key)) for some in (labelled, rows))
    lines = _count_lines(data, files)

    distinct = rows.drop_duplicates("key")[:MAX_COMPARED]
    words = minhash.words(distinct["text"])
    rows = counts.mark_duplicates(rows, distinct, words)
    training = rows if refused else rows[rows["split"] == "train"]
    measured = counts.measured(rows, tokenizer_for(data.tokenizer, training["text"]))
    limit = counts.length_limit(measured, data.encoding.max_length, data.batching.pad_to)
    shares, rows = counts.find_scripts(rows)
    trivial, scored = counts.trivial_accuracies(rows)
    telling, revealing = counts.class_words(words, distinct[distinct["split"] == "train"])

    found = [
        *([Finding("refused", "warning", f"a fit would stop here: {refused}")] if refused else []),
        *findings.of_lines(everything, lines, data.preparation.split),
        *findings.of_empty_texts(everything, data.preparation.empty),
        *findings.of_characters(everything),
        *findings.of_labels(everything),
        *findings.of_distinct_texts(labelled, needed, data.preparation.rare_classes),
        *findings.of_duplicates(rows, data.preparation.split),
        *findings.of_class_sizes(rows, names, data.preparation.balance),
        *(findings.of_lengths(measured, limit, data.tokenizer, data.batching.pad_to) if data.windows is None else ()),
        *findings.of_scripts(rows, shares, data.tokenizer),
        *findings.of_trivial_models(trivial, scored),
        *findings.of_class_characters(counts.class_characters(distinct[distinct["split"] == "train"])),
        *findings.of_words(revealing),
    ]
    return Audit(
        source=datasets.title(data.source),
        split=data.preparation.split,
        files=lines,
        rows=len(everything),
        splits=counts.count_duplicates(rows),
        classes=counts.class_lengths(rows, measured, names, limit),
        max_length=limit,
        needed=counts.percentiles(measured["tokens"]),
        scripts=shares,
        trivial=trivial,
        scored=scored,
        words=telling,
        limits=_limits(rows, len(measured), len(distinct), words),
        findings=sorted(found, key=lambda finding: finding.severity != "warning"),
    )


def new_warnings(rows: PreparedRows) -> list[str]:
    """The :func:`warnings` of tables that nobody was warned of yet."""
    if rows.inspected or not rows.tables:
        return []
    rows.inspected = True
    return warnings(rows.tables, rows.class_names)


def _count_lines(data: TextDataModule, files: Sequence[Any]) -> list[dict[str, Any]]:
    """Name and number of lines of each file."""
    if data.preparation.split in splits.OF_THE_BOOK:
        return [{"file": "SMSSpamCollection", "lines": len(datasets.load_sms_spam()["train"])}]
    paths = [path for source in files for path in readers.paths(source)]
    return [{"file": path, "lines": counts.count_lines(path, data.file_format)} for path in paths]


def _limits(rows: pd.DataFrame, measured: int, distinct: int, words: minhash.Words) -> list[str]:
    """What was examined only in part: numbers of rows whose lengths, and of distinct texts whose words were taken."""
    limits = []
    if measured < len(rows):
        limits.append(f"lengths: of {measured:,} of {len(rows):,} texts, evenly spaced")
    if (left_out := rows["key"].nunique() - distinct) > 0:
        limits.append(f"wording: of the first {distinct:,} distinct texts, {left_out:,} left out")
    if (words.lengths == words.maximum).any():
        limits.append(f"words and wording: of the first {words.maximum} words of each text")
    return limits


def warnings(tables: splits.Splits, names: Sequence[str]) -> list[str]:
    """A line for each warning that is quick to find and that the summary of these splits does not imply."""
    rows = counts.joined(tables)
    train = rows[rows["split"] == "train"]
    train = train[:: max(1, len(train) // 5000)]  # about 5000; not the first rows, as files are often ordered by class
    found = [
        *findings.of_characters(rows),
        *findings.of_labels(rows),
        *findings.of_class_sizes(rows, names, "none"),
        *findings.of_class_characters(counts.class_characters(train)),
        *findings.of_words(counts.class_words(minhash.words(train["text"]), train)[1]),
    ]
    # The counts in the summary show which class has no rows in a split.
    return [str(finding) for finding in found if finding.severity == "warning" and finding.kind != "absent_classes"]
