"""What a report says of the scores: of all rows, of classes and thresholds, of probabilities, of the fit's losses."""

import math
from collections.abc import Iterable

import numpy as np

from gpt_classifier.decision.reliability import ReliabilityResults
from gpt_classifier.evaluation import ranking
from gpt_classifier.evaluation.results import TestResults
from gpt_classifier.reporting.document import DASH, Block, Cell, Figure, Measured, Paragraph, Section, Table
from gpt_classifier.reporting.plots import charts
from gpt_classifier.reporting.saved import SavedTest
from gpt_classifier.reporting.words import INTERVAL, measured, percent, score
from gpt_classifier.statistics.intervals import Interval, wilson

MOST_CONFUSIONS = 15
MANY_CLASSES = 25  # shown at once
MAX_CURVES = 8  # more curves than this in one chart cannot be told apart
MAX_CLASSES = 80  # more than this beside one matrix cannot be read


def scored(results: TestResults) -> list[tuple[str, Cell]]:
    """The scores of all rows that there are, each with its interval where it has one."""
    scores, of_labels = results.scores, results.scores.of_labels
    low, high = scores.accuracy_interval
    accuracy = "accuracy" if of_labels is None else "subset accuracy"
    rows: list[tuple[str, Cell]] = [
        (accuracy, Measured(percent(scores.accuracy, 2), f"{100 * low:.1f}{DASH}{100 * high:.1f}"))
    ]
    named: list[tuple[str, float | None, Interval | None]] = [("macro F1", scores.f1_macro, scores.f1_macro_interval)]
    if of_labels is not None:
        named += [
            ("micro F1", of_labels.f1_micro, of_labels.f1_micro_interval),
            ("Hamming loss", of_labels.hamming_loss, None),
            ("label ranking average precision", of_labels.label_ranking_average_precision, None),
        ]
    named += [("balanced accuracy", scores.balanced_accuracy, None), ("Matthews correlation", scores.mcc, None)]
    named.append(("AUROC", scores.auroc, scores.auroc_interval))
    named.append(("average precision", scores.average_precision, scores.average_precision_interval))
    named.append(("loss", results.loss, None))
    return rows + [(name, score(value, interval)) for name, value, interval in named if value is not None]


def of_scores(test: SavedTest) -> Section:
    scores = test.results.scores
    rows = scored(test.results)
    for k, share in (scores.top_k or {}).items():
        rows.append((f"right class among the {k} most probable", percent(share)))
    blocks: list[Block] = [Table(["score", f"value, {INTERVAL}"], rows)]
    duplicates = 0 if scores.distinct_rows is None else scores.rows - scores.distinct_rows
    if duplicates and scores.accuracy_interval_by_clusters is not None:
        copies = "text is a near-duplicate" if duplicates == 1 else "texts are near-duplicates"
        by_clusters = DASH.join(f"{100 * bound:.1f}" for bound in scores.accuracy_interval_by_clusters)
        blocks.append(
            Paragraph(
                f"{duplicates:,} {copies} of other test texts; with them as clusters, the interval of "
                f"the accuracy is {by_clusters} %."
            )
        )
    how = (
        "An interval holds the true score in 95 of 100 tests on other texts like these; the score of a single test is "
        "known no better than that. Macro scores weigh every class alike, however rare. Intervals other than that of "
        "the accuracy (Wilson) are by stratified bootstrap."
    )
    return Section("Scores", how, blocks)


def of_classes(test: SavedTest) -> Section:
    classes = sorted(test.results.scores.classes, key=lambda c: (not c.rows, c.f1 or 0.0, -c.rows))
    rows: list[list[Cell]] = []
    for each in classes:
        right = round((each.recall or 0) * each.rows)
        precision, recall = (right, each.predicted), (right, each.rows)
        shares = [
            measured(shown, wilson(*counts)[1:]) if counts[1] else DASH  # of a class that is never predicted
            for shown, counts in ((each.precision, precision), (each.recall, recall))
        ]
        rows.append([each.class_, *shares, score(each.f1, digits=3), f"{each.rows:,}"])
    how = (
        "Precision is the share of right answers among the texts that were given this class, recall the share of the "
        "class's texts that were found. The class with the lowest F1, the harmonic mean of both, comes first; below "
        f"each share stands its {INTERVAL} (Wilson), which is wide for a class of few texts."
    )
    header = ["class", "precision", "recall", "F1", "texts"]
    blocks: list[Block] = [Table(header, rows[:MANY_CLASSES])]
    if more := rows[MANY_CLASSES:]:
        blocks.append(Table(header, more, folded=f"{len(more)} more classes, of higher F1 or without texts"))
    return Section("Classes", how, blocks)


def of_confusions(test: SavedTest) -> Section | None:
    if test.results.scores.of_labels is not None:  # no wrong label stands for a right one
        return None
    confusions = test.results.scores.confusions
    blocks: list[Block] = []
    if confusions:
        shown = confusions[:MOST_CONFUSIONS]
        rows = [[c.true, c.predicted, f"{c.rows:,}", percent(c.share_of_class)] for c in shown]
        blocks.append(Table(["true class", "predicted instead", "texts", "of the class"], rows, names=2))
        if more := confusions[MOST_CONFUSIONS:]:
            texts = sum(c.rows for c in more)
            blocks.append(Paragraph(f"{len(more):,} more pairs with {texts:,} texts are in scores.json."))
    else:
        blocks.append(Paragraph("No text was given a wrong class."))
    k = len(test.names)
    counts = test.true.astype(int).T @ test.predicted.astype(int)
    order = np.argsort(-counts.sum(1), kind="stable")[:MAX_CLASSES] if k > MAX_CLASSES else np.arange(k)
    caption = (
        "Confusion matrix: true classes in rows, predicted ones in columns, shaded by the share of the true class."
    )
    if k > MAX_CLASSES:
        caption += f" The {MAX_CLASSES} most frequent of {k} classes."
    drawing = charts.confusion_matrix(counts[np.ix_(order, order)], [test.names[c] for c in order])
    how = (
        "What lies off the diagonal are errors. Many errors between two classes mean that their texts are alike, or "
        "that people labelled them differently."
    )
    return Section("Confusions", how, [*blocks, Figure(drawing, caption)])


def of_ranking(test: SavedTest) -> Section | None:
    classes = {each.class_: each for each in test.results.scores.classes}
    by_precision, by_auroc = (
        {c: value for c, name in enumerate(test.names) if (value := getattr(classes[name], score)) is not None}
        for score in ("average_precision", "auroc")
    )
    if not by_auroc:
        return None
    figures = [
        _curves(test, by_precision, "average precision", ranking.precision_recall, ("recall", "precision")),
        _curves(test, by_auroc, "area under the curve", ranking.roc, ("false positive rate", "true positive rate")),
    ]
    order = sorted(by_auroc, key=lambda c: by_precision[c])
    rows: list[list[Cell]] = [[test.names[c], score(by_precision[c]), score(by_auroc[c])] for c in order]
    how = (
        "The curves show what every threshold on the probability of a class would give, so how well the probabilities "
        "rank the texts. The nearer a curve comes to the upper right corner (precision and recall) or upper left one "
        "(ROC), the better; random ranking follows the dotted diagonal of the ROC chart."
    )
    folded = "Scores of each class" if len(rows) > 2 else ""
    return Section("Ranking", how, [*figures, Table(["class", "average precision", "AUROC"], rows, folded=folded)])


def _curves(
    test: SavedTest, scores: dict[int, float], title: str, curve: ranking.Curve, labels: tuple[str, str]
) -> Figure:
    """The curves of the classes with the lowest of ``scores``, by number, and the mean of all.

    Of one class in two that of the second is drawn.
    """
    is_roc = curve is ranking.roc
    one_of_two = len(test.names) == 2 and test.results.scores.of_labels is None
    drawn = [c for c in scores if c == 1] if one_of_two else sorted(scores, key=lambda c: scores[c])[:MAX_CURVES]
    points = {c: curve(test.true[:, c], test.probabilities[:, c]) for c in scores}
    lines, legend = [], []
    for n, c in enumerate(drawn):
        x, y = points[c]
        # A class has one colour in all charts, as long as there are colours for all classes.
        colour = charts.colour(c if len(test.names) <= MAX_CURVES else n)
        lines.append(charts.Line(x, y, colour))
        legend.append((colour, f"{test.names[c]}: {scores[c]:.3f}"))
    if len(drawn) > 1:
        x, y = ranking.mean_curve(list(points.values()))
        lines.append(charts.Line(x, y, "mean"))
        legend.append(("mean", f"macro mean of {len(scores)} classes: {np.mean(list(scores.values())):.3f}"))
    caption = f"{'ROC' if is_roc else 'Precision and recall'}, with the {title}."
    if len(drawn) < len(scores) and not one_of_two:
        caption += f" Drawn are the {len(drawn)} lowest of {len(scores)} classes."
    return Figure(charts.chart(lines, labels, (0, 1), (0, 1), diagonal=is_roc), caption, legend)


def of_calibration(test: SavedTest) -> Section | None:
    if (run := test.results.run) is None or (calibration := run.calibration) is None:
        return None
    before, after = calibration.before, calibration.after
    shown = {"softmax of the logits": ("c1" if after else "c0", before)}
    said = f"Expected calibration error {before.error:.4f}"
    if after:
        shown["probabilities of the model's decision"] = ("c0", after)
        said += f" before and {after.error:.4f} after the model's own decision"
        said += f" (temperature {calibration.temperature:.3g})."
    else:
        said += ". The model was not calibrated: its probabilities are the softmax of the logits. gpt-classifier "
        said += "calibrate fits a temperature on validation rows."
    tables = [
        Table(
            ["probability", f"accuracy, {INTERVAL}", "texts"],
            [[f"{b.confidence:.4f}", measured(b.accuracy, b.accuracy_interval), f"{b.rows:,}"] for b in each.bins],
            folded=f"Bins of the {name}",
        )
        for name, (_, each) in shown.items()
    ]
    how = (
        "Texts are ordered by the probability of the predicted class and divided into bins of about equal size. Of a "
        "calibrated model, each bin is right as often as its probability says and lies on the diagonal; below it the "
        "model is overconfident. The expected calibration error is the mean distance from the diagonal, weighted by "
        "texts (Naeini et al., 2015; Guo et al., 2017)."
    )
    legend = [(colour, f"{name}: {each.error:.4f}") for name, (colour, each) in shown.items()]
    figure = Figure(_reliability(shown.values()), f"Reliability, with the {INTERVAL} of each bin.", legend)
    return Section("Calibration", how, [Paragraph(said), figure, *tables])


def _reliability(shown: Iterable[tuple[str, ReliabilityResults]]) -> str:
    """Accuracy against confidence of bins in these colours; the axes begin where the lowest of them lies."""
    lines = [
        charts.Line(
            [b.confidence for b in each.bins],
            [b.accuracy for b in each.bins],
            colour,
            points=True,
            intervals=[b.accuracy_interval for b in each.bins],
        )
        for colour, each in shown
    ]
    lowest = min(min(*line.x, *(low for low, _ in line.intervals)) for line in lines)
    low = min(math.floor(10 * lowest) / 10, 0.9)
    return charts.chart(lines, ("probability of the predicted class", "accuracy"), (low, 1), (low, 1), diagonal=True)


def of_learning_curves(test: SavedTest) -> Section | None:
    if (run := test.results.run) is None or not (curves := run.learning_curves):
        return None
    points = [*curves["train"], *curves["val"]]
    if (last := max((step for step, _ in points), default=0)) == 0:
        return None
    lines, legend = [], []
    about = {"train": ("muted", "training loss of single steps"), "val": ("c0", "validation loss")}
    for name, (colour, title) in about.items():
        if curves[name]:
            x, y = zip(*curves[name], strict=True)
            lines.append(charts.Line(x, y, colour, points=name == "val"))
            legend.append((colour, title))
    steps = test.results.tested and test.results.tested.trained_steps
    mark = (steps, "tested") if steps and steps <= last else None
    top = max(loss for _, loss in points) or 1.0
    drawing = charts.chart(lines, ("step", "loss"), (0, last), (0, 1.05 * top), mark=mark)
    how = (
        "A validation loss that rises while the training loss falls is overfitting. A line marks the step whose "
        "weights were tested. Of a fit that was resumed, the curves are those of the checkpoint that it continued "
        "from and of what followed."
    )
    rows = [[f"{step:,}", f"{loss:.4f}"] for step, loss in curves["val"]]
    table = [Table(["step", "validation loss"], rows, names=0, folded="Validation losses")] if rows else []
    return Section("Learning curves", how, [Figure(drawing, "Losses by step.", legend), *table])
