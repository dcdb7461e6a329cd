"""Draws the scores of a linear probe by block."""

from typing import TYPE_CHECKING, Any

from gpt_classifier.evaluation.probe_results import ProbeResults
from gpt_classifier.reporting.plots.figure import new_figure
from gpt_classifier.reporting.plots.learning_curves import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def probe_figure(probe: ProbeResults) -> "Figure":
    """The monitored score by the number of blocks that are kept, a line for each pooling."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(5.0, 3.2)
    axes = figure.subplots()
    poolings = dict.fromkeys(pooling for _, pooling in probe.places)
    for number, pooling in enumerate(poolings):
        points = [(blocks, trial.score) for (blocks, p), trial in probe.places.items() if p == pooling]
        style: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": 4,
        }
        axes.plot(*zip(*points, strict=True), label=pooling.replace("_", " "), linewidth=1.5, **style)
    axes.axvline(probe.best.blocks, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("blocks that are kept")
    axes.set_ylabel(probe.monitor.removeprefix("val/"))
    axes.set_title(f"selected on {probe.scored_on}", loc="left", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def probe_table(probe: ProbeResults) -> str:
    """All that was tried, in Markdown."""
    header = f"pooling | blocks | strength | {probe.monitor.removeprefix('val/')} | loss\n---|--:|--:|--:|--:\n"
    return header + "\n".join(
        f"{t.pooling.replace('_', ' ')} | {t.blocks} | {t.strength:.3g} | {t.score:.4f} | {t.loss:.4f}"
        for t in probe.trials
    )
