"""Fits how a trained model decides, on validation rows that it was not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gpt_classifier.data.labels import encode_labels
from gpt_classifier.decision.fitting import fit, log_odds, log_priors
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
        prevalence: (K,) share of each class where the model will be used. By default that of ``rows`` if training was
            balanced, and otherwise no correction.

    Raises:
        InputError: The rule is none, or the rows are too few for the rate that it asks for.
    """
    names = contents.class_names
    labels = encode_labels(rows["label"], names).numpy()
    if (labels.ndim == 2) != contents.decision.multi_label:
        raise InputError("the model and the validation rows differ in whether a text may have several labels")
    of_class = labels if labels.ndim == 2 else labels[:, None] == np.arange(len(names))
    natural = of_class.mean(0).tolist()
    balanced = contents.data.get("balance", "none") != "none"
    trained = [0.5 if labels.ndim == 2 else 1.0] * len(names) if balanced else natural
    if prevalence is None and balanced:
        prevalence = natural
    correction = log_priors if labels.ndim == 1 else log_odds
    shift = [] if prevalence is None else correction(trained, prevalence)
    logits = TextClassifier(contents).logits(rows["text"].tolist())
    point = fit(logits, labels, names, decide, shift)
    usual = "labels of probability 0.5 or more" if point.decision.multi_label else "argmax"
    lines = [f"decide: {point.decision.asked or usual}", *point.notes]
    if shift:
        lines.append("probabilities are those of the class mix where the model is used, not of the training rows")
    card = with_section(contents.card, "Decision", "\n".join(lines)) if contents.card else ""
    return replace(contents, decision=point.decision, card=card), lines
