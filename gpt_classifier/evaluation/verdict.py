"""Says whether a network beats the best baseline, and no more than the test rows can tell."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gpt_classifier.evaluation.baselines import Baselines, right
from gpt_classifier.records import INLINE
from gpt_classifier.statistics import resampling
from gpt_classifier.statistics.intervals import Interval, wilson
from gpt_classifier.statistics.paired_tests import (
    ALPHA,
    format_p_value,
    format_signed,
    independent_rows,
    paired_difference,
    paired_p_value,
    rows_needed,
)


@dataclass(frozen=True, kw_only=True)
class BaselineScores:
    name: str
    accuracy: float
    accuracy_interval: Interval
    f1_macro: float | None
    f1_macro_interval: Interval | None
    accuracy_to_choose: float | None  # of the rows that choose the best one
    seconds: float | None  # of training and of classifying the test texts


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the network compares with the best baseline; differences are those of the network."""

    chosen_on: str
    best: str
    difference: float
    difference_interval: Interval
    only_network_right: int
    only_best_right: int
    p: float
    told_apart: bool
    rows_needed: int | None
    f1_macro_difference: float | None
    f1_macro_difference_interval: Interval | None
    verdict: str  # in one sentence, and a second one where another baseline is better on the test rows
    left_out: list[str] = field(default_factory=list)  # baselines that were not trained
    better: str | None = None  # the baseline that is most accurate on the test rows, if that is another one
    better_difference: float | None = None  # of the network and that one


@dataclass(frozen=True, kw_only=True)
class BaselineResults:
    training_rows: int
    skipped: dict[str, str]
    models: list[BaselineScores]
    against_best: Verdict | None = field(default=None, metadata=INLINE)  # None where none could be trained


def score_baselines(
    predicted: np.ndarray, labels: np.ndarray, baselines: Baselines, clusters: Sequence[Hashable] | None = None
) -> BaselineResults:
    """Scores of the baselines, and how the network compares with the best one.

    Args:
        predicted: (N,) class names, by the network, or (N, K) whether a text has each label.
        labels: The true ones. A multi-label text counts as right where all its labels are.
        baselines: Trained on the rows that the network was trained on.
        clusters: (N,) which test rows are near-duplicates of each other.
    """
    rows = baselines.training_rows
    if not baselines.trained:
        return BaselineResults(training_rows=rows, skipped=baselines.skipped, models=[])
    f1 = {each.name: resampling.macro_f1(labels, each.predicted) for each in baselines.trained}
    f1["difference"] = resampling.difference(resampling.macro_f1(labels, predicted), f1[baselines.best.name])
    intervals = resampling.intervals(labels, f1, clusters)
    every_row = np.ones((1, len(labels)))
    values = {name: _plain(score(every_row)[0]) for name, score in f1.items()}
    models = []
    for each in baselines.trained:
        accuracy, low, high = wilson(int(right(each.predicted, labels).sum()), len(labels))
        models.append(
            BaselineScores(
                name=each.name,
                accuracy=accuracy,
                accuracy_interval=(low, high),
                f1_macro=values[each.name],
                f1_macro_interval=intervals[each.name],
                accuracy_to_choose=each.accuracy_to_choose,
                seconds=each.seconds,
            )
        )
    f1_difference = values["difference"], intervals["difference"]
    found = _compare_with_best(predicted, labels, baselines, clusters, f1_difference)
    return BaselineResults(training_rows=rows, skipped=baselines.skipped, models=models, against_best=found)


def _compare_with_best(
    predicted: np.ndarray,
    labels: np.ndarray,
    baselines: Baselines,
    clusters: Sequence[Hashable] | None,
    f1_difference: tuple[float | None, Interval | None],
) -> Verdict:
    """``f1_difference`` is that of macro F1, with its interval."""
    best = baselines.best
    one, other = right(predicted, labels), right(best.predicted, labels)
    value, low, high = paired_difference(one, other, clusters)
    p = paired_p_value(one[None], other[None])
    needed = rows_needed(value, float(np.mean(one != other)))
    if needed is not None and clusters is not None:  # of near-duplicates it takes more
        needed = math.ceil(needed * len(labels) / independent_rows(one.astype(float) - other, clusters))
    accuracy = {each.name: float(right(each.predicted, labels).mean()) for each in baselines.trained}
    most_accurate = max(accuracy, key=accuracy.__getitem__)
    better = most_accurate if accuracy[most_accurate] > accuracy[best.name] else None
    found = Verdict(
        chosen_on=baselines.chosen_on,
        best=best.name,
        difference=value,
        difference_interval=(low, high),
        only_network_right=int((one & ~other).sum()),
        only_best_right=int((other & ~one).sum()),
        p=p,
        # Both, as McNemar's test takes near-duplicates for independent, and the interval is not exact.
        told_apart=p < ALPHA and (low > 0 or high < 0),
        rows_needed=needed,
        f1_macro_difference=f1_difference[0],
        f1_macro_difference_interval=f1_difference[1],
        verdict="",
        left_out=list(baselines.skipped),
        better=better,
        better_difference=None if better is None else float(one.mean()) - accuracy[better],
    )
    return replace(found, verdict=verdict_sentence(found, len(labels)))


def verdict_sentence(found: Verdict, rows: int) -> str:
    """What was found on so many test rows, whichever side it favours, and what it leaves out."""
    low, high = (format_signed(100 * bound) for bound in found.difference_interval)
    without = f" of those that were trained, without {' and '.join(found.left_out)}," if found.left_out else ""
    said = (
        f"Verdict: on {rows:,} test texts the network is {_accurate(found.difference)} {found.best}, the best baseline"
        f"{without} on {found.chosen_on} (95 % paired interval {low} to {high} points, exact McNemar p "
        f"{format_p_value(found.p)}): the test {'tells' if found.told_apart else 'cannot tell'} them apart"
    )
    if not found.told_apart and found.rows_needed is not None:
        unit = 10 ** max(0, len(str(found.rows_needed)) - 2)  # two digits, rounded up: the number is an estimate
        needed = math.ceil(found.rows_needed / unit) * unit
        said += f"; it would take about {needed:,} texts, if this is the true difference"
    if found.better is None or found.better_difference is None:
        return f"{said}."
    than = _accurate(found.better_difference)
    return f"{said}. On these texts {found.better} did better than {found.best}: the network is {than} it."


def _accurate(difference: float) -> str:
    """A difference of accuracies in words."""
    more = "more" if difference > 0 else "less"
    return f"{abs(100 * difference):.2f} points {more} accurate than" if difference else "as accurate as"


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
