"""Draws estimates with their intervals, one below the other."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gpt_classifier.reporting.plots.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Estimate(NamedTuple):
    """A value with its interval; those of one colour have one meaning, which the legend tells."""

    name: str
    value: float
    low: float
    high: float
    colour: str
    meaning: str
    published: float | None = None  # the value that was published, if any was


def forest_plot(
    estimates: Sequence[Estimate], label: str, reference: float | None = None, warning: str = ""
) -> "Figure":
    """A forest plot.

    Args:
        estimates: From top to bottom.
        label: Of the axis of their values.
        reference: A value that a vertical line marks.
        warning: A red title.
    """
    labels = ["\n".join(wrap(each.name, 52, break_on_hyphens=False)) for each in estimates]
    heights = np.array([0.16 + 0.16 * (label.count("\n") + 1) for label in labels])  # inches
    places, height = np.cumsum(heights) - heights / 2, float(heights.sum())
    figure = new_figure(10, 1.3 + height)
    axes = figure.subplots()
    drawn = set()
    for y, each in zip(places, estimates, strict=True):
        meaning = None if each.meaning in drawn else each.meaning
        axes.plot([each.low, each.high], [y, y], color=each.colour, linewidth=2, solid_capstyle="butt")
        axes.plot(each.value, y, "s", color=each.colour, markersize=6, label=meaning)
        drawn.add(each.meaning)
    for y, each in zip(places, estimates, strict=True):
        if each.published is not None:
            meaning = None if "published" in drawn else "published"
            axes.plot(each.published, y, "D", color="tab:purple", fillstyle="none", label=meaning)
            drawn.add("published")
    if reference is not None:
        axes.axvline(reference, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(places, labels, fontsize=9)
    axes.set_ylim(height or 1, 0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(label)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if warning:
        axes.set_title(warning, loc="left", color="tab:red")
    if drawn:
        figure.legend(loc="outside upper center", ncols=len(drawn), frameon=False, fontsize=8)
    return figure
