"""What a test report says and in which words: from the results of a test to a document, whatever it is shown on."""

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gpt_classifier.data.summary import class_counts
from gpt_classifier.evaluation import ranking
from gpt_classifier.evaluation.statistics import wilson
from gpt_classifier.report import charts
from gpt_classifier.report.document import (
    DASH,
    Block,
    Cell,
    Document,
    Example,
    Examples,
    Figure,
    Listing,
    Measured,
    Paragraph,
    Section,
    Table,
)
from gpt_classifier.report.saved import SavedTest

MOST_CONFUSIONS = 15
MANY_CLASSES = 25  # shown at once
MAX_CURVES = 8  # more curves than this in one chart cannot be told apart
MAX_CLASSES = 80  # more than this beside one matrix cannot be read
MAX_COUNTS = 10  # with more classes than this, rows of each split are summarised
INTERVAL = "95 % interval"
SCORES = {
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "hamming_loss": "Hamming loss",
    "label_ranking_average_precision": "label ranking average precision",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews correlation",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "loss": "loss",
}


def document(test: SavedTest) -> Document:
    """The report of a test."""
    facts = test.facts
    rows, right = facts["rows"], round(facts["accuracy"] * facts["rows"])
    low, high = facts["accuracy_interval"]
    verdict = facts.get("baselines", {}).get("verdict", "").removeprefix("Verdict: ")
    found = [write(test) for write in SECTIONS]
    return Document(
        "Test report",
        f"{percent(facts['accuracy'], 2)} of test texts classified correctly",
        f"{right:,} of {rows:,} texts; {INTERVAL} {percent(low)} to {percent(high)} (Wilson)",
        f"{verdict[:1].upper()}{verdict[1:]}",
        _facts(facts),
        [section for section in found if section is not None],
    )


def percent(share: float | None, digits: int = 1) -> str:
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def isolated(name: str) -> str:
    """A name within a sentence, whose direction of writing must not reach beyond it (Unicode's isolates)."""
    return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}" if _runs_to_the_left(name) else name


def _runs_to_the_left(text: str) -> bool:
    return any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)


def _measured(share: float | None, interval: Sequence[float] | None) -> Measured:
    return Measured(percent(share), "" if interval is None else f"{100 * interval[0]:.1f}{DASH}{100 * interval[1]:.1f}")


def _score(value: float | None, interval: Sequence[float] | None = None, digits: int = 4) -> Measured:
    shown = DASH if value is None else f"{value:.{digits}f}"
    return Measured(shown, "" if interval is None else f"{interval[0]:.3f}{DASH}{interval[1]:.3f}")


# ---------------------------------------------------------------- the head


def _facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    training, network, machine = (facts.get(name, {}) for name in ("training", "network", "machine"))
    found = []
    if "source" in training:
        found.append(("trained on", training["source"]))
    for split, counts in training.get("rows", {}).items():
        found.append((f"{split} rows", f"{sum(counts.values()):,}: {class_counts(counts, MAX_COUNTS)}"))
    if "fingerprint" in training:
        about = f"{training['fingerprint']}, a hash of {training['distinct_texts']:,} distinct training texts"
        found.append(("fingerprint", about))
    if network:
        size = "{type}, {blocks} x {channels} channels, {heads} heads, {parameters:,} parameters".format_map(network)
        found.append(("network", f"{size}; pooling {network['pooling']}"))
    parts = []
    if facts.get("training_seconds") is not None:
        parts.append(f"{facts['training_seconds']:,.1f} s")
    if facts.get("trained_steps"):
        parts.append(f"{facts['trained_steps']:,} steps")
    if training.get("seed") is not None:
        parts.append(f"seed {training['seed']}")
    if parts:
        found.append(("training", ", ".join(parts)))
    if facts.get("test_seconds"):
        found.append(("test", f"{facts['test_seconds']:,.1f} s for {facts['rows']:,} texts"))
    if machine:
        gpus = f"; {len(machine['gpus'])} GPUs, {machine['gpus'][0]}" if machine["gpus"] else "; no GPU"
        found.append(("machine of the test", f"{machine['processor']}, {machine['cores']} cores{gpus}"))
    if "versions" in facts:
        found.append(("versions", ", ".join(f"{name} {number}" for name, number in facts["versions"].items())))
    return found


# ---------------------------------------------------------------- scores


def scored(facts: dict[str, Any]) -> list[tuple[str, Cell]]:
    """The scores of all rows that there are, each with its interval where it has one."""
    low, high = facts["accuracy_interval"]
    accuracy = "subset accuracy" if facts.get("multi_label") else "accuracy"
    rows: list[tuple[str, Cell]] = [
        (accuracy, Measured(percent(facts["accuracy"], 2), f"{100 * low:.1f}{DASH}{100 * high:.1f}"))
    ]
    for key, name in SCORES.items():
        if facts.get(key) is not None:
            rows.append((name, _score(facts[key], facts.get(f"{key}_interval"))))
    return rows


def _scores(test: SavedTest) -> Section:
    facts = test.facts
    rows = scored(facts)
    for k, share in facts.get("top_k", {}).items():
        rows.append((f"right class among the {k} most probable", percent(share)))
    blocks: list[Block] = [Table(["score", f"value, {INTERVAL}"], rows)]
    duplicates = facts["rows"] - facts.get("distinct_rows", facts["rows"])
    if duplicates:
        by_clusters = DASH.join(f"{100 * bound:.1f}" for bound in facts["accuracy_interval_by_clusters"])
        blocks.append(
            Paragraph(
                f"{duplicates:,} texts are near-duplicates of other test texts; with them as clusters, the interval of "
                f"the accuracy is {by_clusters} %."
            )
        )
    how = (
        "An interval holds the true score in 95 of 100 tests on other texts like these; the score of a single test is "
        "known no better than that. Macro scores weigh every class alike, however rare. Intervals other than that of "
        "the accuracy (Wilson) are by stratified bootstrap."
    )
    return Section("Scores", how, blocks)


def _classes(test: SavedTest) -> Section:
    classes = sorted(test.facts["classes"], key=lambda c: (not c["rows"], c["f1"] or 0.0, -c["rows"]))
    rows = []
    for each in classes:
        right = round((each["recall"] or 0) * each["rows"])
        precision, recall = ((right, each[n]) for n in ("predicted", "rows"))
        shares = [
            _measured(shown, wilson(*counts)[1:] if counts[1] else None)
            for shown, counts in ((each["precision"], precision), (each["recall"], recall))
        ]
        rows.append([each["class"], *shares, _score(each["f1"], digits=3), f"{each['rows']:,}"])
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


def _confusions(test: SavedTest) -> Section | None:
    if test.facts.get("multi_label"):  # no wrong label stands for a right one
        return None
    confusions = test.facts["confusions"]
    blocks: list[Block] = []
    if confusions:
        shown = confusions[:MOST_CONFUSIONS]
        rows = [[c["true"], c["predicted"], f"{c['rows']:,}", percent(c["share_of_class"])] for c in shown]
        blocks.append(Table(["true class", "predicted instead", "texts", "of the class"], rows, names=2))
        if more := confusions[MOST_CONFUSIONS:]:
            texts = sum(c["rows"] for c in more)
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


def _ranking(test: SavedTest) -> Section | None:
    scores = {c["class"]: c for c in test.facts["classes"]}
    measured = [c for c, name in enumerate(test.names) if scores[name]["auroc"] is not None]
    if not measured:
        return None
    figures = [
        _curves(test, scores, measured, "average_precision", ranking.precision_recall, ("recall", "precision")),
        _curves(test, scores, measured, "auroc", ranking.roc, ("false positive rate", "true positive rate")),
    ]
    measured.sort(key=lambda c: scores[test.names[c]]["average_precision"])
    each = [scores[test.names[c]] for c in measured]
    rows: list[list[Cell]] = [[c["class"], _score(c["average_precision"]), _score(c["auroc"])] for c in each]
    how = (
        "The curves show what every threshold on the probability of a class would give, so how well the probabilities "
        "rank the texts. The nearer a curve comes to the upper right corner (precision and recall) or upper left one "
        "(ROC), the better; random ranking follows the dotted diagonal of the ROC chart."
    )
    folded = "Scores of each class" if len(rows) > 2 else ""
    return Section("Ranking", how, [*figures, Table(["class", "average precision", "AUROC"], rows, folded=folded)])


def _curves(
    test: SavedTest,
    scores: dict[str, Any],
    measured: list[int],
    score: str,
    curve: ranking.Curve,
    labels: tuple[str, str],
) -> Figure:
    """The curves of the classes with the lowest score, and the mean of all; of one class in two that of the second."""
    ranked = sorted(measured, key=lambda c: scores[test.names[c]][score])
    one_of_two = len(test.names) == 2 and not test.facts.get("multi_label")
    drawn = [c for c in measured if c == 1] if one_of_two else ranked[:MAX_CURVES]
    points = {c: curve(test.true[:, c], test.probabilities[:, c]) for c in measured}
    lines, legend = [], []
    for n, c in enumerate(drawn):
        x, y = points[c]
        lines.append(charts.Line(x, y, charts.colour(n)))
        legend.append((charts.colour(n), f"{test.names[c]}: {scores[test.names[c]][score]:.3f}"))
    if len(drawn) > 1:
        x, y = ranking.mean_curve(list(points.values()))
        lines.append(charts.Line(x, y, "mean"))
        value = np.mean([scores[test.names[c]][score] for c in measured])
        legend.append(("mean", f"macro mean of {len(measured)} classes: {value:.3f}"))
    title = {"average_precision": "average precision", "auroc": "area under the curve"}[score]
    what = {"average_precision": "Precision and recall", "auroc": "ROC"}[score]
    caption = f"{what}, with the {title}."
    if len(drawn) < len(measured) and not one_of_two:
        caption += f" Drawn are the {len(drawn)} lowest of {len(measured)} classes."
    return Figure(charts.chart(lines, labels, (0, 1), (0, 1), diagonal=score == "auroc"), caption, legend)


def _calibration(test: SavedTest) -> Section | None:
    if (calibration := test.facts.get("calibration")) is None:
        return None
    before, after = calibration["before"], calibration.get("after")
    shown = {"softmax of the logits": ("c1" if after else "c0", before)}
    said = f"Expected calibration error {before['error']:.4f}"
    if after:
        shown["probabilities of the model's decision"] = ("c0", after)
        said += f" before and {after['error']:.4f} after the model's own decision"
        said += f" (temperature {calibration['temperature']:.3g})."
    else:
        said += ". The model was not calibrated: its probabilities are the softmax of the logits. gpt-classifier "
        said += "calibrate fits a temperature on validation rows."
    tables = [
        Table(
            ["probability", f"accuracy, {INTERVAL}", "texts"],
            [
                [f"{b['confidence']:.4f}", _measured(b["accuracy"], b["accuracy_interval"]), f"{b['rows']:,}"]
                for b in each["bins"]
            ],
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
    legend = [(colour, f"{name}: {each['error']:.4f}") for name, (colour, each) in shown.items()]
    figure = Figure(_reliability(shown.values()), f"Reliability, with the {INTERVAL} of each bin.", legend)
    return Section("Calibration", how, [Paragraph(said), figure, *tables])


def _reliability(shown: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Accuracy against confidence of bins in these colours; the axes begin where the lowest of them lies."""
    lines = [
        charts.Line(
            [b["confidence"] for b in each["bins"]],
            [b["accuracy"] for b in each["bins"]],
            colour,
            points=True,
            intervals=[(b["accuracy_interval"][0], b["accuracy_interval"][1]) for b in each["bins"]],
        )
        for colour, each in shown
    ]
    lowest = min(min(*line.x, *(low for low, _ in line.intervals)) for line in lines)
    low = min(math.floor(10 * lowest) / 10, 0.9)
    return charts.chart(lines, ("probability of the predicted class", "accuracy"), (low, 1), (low, 1), diagonal=True)


def _learning_curves(test: SavedTest) -> Section | None:
    curves = test.facts.get("learning_curves")
    if not curves:
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
    steps = test.facts.get("trained_steps")
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


# ---------------------------------------------------------------- what the scores are worth


def _baselines(test: SavedTest) -> Section | None:
    if (baselines := test.facts.get("baselines")) is None:
        return None
    how = (
        "A network that does not beat models of a second is not worth its cost. All were trained on the same training "
        "rows as the network; the verdict above compares it with the one that was best on rows that are no test rows."
    )
    if missing := baselines.get("missing"):
        return Section("Baselines", how, [Paragraph(f"There are none: {missing}.")])
    facts = test.facts
    trained = facts.get("training_seconds")
    network = {"name": "the network", "seconds": trained and trained + facts["test_seconds"], **facts}
    rows = [
        [
            each["name"],
            _measured(each["accuracy"], each["accuracy_interval"]),
            _score(each["f1_macro"], each.get("f1_macro_interval"), digits=3),
            DASH if each["seconds"] is None else f"{each['seconds']:,.1f}",
        ]
        for each in (network, *baselines["models"])
    ]
    blocks: list[Block] = [Table(["model", "accuracy", "macro F1", "seconds"], rows)]
    blocks += [Paragraph(f"Without {name}: {why}.") for name, why in baselines["skipped"].items()]
    return Section("Baselines", how, blocks)


def _group(name: str, group: dict[str, Any]) -> list[Any]:
    rate = _measured(group["error_rate"], group["error_rate_interval"])
    return [name, rate, f"{group['errors']:,}", f"{group['rows']:,}"]


def _class_mix(test: SavedTest) -> Section | None:
    if (mix := test.facts.get("natural_mix")) is None:
        return None
    how = (
        "The test rows were balanced, while the classes are not where the model is used: what depends on their "
        "frequencies, as precision does, differs there. Each test row is weighted by the natural frequency of its "
        "class over that among the test rows, which leaves recall as it is. Intervals are by bootstrap."
    )
    scores: list[list[Cell]] = [
        ["accuracy", _measured(mix["accuracy"], mix["accuracy_interval"])],
        ["macro F1", _score(mix["f1_macro"], mix["f1_macro_interval"], digits=3)],
    ]
    scores += [
        [f"precision of {isolated(name)}", _measured(value, mix["precision_interval"][name])]
        for name, value in mix["precision"].items()
    ]
    shares = ", ".join(f"{percent(share)} {isolated(name)}" for name, share in mix["shares"].items())
    return Section("At the natural class mix", how, [Paragraph(f"{shares}."), Table(["score", "value"], scores)])


def _leaks(test: SavedTest) -> Section | None:
    if (leaks := test.facts.get("leaks")) is None:
        return None
    how = (
        "Test texts that the model was trained on, or whose near-duplicates it was trained on, make scores optimistic. "
        "They are recognised by fingerprints that the model keeps of its training texts."
    )
    seen, unseen = leaks["seen"], leaks["unseen"]
    if not seen["rows"]:
        said = "No test text is a training text or a near-duplicate of one."
        return Section("Training texts among the test texts", how, [Paragraph(said)])
    rows = [_group("seen in training", seen), _group("not seen", unseen)]
    blocks: list[Block] = [Table(["texts", "error rate", "errors", "number"], rows)]
    if unseen["rows"]:
        accuracy = wilson(unseen["rows"] - unseen["errors"], unseen["rows"])
        f1 = f", macro F1 {unseen['f1_macro']:.4f} ({test.facts['f1_macro']:.4f})" if "f1_macro" in unseen else ""
        said = f"Without them the accuracy is {accuracy} ({percent(test.facts['accuracy'], 2)} with them){f1}."
        blocks.insert(0, Paragraph(said))
    return Section("Training texts among the test texts", how, blocks)


def _errors(test: SavedTest) -> Section | None:
    errors = test.facts.get("errors")
    if not errors:
        return None
    examples = []
    for error in errors:
        about = [("true", error["true"]), ("predicted", f"{isolated(error['predicted'])}, {error['probability']:.4f}")]
        if neighbour := error.get("neighbour"):
            alike = "near-duplicate" if neighbour["near_duplicate"] else f"similarity {neighbour['similarity']:.2f}"
            about.append(("in training", f"{isolated(neighbour['class'])} ({alike}): {isolated(neighbour['text'])}"))
        examples.append(Example(error["text"], about))
    how = (
        "The most confident errors come first. The training text that is most alike (cosine of tf-idf of runs of 3 "
        "and 4 characters) often explains one: where it has the predicted class, the model generalised from it; where "
        "it is a near-duplicate with another label, one of the two labels is wrong."
    )
    return Section("Most confident errors", how, [Examples(examples)])


def _groups(test: SavedTest) -> Section | None:
    blocks: list[Block] = []
    if truncation := test.facts.get("truncation"):
        blocks += _truncation(truncation)
    if len(lengths := test.facts.get("lengths", [])) > 1:
        rows = [_group(_span(each["from"], each["to"]), each) for each in lengths]
        blocks.append(Table(["tokens", "error rate", "errors", "number"], rows))
    if len(scripts := test.facts.get("scripts", [])) > 1:
        rows = [_group(each["script"], each) for each in scripts]
        blocks.append(Table(["script", "error rate", "errors", "number"], rows))
    elif scripts:
        blocks.append(Paragraph(f"All texts are in one script, {scripts[0]['script']}."))
    how = (
        f"Groups whose intervals ({INTERVAL}, Wilson) do not overlap differ in more than chance. Lengths are in "
        "tokens, as the network reads them, in groups of about equal size; a script is that of most letters of a text."
    )
    return Section("Errors by length and script", how, blocks) if blocks else None


def _truncation(facts: dict[str, Any]) -> list[Block]:
    limit, longer = f"{facts['max_length']:,} tokens", facts["longer"]
    if not longer["rows"]:
        return [Paragraph(f"No text is longer than {limit}: none was truncated.")]
    windows = facts["windows"]
    how = f"read in windows every {windows['stride']:,} tokens" if windows else f"truncated ({facts['kept']} kept)"
    rows = [_group(f"longer than {limit}", longer), _group("not longer", facts["whole"])]
    blocks: list[Block] = [
        Paragraph(f"Longer than {limit} and {how}: {longer['rows']:,} texts."),
        Table(["texts", "error rate", "errors", "number"], rows),
    ]
    if (other := facts["otherwise"]) is not None:
        value, low, high = (100 * share for share in other["difference"])
        told = other["windows"]
        what = f"Read in windows every {told['stride']:,} tokens" if told else f"Truncated ({facts['kept']} kept)"
        rates = [percent(other[name]["error_rate"]) for name in ("otherwise", "as_read")]
        blocks.append(
            Paragraph(
                f"{what} instead, without training again, {other['as_read']['rows']:,} of them have an error rate of "
                f"{rates[0]}, not {rates[1]}: {value:+.1f} points of accuracy (paired {INTERVAL} {low:+.1f} to "
                f"{high:+.1f})."
            )
        )
    return blocks


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}{DASH}{high:,}"


def _invariance(test: SavedTest) -> Section | None:
    if (certificate := test.facts.get("invariance")) is None:
        return None
    how = (
        "Whatever a text is padded to, whichever texts share its batch and wherever the model folder lies, its "
        "probabilities must stay the same up to the tolerance. Where less precise numbers, or a pooling that counts "
        "padding, may change them, the change is measured and not asserted, so that you know what it costs."
    )
    if missing := certificate.get("missing"):
        return Section("Invariance", how, [Paragraph(f"Not measured: {missing}.")])
    rows: list[list[Cell]] = []
    without = []
    for each in certificate["variations"]:
        if "missing" in each:
            without.append(Paragraph(f"Without {each['variation']}: {each['missing']}."))
            continue
        result = Measured("measured", "not asserted")
        if each["passed"] is not None:
            result = Measured("pass" if each["passed"] else "fail", f"tolerance {each['tolerance']:.0e}")
        rows.append([each["variation"], result, f"{each['largest_change']:.1e}", f"{each['changed_answers']:,}"])
    table = Table(["variation", "result", "largest change", "answers changed"], rows)
    said = (
        f"Measured on {certificate['rows']:,} of {certificate['of']:,} test texts: the largest change of a probability."
    )
    return Section("Invariance", how, [Paragraph(said), table, *without])


def _decision(test: SavedTest) -> Section | None:
    if (decision := test.facts.get("decision")) is None:
        return None
    rule = ", ".join(f"{name} {value}" for name, value in decision["asked"].items())
    how = (
        "The model answers by a rule of its own, which was fitted on validation rows. All scores above are of the most "
        "probable class; these are of its answers."
    )
    said = [
        Paragraph(f"Asked for: {rule}."),
        *(Paragraph(f"{line[:1].upper()}{line[1:]}.") for line in decision["on_these_rows"]),
    ]
    return Section("Operating point", how, said)


def _settings(test: SavedTest) -> Section | None:
    configuration = test.facts.get("configuration")
    if not configuration:
        return None
    import yaml

    how = "The settings of the fit; those that are null are left out."
    lines = yaml.safe_dump(_without_null(configuration), sort_keys=False, allow_unicode=True, width=100)
    return Section("Settings", how, [Listing("Configuration", lines)])


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return [_without_null(inner) for inner in value] if isinstance(value, list) else value


SECTIONS: tuple[Callable[[SavedTest], Section | None], ...] = (
    _baselines,
    _scores,
    _classes,
    _confusions,
    _ranking,
    _calibration,
    _learning_curves,
    _class_mix,
    _leaks,
    _errors,
    _groups,
    _decision,
    _invariance,
    _settings,
)
