"""Draws predictions for TensorBoard; knows nothing about training."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchmetrics.functional import classification as tm

from gpt_classifier.evaluation import metrics

MOST_CURVES = 10  # more curves than this in one plot cannot be told apart


def _new(columns: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot: nothing to close, no window system, no global state.
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def confusion_matrix(logits: Tensor, labels: Tensor, names: Sequence[str]) -> Any:
    """Counts in each cell, coloured by their share of the true class."""
    counts = metrics.confusion_matrix(logits, labels)
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    side = min(12.0, 3.2 + 0.55 * len(names))
    figure, axes = _new(1, side + 0.8, side)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
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


def curves(logits: Tensor, labels: Tensor, names: Sequence[str]) -> Any:
    """Precision-recall and ROC curves, one class against the rest; of two classes only the second is shown."""
    probabilities = logits.softmax(-1)
    present = [k for k in range(len(names)) if 0 < int((labels == k).sum()) < len(labels)]
    shown = [1] if len(names) == 2 and 1 in present else present[:MOST_CURVES]
    figure, (left, right) = _new(2, 9.5, 4.2)
    for k in shown:
        truth = (labels == k).long()
        precision, recall, _ = tm.binary_precision_recall_curve(probabilities[:, k], truth)
        average = tm.binary_average_precision(probabilities[:, k], truth)
        left.step(recall, precision, where="post", label=f"{names[k]}: AP {average:.3f}")
        false, true, _ = tm.binary_roc(probabilities[:, k], truth)
        right.plot(false, true, label=f"{names[k]}: AUROC {tm.binary_auroc(probabilities[:, k], truth):.3f}")
    left.set(xlabel="recall", ylabel="precision", title="precision-recall", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    right.plot([0, 1], [0, 1], ":", color="grey", label="chance")
    right.set(
        xlabel="false positive rate", ylabel="true positive rate", title="ROC", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
    )
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower left" if axes is left else "lower right")
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
