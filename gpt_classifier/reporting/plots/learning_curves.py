"""Draws accuracies over the number of training texts."""

from collections.abc import Iterable, Sequence
from math import log
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gpt_classifier.reporting.plots.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # M. Okabe and K. Ito, 2008
MARKERS = "osD^vP*X<>p"  # 7 colours and 11 markers: 77 rows differ in one or the other


class Curve(NamedTuple):
    """The accuracies of one model at several sizes, in percent."""

    name: str
    texts: list[int]  # (N,) numbers of training texts
    accuracies: list[list[float]]  # (N, 3) each with the ends of its interval
    dashed: bool


def learning_curves(curves: Sequence[Curve], title: str, *, warning: bool) -> "Figure":
    """Test accuracy over the number of labelled training texts, with intervals; the title may be a ``warning``."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    labels = ["\n".join(wrap(curve.name, 44, break_on_hyphens=False)) for curve in curves]
    legend = 0.5 + sum(0.08 + 0.15 * (label.count("\n") + 1) for label in labels)  # inches
    figure = new_figure(10.5, max(5.0, legend))
    axes = figure.subplots()
    sizes = {texts for curve in curves for texts in curve.texts}
    step = log(max(sizes) / min(sizes)) * min(0.01, 0.06 / len(curves)) if sizes else 0.0
    for which, (curve, label) in enumerate(zip(curves, labels, strict=True)):
        beside = np.exp(step * (which - (len(curves) - 1) / 2))  # intervals at the same size stand side by side
        value, low, high = np.array(curve.accuracies).T
        style: dict[str, Any] = {"color": COLOURS[which % len(COLOURS)], "marker": MARKERS[which % len(MARKERS)]}
        style |= {"linestyle": "--" if curve.dashed else "-", "linewidth": 1.5, "markersize": 5}
        style |= {"capsize": 2, "elinewidth": 1}
        axes.errorbar(beside * np.array(curve.texts), value, (value - low, high - value), label=label, **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_ticks(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda texts, _: f"{texts:,.0f}"))
    axes.set_xlabel("labelled training texts")
    axes.set_ylabel("test accuracy, %")
    heading = axes.set_title(title, loc="left", fontsize=10)
    if warning:
        heading.set_color("tab:red")
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if curves:
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _ticks(sizes: Iterable[int]) -> list[int]:
    """The sizes, from the largest down, without those whose numbers would overlap on a logarithmic axis."""
    ticks: list[int] = []
    descending = sorted(sizes, reverse=True)
    for size in descending:
        if not ticks or log(ticks[-1] / size) > 0.08 * log(descending[0] / descending[-1]):
            ticks.append(size)
    return ticks[::-1] or [1]
