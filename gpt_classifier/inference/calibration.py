"""Fits how a trained model decides, on validation rows that it was not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gpt_classifier.data.labels import encode_labels
from gpt_classifier.decision.fitting import fit, log_odds, log_priors
from gpt_classifier.decision.rule import is_number
from gpt_classifier.errors import InputError
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.inference.model_card import with_section


def calibrated(
    contents: Bundle,
    rows: pd.DataFrame,
    decide: str | Mapping[str, Any] | None,
    prevalence: Sequence[float] | None = None,
) -> tuple[Bundle, list[str]]:
    """The model with its decision, also in its card, and what the rows say of it, a sentence each.

    Args:
        contents: The trained model.
        rows: Validation rows, with the columns ``text`` and ``label``.
        decide: The rule; see :func:`gpt_classifier.decision.fitting.fit`.
        prevalence: (K,) prevalence of each class where the model will be used. By default that of ``rows`` if training
            was balanced; otherwise probabilities are not adapted to it.

    Raises:
        InputError: The rule is none, or the rows are too few for the rate that it asks for.
    """
    names = contents.class_names
    labels = encode_labels(rows["label"], names).numpy()
    if (labels.ndim == 2) != contents.decision.multi_label:
        raise InputError("the model and the validation rows differ in whether they are multi-label")
    truth = labels if labels.ndim == 2 else labels[:, None] == np.arange(len(names))
    natural = truth.mean(0).tolist()
    balanced = contents.data.get("balance", "none") != "none"
    trained = [0.5 if labels.ndim == 2 else 1.0] * len(names) if balanced else natural
    if prevalence is None and balanced:
        prevalence = natural
    find_shift = log_priors if labels.ndim == 1 else log_odds
    shift = [] if prevalence is None else find_shift(trained, prevalence)
    logits = TextClassifier(contents).logits(rows["text"].tolist())
    point = fit(logits, labels, names, decide, shift)
    usual = "labels of probability 0.5 or more" if point.decision.multi_label else "argmax"
    lines = [f"decide: {point.decision.asked or usual}", *point.notes]
    if shift:
        lines.append("probabilities follow the class prior where the model is used, not that of the training rows")
    card = with_section(contents.card, "Decision", "\n".join(lines)) if contents.card else ""
    return replace(contents, decision=point.decision, card=card), lines


def read_prevalence(given: Any, names: Sequence[str]) -> list[float]:
    """The prevalence of each class, in the order of ``names``.

    Raises ``InputError`` unless ``given`` maps names to prevalences.
    """
    values = {str(name): value for name, value in given.items()} if isinstance(given, Mapping) else {}
    if values.keys() != set(names) or not all(is_number(value) and value > 0 for value in values.values()):
        raise InputError(f"prevalence is {given!r}, expected a number above 0 for each of {', '.join(names)}")
    return [float(values[name]) for name in names]
