"""Tells a prediction as plain values and as the parts of a line; computes nothing of it."""

from typing import TYPE_CHECKING, Any

from gpt_classifier.decision.rule import SEPARATOR

if TYPE_CHECKING:
    from gpt_classifier.inference.classifier import Prediction


def fields(prediction: "Prediction", top_k: int | None, multi_label: bool) -> dict[str, Any]:
    """A prediction as plain values, with the probabilities of the ``top_k`` most probable classes, or of all."""
    probabilities = dict(_ranked(prediction)[:top_k])
    if multi_label:
        return {"labels": prediction.labels, "probabilities": probabilities}
    found = prediction._asdict() | {"probabilities": probabilities}
    if not prediction.candidates:
        del found["candidates"]  # of rules that make sets only
    return found


def parts(prediction: "Prediction", top_k: int | None, multi_label: bool) -> list[str]:
    """The prediction and its probability, or the most probable classes with theirs."""
    if multi_label and top_k is None:
        probabilities = SEPARATOR.join(f"{prediction.probabilities[name]:.3f}" for name in prediction.labels)
        return [SEPARATOR.join(prediction.labels), probabilities]
    ranked = [(prediction.label, prediction.probability)] if top_k is None else _ranked(prediction)[:top_k]
    return [part for name, probability in ranked for part in (name, f"{probability:.3f}")]


def _ranked(prediction: "Prediction") -> list[tuple[str, float]]:
    return sorted(prediction.probabilities.items(), key=lambda item: -item[1])
