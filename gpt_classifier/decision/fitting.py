"""Fits the rule by which a model decides, on validation rows.

Shapes: N rows, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpt_classifier.decision.reliability import measure_reliability
from gpt_classifier.decision.rule import Decision, is_number
from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.statistics.intervals import wilson

RATES = ("max_fpr", "min_recall", "min_precision", "coverage")
RULES = (*RATES, "thresholds", "costs")
PER_CLASS_RATES = (
    "max_fpr",
    "min_precision",
)  # rates that hold where only the most probable of several classes is predicted
MULTI_LABEL_RULES = ("max_fpr", "min_recall", "min_precision", "thresholds")
MAX_F1 = "max_f1"  # the rule that needs no number
EACH = "each"  # instead of the name of a class
EXAMPLES = (
    "argmax, {max_fpr: 0.01}, {min_recall: 0.99}, {min_precision: 0.9}, {min_precision: 0.9, of: each}, "
    "{thresholds: 0.7}, {coverage: 0.95} or {costs: {spam: 1, ham: 20}}"
)
SHOWN = 5  # classes that one message names


@dataclass(frozen=True)
class OperatingPoint:
    """A decision with what the validation rows say of it, a sentence each."""

    decision: Decision
    notes: tuple[str, ...] = ()


def fit(
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    decide: str | Mapping[str, Any] | None = None,
    log_priors: Sequence[float] = (),
) -> OperatingPoint:
    """The decision that does what ``decide`` asks, with the temperature of the lowest loss.

    Args:
        logits: (N, K) of validation rows.
        labels: (N,) class numbers, or (N, K) booleans for a multi-label model.
        class_names: In the order of the logits.
        decide: ``argmax`` (the default), or a mapping with one rule. ``max_fpr``, ``min_recall`` and ``min_precision``
            are rates of one class, named by ``of`` (by default the rarer of two classes), the first and the last also
            ``of: each`` class with a threshold of its own; ``thresholds`` gives these, or one for all classes;
            ``coverage`` makes prediction sets; ``costs`` are those of a wrong prediction for each true class, or for
            each pair of a true and a predicted class. In a multi-label model each label has a threshold: 0.5 by
            default, that of its maximum F1 with ``max_f1`` (0.5 if no row has the label), else that of a rate of each
            label (or of one, with 0.5 for the others).
        log_priors: See :class:`~gpt_classifier.decision.rule.Decision`.

    Raises:
        InputError: The rule is none, or the rows are too few for the rate that it asks for.
    """
    multi_label = labels.ndim == 2
    truth = labels.astype(bool) if multi_label else labels[:, None] == np.arange(len(class_names))  # (N, K)
    raw = Decision(log_priors=list(log_priors), multi_label=multi_label)
    decision = replace(raw, temperature=temperature(logits, labels, raw))
    before, after = (measure_reliability(each.probabilities(logits), labels).error for each in (raw, decision))
    notes = [
        f"temperature {decision.temperature:.3g} from {len(labels):,} rows: expected calibration error "
        f"{before:.4f} before, {after:.4f} after, on these same rows"
    ]
    probabilities = decision.probabilities(logits)
    if decide is None or (decide == "argmax" and not multi_label):
        notes += describe_rates(decision, probabilities, labels, class_names) if multi_label else []
        return OperatingPoint(decision, tuple(notes))
    kind, value, of = _read_rule(decide, class_names, multi_label)
    decision = replace(decision, asked={kind: value} if of is None else {kind: value, "of": of})
    if kind == "costs":
        decision = replace(decision, costs=_read_costs(value, class_names))
    elif kind == "coverage":
        decision = replace(decision, set_threshold=find_set_threshold(probabilities, labels, value))
        covered = wilson(float(decision.sets(probabilities)[np.arange(len(labels)), labels].sum()), len(labels))
        notes.append(f"prediction sets hold the true class of {covered} of these rows")
    elif kind == "thresholds":
        decision = replace(decision, thresholds=_read_thresholds(value, class_names))
    elif (of == EACH and EACH not in class_names) or (multi_label and of is None):
        decision = replace(decision, thresholds=_find_thresholds(kind, value, probabilities, truth, class_names))
    elif multi_label:
        number, thresholds = list(class_names).index(str(of)), [0.5] * len(class_names)
        thresholds[number] = find_threshold(kind, value, probabilities[:, number], truth[:, number], str(of))
        decision = replace(decision, thresholds=thresholds)
    else:
        number = list(class_names).index(of) if of is not None else _rarer(labels, class_names)
        of = class_names[number]
        threshold = find_threshold(kind, value, probabilities[:, number], truth[:, number], of)
        decision = replace(decision, positive=number, threshold=threshold, asked={kind: value, "of": of})
    return OperatingPoint(decision, (*notes, *describe_rates(decision, probabilities, labels, class_names)))


def temperature(logits: np.ndarray, labels: np.ndarray, decision: Decision) -> float:
    """The temperature of the lowest cross-entropy, between 0.05 and 20."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        given = replace(decision, temperature=float(np.exp(log_temperature))).probabilities(logits)
        of_labels = given[rows, labels] if labels.ndim == 1 else np.where(labels > 0, given, 1 - given)
        return -float(np.log(of_labels + 1e-300).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def find_threshold(kind: str, rate: float, scores: np.ndarray, positive: np.ndarray, name: str) -> float:
    """The threshold on a class's probability (N,) that keeps ``rate`` on rows like these, or has the maximum F1.

    For a false-positive rate and a recall it is a conformal one: with n rows of the kind that the rate counts, the
    k-th most extreme of their scores, k = floor((n + 1) rate), is passed by a new one with probability k / (n + 1) at
    most (V. Vovk et al., 2005). Hence n rows support rates from 1 / (n + 1) on.
    """
    if kind in ("min_precision", MAX_F1):
        order = np.argsort(-scores, kind="stable")
        ranked, hits, said = scores[order], np.cumsum(positive[order]), np.arange(1, len(order) + 1)
        last = np.append(ranked[1:] < ranked[:-1], True)  # rows of one score are taken together
        if kind == MAX_F1:
            f1 = np.where(last, 2 * hits / (said + positive.sum()), -1)
            return float(ranked[f1.argmax()]) if positive.any() else 0.5
        precision = hits / said
        good = np.flatnonzero((precision >= rate) & last)
        if not len(good):
            best = float(precision[last].max(initial=0))
            raise InputError(f"min_precision {rate} of {name} is out of reach: these rows give {best:.3f} at most")
        return float(ranked[good[-1]])
    counted, allowed = (scores[~positive], rate) if kind == "max_fpr" else (scores[positive], 1 - rate)
    k = int(np.floor((len(counted) + 1) * allowed + 1e-9))
    if k == 0:
        minimum = 1 / (len(counted) + 1)
        supported = f"of class {name} support min_recall up to {1 - minimum:.4g}"
        if kind == "max_fpr":
            supported = f"not of class {name} support max_fpr from {minimum:.4g}"
        raise InputError(f"{kind} {rate} needs more validation rows: {len(counted):,} rows {supported}")
    ordered = np.sort(counted)
    if kind == "max_fpr":
        return float(np.nextafter(ordered[-k], 2)) if k <= len(counted) else 0.0
    return float(ordered[k - 1]) if k <= len(counted) else 1.0


def _find_thresholds(
    kind: str, rate: float, probabilities: np.ndarray, truth: np.ndarray, class_names: Sequence[str]
) -> list[float]:
    """The threshold of each class by :func:`find_threshold`.

    Raises ``InputError`` that names the classes whose rows are too few.
    """
    thresholds, refused = [], []
    for number, name in enumerate(class_names):
        try:
            thresholds.append(find_threshold(kind, rate, probabilities[:, number], truth[:, number], name))
        except InputError as error:
            refused.append(str(error))
    if refused:
        more = f"; likewise {len(refused) - SHOWN} more classes" if len(refused) > SHOWN else ""
        raise InputError("; ".join(refused[:SHOWN]) + more)
    return thresholds


def find_set_threshold(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> float:
    """The minimum probability of a prediction set's members, so that sets hold the true class that often.

    Split conformal prediction: M. Sadinle, J. Lei and L. Wasserman, "Least Ambiguous Set-Valued Classifiers", 2019.
    """
    true = np.sort(probabilities[np.arange(len(labels)), labels])
    k = int(np.floor((len(true) + 1) * (1 - coverage) + 1e-9))
    if k == 0:
        supported = len(true) / (len(true) + 1)
        raise InputError(f"coverage {coverage} needs more validation rows: {len(true):,} support up to {supported:.4g}")
    return float(true[k - 1])


def describe_rates(
    decision: Decision, probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> list[str]:
    """What a decision does to these rows: sentences with 95 % intervals."""
    said = decision.sets(probabilities)
    lines = []
    thresholds = dict(enumerate(decision.thresholds))
    if decision.multi_label and not thresholds:
        thresholds = dict.fromkeys(range(len(class_names)), 0.5)
    if decision.positive is not None:
        thresholds = {decision.positive: decision.threshold}
    for number, threshold in thresholds.items():
        truth = labels[:, number] > 0 if decision.multi_label else labels == number
        found = said[:, number]
        counts = {
            "false-positive rate": (int((found & ~truth).sum()), int((~truth).sum())),
            "recall": (int((found & truth).sum()), int(truth.sum())),
            "precision": (int((found & truth).sum()), int(found.sum())),
        }
        parts = [f"{rate} {wilson(*count)}" for rate, count in counts.items() if count[1]]
        lines.append(f"{class_names[number]} from probability {threshold:.4g} on: {', '.join(parts)}")
    if decision.multi_label:
        whole = float((said == (labels > 0)).all(-1).sum())
        return [*lines, f"texts of which all labels are right: {wilson(whole, len(labels))}"]
    predicted = decision.predict(probabilities)
    decided = predicted >= 0
    if not decided.all():
        lines.append(f"predicted: {wilson(float(decided.sum()), len(labels))}, the model abstains from the others")
    if decided.any():
        right = int((predicted == labels)[decided].sum())
        lines.append(f"accuracy of the predictions: {wilson(right, int(decided.sum()))}")
    return lines


def log_priors(trained: Sequence[float], natural: Sequence[float]) -> list[float]:
    """What to add to the logits (K,) to adapt probabilities from the class prior of training to the ``natural`` one."""
    if min(trained) <= 0 or min(natural) <= 0:
        raise InputError("probabilities cannot be adapted to the class prior: a class has no row in training or in use")
    ratio = np.log(np.array(natural) / sum(natural)) - np.log(np.array(trained) / sum(trained))
    return [float(value) for value in ratio - ratio.mean()]


def log_odds(trained: Sequence[float], natural: Sequence[float]) -> list[float]:
    """As :func:`log_priors`, for the probability of each label (K,) in a multi-label model."""
    if max(trained) >= 1 or max(natural) >= 1:
        raise InputError("probabilities cannot be adapted to the prevalence: all texts have one of the labels")
    pairs = [log_priors((1 - t, t), (1 - n, n)) for t, n in zip(trained, natural, strict=True)]
    return [present - absent for absent, present in pairs]


def check_rule(decide: str | Mapping[str, Any] | None, class_names: Sequence[str], multi_label: bool) -> None:
    """Raises ``InputError`` unless ``decide`` is a rule for these classes; see :func:`fit`."""
    if decide is None or (decide == "argmax" and not multi_label):
        return
    kind, value, _ = _read_rule(decide, class_names, multi_label)
    if kind == "costs":
        _read_costs(value, class_names)
    elif kind == "thresholds":
        _read_thresholds(value, class_names)


def _read_rule(
    decide: str | Mapping[str, Any], class_names: Sequence[str], multi_label: bool
) -> tuple[str, Any, str | None]:
    """The kind of a rule, its value and the class that it is of.

    For a multi-label model a rate is that of each label unless ``of`` names one.
    """
    if multi_label and decide == MAX_F1:
        return MAX_F1, EACH, None
    rule = dict(decide) if isinstance(decide, Mapping) else {}
    of = rule.pop("of", None)
    kind = next(iter(rule), "")
    if len(rule) != 1 or kind not in (MULTI_LABEL_RULES if multi_label else RULES):
        if multi_label:
            expected = ", ".join(f"{{{name}: 0.9}}" for name in MULTI_LABEL_RULES)
            raise InputError(f"decide is {decide!r}, expected for a multi-label model {MAX_F1}, {expected}")
        raise InputError(f"decide is {decide!r}, expected {EXAMPLES}{did_you_mean(str(kind), RULES)}")
    if of is not None and str(of) not in (*class_names, EACH):
        what = "label" if multi_label else "class"
        raise InputError(f"decide is of {what} {of!r}, expected one of {', '.join(class_names)}, or {EACH}")
    if not multi_label and of == EACH and EACH not in class_names and kind not in PER_CLASS_RATES:
        raise InputError(
            f"decide is {decide!r}, but a text gets one class, for which only {' and '.join(PER_CLASS_RATES)} can be "
            "kept of each class: name one class, or ask for coverage"
        )
    value = rule[kind]
    if kind in RATES and not (isinstance(value, int | float) and 0 < value < 1):
        raise InputError(f"{kind} is {value!r}, expected a number between 0 and 1")
    return kind, value, None if of is None else str(of)


def _rarer(labels: np.ndarray, class_names: Sequence[str]) -> int:
    if len(class_names) != 2:
        raise InputError(f"decide needs the class that its rate is of: of, one of {', '.join(class_names)}, or {EACH}")
    return int(np.bincount(labels, minlength=2).argmin())


def _read_thresholds(given: Any, class_names: Sequence[str]) -> list[float]:
    """A threshold for each class, given as a mapping or as one number for all."""
    each = given if isinstance(given, Mapping) else dict.fromkeys(class_names, given)
    by_name: dict[str, Any] = {str(name): value for name, value in each.items()}
    within = all(is_number(value) and 0 <= value <= 1 for value in by_name.values())
    if by_name.keys() != set(class_names) or not within:
        raise InputError(
            f"thresholds are {given!r}, expected a number between 0 and 1, or one for each of {', '.join(class_names)}"
        )
    return [float(by_name[name]) for name in class_names]


def _read_costs(costs: Any, class_names: Sequence[str]) -> list[list[float]]:
    expected = "the cost of a wrong prediction for each true class, or a mapping of true class to costs of predictions"
    if not isinstance(costs, Mapping) or {str(name) for name in costs} != set(class_names):
        raise InputError(f"costs are {costs!r}, expected {expected}: {', '.join(class_names)}")
    rows = []
    for true, cost in sorted(
        ((str(name), cost) for name, cost in costs.items()), key=lambda c: class_names.index(c[0])
    ):
        row = {name: 0.0 if name == true else cost for name in class_names}
        if isinstance(cost, Mapping):
            row = dict.fromkeys(class_names, 0.0) | {str(name): value for name, value in cost.items()}
        values = [row[name] for name in class_names]
        if len(row) != len(class_names) or not all(is_number(value) and value >= 0 for value in values):
            raise InputError(f"costs of {true} are {cost!r}, expected {expected}, each 0 or more")
        rows.append([float(value) for value in values])
    return rows
