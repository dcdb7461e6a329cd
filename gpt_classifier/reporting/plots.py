"""Draws predictions, probes, studies and searches with matplotlib; computes nothing of them."""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from math import log
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from gpt_classifier.evaluation import metrics, ranking
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.evaluation.probe_results import ProbeResults
from gpt_classifier.text.normalize import count_columns, shorten

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # M. Okabe and K. Ito, 2008
MARKERS = "osD^vP*X<>p"  # 7 colours and 11 markers: 77 rows differ in one or the other
MAX_CURVES = 10  # more curves than this in one plot cannot be distinguished
MAX_CLASSES = 80  # more names than this beside one matrix cannot be read
MAX_CLASSES_IN_ORDER = 20  # larger matrices are sorted by rows, as the order of many names says little
MAX_CLASSES_WITH_NUMBERS = 30  # cells of larger matrices have no room for a number
MAX_LINES = 6  # lines that name what is not drawn
MAX_NAME = 32  # columns of a name; longer ones lose their middle
MIN_POINTS = 5  # size of the smallest numbers that can be read


# ---------------------------------------------------------------- predictions


def draw_confusion_matrix(outputs: EpochOutputs, names: Sequence[str]) -> "Figure":
    """Counts in each cell, coloured by their fraction of the true class.

    Up to 20 classes stand in the order of ``names``, more by rows with the most frequent first. Where numbers could not
    be read a colour bar stands in for them.
    """
    from matplotlib.colors import PowerNorm

    all_counts = metrics.confusion_matrix(outputs)
    rows = all_counts.sum(1)
    shown = list(range(len(names)))
    by_rows = len(names) > MAX_CLASSES_IN_ORDER
    if by_rows:
        shown.sort(key=lambda c: -int(rows[c]))
    shown, left_out = shown[:MAX_CLASSES], shown[MAX_CLASSES:]
    counts = all_counts[shown][:, shown]
    fractions = counts / rows[shown, None].clamp(min=1)

    k = len(shown)
    side = max(min(7, 1.5 + 0.28 * k), 0.115 * k)  # inches
    cell = 72 * side / k  # points, as are sizes of letters
    shown_names, families, unnamed = choose_letters(names)
    ticks = [shown_names[c] for c in shown]
    size = min(9.0, 0.75 * cell)
    longest = max(map(count_columns, ticks))
    upright = 0.65 * size * longest < cell
    room = 0.57 * size * longest / 72
    number_size = min(10.0, 0.9 * cell / (0.65 * len(f"{counts.max():,}")))
    numbers = k <= MAX_CLASSES_WITH_NUMBERS and number_size >= MIN_POINTS

    note = [f"{len(outputs):,} texts{', most frequent classes first' if by_rows else ''}"]
    width = side + room + 0.6 + (0 if numbers else 1)
    if left_out:
        what = f"{len(left_out)} of {len(names)} classes with {int(rows[left_out].sum()):,} texts not drawn:"
        note += _lines(what, (shown_names[c] for c in left_out), int(14 * width))
    note += unnamed
    figure = _new_figure(width, side + (0.3 if upright else room) + 0.6 + 0.12 * len(note))
    axes = figure.subplots()
    # Of many classes most cells hold a few percent, which would be next to white.
    image = axes.imshow(fractions.numpy(), cmap="Blues", norm=PowerNorm(1 if numbers else 0.5, vmin=0, vmax=1))
    axes.set_xticks(range(k), ticks, fontsize=size, rotation=0 if upright else 90)
    axes.set_yticks(range(k), ticks, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    if numbers:
        cells = np.ndindex(k, k) if k <= MAX_CURVES else map(tuple, counts.nonzero().tolist())
        for i, j in cells:
            color = "white" if fractions[i, j] > 0.5 else "black"
            text = axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=color)
            text.set(fontsize=number_size, in_layout=False)
    else:
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, ticks=[0, 0.05, 0.2, 0.5, 1])
        bar.set_label("fraction of the true class")
    return _finish(figure, note, families)


def draw_precision_recall(outputs: EpochOutputs, names: Sequence[str]) -> "Figure":
    """Precision against recall, one class against the rest, with the average precision of each."""
    return _draw_curves(outputs, names, "average_precision", ranking.precision_recall, ("recall", "precision"))


def draw_roc(outputs: EpochOutputs, names: Sequence[str]) -> "Figure":
    """True against false positive rate, one class against the rest, with the area under each curve."""
    return _draw_curves(outputs, names, "auroc", ranking.roc, ("false positive rate", "true positive rate"))


def _draw_curves(
    outputs: EpochOutputs, names: Sequence[str], score: str, curve: ranking.Curve, axis_names: tuple[str, str]
) -> "Figure":
    """The curves of the classes with the lowest ``score``, and the mean over all that have one."""
    shown_names, families, unnamed = choose_letters(names)
    rows = outputs.truth.sum(0).tolist()
    scores = dict(enumerate(getattr(metrics.ranking_scores(outputs), score).tolist()))
    scores = {c: value for c, value in sorted(scores.items(), key=lambda item: item[1]) if value == value}
    one_of_two = len(names) == 2 and not outputs.task.multi_label
    arrays = outputs.truth.numpy(), outputs.probabilities.numpy()
    drawn, mean = ranking.class_curves(*arrays, scores, curve, MAX_CURVES, one_of_two)
    title = {"average_precision": "average precision", "auroc": "AUROC"}[score]

    note = []
    if not outputs.finite:
        note.append("logits that are NaN or infinite have no curve")
    elif max(rows) == len(outputs) and not scores:
        note.append(f"no curves: all texts are of class {shown_names[rows.index(len(outputs))]}")
    elif absent := [c for c, count in enumerate(rows) if not count]:
        note += _lines(f"{len(absent)} of {len(names)} classes without texts:", (shown_names[c] for c in absent))
    if one_of_two and drawn:
        note.append(f"not drawn: {shown_names[0]}")
    elif left_out := [c for c in scores if c not in drawn]:
        what = f"{len(left_out)} of {len(names)} classes not drawn, of higher {title}:"
        note += _lines(what, (shown_names[c] for c in left_out))
    note += unnamed

    handles, legend = [], []
    figure = _new_figure(3.6, 3.5 + 0.16 * (len(drawn) + 2) + 0.11 * len(note))
    axes = figure.subplots()
    for c, points in drawn.items():
        handles += axes.plot(*points, linewidth=1.2)
        legend.append(f"{scores[c]:.3f}  {shown_names[c]} ({rows[c]:,} texts)")
    if mean is not None:
        handles += axes.plot(*mean, color="black", linewidth=2.2)
        legend.append(f"{np.mean(list(scores.values())):.3f}  macro mean of {len(scores)} classes")
    if score == "auroc":
        handles += axes.plot([0, 1], [0, 1], ":", color="grey")
        legend.append("0.500  random")
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    if handles:
        figure.legend(handles, legend, loc="outside lower left", title=title, fontsize=7.5, alignment="left")
    return _finish(figure, note, families)


def _lines(what: str, names: Iterable[str], width: int = 72) -> list[str]:
    """Lines of a sentence that ends in ``names``; the number of those that find no room stands for them."""
    lines, left = [what], list(names)
    while left:
        part = left[0] + ("," if len(left) > 1 else "")
        last = len(lines) == MAX_LINES
        if count_columns(f"{lines[-1]} {part}") <= width - (len(" and 999 more") if last else 0):
            lines[-1] += f" {part}"
        elif last:
            lines[-1] += f" and {len(left)} more"
            break
        else:
            lines.append(part)
        del left[0]
    return lines


# ---------------------------------------------------------------- probes


def draw_probe(probe: ProbeResults) -> "Figure":
    """The monitored score by the number of blocks that are kept, a line for each pooling."""
    from matplotlib.ticker import MaxNLocator

    figure = _new_figure(5.0, 3.2)
    axes = figure.subplots()
    for number, pooling in enumerate(dict.fromkeys(pooling for _, pooling in probe.places)):
        points = [(blocks, trial.score) for (blocks, p), trial in probe.places.items() if p == pooling]
        (line,) = axes.plot(*zip(*points, strict=True), label=pooling.replace("_", " "), linewidth=1.5, markersize=4)
        line.set(color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)])
    axes.axvline(probe.best.blocks, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("blocks that are kept")
    axes.set_ylabel(probe.monitor.removeprefix("val/"))
    axes.set_title(f"selected on {probe.scored_on}", loc="left", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    _tidy(axes)
    return figure


# ---------------------------------------------------------------- studies


class Estimate(NamedTuple):
    """A value with its interval; those of one colour have one meaning, which the legend tells."""

    name: str
    value: float
    low: float
    high: float
    colour: str
    meaning: str
    published: float | None = None  # the value that was published, if any was


def draw_forest(
    estimates: Sequence[Estimate], label: str, reference: float | None = None, warning: str = ""
) -> "Figure":
    """Estimates with their intervals, one below the other.

    Args:
        estimates: From top to bottom.
        label: Of the axis of their values.
        reference: A value that a vertical line marks.
        warning: A red title.
    """
    labels = ["\n".join(wrap(each.name, 52, break_on_hyphens=False)) for each in estimates]
    heights = np.array([0.16 + 0.16 * (label.count("\n") + 1) for label in labels])  # inches
    places, height = np.cumsum(heights) - heights / 2, float(heights.sum())
    figure = _new_figure(10, 1.3 + height)
    axes = figure.subplots()
    drawn = set()
    for y, each in zip(places, estimates, strict=True):
        meaning = None if each.meaning in drawn else each.meaning
        axes.plot([each.low, each.high], [y, y], color=each.colour, linewidth=2, solid_capstyle="butt")
        axes.plot(each.value, y, "s", color=each.colour, markersize=6, label=meaning)
        drawn.add(each.meaning)
    published = [(each.published, y) for y, each in zip(places, estimates, strict=True) if each.published is not None]
    if published:
        axes.plot(*zip(*published, strict=True), "D", color="tab:purple", fillstyle="none", label="published")
        drawn.add("published")
    if reference is not None:
        axes.axvline(reference, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(places, labels, fontsize=9)
    axes.set_ylim(height or 1, 0)
    axes.set_xlabel(label)
    _tidy(axes, "x", ("top", "right", "left"))
    if warning:
        axes.set_title(warning, loc="left", color="tab:red")
    if drawn:
        figure.legend(loc="outside upper center", ncols=len(drawn), frameon=False, fontsize=8)
    return figure


class LearningCurve(NamedTuple):
    """The accuracies of one model at several sizes, in percent."""

    name: str
    texts: list[int]  # (N,) numbers of training texts
    accuracies: list[list[float]]  # (N, 3) each with the ends of its interval
    dashed: bool


def draw_learning_curves(curves: Sequence[LearningCurve], title: str, *, warning: bool) -> "Figure":
    """Test accuracy over the number of labelled training texts, with intervals; the title may be a ``warning``."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    labels = ["\n".join(wrap(curve.name, 44, break_on_hyphens=False)) for curve in curves]
    legend = 0.5 + sum(0.08 + 0.15 * (label.count("\n") + 1) for label in labels)  # inches
    figure = _new_figure(10.5, max(5.0, legend))
    axes = figure.subplots()
    sizes = {texts for curve in curves for texts in curve.texts}
    step = log(max(sizes) / min(sizes)) * min(0.01, 0.06 / len(curves)) if sizes else 0.0
    for which, (curve, label) in enumerate(zip(curves, labels, strict=True)):
        beside = np.exp(step * (which - (len(curves) - 1) / 2))  # intervals at the same size stand side by side
        value, low, high = np.array(curve.accuracies).T
        axes.errorbar(
            beside * np.array(curve.texts),
            value,
            (value - low, high - value),
            label=label,
            color=COLOURS[which % len(COLOURS)],
            marker=MARKERS[which % len(MARKERS)],
            linestyle="--" if curve.dashed else "-",
            linewidth=1.5,
            markersize=5,
            capsize=2,
            elinewidth=1,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(choose_ticks(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda texts, _: f"{texts:,.0f}"))
    axes.set(xlabel="labelled training texts", ylabel="test accuracy, %")
    heading = axes.set_title(title, loc="left", fontsize=10)
    if warning:
        heading.set_color("tab:red")
    _tidy(axes)
    if curves:
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def choose_ticks(sizes: Iterable[int]) -> list[int]:
    """The sizes, from the largest down, without those whose numbers would overlap on a logarithmic axis."""
    ticks: list[int] = []
    descending = sorted(sizes, reverse=True)
    for size in descending:
        if not ticks or log(ticks[-1] / size) > 0.08 * log(descending[0] / descending[-1]):
            ticks.append(size)
    return ticks[::-1] or [1]


# ---------------------------------------------------------------- searches


def draw_search(optuna_study: "optuna.Study", score: str) -> "dict[str, Figure]":
    """Optuna's figures: the ``history`` of the best score by trial, and the scores of trials by their ``settings``."""
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as optuna_plots

    pyplot.switch_backend("agg")
    with pyplot.rc_context(), warnings.catch_warnings():  # they set a style, and warn that they are experimental
        warnings.simplefilter("ignore")
        history: Any = optuna_plots.plot_optimization_history(optuna_study, target_name=score)
        settings: Any = optuna_plots.plot_slice(optuna_study, target_name=score)
    return {"history": history.figure, "settings": np.ravel(settings)[0].figure}


# ---------------------------------------------------------------- figures


def _new_figure(width: float, height: float) -> "Figure":
    """An empty one, of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Figure

    # Without pyplot: nothing to close, no window system, no global state. Few inches at a high resolution, because
    # TensorBoard shows figures as small tiles, in which the text must still be read.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: "Axes", grid: Literal["both", "x"] = "both", without: Sequence[str] = ("top", "right")) -> None:
    axes.grid(axis=grid, alpha=0.3)
    axes.spines[list(without)].set_visible(False)


def _finish(figure: "Figure", note: list[str], families: list[str]) -> "Figure":
    """The figure with a note above it and its letters from these font families."""
    from matplotlib.text import Text

    # On the left of the figure and not of the axes, which may have long names beside them.
    figure.suptitle("\n".join(note), fontsize=6.5, x=0.01, ha="left")
    for text in figure.findobj(Text):
        text.set(fontfamily=families, parse_math=False)  # a dollar sign in a name begins no formula
    return figure


def choose_letters(names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Names of moderate length in letters that fonts here have, the families of these fonts, and a line about names
    that no font has."""
    plain = [re.sub("[\ufe00-\ufe0f]", "", " ".join(name.split())) for name in names]  # without variation selectors
    families, missing = _families_with("".join(sorted(set("".join(plain)))))
    shown, unnamed = [], False
    for n, name in enumerate(plain, start=1):
        if lacking := missing & set(name):
            rest = "".join(c for c in name if c not in lacking)
            name = " ".join([f"class {n}", *(rest.split() if 2 * len(rest) > len(name) else ())])
            unnamed = True
        name = shorten(name, MAX_NAME)
        to_the_left = any(unicodedata.bidirectional(c) in ("R", "AL") for c in name)
        shown.append(f"\u200e{name}\u200e" if to_the_left else name)  # what stands beside it still runs to the right
    return shown, families, ['"class n" is the n-th: no font here has all letters of its name'] * unnamed


@cache
def _families_with(characters: str) -> tuple[list[str], set[str]]:
    """Font families that have as many of the characters as possible, and those characters that none has."""
    from matplotlib import font_manager, rcParams

    families = list(rcParams["font.family"])
    missing = {c for c in characters if unicodedata.category(c) not in ("Zs", "Cc", "Cf")}
    missing -= _find_letters(font_manager.findfont(font_manager.FontProperties(family=families)))
    for font in font_manager.fontManager.ttflist if missing else ():
        # The last resort has a box for every character.
        if font.style != "normal" or font.weight not in (400, "normal", "regular") or "Last Resort" in font.name:
            continue
        if found := missing & _find_letters(font.fname):
            families.append(font.name)
            missing -= found
    return families, missing


def _find_letters(font: str) -> set[str]:
    from matplotlib import font_manager

    try:
        return {chr(code) for code in font_manager.get_font(font).get_charmap()}
    except (OSError, RuntimeError):  # a font that is broken
        return set()
