"""Finds texts that share most of their wording without being copies; knows nothing about labels or splits.

MinHash with locality-sensitive hashing (Broder, 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
chapter 3) proposes pairs, and each is checked by the exact Jaccard similarity of its pairs of neighbouring words. All
of it is arithmetic on whole arrays: an object for each text, as libraries keep, takes too long for a million.
"""

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gpt_classifier.data.splits import NUMBER

SIMILAR = 0.6  # Jaccard similarity: of eight words, one may be another
BANDS, MINIMA = 20, 4  # a pair at SIMILAR is proposed with probability 1 - (1 - 0.6 ** 4) ** 20 = 0.94
MAX_WORDS = 100  # of each text, from its beginning
LETTERS = 12  # of a word with what follows, at most on average: the rest of a long text need not be searched
TOGETHER = 50_000  # texts, or pairs of texts, that are in memory at a time

# Scripts that are written without spaces: kana, Chinese characters, Thai, Lao, Burmese, Khmer. A letter is a word.
_ALONE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+")


class Words(NamedTuple):
    """The words of N texts in one array."""

    ids: np.ndarray  # (W,) int64, places in ``vocabulary``
    lengths: np.ndarray  # (N,) int64, words of each text
    vocabulary: list[str]  # in lower case

    def present(self) -> Any:
        """(N, V) sparse, 1 for each word that a text has, however often."""
        return _sets(self.ids, self.lengths, len(self.vocabulary))


class Pairs(NamedTuple):
    """Pairs of similar texts: ``first`` (P,) before ``second`` (P,)."""

    first: np.ndarray
    second: np.ndarray


def words(texts: Iterable[str], maximum: int = MAX_WORDS) -> Words:
    """At most ``maximum`` words of each text, in lower case."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__  # a new word gets the next number
    ids, lengths = array("i"), array("q")
    for text in texts:
        found = WORD.findall(text[: maximum * LETTERS].lower())[:maximum]
        ids.extend(map(numbers.__getitem__, found))
        lengths.append(len(found))
    return Words(np.frombuffer(ids, np.int32).astype(np.int64), np.frombuffer(lengths, np.int64), list(numbers))


def similar(texts: Words, known: int = 0) -> Pairs:
    """Pairs of texts with a Jaccard similarity of at least :data:`SIMILAR`, numbers counting as equal.

    Of texts that are all alike, each is paired with few of the others. One that is not among the first ``known`` is
    paired with one of these where possible.
    """
    lengths = texts.lengths
    shingles = _shingles(texts)
    there = np.flatnonzero(lengths)  # texts with words
    starts = np.cumsum(lengths) - lengths
    rng = np.random.default_rng(0)
    proposed = np.zeros(0, dtype=np.int64)
    for _ in range(BANDS):
        band = np.zeros(len(there), dtype=np.uint64)
        factors = rng.integers(1, 2**63, MINIMA, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        shifts = rng.integers(0, 2**63, MINIMA, dtype=np.uint64)
        for first in range(0, len(there), TOGETHER):
            part = there[first : first + TOGETHER]
            some = shingles[starts[part[0]] : starts[part[-1]] + lengths[part[-1]]].astype(np.uint64)
            for factor, shift in zip(factors, shifts, strict=True):
                minima = np.minimum.reduceat(some * factor + shift, starts[part] - starts[part[0]])
                whole = band[first : first + TOGETHER]
                whole *= np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: order counts
                whole += minima >> np.uint64(20)
        pairs = _in_buckets(band, there, known)
        proposed = np.union1d(proposed, pairs[:, 0] * len(lengths) + pairs[:, 1])
    return _checked(proposed // max(1, len(lengths)), proposed % max(1, len(lengths)), shingles, lengths)


def _shingles(texts: Words) -> np.ndarray:
    """(W,) a number for each pair of neighbouring words, the last word of a text being paired with its end."""
    folded: dict[str, int] = {}
    kinds = np.array([folded.setdefault(NUMBER.sub("0", word), len(folded)) for word in texts.vocabulary], np.int64)
    ids = kinds[texts.ids] if len(kinds) else texts.ids
    following = np.append(ids[1:], 0) + 1
    ends = np.cumsum(texts.lengths[texts.lengths > 0]) - 1
    following[ends] = 0
    return pd.factorize(ids * (len(folded) + 1) + following)[0].astype(np.int32)


def _in_buckets(band: np.ndarray, texts: np.ndarray, known: int) -> np.ndarray:
    """(P, 2) of the texts with equal bands, each with the first, the one before it and the last of the known ones."""
    if not len(band):
        return np.zeros((0, 2), dtype=np.int64)
    order = np.argsort(band, kind="stable")
    ranked, members = band[order], texts[order]
    begins = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    sizes = np.diff(np.append(begins, len(ranked)))
    begin_of = np.repeat(begins, sizes)
    last_known = begin_of + np.repeat(np.add.reduceat((members < known).astype(np.int64), begins), sizes) - 1
    places = np.arange(len(ranked))
    found = [
        np.stack([members[partner[rest]], members[rest]], axis=1)
        for partner in (begin_of, places - 1, last_known)
        if (rest := (partner >= begin_of) & (partner < places)).any()
    ]
    return np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)


def _checked(first: np.ndarray, second: np.ndarray, shingles: np.ndarray, lengths: np.ndarray) -> Pairs:
    """The pairs whose sets of shingles are indeed similar."""
    sets = _sets(shingles, lengths, int(shingles.max(initial=0)) + 1)
    sizes = np.diff(sets.indptr)
    right = np.zeros(len(first), dtype=bool)
    for start in range(0, len(first), TOGETHER):
        one, other = first[start : start + TOGETHER], second[start : start + TOGETHER]
        common = sets[one].multiply(sets[other]).sum(axis=1)
        right[start : start + TOGETHER] = common >= SIMILAR * (sizes[one] + sizes[other] - common)
    return Pairs(first[right], second[right])


def _sets(members: np.ndarray, lengths: np.ndarray, size: int) -> Any:
    """(N, ``size``) sparse, 1 for each number below ``size`` among the next ``lengths`` (N,) of ``members``."""
    from scipy.sparse import csr_array

    ones = np.ones(len(members), dtype=np.int32)
    sets = csr_array((ones, members.astype(np.int32), np.append(0, np.cumsum(lengths))), shape=(len(lengths), size))
    sets.sum_duplicates()
    sets.data[:] = 1
    return sets
