"""Finds the training texts that are most like given ones, which often explain an error."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CHARACTERS = 1000  # of each text that are compared
MAX_CHARACTERS = 4_000_000  # of all training texts together, which take seconds: of more, every n-th text is compared


class Neighbour(NamedTuple):
    """A training text like another one."""

    position: int
    similarity: float  # cosine, from 0 for no common run of characters to 1


def find_nearest(texts: Sequence[str], training_texts: Sequence[str]) -> list[Neighbour]:
    """For each text the training text with the most similar runs of 3 and 4 characters within words, by tf-idf.

    Where no training text has any such run, there are none: the list is empty.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    step = math.ceil(sum(min(len(text), CHARACTERS) for text in training_texts) / MAX_CHARACTERS) or 1
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, dtype=np.float32)
    try:
        known = vectorizer.fit_transform([text[:CHARACTERS] for text in training_texts[::step]])
    except ValueError:  # texts without words have no vocabulary
        return []
    similarities = (vectorizer.transform([text[:CHARACTERS] for text in texts]) @ known.T).toarray()
    best = similarities.argmax(1)
    return [Neighbour(int(b) * step, min(1.0, float(row[b]))) for b, row in zip(best, similarities, strict=True)]
