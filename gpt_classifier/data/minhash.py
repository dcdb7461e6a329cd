"""Finds texts with similar wording by MinHash.

MinHash with locality-sensitive hashing (Broder, 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
chapter 3) finds candidate pairs, which are verified by the exact Jaccard similarity of their word bigrams. All steps
are vectorized: libraries with an object per text are too slow for a million texts.
"""

import re
from array import array
from collections import defaultdict
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gpt_classifier.data.duplicates import NUMBER

SIMILAR = 0.6  # minimum Jaccard similarity; of eight words, one may differ
BANDS, MINIMA = 20, 4  # a pair at SIMILAR is a candidate with probability 1 - (1 - 0.6 ** 4) ** 20 = 0.94
DIFFERING = 21  # maximum of 64 bits: a pair at SIMILAR differs in 12.8 on average, with a standard deviation of 3.2
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, for multiplicative hashing
BITS_OF_BYTE = np.array([value.bit_count() for value in range(256)])
MAX_WORDS = 100  # maximum number of words of each text, from its beginning
MAX_ALL_WORDS = 20_000_000  # maximum number of words of all texts together, unless that leaves fewer than 10 of each
MAX_WORD_LENGTH = 12  # characters per word on average, including white space; limits the search in long texts
CHUNK = 50_000  # texts, or pairs of texts, per array

# Scripts written without spaces, whose letters count as words: kana, Chinese characters, Thai, Lao, Burmese, Khmer.
_ALONE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+")


class Words(NamedTuple):
    """The words of N texts in one array."""

    ids: np.ndarray  # (W,) int64, indices into ``vocabulary``
    lengths: np.ndarray  # (N,) int64, number of words of each text
    vocabulary: list[str]  # in lower case
    maximum: int  # maximum number of words of each text


def find_words(texts: Collection[str]) -> Words:
    """The first words of each text, in lower case."""
    maximum = min(MAX_WORDS, max(10, MAX_ALL_WORDS // max(1, len(texts))))
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__  # a new word gets the next number
    ids, lengths = array("i"), array("q")
    for text in texts:
        found = WORD.findall(text[: maximum * MAX_WORD_LENGTH].lower())[:maximum]
        ids.extend(map(numbers.__getitem__, found))
        lengths.append(len(found))
    return Words(
        np.frombuffer(ids, np.int32).astype(np.int64), np.frombuffer(lengths, np.int64), list(numbers), maximum
    )


def find_similar(texts: Words, known: int | None = None) -> np.ndarray:
    """(N,) for each text the index of a similar one, or -1.

    Similar texts have a Jaccard similarity of at least :data:`SIMILAR`, where all numbers are equal. Only earlier texts
    among the first ``known``, by default all, are considered.
    """
    known = len(texts.lengths) if known is None else known
    shingles = _find_shingles(texts)
    partners = np.full(len(texts.lengths), -1)
    there = np.flatnonzero(texts.lengths)  # texts with words
    if not len(there):
        return partners
    sets = _build_sets(shingles, texts.lengths, int(shingles.max()) + 1)
    bands, bits = _hash(shingles, texts.lengths, there)
    for band in bands:
        # Texts with a partner are skipped, so that of a million similar texts each is compared once.
        pairs = _in_buckets(band, int(np.searchsorted(there, known)))
        pairs = pairs[partners[there[pairs[:, 1]]] < 0]
        differing = BITS_OF_BYTE[(bits[pairs[:, 0]] ^ bits[pairs[:, 1]]).view(np.uint8).reshape(len(pairs), 8)].sum(1)
        pairs = there[pairs[differing <= DIFFERING]]
        for start in range(0, len(pairs), CHUNK):
            one, other = pairs[start : start + CHUNK].T
            alike = _alike(sets, one, other)
            partners[other[alike]] = one[alike]
    return partners


def _hash(shingles: np.ndarray, lengths: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the texts ``there`` (M,): one of each band (BANDS, M), and 64 bits, one of each minimum (M,).

    Texts with an equal band are a candidate pair. The bits estimate its similarity (Li and König, b-bit minwise
    hashing, 2010) at a lower cost than comparing sets.
    """
    rng = np.random.default_rng(0)
    starts = np.cumsum(lengths) - lengths
    bands, bits = np.zeros((BANDS, len(there)), dtype=np.uint64), np.zeros(len(there), dtype=np.uint64)
    factors = rng.integers(1, 2**63, (BANDS, MINIMA), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = rng.integers(0, 2**63, (BANDS, MINIMA), dtype=np.uint64)
    for first in range(0, len(there), CHUNK):
        own = slice(first, first + CHUNK)
        part = there[own]
        some = shingles[starts[part[0]] : starts[part[-1]] + lengths[part[-1]]].astype(np.uint64)
        begins = starts[part] - starts[part[0]]
        for number in range(BANDS * MINIMA):
            band, place = divmod(number, MINIMA)
            minima = np.minimum.reduceat(some * factors[band, place] + shifts[band, place], begins)
            minima *= GOLDEN  # minima are small numbers; makes their bits uniform
            bands[band, own] = bands[band, own] * GOLDEN + (minima >> np.uint64(20))
            if number < 64:
                bits[own] |= (minima >> np.uint64(63)) << np.uint64(number)
    return bands, bits


def _find_shingles(texts: Words) -> np.ndarray:
    """(W,) an id for each pair of neighbouring words; the last word of a text is paired with its end."""
    numbers: dict[str, int] = {}  # of words, whose own numbers are all 0
    kinds = np.array([numbers.setdefault(NUMBER.sub("0", word), len(numbers)) for word in texts.vocabulary], np.int64)
    ids = kinds[texts.ids] if len(kinds) else texts.ids
    following = np.append(ids[1:], 0) + 1
    ends = np.cumsum(texts.lengths[texts.lengths > 0]) - 1
    following[ends] = 0
    return pd.factorize(ids * (len(numbers) + 1) + following)[0].astype(np.int32)


def _in_buckets(band: np.ndarray, known: int) -> np.ndarray:
    """(P, 2) indices of equal numbers: each with the first one, and with the last one before it, below ``known``."""
    order = np.argsort(band, kind="stable")
    ranked = band[order]
    begins = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    sizes = np.diff(np.append(begins, len(ranked)))
    ends = begins + np.add.reduceat((order < known).astype(np.int64), begins)  # of those below known
    begin, end, place = np.repeat(begins, sizes), np.repeat(ends, sizes), np.arange(len(ranked))
    last = np.minimum(end, place) - 1
    pairs = [np.stack([order[begin], order], axis=1)[(begin < place) & (begin < end)]]
    pairs.append(np.stack([order[last], order], axis=1)[last > begin])
    return np.concatenate(pairs)


def _alike(sets: Any, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(P,) bool, whether rows ``one`` (P,) of ``sets`` are similar to rows ``other`` (P,)."""
    sizes = np.diff(sets.indptr)
    common = sets[one].multiply(sets[other]).sum(axis=1)
    alike: np.ndarray = common >= SIMILAR * (sizes[one] + sizes[other] - common)
    return alike


def _build_sets(members: np.ndarray, lengths: np.ndarray, size: int) -> Any:
    """(N, ``size``) sparse, 1 for each number below ``size`` among the next ``lengths`` (N,) of ``members``."""
    from scipy.sparse import csr_array

    ones = np.ones(len(members), dtype=np.int32)
    sets = csr_array((ones, members.astype(np.int32), np.append(0, np.cumsum(lengths))), shape=(len(lengths), size))
    sets.sum_duplicates()
    sets.data[:] = 1
    return sets
