"""Turns logits into probabilities and predictions, by the rule that the user chose.

Shapes: N texts, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np

UNSURE = "unsure"  # the label of an abstention: the rule leaves several classes, or none
SEPARATOR = "|"  # between the labels of a text


def is_number(value: Any) -> bool:
    """Whether it is a finite number, as those of rules are."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Decision:
    """How logits become predictions: a part of the model folder, obeyed wherever the model is used.

    Args:
        temperature: Divisor of the logits (C. Guo et al., "On Calibration of Modern Neural Networks", 2017).
        log_priors: (K,) added to the scaled logits: for each class the logarithm of its frequency where the model is
            used, over that in training (M. Saerens et al., 2002); in a multi-label model that of its odds. Empty for
            none.
        positive: Number of the class that needs ``threshold``; None for no such class.
        threshold: Minimum probability of ``positive`` to predict it; below, the most probable other class is predicted.
        thresholds: (K,) minimum probability of each class; the prediction is the most probable class of those that
            reach theirs, and an abstention where none does. Empty for none.
        costs: (K, K), of predicting the column where the row is true; the prediction has the lowest expected cost.
            Empty for none.
        set_threshold: Minimum probability of the members of a prediction set; a set of one class is the prediction,
            any other is an abstention. 0 for no sets.
        asked: What the user asked for, as plain values.
        multi_label: Whether a text may have any number of labels: each has a probability of its own, and the
            prediction is all labels that reach their threshold, by default 0.5.
    """

    temperature: float = 1.0
    log_priors: list[float] = field(default_factory=list)
    positive: int | None = None
    threshold: float = 0.0
    thresholds: list[float] = field(default_factory=list)
    costs: list[list[float]] = field(default_factory=list)
    set_threshold: float = 0.0
    asked: dict[str, Any] = field(default_factory=dict)
    multi_label: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature}, expected a number above 0")

    def check_classes(self, number: int) -> None:
        """Raises ``ValueError`` unless it is a decision between so many classes."""
        wrong = {
            "log_priors": len(self.log_priors) not in (0, number),
            "thresholds": len(self.thresholds) not in (0, number),
            "costs": bool(self.costs) and [len(row) for row in self.costs] != [number] * number,
            "positive": self.positive is not None and not 0 <= self.positive < number,
        }
        if named := [name for name, is_wrong in wrong.items() if is_wrong]:
            raise ValueError(f"{named[0]} is {str(getattr(self, named[0]))[:60]}, which does not suit {number} classes")

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """(N, K) logits -> those of the probabilities that the model gives, in float64."""
        scaled = logits.astype(np.float64) / self.temperature
        return scaled + np.array(self.log_priors) if self.log_priors else scaled

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, K) logits -> (N, K) probabilities, in float64."""
        scaled = self.calibrated(logits)
        if self.multi_label:
            return 0.5 + 0.5 * np.tanh(0.5 * scaled)  # the logistic function, which overflows nowhere in this form
        exponentials = np.exp(scaled - scaled.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """(N, K) booleans: the classes that the rule leaves for each text."""
        if self.multi_label:
            return probabilities >= np.array(self.thresholds or 0.5)
        if self.set_threshold:
            return probabilities >= self.set_threshold
        if self.thresholds:
            reached = probabilities >= np.array(self.thresholds)
            best = np.where(reached, probabilities, -1).argmax(-1)
            return reached & np.eye(probabilities.shape[-1], dtype=bool)[best]
        if self.costs:
            best = (probabilities @ np.array(self.costs)).argmin(-1)
        elif self.positive is not None:
            others = probabilities.copy()
            others[:, self.positive] = -1
            certain = probabilities[:, self.positive] >= self.threshold
            best = np.where(certain, self.positive, others.argmax(-1))
        else:
            best = probabilities.argmax(-1)
        return np.eye(probabilities.shape[-1], dtype=bool)[best]

    def predict(self, probabilities: np.ndarray) -> np.ndarray:
        """(N,) numbers of the predicted classes, -1 for an abstention; for single-label models."""
        sets = self.sets(probabilities)
        return np.where(sets.sum(-1) == 1, sets.argmax(-1), -1)

    def name_predictions(self, probabilities: np.ndarray, class_names: Sequence[str]) -> list[str]:
        """The prediction for each of N texts: a class name or ``unsure``, or labels with ``|`` between them."""
        if self.multi_label:
            return join_labels(self.sets(probabilities), class_names)
        names = [*class_names, UNSURE]  # -1, which is an abstention, is the last one
        return [names[number] for number in self.predict(probabilities)]


def join_labels(which: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """The names of the classes that ``which`` (N, K) tells for each text, in one string a text."""
    return [SEPARATOR.join(compress(class_names, row)) for row in which.tolist()]
