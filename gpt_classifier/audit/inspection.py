"""Audits labelled texts before anything is trained on them: statistics, findings, and settings that fix these.

:func:`inspect` examines everything; :func:`warnings` only what is quick and not in the summary of a fit.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from gpt_classifier.audit.findings import FINDERS, QUICK, Finder, Finding
from gpt_classifier.audit.leakage import ClassWord
from gpt_classifier.audit.statistics import File, Options, Statistics, count_percentiles
from gpt_classifier.data import datasets
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.errors import InputError


@dataclass(frozen=True)
class Audit:
    """Statistics of a source of labelled texts, and findings."""

    source: str
    split: str  # how the rows are divided
    files: list[File]
    rows: int  # number of rows read
    splits: dict[str, dict[str, int]]  # rows, distinct texts and duplicates of training texts in each split
    classes: dict[str, dict[str, Any]]  # rows in each split, length percentiles and truncated texts of each class
    max_length: int  # maximum number of tokens per text
    length_percentiles: dict[int, int]  # of all texts, in tokens
    scripts: dict[str, float]  # fractions of the letters by script
    baselines: dict[str, float]  # their accuracy, by their features
    scored: str  # split on which these are evaluated
    words: dict[str, ClassWord]  # the word that distinguishes each class best from the others
    limits: list[str]  # what was examined only in part, a sentence each
    findings: list[Finding]  # warnings first

    def warnings(self) -> list[Finding]:
        """The findings that should be dealt with before training."""
        return [finding for finding in self.findings if finding.severity == "warning"]


def inspect(data: TextDataModule, context: int | None = None) -> Audit:
    """Inspects the rows of ``data`` before anything is trained on them, which needs no ``setup``.

    Rows that a fit would refuse are no error but a finding. Raises ``InputError`` for files that cannot be read.

    Args:
        data: Describes the rows.
        context: Maximum number of tokens that the network reads; None if no network is known.
    """
    statistics = Statistics(data, context)
    baselines, scored = statistics.baselines
    return Audit(
        source=datasets.title(data.source),
        split=data.preparation.split,
        files=statistics.files,
        rows=len(statistics.all_rows),
        splits=statistics.count_duplicates(),
        classes=statistics.count_classes(),
        max_length=statistics.max_length,
        length_percentiles=count_percentiles(statistics.measured["tokens"]),
        scripts=statistics.scripts,
        baselines=baselines,
        scored=scored,
        words=statistics.class_words[0],
        limits=_find_limits(statistics),
        findings=sorted(_find(statistics, FINDERS), key=lambda finding: finding.severity != "warning"),
    )


def warnings(data: TextDataModule) -> list[str]:
    """A line for each warning that is quick to find and that the summary of the prepared rows does not imply."""
    found = _find(Statistics(data), QUICK)
    # The counts in the summary show which class has no rows in a split.
    return [str(finding) for finding in found if finding.severity == "warning" and finding.kind != "absent_classes"]


def new_warnings(data: TextDataModule) -> list[str]:
    """The :func:`warnings` of prepared rows that nobody was warned of yet."""
    if data.rows.inspected or not data.tables:
        return []
    data.rows.inspected = True
    return warnings(data)


def format_options(options: Options) -> str:
    """The options as they are typed.

    >>> format_options({"splitting.folds": 5, "file_format.encoding": "utf-8"})
    '--data.splitting.folds 5 --data.file_format.encoding utf-8'
    """
    words = ((name, yaml.safe_dump(value, default_flow_style=True).splitlines()[0]) for name, value in options.items())
    return " ".join(f"--data.{name} {shlex.quote(value)}" for name, value in words)


def _find(statistics: Statistics, finders: Sequence[Finder]) -> Iterator[Finding]:
    """What the finders find, with those settings that were tried and after which they find it no more."""
    for finder in finders:
        findings = list(finder(statistics))
        for finding in findings:
            options = tuple(
                each for each in finding.options if _find_fixes(each, finding, findings, finder, statistics)
            )
            setting = ", or ".join(map(format_options, options)) or finding.setting
            yield replace(finding, options=options, setting=setting)


def _find_fixes(
    options: Options, finding: Finding, findings: Sequence[Finding], finder: Finder, statistics: Statistics
) -> bool:
    """Whether a finding is gone with these options, and no warning of another kind than before has come instead."""
    if "train" not in statistics.given:  # of a trained model: its training rows are not read again
        return False
    try:
        other = statistics.with_options(options)
        if other.refusal not in ("", statistics.refusal):
            return False
        after = list(finder(other))
    except InputError:  # there can be no such settings, or the files cannot be read with them
        return False
    warned = {each.kind for each in findings if each.severity == "warning"} - {finding.kind}
    if any(each.kind == finding.kind and each.severity in ("warning", finding.severity) for each in after):
        return False
    return {each.kind for each in after if each.severity == "warning"} <= warned


def _find_limits(statistics: Statistics) -> list[str]:
    """What was examined only in part."""
    limits, words, distinct = [], statistics.words, statistics.distinct
    rows, measured, training = (len(each) for each in (statistics.rows, statistics.measured, statistics.training))
    if measured < rows:
        limits.append(f"lengths: of {measured:,} of {rows:,} texts, evenly spaced")
    if (left_out := statistics.marked["key"].nunique() - len(distinct)) > 0:
        limits.append(f"wording: of the first {len(distinct):,} distinct texts, {left_out:,} left out")
    if (words.lengths == words.maximum).any():
        limits.append(f"words and wording: of the first {words.maximum} words of each text")
    if training < int((distinct["split"] == "train").sum()):
        limits.append(f"what gives classes away: of {training:,} training texts, evenly spaced")
    return limits
