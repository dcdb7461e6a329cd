"""Measures what answering early costs: accuracy and tokens read, where reading ends at a level of probability."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gpt_classifier.errors import InputError
from gpt_classifier.inference.trace import Trace, check_level
from gpt_classifier.statistics.intervals import Proportion, wilson


class EarlyScore(NamedTuple):
    """What texts score where each is read until a class has the probability ``level``, or to its end."""

    level: float | None  # None for texts that are read whole
    accuracy: Proportion  # of the answers by the model's own rule; ``unsure`` is not right
    tokens: float  # mean number of tokens read
    share: float  # mean share of a text's tokens


def early_scores(traces: Iterable[Trace], labels: Sequence[str], levels: Sequence[float]) -> list[EarlyScore]:
    """A score for each level, in this order, and one for whole texts.

    Raises ``InputError`` for a level that is no probability, and without texts.
    """
    for level in levels:
        check_level(level)
    if not labels:
        raise InputError("early answers are measured on labelled texts, got none")
    right, read, lengths = [], [], []
    for trace, label in zip(traces, labels, strict=True):
        last = len(trace.tokens) - 1
        ends = [place if (place := trace.early(level)) is not None else last for level in levels] + [last]
        answers = trace.answers
        right.append([answers[end] == label for end in ends])
        read.append([end + 1 for end in ends])
        lengths.append([last + 1])
    shares = (np.array(read) / np.array(lengths)).mean(0)
    return [
        EarlyScore(level, wilson(int(number), len(labels)), float(tokens), float(share))
        for level, number, tokens, share in zip(
            [*levels, None], np.sum(right, 0), np.mean(read, 0), shares, strict=True
        )
    ]
