"""Draws predictions for TensorBoard; knows nothing about training."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torchmetrics.functional import classification as tm

from gpt_classifier.evaluation import metrics

MOST_CURVES = 10  # more curves than this in one plot cannot be told apart


def _new(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot: nothing to close, no window system, no global state. Few inches at a high resolution, because
    # TensorBoard shows figures as small tiles, in which the text must still be read.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def confusion_matrix(logits: Tensor, labels: Tensor, names: Sequence[str]) -> Any:
    """Counts in each cell, coloured by their share of the true class."""
    counts = metrics.confusion_matrix(logits, labels)
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    side = min(12.0, 2.4 + 0.35 * len(names))
    figure, axes = _new(side, side)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45 if len(names) > 3 else 0, ha="right" if len(names) > 3 else "center")
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted", ylabel="true", title=f"{len(labels):,} texts")
    if len(names) <= 20:
        for i in ticks:
            for j in ticks:
                axes.text(
                    j,
                    i,
                    f"{counts[i, j]:,}",
                    ha="center",
                    va="center",
                    color="white" if shares[i, j] > 0.5 else "black",
                )
    return figure


def precision_recall(logits: Tensor, labels: Tensor, names: Sequence[str]) -> Any:
    """Precision against recall, one class against the rest, with the average precision of each."""
    figure, axes = _new(3.6, 3.6)
    for k, probability, truth in _one_against_rest(logits, labels):
        precision, recall, _ = tm.binary_precision_recall_curve(probability, truth)
        average = tm.binary_average_precision(probability, truth)
        axes.step(recall, precision, where="post", label=f"{names[k]}, AP {average:.3f}")
    return _finish(figure, axes, "recall", "precision", "lower left")


def roc(logits: Tensor, labels: Tensor, names: Sequence[str]) -> Any:
    """True against false positive rate, one class against the rest, with the area under each curve."""
    figure, axes = _new(3.6, 3.6)
    for k, probability, truth in _one_against_rest(logits, labels):
        false, true, _ = tm.binary_roc(probability, truth)
        axes.plot(false, true, label=f"{names[k]}, AUROC {tm.binary_auroc(probability, truth):.3f}")
    axes.plot([0, 1], [0, 1], ":", color="grey", label="chance")
    return _finish(figure, axes, "false positive rate", "true positive rate", "lower right")


def _one_against_rest(logits: Tensor, labels: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Class, its probabilities (N,) and whether a text has it (N,); of two classes only the second is of interest."""
    probabilities = logits.softmax(-1)
    k = logits.shape[1]
    for c in [1] if k == 2 else range(min(k, MOST_CURVES)):
        truth = (labels == c).long()
        if 0 < truth.sum() < len(truth):  # without examples on both sides there is no curve
            yield c, probabilities[:, c], truth


def _finish(figure: Any, axes: Any, x: str, y: str, legend: str) -> Any:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=legend)
    return figure


def errors_table(rows: Sequence[tuple[str, str, str, float]]) -> str:
    """Markdown of (text, true class, predicted class, probability); markup in a text is shown, not obeyed."""
    if not rows:
        return "No errors."
    lines = ["| probability | predicted | true | text |", "|---|---|---|---|"]
    for text, true, predicted, probability in rows:
        shown = " ".join(text.split())
        shown = shown if len(shown) <= 200 else f"{shown[:199]}…"
        for character in "\\`*_{}[]<>|#~":
            shown = shown.replace(character, f"&#{ord(character)};")
        lines.append(f"| {probability:.3f} | {predicted} | {true} | {shown} |")
    return "\n".join(lines)
