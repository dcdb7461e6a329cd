"""Says whether a network beats the best baseline, and no more than the test rows can tell."""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from gpt_classifier.evaluation.baselines import Baselines, right
from gpt_classifier.statistics import resampling
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.statistics.paired_tests import (
    ALPHA,
    independent_rows,
    number,
    paired_difference,
    paired_p_value,
    rows_needed,
)


def against_baselines(
    predicted: np.ndarray, labels: np.ndarray, baselines: Baselines, clusters: Sequence[Hashable] | None = None
) -> dict[str, Any]:
    """Scores of the baselines, and how the network compares with the best one, as values that JSON knows.

    Args:
        predicted: (N,) class names, by the network, or (N, K) whether a text has each label.
        labels: The true ones. Of several labels a text counts as right where all are.
        baselines: Trained on the rows that the network was trained on.
        clusters: (N,) which test rows are near-duplicates of each other.
    """
    result: dict[str, Any] = {"training_rows": baselines.training_rows, "skipped": baselines.skipped, "models": []}
    if not baselines.trained:
        return result
    best = baselines.best
    f1 = {each.name: resampling.macro_f1(labels, each.predicted) for each in baselines.trained}
    of_difference = resampling.difference(resampling.macro_f1(labels, predicted), f1[best.name])
    intervals = resampling.intervals(labels, {**f1, "difference": of_difference}, clusters)
    every_row = np.ones((1, len(labels)))
    for each in baselines.trained:
        count = int(right(each.predicted, labels).sum())
        result["models"].append(
            {
                "name": each.name,
                "accuracy": count / len(labels),
                "accuracy_interval": wilson(count, len(labels))[1:],
                "f1_macro": _plain(f1[each.name](every_row)[0]),
                "f1_macro_interval": intervals[each.name],
                "accuracy_to_choose": each.accuracy_to_choose,
                "seconds": each.seconds,
            }
        )
    one, other = right(predicted, labels), right(best.predicted, labels)
    value, low, high = paired_difference(one, other, clusters)
    p = paired_p_value(one[None], other[None])
    needed = rows_needed(value, float(np.mean(one != other)))
    if needed is not None and clusters is not None:  # of near-duplicates it takes more
        needed = math.ceil(needed * len(labels) / independent_rows(one.astype(float) - other, clusters))
    result |= {
        "chosen_on": baselines.chosen_on,
        "best": best.name,
        "difference": value,
        "difference_interval": [low, high],
        "only_network_right": int((one & ~other).sum()),
        "only_best_right": int((other & ~one).sum()),
        "p": p,
        # Both, as McNemar's test takes near-duplicates for independent, and the interval is not exact.
        "told_apart": p < ALPHA and (low > 0 or high < 0),
        "rows_needed": needed,
        "f1_macro_difference": _plain(of_difference(every_row)[0]),
        "f1_macro_difference_interval": intervals["difference"],
    }
    return result | {"verdict": verdict(result, len(labels))}


def verdict(result: dict[str, Any], rows: int) -> str:
    """One sentence on what :func:`against_baselines` found on so many test rows, whichever side it favours."""
    low, high = (100 * bound for bound in result["difference_interval"])
    points = 100 * result["difference"]
    how = f"{abs(points):.2f} points {'more' if points > 0 else 'less'} accurate than" if points else "as accurate as"
    evidence = f"95 % paired interval {low:+.1f} to {high:+.1f} points, exact McNemar p {number(result['p'])}"
    against = f"{result['best']}, the best baseline on {result['chosen_on']}"
    said = f"Verdict: on {rows:,} test texts the network is {how} {against} ({evidence})"
    if result["told_apart"]:
        return f"{said}: the test tells them apart."
    if result["rows_needed"] is None:
        return f"{said}: the test cannot tell them apart."
    needed = f"it would take about {_two_digits(result['rows_needed']):,} texts, if this is the true difference"
    return f"{said}: the test cannot tell them apart; {needed}."


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _two_digits(n: int) -> int:
    """Rounded up: the number is an estimate."""
    unit = 10 ** max(0, len(str(n)) - 2)
    return math.ceil(n / unit) * unit
