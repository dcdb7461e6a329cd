"""Recognises training texts again, also where the model was moved and the file is gone; knows nothing about models.

A fingerprint is a 64-bit hash of a text's near-duplicate key: eight bytes a text, from which no text can be read back,
though whoever has a text can tell whether it is among them.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from gpt_classifier.data.splits import near_duplicate_key


def fingerprints(texts: Iterable[str]) -> np.ndarray:
    """(N,) int64, the same for texts that are near-duplicates of each other."""
    # A half of a surrogate pair, which no UTF-8 can hold, is hashed as it is.
    digests = (blake2b(near_duplicate_key(t).encode("utf-8", "surrogatepass"), digest_size=8).digest() for t in texts)
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


def training_fingerprints(texts: Iterable[str]) -> Tensor:
    """(M,) int64, the distinct fingerprints of the texts, sorted: what a model keeps of its training rows."""
    return torch.from_numpy(np.unique(fingerprints(texts)))


def digest(texts: Iterable[str]) -> str:
    """A short hash of texts in their order, the same for texts that differ only as near-duplicates do."""
    return blake2b(fingerprints(texts).astype("<i8").tobytes(), digest_size=8).hexdigest()


def trained_on(texts: Iterable[str], known: Tensor) -> np.ndarray:
    """(N,) bool, whether each text, or a near-duplicate of it, is among the training rows that ``known`` remembers."""
    return np.isin(fingerprints(texts), known.numpy())
