"""Audits labelled texts before anything is trained on them: the facts, the findings, and settings that were tried.

:func:`inspect` examines everything; :func:`warnings` only what is quick and not in the summary of a fit.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from gpt_classifier.audit import counts, findings
from gpt_classifier.audit.findings import Finding, Options
from gpt_classifier.audit.options import text_of, with_options
from gpt_classifier.data import datasets, minhash, readers, splits
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import near_duplicate_key
from gpt_classifier.errors import InputError
from gpt_classifier.text.bpe import tokenizer_for

MAX_COMPARED = 1_000_000  # distinct texts whose wording is compared
MAX_TRAINING = 10_000  # training texts that are searched for what gives their class away


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


class Inspection:
    """What can be known of the rows of ``data``, each fact computed when it is first asked for.

    Rows that a fit would refuse are inspected all the same.
    """

    def __init__(self, data: TextDataModule, context: int | None = None) -> None:
        self.data = data
        self.context = context  # maximum number of tokens that the network reads, None if no network is known
        self.prepared = bool(data.tables)

    # ---------------------------------------------------------------- rows

    @cached_property
    def read(self) -> tuple[splits.Splits, list[str]]:
        """The tables as they are in their sources, and remarks on them."""
        return self.data.read_rows()

    @cached_property
    def refused(self) -> str:
        """Why a fit would refuse the rows, or ``""``."""
        try:
            if not self.prepared:
                self.data.prepare_rows(*self.read)
        except InputError as error:
            return str(error)
        return ""

    @cached_property
    def divided(self) -> bool:
        """Whether the rows of the training source are divided into splits."""
        return splits.is_divided(self.given, self.data.preparation.split, self.data.splitting)

    @cached_property
    def given(self) -> Collection[str]:
        """The splits that were read."""
        return self.read[0].keys() if self.refused else self.data.rows.given

    @cached_property
    def everything(self) -> pd.DataFrame:
        """All rows as they were read."""
        return counts.joined(self.read[0])

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The rows of a fit with their splits; if it refuses them, those with a label."""
        if self.refused:
            return self.everything[self.everything["label"] != ""]
        return counts.joined(self.data.tables)

    def in_their_files(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows as a person finds them: in the order of their sources, those of divided ones without a split."""
        if not self.divided:
            return rows
        own = rows["split"].where(rows["split"].isin([name for name in self.given if name != "train"]), "")
        return rows.assign(split=own).sort_values(["split", "row"], kind="stable")

    @cached_property
    def names(self) -> list[str]:
        return sorted(self.rows["label"].explode().dropna().unique()) if self.refused else self.data.class_names

    @cached_property
    def needed(self) -> int:
        """Number of splits or folds that every class has to be divided into."""
        splitting, read = self.data.splitting, self.read[0]
        return splitting.parts(read) if self.divided else splitting.folds

    # ---------------------------------------------------------------- texts

    @cached_property
    def distinct(self) -> pd.DataFrame:
        """The first row of each text, near-duplicates counting as one."""
        return _with_keys(self.rows).drop_duplicates("key")[:MAX_COMPARED]

    @cached_property
    def words(self) -> minhash.Words:
        """Those of the distinct texts."""
        return minhash.words(self.distinct["text"])

    @cached_property
    def marked(self) -> pd.DataFrame:
        """The rows, with what each repeats, and their main script."""
        rows = counts.mark_duplicates(_with_keys(self.rows), self.distinct, self.words)
        return rows.assign(script=self.scripts[1])

    @cached_property
    def training(self) -> pd.DataFrame:
        """Distinct training texts, evenly spaced: files are often ordered by class."""
        train = self.rows[self.rows["split"] == "train"]
        return _with_keys(train[:: max(1, len(train) // MAX_TRAINING)]).drop_duplicates("key")

    @cached_property
    def class_words(self) -> tuple[dict[str, dict[str, Any]], list[tuple[pd.DataFrame, pd.DataFrame]]]:
        return counts.class_words(minhash.words(self.training["text"]), self.training)

    @cached_property
    def measured(self) -> pd.DataFrame:
        """The rows, or some of very many, with their numbers of tokens."""
        training = self.rows if self.refused else self.rows[self.rows["split"] == "train"]
        return counts.measured(self.rows, tokenizer_for(self.data.tokenizer, training["text"]))

    @cached_property
    def limit(self) -> int:
        """Maximum number of tokens of a text."""
        return counts.length_limit(self.measured, self.data.encoding.max_length, self.data.batching.pad_to)

    @cached_property
    def scripts(self) -> tuple[dict[str, float], Any]:
        return counts.find_scripts(self.rows)

    @cached_property
    def trivial(self) -> tuple[dict[str, float], str]:
        return counts.trivial_accuracies(self.rows)

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """Name and number of lines of each file."""
        if self.data.preparation.split in splits.OF_THE_BOOK:
            return [{"file": "SMSSpamCollection", "lines": len(datasets.load_sms_spam()["train"])}]
        return [{"file": path, "lines": counts.count_lines(path, self.data.file_format)} for path in self.files]

    @property
    def files(self) -> list[str]:
        sources = [source for source in self.data.sources.all(self.given) if not datasets.is_named(source)]
        return [path for source in sources for path in readers.paths(source)]

    @property
    def encodings(self) -> Sequence[str]:
        """Encodings that the files may have: what is valid UTF-8 is hardly ever anything else."""
        return ("utf-8",) if any(map(readers.seems_utf8, self.files)) else ("utf-8", "cp1252")

    # ---------------------------------------------------------------- other settings

    def with_options(self, options: Options) -> "Inspection":
        """An inspection of the same sources under other settings. Raises ``InputError`` if there can be none."""
        other = Inspection(with_options(self.data, options), self.context)
        changed = {name.partition(".")[0] for name in options}
        same: tuple[str, ...] = () if "file_format" in changed else ("read",)
        if changed <= {"max_length", "windows", "batching", "truncation"}:
            other.prepared, other.data.rows = self.prepared, self.data.rows
            same = ("read", "refused", "divided", "rows", "measured")
        vars(other).update({name: value for name, value in vars(self).items() if name in same})
        return other


def _with_keys(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(key=rows["text"].map(near_duplicate_key))


# ---------------------------------------------------------------- findings

Finder = Callable[[Inspection], Iterator[Finding]]


def _refused(found: Inspection) -> Iterator[Finding]:
    if found.refused:
        yield Finding("refused", "warning", f"a fit would stop here: {found.refused}")


def _distinct_texts(found: Inspection) -> Iterator[Finding]:
    has_text = found.everything["text"].str.strip() != ""
    labelled = found.in_their_files(found.everything[(found.everything["label"] != "") & has_text])
    return findings.of_distinct_texts(_with_keys(labelled), found.needed, found.data.preparation.rare_classes)


def _duplicates(found: Inspection) -> Iterator[Finding]:
    how = found.data.preparation.split if found.divided else None
    return findings.of_duplicates(found.marked, how, found.data.splitting.group_column)


def _class_sizes(found: Inspection) -> Iterator[Finding]:
    return findings.of_class_sizes(found.rows, found.names, found.data.preparation.balance, found.data.splitting.folds)


def _lengths(found: Inspection) -> Iterator[Finding]:
    return findings.of_lengths(found.in_their_files(found.measured), found.limit, found.data.encoding, found.context)


def _scripts(found: Inspection) -> Iterator[Finding]:
    return findings.of_scripts(found.in_their_files(found.marked), found.scripts[0], found.data.tokenizer)


def _class_words(found: Inspection) -> Iterator[Finding]:
    return findings.of_words([(words, found.in_their_files(rows)) for words, rows in found.class_words[1]])


def _class_characters(found: Inspection) -> Iterator[Finding]:
    telling = counts.class_characters(found.training)
    return findings.of_class_characters([each._replace(rows=found.in_their_files(each.rows)) for each in telling])


QUICK: tuple[Finder, ...] = (  # those of a fit
    lambda found: findings.of_characters(found.in_their_files(found.rows), found.encodings),
    lambda found: findings.of_labels(found.in_their_files(found.rows)),
    _class_sizes,
    _class_characters,
    _class_words,
)
FINDERS: tuple[Finder, ...] = (
    _refused,
    lambda found: findings.of_lines(found.in_their_files(found.everything), found.lines),
    lambda found: findings.of_empty_texts(found.in_their_files(found.everything), found.data.preparation.empty),
    lambda found: findings.of_unlabelled(found.in_their_files(found.everything)),
    *QUICK[:2],
    _distinct_texts,
    _duplicates,
    _class_sizes,
    _lengths,
    _scripts,
    lambda found: findings.of_trivial_models(*found.trivial),
    *QUICK[3:],
)


class _Trials:
    """Inspections of the same sources under other settings, each made once."""

    def __init__(self, found: Inspection) -> None:
        self.found = found
        self.made: dict[str, Inspection | None] = {}

    def of(self, options: Options) -> Inspection | None:
        """None if there can be none, or if a fit would refuse what it accepted."""
        if "train" not in self.found.given:  # of a trained model: its training rows are not read again
            return None
        if (name := text_of(options)) not in self.made:
            try:
                self.made[name] = self.found.with_options(options)
            except InputError:
                self.made[name] = None
        other = self.made[name]
        return other if other is not None and other.refused in ("", self.found.refused) else None


def _advised(found: Inspection, finders: Sequence[Finder]) -> Iterator[Finding]:
    """What the finders find, with those settings that were tried and after which they find it no more."""
    trials = _Trials(found)
    for finder in finders:
        before = list(finder(found))
        for finding in before:
            options = tuple(each for each in finding.options if _mends(each, finding, before, finder, trials))
            yield replace(finding, options=options, setting=", or ".join(map(text_of, options)) or finding.setting)


def _mends(options: Options, finding: Finding, before: Sequence[Finding], finder: Finder, trials: _Trials) -> bool:
    """Whether a finding is gone with these options, and none that is as severe has come instead."""
    try:
        other = trials.of(options)
        after = [] if other is None else list(finder(other))
    except InputError:  # files cannot be read so
        return False
    warned = {each.kind for each in before if each.severity == "warning"} - {finding.kind}
    still = {each.kind for each in after if each.severity in ("warning", finding.severity)}
    return (
        other is not None and finding.kind not in still and {e.kind for e in after if e.severity == "warning"} <= warned
    )


def inspect(data: TextDataModule, context: int | None = None) -> Audit:
    """What to know of the rows of ``data`` before anything is trained on them, which needs no ``setup``.

    Rows that a fit would refuse are no error but a finding. Raises ``InputError`` for files that cannot be read.

    Args:
        data: Describes the rows.
        context: Maximum number of tokens that the network reads; None if no network is known.
    """
    found = Inspection(data, context)
    measured, marked, (shares, _), (trivial, scored) = found.measured, found.marked, found.scripts, found.trivial
    return Audit(
        source=datasets.title(data.source),
        split=data.preparation.split,
        files=found.lines,
        rows=len(found.everything),
        splits=counts.count_duplicates(marked),
        classes=counts.class_lengths(found.rows, measured, found.names, found.limit),
        max_length=found.limit,
        needed=counts.percentiles(measured["tokens"]),
        scripts=shares,
        trivial=trivial,
        scored=scored,
        words=found.class_words[0],
        limits=_limits(found),
        findings=sorted(_advised(found, FINDERS), key=lambda finding: finding.severity != "warning"),
    )


def _limits(found: Inspection) -> list[str]:
    """What was examined only in part."""
    limits, words = [], found.words
    if len(found.measured) < len(found.rows):
        limits.append(f"lengths: of {len(found.measured):,} of {len(found.rows):,} texts, evenly spaced")
    if (left_out := found.marked["key"].nunique() - len(found.distinct)) > 0:
        limits.append(f"wording: of the first {len(found.distinct):,} distinct texts, {left_out:,} left out")
    if (words.lengths == words.maximum).any():
        limits.append(f"words and wording: of the first {words.maximum} words of each text")
    trained_on = int((found.distinct["split"] == "train").sum())
    if len(found.training) < trained_on:
        limits.append(f"what gives classes away: of {len(found.training):,} training texts, evenly spaced")
    return limits


def new_warnings(data: TextDataModule) -> list[str]:
    """The :func:`warnings` of prepared rows that nobody was warned of yet."""
    if data.rows.inspected or not data.tables:
        return []
    data.rows.inspected = True
    return warnings(data)


def warnings(data: TextDataModule) -> list[str]:
    """A line for each warning that is quick to find and that the summary of the prepared rows does not imply."""
    found = _advised(Inspection(data), QUICK)
    # The counts in the summary show which class has no rows in a split.
    return [str(finding) for finding in found if finding.severity == "warning" and finding.kind != "absent_classes"]
