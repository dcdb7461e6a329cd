"""Recognises training texts by hashes, without the file they came from; knows nothing about models.

A fingerprint is a 64-bit hash of a text's near-duplicate key. It does not reveal the text, but anyone who has a text
can test whether it is in a set of fingerprints.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from gpt_classifier.data.splits import near_duplicate_key


def fingerprints(texts: Iterable[str]) -> np.ndarray:
    """(N,) int64, equal for near-duplicates."""
    # A lone surrogate, which is invalid in UTF-8, is hashed unchanged.
    digests = (blake2b(near_duplicate_key(t).encode("utf-8", "surrogatepass"), digest_size=8).digest() for t in texts)
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


def training_fingerprints(texts: Iterable[str]) -> Tensor:
    """(M,) int64, the sorted distinct fingerprints, as stored with a model."""
    return torch.from_numpy(np.unique(fingerprints(texts)))


def digest(texts: Iterable[str]) -> str:
    """A short hash of texts in their order, the same for texts that differ only as near-duplicates do."""
    return blake2b(fingerprints(texts).astype("<i8").tobytes(), digest_size=8).hexdigest()


def trained_on(texts: Iterable[str], known: Tensor) -> np.ndarray:
    """(N,) bool, whether a text or a near-duplicate of it has one of the fingerprints ``known`` (M,)."""
    return np.isin(fingerprints(texts), known.numpy())
