"""A test's results as tables for people, in the terminal and in the model card; computes nothing of them."""

from textwrap import fill

from gpt_classifier.decision.prior import ClassMix
from gpt_classifier.evaluation.results import Missing, NotFinite, Scores, TestResults
from gpt_classifier.evaluation.verdict import BaselineResults, BaselineScores
from gpt_classifier.reporting.terminal import table
from gpt_classifier.statistics.intervals import Interval, Proportion

MANY_COPIES = 0.05  # share of rows that are copies, from which on the interval by clusters is printed

MOST_CONFUSIONS = 10  # printed; all are reported

MOST_CLASSES = 100  # printed; all are reported


def tables(results: TestResults | NotFinite, width: int = 80) -> str:
    """A test's results for people. In tables of this many columns, long names are folded and never cut."""
    if isinstance(results, NotFinite):
        strange = results.rows_with_logits_not_finite
        return f"{strange:,} of {results.rows:,} rows have logits that are NaN or infinite: there are no scores"
    scores = results.scores
    parts = [_of_rows(results, width), _of_classes(scores, width)]
    if scores.confusions:
        parts.append(_of_confusions(scores, width))
    if results.natural_mix is not None:
        parts.append(_folded(_of_class_mix(results.natural_mix), width))
    if isinstance(results.baselines, Missing):
        parts.append(_folded(f"no baselines: {results.baselines.missing}", width))
    elif results.baselines is not None:
        parts.append(_of_baselines(results, results.baselines, width))
    if (decision := results.decision) is not None:
        rule = ", ".join(f"{name} {value}" for name, value in decision.asked.items())
        scored = "the most probable class" if scores.of_labels is None else "labels of probability 0.5 or more"
        lines = [f"the model's own rule, {rule}, on these rows (all scores above are of {scored}):"]
        parts.append("\n".join(_folded(line, width) for line in [*lines, *decision.on_these_rows]))
    return "\n\n".join(parts)


def _of_rows(results: TestResults, width: int) -> str:
    scores, of_labels = results.scores, results.scores.of_labels
    n = scores.rows
    accuracy = Proportion(scores.accuracy, *scores.accuracy_interval)
    lines = [f"test accuracy {accuracy} of {n:,} texts (95 % Wilson interval)"]
    if of_labels is not None:
        lines.append("accuracy is the share of texts of which all labels are right (subset accuracy)")
    named = _named(results)
    lines.append(_folded(", ".join(f"{name} {_four(value)}" for name, value, _ in named), width))
    if bounds := [(name, *interval) for name, _, interval in named if interval is not None]:
        shown = ", ".join(f"{name} {low:.3f} to {high:.3f}" for name, low, high in bounds)
        how = "stratified bootstrap" if of_labels is None else "bootstrap"
        lines.append(_folded(f"95 % intervals by {how}: {shown}", width))
    if scores.top_k:
        shares = ", ".join(f"{k}: {_four(share)}" for k, share in scores.top_k.items())
        lines.append(f"right class among the k most probable, for k = {shares}")
    copies = 0 if scores.distinct_rows is None else n - scores.distinct_rows
    if scores.accuracy_interval_by_clusters is not None and copies >= MANY_COPIES * n:
        by_clusters = Proportion(scores.accuracy, *scores.accuracy_interval_by_clusters)
        lines.append(f"test accuracy {by_clusters} with an interval by clusters of near-duplicates: {copies:,}")
        what = "text is a near-duplicate" if copies == 1 else "texts are near-duplicates"
        lines.append(f"  {what} of other test texts, and Wilson's interval takes them for independent")
    if results.disagreement:
        lines.append(_folded(results.disagreement, width))
    return "\n".join(lines)


def _named(results: TestResults) -> list[tuple[str, float | None, Interval | None]]:
    """The scores of all rows beside the accuracy, each with its interval where it has one."""
    scores, of_labels = results.scores, results.scores.of_labels
    auroc = "AUROC", scores.auroc, scores.auroc_interval
    precision = "average precision", scores.average_precision, scores.average_precision_interval
    found: list[tuple[str, float | None, Interval | None]] = []
    if results.loss is not None:
        found.append(("loss", results.loss, None))
    found.append(("macro F1", scores.f1_macro, scores.f1_macro_interval))
    if of_labels is None:
        return [*found, ("MCC", scores.mcc, None), auroc, precision]
    return [
        *found,
        ("micro F1", of_labels.f1_micro, of_labels.f1_micro_interval),
        ("Hamming loss", of_labels.hamming_loss, None),
        ("label ranking average precision", of_labels.label_ranking_average_precision, None),
        auroc,
        ("micro AUROC", of_labels.auroc_micro, None),
        precision,
        ("micro average precision", of_labels.average_precision_micro, None),
    ]


def _of_classes(scores: Scores, width: int) -> str:
    lines = [
        [c.class_, _four(c.precision if c.predicted else None), _four(c.recall), _four(c.f1), f"{c.rows:,}"]
        for c in scores.classes
    ]
    more = lines[MOST_CLASSES:]
    lines[MOST_CLASSES:] = [[f"{len(more)} more classes", "", "", "", ""]] if more else []
    macro = scores.precision_macro, scores.recall_macro, scores.f1_macro
    if (several := scores.of_labels) is None:
        micro: tuple[float | None, ...] = (scores.accuracy,) * 3
    else:
        micro = several.precision_micro, several.recall_micro, several.f1_micro
    means = [[name, *map(_four, values), f"{scores.rows:,}"] for name, values in (("macro", macro), ("micro", micro))]
    return table(["class", "precision", "recall", "F1", "rows"], [lines, means], 1, width)


def _of_confusions(scores: Scores, width: int) -> str:
    shown = scores.confusions[:MOST_CONFUSIONS]
    lines = [[c.true, c.predicted, f"{c.rows:,}", f"{c.share_of_class:.1%}"] for c in shown]
    return table(["true class", "predicted instead", "rows", "of the class"], [lines], 2, width)


def _of_class_mix(mix: ClassMix) -> str:
    shares = ", ".join(f"{share:.1%} {name}" for name, share in mix.shares.items())
    precision = [
        f"precision of {name} {_percent(value, mix.precision_interval[name])}"
        for name, value in mix.precision.items()
        if value is not None
    ]
    scores = [
        f"accuracy {_percent(mix.accuracy, mix.accuracy_interval)}",
        f"macro F1 {_percent(mix.f1_macro, mix.f1_macro_interval)}",
        *precision[:MOST_CONFUSIONS],
    ]
    return f"The test rows were balanced. At the natural class mix ({shares}): {', '.join(scores)}; recall is the same"


def _percent(value: float, interval: Interval | None) -> str:
    bounds = "" if interval is None else " [{:.1f}, {:.1f}]".format(*(100 * bound for bound in interval))
    return f"{100 * value:.1f} %{bounds}"


def _of_baselines(results: TestResults, baselines: BaselineResults, width: int) -> str:
    """The baselines as rows beside the network, and the verdict."""
    network = _model("the network", results.seconds, results.scores)
    models = [_model(each.name, each.seconds, each) for each in baselines.models]
    parts = [table(["model", "accuracy [95 %]", "macro F1, % [95 %]", "s"], [[network], models], 1, width)]
    about = f"The baselines learnt from the network's {baselines.training_rows:,} training rows, in full length; "
    seconds = "s: seconds of training and of classifying the test texts, of the network up to its checkpoint."
    parts.append(_folded(about + seconds, width))
    parts += [_folded(f"without {name}: {reason}", width) for name, reason in baselines.skipped.items()]
    if baselines.against_best is not None:
        parts.append(_folded(baselines.against_best.verdict, width))
    return "\n".join(parts)


def _model(name: str, seconds: float | None, scores: Scores | BaselineScores) -> list[str]:
    """A row of the table of baselines."""
    accuracy = str(Proportion(scores.accuracy, *scores.accuracy_interval))
    f1 = "-"  # of labels that neither occur nor are predicted
    if scores.f1_macro is not None:
        f1 = _percent(scores.f1_macro, scores.f1_macro_interval).replace(" %", "")
    return [name, accuracy, f1, "-" if seconds is None else f"{seconds:,.1f}"]


def _folded(sentence: str, width: int) -> str:
    """In lines of at most ``width``, but for paths that are longer, which nobody could copy in two parts."""
    return fill(sentence, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
