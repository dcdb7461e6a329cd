"""Recognises near-duplicates, by a key within tables and by fingerprints without the file they came from.

A fingerprint is a 64-bit hash of a text's near-duplicate key. It does not reveal the text, but anyone who has a text
can test whether it is in a set of fingerprints.
"""

import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor


def compute_fingerprints(texts: Iterable[str]) -> np.ndarray:
    """(N,) int64, equal for near-duplicates."""
    # A lone surrogate, which is invalid in UTF-8, is hashed unchanged.
    digests = (blake2b(near_duplicate_key(t).encode("utf-8", "surrogatepass"), digest_size=8).digest() for t in texts)
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


def training_fingerprints(texts: Iterable[str]) -> Tensor:
    """(M,) int64, the sorted distinct fingerprints, as stored with a model."""
    return torch.from_numpy(np.unique(compute_fingerprints(texts)))


def compute_digest(texts: Iterable[str]) -> str:
    """A short hash of texts in their order, the same for texts that differ only as near-duplicates do."""
    return blake2b(compute_fingerprints(texts).astype("<i8").tobytes(), digest_size=8).hexdigest()


def find_trained_on(texts: Iterable[str], known: Tensor) -> np.ndarray:
    """(N,) bool, whether a text or a near-duplicate of it has one of the fingerprints ``known`` (M,)."""
    return np.isin(compute_fingerprints(texts), known.numpy())


NUMBER = re.compile(r"\d+")

VARIATION = re.compile("[\ufe00-\ufe0f]")  # Unicode variation selectors, for example of emoji style


def near_duplicate_key(text: str) -> str:
    """A key that is equal for near-duplicates: in lower case, numbers replaced by 0, white space collapsed.

    Compatible characters are unified (Unicode normalization form NFKC: composed and decomposed accents, ligatures, full
    width); format and control characters (zero-width characters, byte order marks) are removed.
    """
    text = " ".join(text.split())  # before control characters, which include tabs and line ends, are removed
    plain = text.isascii() and text.isprintable()
    if not text.isprintable():
        text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf"))
    if not text.isascii():
        text = unicodedata.normalize("NFKC", VARIATION.sub("", text))  # which may result in upper case
        text = unicodedata.normalize("NFKC", text.lower())  # lower case may be decomposed
    if not plain:  # normal forms may have spaces, and there may be several around removed characters
        text = " ".join(text.split())
    return NUMBER.sub("0", text.lower())
