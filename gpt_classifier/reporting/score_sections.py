"""What a report says of the scores: of all rows, of classes and thresholds, of probabilities, of the fit's losses."""

import math

import numpy as np

from gpt_classifier.evaluation import ranking
from gpt_classifier.evaluation.probe_results import ProbeResults, ProbeTrial
from gpt_classifier.evaluation.results import TestResults
from gpt_classifier.reporting import svg
from gpt_classifier.reporting.document import (
    DASH,
    INTERVAL,
    Block,
    Cell,
    Figure,
    Paragraph,
    Section,
    Table,
    format_percent,
    measured_fraction,
    measured_score,
)
from gpt_classifier.reporting.saved import SavedTest
from gpt_classifier.statistics.intervals import Interval, wilson

MAX_CONFUSIONS = 15
ONLY_PRINTED = ("micro AUROC", "micro average precision")  # by a test, and not in its report
MAX_CLASSES_AT_ONCE = 25
MAX_CURVES = 8  # more curves than this in one chart cannot be distinguished
MAX_CLASSES = 80  # more than this beside one matrix cannot be read


def named_scores(results: TestResults) -> dict[str, tuple[float | None, Interval | None]]:
    """The scores of all rows beside the accuracy, each with its interval; None for what is undefined."""
    scores, multi_label = results.scores, results.scores.multi_label_scores
    named: dict[str, tuple[float | None, Interval | None]] = {"macro F1": (scores.f1_macro, scores.f1_macro_interval)}
    if multi_label is None:
        named["balanced accuracy"] = scores.balanced_accuracy, None
        named["Matthews correlation"] = scores.mcc, None
    else:
        named["micro F1"] = multi_label.f1_micro, multi_label.f1_micro_interval
        named["Hamming loss"] = multi_label.hamming_loss, None
        named["label ranking average precision"] = multi_label.label_ranking_average_precision, None
        named["micro AUROC"] = multi_label.auroc_micro, None
        named["micro average precision"] = multi_label.average_precision_micro, None
    named["AUROC"] = scores.auroc, scores.auroc_interval
    named["average precision"] = scores.average_precision, scores.average_precision_interval
    named["loss"] = results.loss, None
    return named


def score_rows(results: TestResults) -> list[tuple[str, Cell]]:
    """The accuracy and the other scores that there are, each with its interval where it has one."""
    scores = results.scores
    accuracy = "accuracy" if scores.multi_label_scores is None else "subset accuracy"
    rows: list[tuple[str, Cell]] = [(accuracy, measured_fraction(scores.accuracy, scores.accuracy_interval, 2))]
    return rows + [
        (name, measured_score(value, interval))
        for name, (value, interval) in named_scores(results).items()
        if value is not None and name not in ONLY_PRINTED
    ]


def scores_section(test: SavedTest) -> Section:
    scores = test.results.scores
    rows = score_rows(test.results)
    rows += [(f"right class among the {k} most probable", format_percent(v)) for k, v in (scores.top_k or {}).items()]
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


def classes_section(test: SavedTest) -> Section:
    def measured(value: float | None, right: int, rows: int) -> Cell:
        return measured_fraction(value, wilson(right, rows)[1:]) if rows else DASH

    rows: list[list[Cell]] = []
    for each in sorted(test.results.scores.classes, key=lambda c: (not c.rows, c.f1 or 0.0, -c.rows)):
        right = round((each.recall or 0) * each.rows)
        rates = [measured(each.precision, right, each.predicted), measured(each.recall, right, each.rows)]
        rows.append([each.class_, *rates, measured_score(each.f1, digits=3), f"{each.rows:,}"])
    how = (
        "Precision is the fraction of texts predicted as this class that belong to it, recall the fraction of its "
        "texts that are predicted as it. The class with the lowest F1, the harmonic mean of both, comes first; below "
        f"each value stands its {INTERVAL} (Wilson), which is wide for a class of few texts."
    )
    header = ["class", "precision", "recall", "F1", "texts"]
    blocks: list[Block] = [Table(header, rows[:MAX_CLASSES_AT_ONCE])]
    if more := rows[MAX_CLASSES_AT_ONCE:]:
        blocks.append(Table(header, more, collapsed=f"{len(more)} more classes, of higher F1 or without texts"))
    return Section("Classes", how, blocks)


def confusions_section(test: SavedTest) -> Section | None:
    if test.results.scores.multi_label_scores is not None:  # no wrong label stands for a right one
        return None
    confusions = test.results.scores.confusions
    blocks: list[Block] = [] if confusions else [Paragraph("No text was given a wrong class.")]
    if confusions:
        shown = confusions[:MAX_CONFUSIONS]
        rows = [[c.true, c.predicted, f"{c.rows:,}", format_percent(c.share_of_class)] for c in shown]
        blocks.append(Table(["true class", "predicted instead", "texts", "of the class"], rows, names=2))
    if more := confusions[MAX_CONFUSIONS:]:
        texts = sum(c.rows for c in more)
        blocks.append(Paragraph(f"{len(more):,} more pairs with {texts:,} texts are in scores.json."))
    k = len(test.names)
    counts = test.true.astype(int).T @ test.predicted.astype(int)
    order = np.arange(k)
    caption = (
        "Confusion matrix: true classes in rows, predicted ones in columns, shaded by the fraction of the true class."
    )
    if k > MAX_CLASSES:
        order = np.argsort(-counts.sum(1), kind="stable")[:MAX_CLASSES]
        caption += f" The {MAX_CLASSES} most frequent of {k} classes."
    drawing = svg.draw_confusion_matrix(counts[np.ix_(order, order)], [test.names[c] for c in order])
    how = (
        "What lies off the diagonal are errors. Many errors between two classes mean that their texts are alike, or "
        "that people labelled them differently."
    )
    return Section("Confusions", how, [*blocks, Figure(drawing, caption)])


def ranking_section(test: SavedTest) -> Section | None:
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
    rows: list[list[Cell]] = [
        [test.names[c], measured_score(by_precision[c]), measured_score(by_auroc[c])]
        for c in sorted(by_auroc, key=lambda c: by_precision[c])
    ]
    how = (
        "The curves show what every threshold on the probability of a class would give, so how well the probabilities "
        "rank the texts. The nearer a curve comes to the upper right corner (precision and recall) or upper left one "
        "(ROC), the better; random ranking follows the dotted diagonal of the ROC chart."
    )
    collapsed = "Scores of each class" if len(rows) > 2 else ""
    return Section(
        "Ranking", how, [*figures, Table(["class", "average precision", "AUROC"], rows, collapsed=collapsed)]
    )


def _curves(
    test: SavedTest, scores: dict[int, float], title: str, curve: ranking.Curve, labels: tuple[str, str]
) -> Figure:
    is_roc = curve is ranking.roc
    one_of_two = len(test.names) == 2 and test.results.scores.multi_label_scores is None
    drawn, mean = ranking.class_curves(test.true, test.probabilities, scores, curve, MAX_CURVES, one_of_two)
    lines, legend = [], []
    for n, (c, points) in enumerate(drawn.items()):
        # A class has one colour in all charts, as long as there are colours for all classes.
        colour = svg.choose_colour(c if len(test.names) <= MAX_CURVES else n)
        lines.append(svg.Line(*points, colour))
        legend.append((colour, f"{test.names[c]}: {scores[c]:.3f}"))
    if mean is not None:
        lines.append(svg.Line(*mean, "mean"))
        legend.append(("mean", f"macro mean of {len(scores)} classes: {np.mean(list(scores.values())):.3f}"))
    caption = f"{'ROC' if is_roc else 'Precision and recall'}, with the {title}."
    if len(drawn) < len(scores) and not one_of_two:
        caption += f" Drawn are the {len(drawn)} lowest of {len(scores)} classes."
    return Figure(svg.draw_chart(lines, labels, (0, 1), (0, 1), diagonal=is_roc), caption, legend)


def calibration_section(test: SavedTest) -> Section | None:
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
    lines, legend, tables = [], [], []
    for name, (colour, each) in shown.items():
        x, y, intervals = zip(*((b.confidence, b.accuracy, b.accuracy_interval) for b in each.bins), strict=True)
        lines.append(svg.Line(x, y, colour, points=True, intervals=intervals))
        legend.append((colour, f"{name}: {each.error:.4f}"))
        rows: list[list[Cell]] = [
            [f"{b.confidence:.4f}", measured_fraction(b.accuracy, b.accuracy_interval), f"{b.rows:,}"]
            for b in each.bins
        ]
        header = ["probability", f"accuracy, {INTERVAL}", "texts"]
        tables.append(Table(header, rows, collapsed=f"Bins of the {name}"))
    lowest = min(min(*line.x, *(low for low, _ in line.intervals)) for line in lines)
    axis = min(math.floor(10 * lowest) / 10, 0.9), 1  # begins where the lowest of the bins lies
    drawing = svg.draw_chart(lines, ("probability of the predicted class", "accuracy"), axis, axis, diagonal=True)
    how = (
        "Texts are ordered by the probability of the predicted class and divided into bins of about equal size. Of a "
        "calibrated model, each bin is right as often as its probability says and lies on the diagonal; below it the "
        "model is overconfident. The expected calibration error is the mean distance from the diagonal, weighted by "
        "texts (Naeini et al., 2015; Guo et al., 2017)."
    )
    figure = Figure(drawing, f"Reliability, with the {INTERVAL} of each bin.", legend)
    return Section("Calibration", how, [Paragraph(said), figure, *tables])


def probe_section(test: SavedTest) -> Section | None:
    """Scores of the linear probe that the fit started from, by block; None for a fit without one."""
    if (run := test.results.run) is None or (probe := run.probe) is None:
        return None
    score = probe.monitor.removeprefix("val/")
    how = (
        "On the frozen network, a linear head was solved behind each block that was tried. Block and pooling were "
        f"selected by {score}, the strength by the loss, on {probe.scored_on}, so the best {score} here is optimistic"
        f"{'; the validation rows had no part in it' if probe.by_folds else ''}. The strength is that of the loss, in "
        "units of half the squared weights."
    )
    lines, legend = [], []
    scores: list[float] = []
    for number, pooling in enumerate(dict.fromkeys(pooling for _, pooling in probe.places)):
        colour = svg.choose_colour(number)
        legend.append((colour, pooling.replace("_", " ")))
        tried = [(blocks, trial.score) for (blocks, p), trial in probe.places.items() if p == pooling]
        if points := [(blocks, value) for blocks, value in tried if math.isfinite(value)]:
            x, y = zip(*points, strict=True)
            lines.append(svg.Line(x, y, colour, points=True))
            scores += y
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    room = max(0.1 * (high - low), 1e-3)
    axes = (0.0, float(max(probe.blocks, 2))), (low - room, high + room)
    drawing = svg.draw_chart(lines, ("blocks", score), *axes, mark=(probe.best.blocks, "chosen"))
    caption = f"{score} by the number of blocks that are kept; the line marks the chosen one."
    table = probe_table(probe, list(probe.places.values()))
    return Section("Probe", how, [Figure(drawing, caption, legend), table])


def probe_table(probe: ProbeResults, trials: list[ProbeTrial]) -> Table:
    rows = [
        [t.pooling.replace("_", " "), str(t.blocks), f"{t.strength:.3g}", f"{t.score:.4f}", f"{t.loss:.4f}"]
        for t in trials
    ]
    header = ["pooling", "blocks", "strength", probe.monitor.removeprefix("val/"), "loss"]
    return Table(header, rows, collapsed="Scores by block and pooling")


def learning_curves_section(test: SavedTest) -> Section | None:
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
            lines.append(svg.Line(x, y, colour, points=name == "val"))
            legend.append((colour, title))
    steps = test.results.tested and test.results.tested.trained_steps
    mark = (steps, "tested") if steps and steps <= last else None
    top = max(loss for _, loss in points) or 1.0
    drawing = svg.draw_chart(lines, ("step", "loss"), (0, last), (0, 1.05 * top), mark=mark)
    how = (
        "A validation loss that rises while the training loss falls is overfitting. A line marks the step whose "
        "weights were tested. Of a fit that was resumed, the curves are those of the checkpoint that it continued "
        "from and of what followed."
    )
    rows = [[f"{step:,}", f"{loss:.4f}"] for step, loss in curves["val"]]
    table = [Table(["step", "validation loss"], rows, names=0, collapsed="Validation losses")] if rows else []
    return Section("Learning curves", how, [Figure(drawing, "Losses by step.", legend), *table])
