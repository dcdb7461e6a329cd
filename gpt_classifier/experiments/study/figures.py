"""Hands the table of a study to the figures; draws nothing itself."""

from typing import TYPE_CHECKING

import pandas as pd

from gpt_classifier.experiments.study.learning_curve import complete_sizes, name_curve, read_curves
from gpt_classifier.experiments.study.table import Line, read_lines
from gpt_classifier.reporting import plots
from gpt_classifier.statistics.paired_tests import ALPHA

if TYPE_CHECKING:
    from gpt_classifier.reporting.plots import Figure

SMOKE = "Smoke test: tiny models"


def forest_plot(table: pd.DataFrame) -> "Figure":
    """A forest plot of the test accuracies with their intervals, and of the published ones."""
    estimates, smoke = [], bool((table["smoke"] == "true").any())
    for line in read_lines(table[table["seeds"] > 0]):
        name = f"{line.title} ({line.row}{f', against {line.against}' if line.names_rival else ''})"
        value, low, high = 100 * line.test, 100 * line.test_low, 100 * line.test_high
        published = None if pd.isna(line.published_test) else line.published_test
        estimates.append(plots.Estimate(name, value, low, high, *_choose_colour(line), published))
    texts = " or ".join(f"{n:,}" for n in sorted({*table["texts"]} - {0}))
    first = None if table.empty or pd.isna(table["test"].iloc[0]) else 100 * table["test"].iloc[0]
    label = f"test accuracy, % of {texts or 'no'} texts, 95 % interval"
    return plots.draw_forest(estimates, label, first, SMOKE if smoke else "")


def _choose_colour(line: Line) -> tuple[str, str]:
    """Colour of a row in the figure, and its meaning in the legend."""
    if not line.against:
        return "black", "first row"
    if pd.isna(line.p_corrected):
        return "tab:grey", "not compared"
    if line.p_corrected < ALPHA:
        return "tab:red", f"unlike the row it is compared with (corrected p < {ALPHA})"
    return "tab:blue", "no evidence of a difference"


def draw_learning_curve(table: pd.DataFrame) -> "Figure":
    """Test accuracy over the number of labelled training texts, with 95 % intervals, a line for each row.

    Networks have solid lines, classical models dashed ones.
    """
    curves, tested = [], set()
    for curve in read_curves(table):
        if lines := complete_sizes(curve):
            tests = [[100 * line.test, 100 * line.test_low, 100 * line.test_high] for line in lines]
            texts = [line.training_texts for line in lines]
            curves.append(plots.LearningCurve(name_curve(curve), texts, tests, curve[0].classical))
            tested |= {f"{line.texts:,}" for line in lines}
    title = f"{' or '.join(sorted(tested))} test texts, 95 % intervals" if tested else "no size is complete"
    smoke = bool((table["smoke"] == "true").any())
    return plots.draw_learning_curves(curves, SMOKE if smoke else title, warning=smoke)
