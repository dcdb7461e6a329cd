"""Describes what a model predicts and by which rule, for the page."""

from typing import Any

from gpt_classifier.decision.rule import UNSURE, Decision
from gpt_classifier.errors import InputError
from gpt_classifier.inference.classifier import TextClassifier


def describe_model(classifier: TextClassifier) -> dict[str, Any]:
    """Its classes, its operating point, and why it has no traces if it has none."""
    names: list[str] = classifier.classes_.tolist()
    try:
        classifier.check_traceable()
        untraceable = None
    except InputError as error:
        untraceable = str(error)
    return {
        "classes": names,
        "multi_label": classifier.decision.multi_label,
        "rule": describe_rule(classifier.decision, names),
        "thresholds": find_thresholds(classifier.decision, names),
        "untraceable": untraceable,
    }


def describe_rule(decision: Decision, names: list[str]) -> list[str]:
    """How probabilities become the prediction."""
    if decision.multi_label:
        minimum = "their threshold" if decision.thresholds else "0.5"
        said = [f"Each label has a probability of its own; all labels that reach {minimum} are predicted."]
    elif decision.set_threshold:
        minimum = f"{decision.set_threshold:.3g}"
        said = [
            f"The prediction is the class that has probability {minimum} or more; the model abstains ({UNSURE}) "
            "where that is not just one."
        ]
    elif decision.thresholds:
        said = [
            "The prediction is the most probable class that reaches its threshold; "
            f"the model abstains ({UNSURE}) where none does."
        ]
    elif decision.costs:
        said = ["The prediction is the class with the lowest expected cost."]
    elif decision.positive is not None:
        name = names[decision.positive]
        minimum = f"{decision.threshold:.3g}"
        said = [
            f"The prediction is {name} if that has probability {minimum} or more, else the most probable other class."
        ]
    else:
        said = ["The prediction is the most probable class."]
    if decision.temperature != 1:
        said.append(f"Probabilities are calibrated with temperature {decision.temperature:.3g}.")
    if decision.log_priors:
        said.append("They are adjusted to how frequent the classes are in use.")
    if decision.asked:
        said.append(f"Asked for: {', '.join(f'{name} {value}' for name, value in decision.asked.items())}.")
    return said


def find_thresholds(decision: Decision, names: list[str]) -> dict[str, float]:
    """The probability that a class needs to be predicted, of those classes that need one."""
    if decision.thresholds:
        return dict(zip(names, decision.thresholds, strict=True))
    if decision.multi_label or decision.set_threshold:
        return dict.fromkeys(names, decision.set_threshold or 0.5)
    if decision.positive is not None:
        return {names[decision.positive]: decision.threshold}
    return {}
