"""Draws a trace: probabilities over tokens, with the words below them; computes nothing of it."""

import math
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from gpt_classifier.errors import InputError, reason
from gpt_classifier.inference.trace import Trace
from gpt_classifier.inference.trace_text import sentences, shown_word
from gpt_classifier.reporting.plots.figure import drawable, drawable_words, finish, new_figure
from gpt_classifier.text.normalize import columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
MAX_CURVES = 8  # more than this cannot be told apart
MAX_WORD = 18  # columns of a word
SIZE = 7.0  # of words, in points
LINE = 1.25 * SIZE / 72  # room of an upright word, in inches
NARROWEST, WIDEST = 4.5, 14.0  # inches
MARKED = 60  # points of more tokens would run into one another


def save(trace: Trace, path: Path) -> None:
    """Writes the figure; ``InputError`` where it cannot be written."""
    check_path(path)
    try:
        draw(trace).savefig(path)
    except OSError as error:
        raise InputError(f"the figure {path} cannot be written ({reason(error)})") from error


def check_path(path: Path) -> None:
    """Raises ``InputError`` for the name of a file that is no figure, or in a folder that is not there."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"the figure is {str(path)!r}, expected the name of a {', '.join(SUFFIXES)} file")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {str(path.parent)!r} for the figure {path.name}")


def draw(trace: Trace) -> "Figure":
    """The probabilities of the final class, and of those that are most probable anywhere, after each token.

    With attributions, those of each token below.
    """
    number = len(trace.tokens)
    labels = _labels(trace)
    words, families, boxes = drawable_words([word for _, word in labels], MAX_WORD)
    names, of_names, unnamed = drawable(trace.class_names)
    width = min(WIDEST, max(NARROWEST, 1 + LINE * max(len(labels), number / 4)))
    told, of_note, more_boxes = drawable_words(
        [line for text in sentences(trace) for line in wrap(text, int(17 * width))], 1000
    )
    figure = new_figure(width, 0.1)
    heights = [2.4] if trace.attributions is None else [2.4, 1.1]
    panels = figure.subplots(len(heights), sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    axes, last = panels[0], panels[-1]

    peaks = trace.probabilities.max(0)
    order = sorted(range(len(names)), key=lambda c: (c != trace.final_class, -peaks[c]))
    for c in order[:MAX_CURVES]:
        final = c == trace.final_class
        axes.plot(
            range(1, number + 1),
            trace.probabilities[:, c],
            marker="o" if number <= MARKED else "",
            markersize=2.5,
            linewidth=2 if final else 1,
            zorder=3 if final else 2,
            label=f"{trace.probabilities[-1, c]:.3f}  {names[c]}",
        )
    axes.set(ylabel="probability", ylim=(-0.02, 1.02), xlim=(0.5, number + 0.5))
    axes.grid(axis="y", alpha=0.3)
    if trace.decided_at is not None:
        mark = {"linestyle": ":", "color": "black", "linewidth": 1, "zorder": 1}
        axes.axvline(trace.decided_at + 1, label="the answer is reached", **mark)
        if last is not axes:
            last.axvline(trace.decided_at + 1, **mark)
    if trace.attributions is not None:
        signs = ["C2" if share > 0 else "C3" for share in trace.attributions]
        last.bar(range(1, number + 1), trace.attributions, color=signs, width=0.8)
        last.axhline(0, color="grey", linewidth=0.6)
        last.set(ylabel="attribution")
    room = _set_words(last, [place for place, _ in labels], words, 72 * (width - 0.8) / number)
    others = len(order) - MAX_CURVES
    note = told + ([f"{others} classes of lower probability are not drawn"] if others > 0 else [])
    note = list(dict.fromkeys([*note, *boxes, *more_boxes, *unnamed]))
    across = int(width / NARROWEST)
    rows = math.ceil((min(len(order), MAX_CURVES) + 1) / across)
    figure.legend(
        loc="outside lower left", fontsize=7.5, title="at the end", title_fontsize=7.5, alignment="left", ncols=across
    )
    figure.set_size_inches(width, sum(heights) + room + 0.16 * (rows + 2) + 0.13 * len(note))
    return finish(figure, note, list(dict.fromkeys([*families, *of_names, *of_note])))


def _labels(trace: Trace) -> list[tuple[int, str]]:
    """Words at the tokens, counted from 1, with which they have been read; those that share a token are one label."""
    labels: dict[int, str] = {}
    for number, word in enumerate(trace.words):
        place = word.token + 1
        labels[place] = labels.get(place, "") + shown_word(trace, number, MAX_WORD)
    return list(labels.items())


def _set_words(axes: "Axes", places: list[int], words: list[str], token: float) -> float:
    """Sets them below the axis, where a token is so many points wide, and returns the room that they take in inches.

    They lie where each has the room, and stand otherwise; where even so they would overlap some are left out.
    """
    letter = 0.62 * SIZE
    halves = [letter * (columns(word) + 1) / 2 for word in words]
    gaps = [token * (right - left) for left, right in pairwise(places)]
    if all(gap > left + right for gap, (left, right) in zip(gaps, pairwise(halves), strict=True)):
        axes.set_xticks(places, words, fontsize=SIZE)
        return 0.2
    kept: list[int] = []
    for number, place in enumerate(places):
        if not kept or token * (place - places[kept[-1]]) >= 72 * LINE * 0.9:
            kept.append(number)
    shown = [words[number] for number in kept]
    axes.set_xticks([places[number] for number in kept], shown, fontsize=SIZE, rotation=90)
    return letter * max(map(columns, shown)) / 72 + 0.1
