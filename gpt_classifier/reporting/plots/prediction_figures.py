"""Draws predictions for TensorBoard."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gpt_classifier.evaluation import metrics, ranking
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.reporting.plots.figure import drawable, finish, new_figure
from gpt_classifier.text.normalize import columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CURVES = 10  # more curves than this in one plot cannot be told apart
MAX_CLASSES = 80  # more names than this beside one matrix cannot be read
MAX_CLASSES_IN_ORDER = 20  # larger matrices are sorted by rows, as the order of many names says little
MAX_CLASSES_WITH_NUMBERS = 30  # cells of larger matrices have no room for a number
MAX_LINES = 6  # lines that name what is not drawn
SMALLEST = 5  # points; smaller numbers cannot be read


def confusion_matrix(outputs: EpochOutputs, names: Sequence[str]) -> "Figure":
    """Counts in each cell, coloured by their share of the true class.

    Up to 20 classes stand in the order of ``names``, more by rows with the most frequent first. Where numbers could not
    be read a colour bar stands in for them.
    """
    all_counts = metrics.confusion_matrix(outputs)
    rows = all_counts.sum(1)
    shown = list(range(len(names)))
    if len(names) > MAX_CLASSES_IN_ORDER:
        shown.sort(key=lambda c: -int(rows[c]))
    shown, left_out = shown[:MAX_CLASSES], shown[MAX_CLASSES:]
    counts = all_counts[shown][:, shown]
    shares = counts / rows[shown, None].clamp(min=1)

    k = len(shown)
    side = max(min(7, 1.5 + 0.28 * k), 0.115 * k)  # inches
    cell = 72 * side / k  # points, as are sizes of letters
    shown_names, families, unnamed = drawable(names)
    ticks = [shown_names[c] for c in shown]
    size = min(9.0, 0.75 * cell)
    longest = max(map(columns, ticks))
    upright = 0.65 * size * longest < cell
    room = 0.57 * size * longest / 72
    number_size = min(10.0, 0.9 * cell / (0.65 * len(f"{counts.max():,}")))
    numbers = k <= MAX_CLASSES_WITH_NUMBERS and number_size >= SMALLEST

    note = [f"{len(outputs):,} texts" + (", most frequent classes first" if len(names) > MAX_CLASSES_IN_ORDER else "")]
    width = side + room + 0.6 + (0 if numbers else 1)
    if left_out:
        what = f"{len(left_out)} of {len(names)} classes with {int(rows[left_out].sum()):,} texts not drawn:"
        note += _lines(what, (shown_names[c] for c in left_out), int(14 * width))
    note += unnamed
    figure = new_figure(width, side + (0.3 if upright else room) + 0.6 + 0.12 * len(note))
    axes = figure.subplots()
    from matplotlib.colors import PowerNorm

    # Of many classes most cells hold a few percent, which would be next to white.
    norm = PowerNorm(1 if numbers else 0.5, vmin=0, vmax=1)
    image = axes.imshow(shares.numpy(), cmap="Blues", norm=norm)
    axes.set_xticks(range(k), ticks, fontsize=size, rotation=0 if upright else 90)
    axes.set_yticks(range(k), ticks, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    if numbers:
        for i in range(k):
            for j in range(k):
                if counts[i, j] or k <= MAX_CURVES:
                    color = "white" if shares[i, j] > 0.5 else "black"
                    text = axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=color)
                    text.set(fontsize=number_size, in_layout=False)
    else:
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, ticks=[0, 0.05, 0.2, 0.5, 1])
        bar.set_label("share of the true class")
    return finish(figure, note, families)


def precision_recall(outputs: EpochOutputs, names: Sequence[str]) -> "Figure":
    """Precision against recall, one class against the rest, with the average precision of each."""
    return _curves(outputs, names, "average_precision", ranking.precision_recall, ("recall", "precision"))


def roc(outputs: EpochOutputs, names: Sequence[str]) -> "Figure":
    """True against false positive rate, one class against the rest, with the area under each curve."""
    return _curves(outputs, names, "auroc", ranking.roc, ("false positive rate", "true positive rate"))


def _curves(
    outputs: EpochOutputs, names: Sequence[str], score: str, curve: ranking.Curve, axis_names: tuple[str, str]
) -> "Figure":
    """The curves of the classes with the lowest ``score``, and the mean over all that have one.

    Of two classes only the second is drawn.
    """
    shown_names, families, unnamed = drawable(names)
    truth = outputs.truth
    rows = truth.sum(0).tolist()
    scores = getattr(metrics.ranking_scores(outputs), score)
    measured = [c for c in scores.argsort().tolist() if not scores[c].isnan()]
    one_of_two = len(names) == 2 and not outputs.task.multi_label
    drawn = [c for c in measured if c == 1] if one_of_two else measured[:MAX_CURVES]
    title = {"average_precision": "average precision", "auroc": "AUROC"}[score]

    figure_width = 3.6
    wrap = int(20 * figure_width)
    note = []
    if not outputs.finite:
        note.append("logits that are NaN or infinite have no curve")
    elif max(rows) == len(outputs) and not measured:
        note.append(f"no curves: all texts are of class {shown_names[rows.index(len(outputs))]}")
    elif absent := [c for c, count in enumerate(rows) if not count]:
        what = f"{len(absent)} of {len(names)} classes without texts:"
        note += _lines(what, (shown_names[c] for c in absent), wrap)
    if one_of_two and drawn:
        note.append(f"not drawn: {shown_names[0]}")
    elif left_out := measured[len(drawn) :]:
        what = f"{len(left_out)} of {len(names)} classes not drawn, of higher {title}:"
        note += _lines(what, (shown_names[c] for c in left_out), wrap)
    note += unnamed

    handles, legend = [], []
    figure = new_figure(figure_width, 3.5 + 0.16 * (len(drawn) + 2) + 0.11 * len(note))
    axes = figure.subplots()
    probabilities = outputs.probabilities.numpy()
    curves = {c: curve(truth[:, c].numpy(), probabilities[:, c]) for c in measured}
    for c in measured:
        if c in drawn:
            handles += axes.plot(*curves[c], linewidth=1.2)
            legend.append(f"{scores[c]:.3f}  {shown_names[c]} ({rows[c]:,} texts)")
    if len(drawn) > 1:
        handles += axes.plot(*ranking.mean_curve(list(curves.values())), color="black", linewidth=2.2)
        legend.append(f"{scores.nanmean():.3f}  macro mean of {len(measured)} classes")
    if score == "auroc":
        handles += axes.plot([0, 1], [0, 1], ":", color="grey")
        legend.append("0.500  random")
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    if handles:
        figure.legend(handles, legend, loc="outside lower left", title=title, fontsize=7.5, alignment="left")
    return finish(figure, note, families)


def _lines(what: str, names: Iterable[str], width: int) -> list[str]:
    """Lines of a sentence that ends in ``names``; the number of those that find no room stands for them."""
    lines, left = [what], list(names)
    while left:
        part = left[0] + ("," if len(left) > 1 else "")
        last = len(lines) == MAX_LINES
        if columns(f"{lines[-1]} {part}") <= width - (len(" and 999 more") if last else 0):
            lines[-1] += f" {part}"
        elif last:
            lines[-1] += f" and {len(left)} more"
            break
        else:
            lines.append(part)
        del left[0]
    return lines


def errors_table(rows: Sequence[tuple[str, str, str, float]]) -> str:
    """Markdown of (text, true class, predicted class, probability); markup in a text or name is shown, not obeyed."""
    if not rows:
        return "No errors."
    lines = ["| probability | predicted | true | text |", "|---|---|---|---|"]
    for text, true, predicted, probability in rows:
        shown = " ".join(text.split())
        shown = shown if len(shown) <= 200 else f"{shown[:199]}…"
        lines.append(f"| {probability:.3f} | {_escaped(predicted)} | {_escaped(true)} | {_escaped(shown)} |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return "".join(f"&#{ord(c)};" if c in "\\`*_{}[]<>|#~" else c for c in " ".join(text.split()))
