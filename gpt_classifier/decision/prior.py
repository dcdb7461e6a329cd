"""Scores of balanced test rows as they would be at the natural frequencies of the classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gpt_classifier.statistics import resampling
from gpt_classifier.statistics.intervals import Interval
from gpt_classifier.statistics.resampling import Score


@dataclass(frozen=True, kw_only=True)
class ScoresAtPrior:
    """Scores at a class prior; None for precisions of classes that are never predicted."""

    shares: dict[str, float]  # the class prior
    accuracy: float
    accuracy_interval: Interval | None
    f1_macro: float
    f1_macro_interval: Interval | None
    precision: dict[str, float | None]
    precision_interval: dict[str, Interval | None]


def score_at_class_prior(
    predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], counts: Mapping[str, int]
) -> ScoresAtPrior | None:
    """Accuracy, macro F1 and the precision of each class, with 95 % intervals.

    Each row has the weight (natural frequency of its class) / (its frequency in ``labels``), which leaves recall as it
    is and changes whatever depends on the class prior. Precision is None for a class that is never predicted.

    Args:
        predicted: (N,) numbers of classes.
        labels: (N,) the true ones.
        names: (K,) class names.
        counts: Number of rows of each class at their natural frequencies.

    Returns:
        None if a class that occurs naturally has no row, so that nothing is known of it.
    """
    k = len(names)
    natural = np.array([counts.get(name, 0) for name in names], dtype=float)
    here = np.bincount(labels, minlength=k)
    if (here[natural > 0] == 0).any():
        return None
    prior = natural / natural.sum()
    weights = (prior / np.maximum(here / len(labels), 1e-300))[labels]
    scores: dict[str, Score] = {
        "accuracy": _fraction(predicted == labels, np.ones(len(labels), dtype=bool)),
        "f1_macro": resampling.macro_f1(labels, predicted),
    }
    # By number, as a class may have the name of a score.
    scores |= {str(c): _fraction(labels == c, predicted == c) for c in range(k) if (predicted == c).any()}
    weighted = {name: _weighted(score, weights) for name, score in scores.items()}
    intervals = resampling.intervals(labels, weighted)
    values = {name: float(score(np.ones((1, len(labels))))[0]) for name, score in weighted.items()}
    return ScoresAtPrior(
        shares=dict(zip(names, prior.tolist(), strict=True)),
        accuracy=values["accuracy"],
        accuracy_interval=intervals["accuracy"],
        f1_macro=values["f1_macro"],
        f1_macro_interval=intervals["f1_macro"],
        precision={name: values.get(str(c)) for c, name in enumerate(names)},
        precision_interval={name: intervals.get(str(c)) for c, name in enumerate(names)},
    )


def _fraction(hits: np.ndarray, among: np.ndarray) -> Score:
    """The fraction of ``hits`` (N,) among the rows for which ``among`` (N,) holds."""

    def score(counts: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # a resample without any of these rows has none
            return (counts @ (hits & among)) / (counts @ among)

    return score


def _weighted(score: Score, weights: np.ndarray) -> Score:
    return lambda counts: score(counts * weights)
