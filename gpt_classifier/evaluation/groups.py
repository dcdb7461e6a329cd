"""Counts errors in groups of rows: by length, by script, with and without some rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gpt_classifier.records import INLINE
from gpt_classifier.statistics.intervals import Interval, wilson
from gpt_classifier.text.scripts import count_letters

GROUPS = 5  # of lengths
NO_LETTERS = "no letters"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Errors on some of the rows; rates are None where there is no row."""

    rows: int
    errors: int
    error_rate: float | None
    error_rate_interval: Interval | None
    f1_macro: float | None = None  # where it is asked for


@dataclass(frozen=True, kw_only=True)
class LengthGroup:
    """Rows whose length in tokens lies in a range, both ends included."""

    from_: int
    to: int
    group: Group = field(metadata=INLINE)


@dataclass(frozen=True, kw_only=True)
class ScriptGroup:
    script: str
    group: Group = field(metadata=INLINE)


def count_errors(right: np.ndarray) -> Group:
    """How many of these rows (N,) there are, and the error rate with its 95 % Wilson interval; None of no rows."""
    rows, errors = len(right), int((~right).sum())
    rate = wilson(errors, rows) if rows else None
    return Group(
        rows=rows,
        errors=errors,
        error_rate=rate and rate.value,
        error_rate_interval=rate and (rate.low, rate.high),
    )


def group_by_length(right: np.ndarray, lengths: np.ndarray, groups: int = GROUPS) -> list[LengthGroup]:
    """Groups of about equal size from the shortest to the longest texts; equal lengths stay together.

    Args:
        right: (N,) whether each row was predicted correctly.
        lengths: (N,) in tokens.
        groups: Maximum number of groups.
    """
    ends = np.unique(np.quantile(lengths, np.arange(1, groups + 1) / groups, method="inverted_cdf"))
    which = np.searchsorted(ends, lengths)
    found = []
    for g in range(len(ends)):
        here = lengths[which == g]
        errors = count_errors(right[which == g])
        found.append(LengthGroup(from_=int(here.min()), to=int(here.max()), group=errors))
    return found


def group_by_script(right: np.ndarray, texts: Sequence[str]) -> list[ScriptGroup]:
    """A group for each script that most letters of a text belong to, the largest first."""
    found = count_letters(texts)
    names = [*found.names, NO_LETTERS]  # whose number is -1
    numbers, rows = np.unique(found.main, return_counts=True)
    largest_first = numbers[np.argsort(-rows, kind="stable")]
    return [ScriptGroup(script=names[s], group=count_errors(right[found.main == s])) for s in largest_first]
