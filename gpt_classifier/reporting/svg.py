"""Draws figures as SVG that takes its colours from the page around it, so that they suit light, dark and paper.

Every string that comes from data is escaped. Sizes are those of a phone: 340 units are about its width.
"""

import math
from collections.abc import Sequence
from html import escape
from itertools import starmap
from typing import NamedTuple

import numpy as np

from gpt_classifier.text.normalize import count_columns, shorten

WIDTH, HEIGHT = 340, 270
LEFT, RIGHT, TOP, BOTTOM = 42, 10, 8, 36  # margins of a chart, for its axes
MAX_POINTS = 300  # of a line, at most twice as many as there are pixels
COLOURS = 10
MAX_NAME = 28  # columns of a name in a matrix; longer ones lose their middle
LETTER = 6.8  # width of a column of letters, in a wide font


class Line(NamedTuple):
    """A line through points, or the points alone with an interval each."""

    x: np.ndarray | Sequence[float]
    y: np.ndarray | Sequence[float]
    colour: str  # a class of the page: c0 to c9, muted
    points: bool = False  # whether the points are marked
    intervals: Sequence[tuple[float, float]] = ()  # of each y; then no line joins the points


def choose_colour(number: int) -> str:
    """The class of a colour."""
    return f"c{number % COLOURS}"


def draw_chart(
    lines: Sequence[Line],
    labels: tuple[str, str],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    diagonal: bool = False,
    mark: tuple[float, str] | None = None,
) -> str:
    """Lines over two axes with these ``labels``; ``mark`` is an x with a word that stands at it."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> str:
        across = (x - x_range[0]) / (x_range[1] - x_range[0])
        up = (y - y_range[0]) / (y_range[1] - y_range[0])
        return f"{LEFT + width * across:.1f} {TOP + height * (1 - min(1.0, max(0.0, up))):.1f}"

    parts = []
    for value in choose_ticks(*x_range):
        x = place(value, y_range[0]).split()[0]
        parts.append(f'<path class="grid" d="M{x} {TOP}v{height}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{TOP + height + 14}" text-anchor="middle">{value:,.4g}</text>')
    for value in choose_ticks(*y_range):
        y = place(x_range[0], value).split()[1]
        parts.append(f'<path class="grid" d="M{LEFT} {y}h{width}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 5}" y="{y}" dy="3.5" text-anchor="end">{value:,.4g}</text>')
    if diagonal:
        low, high = max(x_range[0], y_range[0]), min(x_range[1], y_range[1])
        parts.append(f'<path class="diagonal" d="M{place(low, low)}L{place(high, high)}"/>')
    if mark is not None:
        x = place(mark[0], y_range[0]).split()[0]
        side, shift = ("end", -4) if float(x) > LEFT + width / 2 else ("start", 4)
        parts.append(f'<path class="diagonal" d="M{x} {TOP}v{height}"/>')
        parts.append(
            f'<text class="tick" x="{float(x) + shift}" y="{TOP + 10}" text-anchor="{side}">{escape(mark[1])}</text>'
        )
    for line in lines:
        xs, ys = np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)
        if line.intervals:
            bars = zip(xs, line.intervals, strict=True)
            path = "".join(f"M{place(x, low)}L{place(x, high)}" for x, (low, high) in bars)
        else:
            path = "M" + "L".join(starmap(place, zip(*thin_line(xs, ys), strict=True)))
        parts.append(f'<path class="line {line.colour}" d="{path}"/>')
        if line.points:
            dots = "".join(f"M{place(*point)}h0" for point in zip(xs, ys, strict=True))
            parts.append(f'<path class="dots {line.colour}" d="{dots}"/>')
    middle = LEFT + width / 2
    parts.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(labels[0])}</text>')
    parts.append(
        f'<text class="axis" transform="translate(10 {TOP + height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(labels[1])}</text>"
    )
    return _svg(WIDTH, HEIGHT, f"{labels[1]} against {labels[0]}", parts, "chart")


def choose_ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, four to eight of them."""
    unit = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(unit * factor for factor in (1, 2, 5, 10) if (high - low) / (unit * factor) <= 6)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def thin_line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most about twice MAX_POINTS points: of a longer line, the lowest and the highest one of each part."""
    if len(x) <= 2 * MAX_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), MAX_POINTS)
    kept = [0, len(x) - 1, *(part[end(y[part])] for part in parts for end in (np.argmin, np.argmax))]
    order = np.unique(kept)
    return x[order], y[order]


def draw_confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> str:
    """Counts (K, K), a row for each true class, each cell coloured by its fraction of the row."""
    k = len(names)
    cell = 46 if k <= 5 else 30 if k <= 12 else 22 if k <= 30 else 12
    shown = [shorten(" ".join(name.split()), MAX_NAME) for name in names]
    room = LETTER * max(map(count_columns, shown)) + 8
    upright = max(map(count_columns, shown)) * LETTER < cell
    above = 16 if upright else room
    rows = counts.sum(1)
    size = min(11.0, 0.85 * cell)
    parts = []
    for i, (name, short) in enumerate(zip(names, shown, strict=True)):
        y, x = above + (i + 0.5) * cell, room + (i + 0.5) * cell
        title = f"<title>{escape(name)}</title>"
        parts.append(f'<text class="tick" font-size="{size:.1f}" x="{room - 5:.1f}" y="{y:.1f}" dy=".35em" ')
        parts.append(f'text-anchor="end">{escape(short)}{title}</text>')
        where = f"translate({x:.1f} {above - 5:.1f})" + ("" if upright else " rotate(-90)")
        anchor, shift = ("middle", "") if upright else ("start", ' dy=".35em"')
        parts.append(f'<text class="tick" font-size="{size:.1f}" transform="{where}"{shift} text-anchor="{anchor}">')
        parts.append(f"{escape(short)}{title}</text>")
    for i, j in np.argwhere(counts).tolist():
        fraction, x, y = counts[i, j] / rows[i], room + j * cell, above + i * cell
        # Of many classes most cells hold a few percent, which would be next to nothing.
        opacity = fraction if k <= 12 else math.sqrt(fraction)
        about = f"{names[i]}, predicted as {names[j]}: {counts[i, j]:,} of {rows[i]:,}"
        parts.append(
            f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{cell - 1}" height="{cell - 1}" '
            f'fill-opacity="{opacity:.3f}"><title>{escape(about)}</title></rect>'
        )
        number = f"{counts[i, j]:,}"
        if (letters := min(11.0, 1.6 * cell / max(1, len(number)))) >= 7 and cell >= 20:
            inverse = " on" if opacity > 0.6 else ""
            parts.append(
                f'<text class="count{inverse}" font-size="{letters:.1f}" x="{x + (cell - 1) / 2:.1f}" '
                f'y="{y + cell / 2:.1f}" dy=".35em" text-anchor="middle">{number}</text>'
            )
    side = k * cell
    parts.append(f'<rect class="frame" x="{room - 0.5:.1f}" y="{above - 0.5:.1f}" width="{side}" height="{side}"/>')
    return _svg(room + side + 4, above + side + 4, "confusion matrix", parts, "matrix")


def _svg(width: float, height: float, title: str, parts: Sequence[str], kind: str) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg class="{kind}" role="img" aria-label="{escape(title)}" {size}>{"".join(parts)}</svg>'
