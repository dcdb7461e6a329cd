"""Hands the results of a study to the figures; draws nothing itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpt_classifier.experiments.study.learning_curve import Curves, complete_sizes, curve_name, row_curves
from gpt_classifier.experiments.study.table import Line
from gpt_classifier.reporting.plots import forest, learning_curves
from gpt_classifier.statistics.paired_tests import ALPHA

if TYPE_CHECKING:
    from gpt_classifier.reporting.plots.figure import Figure

SMOKE = "Smoke test: tiny models"


def forest_plot(table: Sequence[Line]) -> "Figure":
    """A forest plot of the test accuracies with their intervals, and of the published ones."""
    rows, sizes = [], set()
    for line in table:
        if line.test is not None:
            value, low, high = (100 * bound for bound in line.test)
            published = line.row.published["test"] if line.row.published else None
            colour, meaning = _colour(line)
            named = line.against is not None and line.against.row.name == line.row.against
            name = f"{line.title} ({line.row.name}{f', against {line.row.against}' if named else ''})"
            rows.append(forest.Estimate(name, value, low, high, colour, meaning, published))
            sizes.add(line.texts)
    texts = " or ".join(f"{n:,}" for n in sorted(sizes))
    first = table[0].test if table else None
    return forest.forest_plot(
        rows,
        f"test accuracy, % of {texts or 'no'} texts, 95 % interval",
        None if first is None else 100 * first.value,
        SMOKE if any(run.smoke for line in table for run in line.runs) else "",
    )


def _colour(line: Line) -> tuple[str, str]:
    """Colour of a row in the figure, and its meaning in the legend."""
    if line.against is None:
        return "black", "first row"
    if line.p_corrected is None:
        return "tab:grey", "not compared"
    if line.p_corrected < ALPHA:
        return "tab:red", f"unlike the row it is compared with (corrected p < {ALPHA})"
    return "tab:blue", "no evidence of a difference"


def learning_curve(found: Curves) -> "Figure":
    """Test accuracy over the number of labelled training texts, with 95 % intervals, a line for each row.

    Networks have solid lines, classical models dashed ones.
    """
    by_row = [curve for curve in row_curves(found) if curve]
    curves, sizes = [], set()
    for curve in by_row:
        if lines := complete_sizes(curve):
            tests = [[100 * bound for bound in line.test] for line in lines if line.test is not None]
            texts = [line.training_texts for line in lines]
            curves.append(learning_curves.Curve(curve_name(curve), texts, tests, bool(curve[0].row.classical)))
            sizes |= {line.texts for line in lines}
    tested = " or ".join(f"{n:,}" for n in sorted(sizes))
    title = f"{tested} test texts, 95 % intervals" if tested else "no size is complete"
    smoke = any(run.smoke for curve in by_row for line in curve for run in line.runs)
    return learning_curves.learning_curves(curves, SMOKE if smoke else title, warning=smoke)
