"""Draws the scores of a search's trials over time and against each setting."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gpt_classifier.reporting.plots.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Scores(NamedTuple):
    """Scores by the number of the trial, counted from 1, and the numbers of those that failed."""

    complete: dict[int, float]
    stopped_early: dict[int, float]
    failed: list[int]


class Setting(NamedTuple):
    """A setting with its value in each trial: the position among ``choices``, or a number within ``limits``."""

    name: str
    values: list[float]
    limits: tuple[float, float] = (0.0, 0.0)
    logarithmic: bool = False
    choices: list[str] | None = None


def trial_scores(
    score: str, scores: Scores, best: Sequence[float], trials: int, settings: Sequence[Setting]
) -> "Figure":
    """A figure of the score of each trial with the best so far, and below it of the scores against each setting.

    Args:
        score: Name of the score.
        scores: Those of the trials.
        best: The best score so far, at each complete trial.
        trials: Number of trials.
        settings: What the trials differ in.
    """
    columns = min(3, len(settings))
    rows = -(-len(settings) // columns)
    figure = new_figure(9, 3.4 + 2.4 * rows)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1.4, *[1] * rows])
    marks = [("o", "tab:blue", "complete", scores.complete), ("x", "grey", "stopped early", scores.stopped_early)]

    _draw_trials(figure.add_subplot(grid[0, :]), score, scores, best, trials, marks)
    for place, setting in enumerate(settings):
        axes = figure.add_subplot(grid[1 + place // columns, place % columns])
        _set_limits(axes, setting)
        for mark, colour, _, found in marks:
            shown = [setting.values[number - 1] for number in found]
            axes.plot(shown, list(found.values()), mark, color=colour, markersize=4)
        axes.set_xlabel(setting.name)

    all_values = [*scores.complete.values(), *scores.stopped_early.values()]
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        if min(all_values) > 0 and max(all_values) > 20 * min(all_values):
            axes.set_yscale("log")  # otherwise one trial that diverged would hide the differences of all others
    return figure


def _draw_trials(
    axes: "Axes",
    score: str,
    scores: Scores,
    best: Sequence[float],
    trials: int,
    marks: Sequence[tuple[str, str, str, dict[int, float]]],
) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.step([*scores.complete, trials], [*best, best[-1]], where="post", color="tab:red", label="best so far")
    for mark, colour, label, found in marks:
        if found:
            axes.plot(list(found), list(found.values()), mark, color=colour, label=label)
    for number in scores.failed:
        first = number == min(scores.failed)
        axes.axvline(number, color="tab:red", linewidth=0.8, linestyle=":", label="failed" if first else None)
    axes.set(xlabel="trial", ylabel=score)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)


def _set_limits(axes: "Axes", setting: Setting) -> None:
    low, high = setting.limits
    if setting.choices is not None:
        axes.set_xticks(range(len(setting.choices)), [choice[:20] for choice in setting.choices])
        axes.set_xlim(-0.5, len(setting.choices) - 0.5)
    elif setting.logarithmic:
        margin = (high / low) ** 0.05
        axes.set(xscale="log", xlim=(low / margin, high * margin))
    else:
        margin = 0.05 * (high - low)
        axes.set_xlim(low - margin, high + margin)
