"""Counts the letters of texts by script, for example Latin or Cyrillic."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from fontTools import unicodedata

CHUNK = 10_000  # texts per array of characters
UNKNOWN, NO_LETTER = -2, -1
NO_SCRIPT = ("Zyyy", "Zinh", "Zzzz")  # of characters that several scripts have in common, such as µ and º


class Letters(NamedTuple):
    """The letters of N texts in S scripts."""

    names: list[str]  # (S,) names of the scripts
    counts: np.ndarray  # (S,) number of letters in all texts
    main: np.ndarray  # (N,) index of the most frequent script of each text, -1 for a text without letters


def count_letters(texts: Sequence[str]) -> Letters:
    """Counts letters by their property Script (Unicode Standard Annex 24), except those that scripts have in common."""
    script_of = np.full(sys.maxunicode + 1, UNKNOWN, dtype=np.int16)  # of each code point seen so far
    numbers: dict[str, int] = {}
    totals, main = np.zeros(0, dtype=np.int64), [np.zeros(0, dtype=np.int16)]
    for start in range(0, len(texts), CHUNK):
        part = texts[start : start + CHUNK]
        # Lone surrogates are treated as any other code point.
        points = np.frombuffer("".join(part).encode("utf-32-le", "surrogatepass"), dtype="<u4")
        for point in np.unique(points[script_of[points] == UNKNOWN]).tolist():
            script = unicodedata.script(chr(point)) if chr(point).isalpha() else NO_SCRIPT[0]
            known = script not in NO_SCRIPT
            script_of[point] = numbers.setdefault(script, len(numbers)) if known else NO_LETTER
        found, size = script_of[points], len(numbers)
        owners = np.repeat(np.arange(len(part)), [len(text) for text in part])[found != NO_LETTER]
        counted = np.bincount(owners * size + found[found != NO_LETTER], minlength=len(part) * size)
        table = counted.reshape(len(part), size)  # (texts, S)
        totals = np.pad(totals, (0, size - len(totals))) + table.sum(0)
        frequent = table.argmax(1) if size else np.zeros(len(part), dtype=np.int64)
        main.append(np.where(table.sum(1) > 0, frequent, NO_LETTER).astype(np.int16))
    names = [unicodedata.script_name(script).replace("_", " ") for script in numbers]
    return Letters(names, totals, np.concatenate(main))


def compute_fractions(found: Letters) -> dict[str, float]:
    """Fractions of the letters by script, in descending order."""
    total = max(1, int(found.counts.sum()))
    ranked = sorted(zip(found.names, found.counts.tolist(), strict=True), key=lambda pair: -pair[1])
    return {name: count / total for name, count in ranked}
