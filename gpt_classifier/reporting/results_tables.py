"""A test's results as tables for people, in the terminal; computes nothing of them."""

from textwrap import fill

from gpt_classifier.decision.prior import ScoresAtPrior
from gpt_classifier.evaluation.results import Missing, NotFinite, Scores, TestResults
from gpt_classifier.evaluation.verdict import BaselineResults, BaselineScores
from gpt_classifier.reporting.render import terminal_table
from gpt_classifier.reporting.score_sections import named_scores
from gpt_classifier.statistics.intervals import Interval, Proportion

MANY_COPIES = 0.05  # fraction of rows that are copies, from which on the interval by clusters is printed
MAX_CONFUSIONS = 10  # printed; all are in scores.json
MAX_CLASSES = 100  # printed; all are in scores.json
PRINTED = {  # the scores in this order, by the names under which they are printed
    "loss": "loss",
    "macro F1": "macro F1",
    "Matthews correlation": "MCC",
    "micro F1": "micro F1",
    "Hamming loss": "Hamming loss",
    "label ranking average precision": "label ranking average precision",
    "AUROC": "AUROC",
    "micro AUROC": "micro AUROC",
    "average precision": "average precision",
    "micro average precision": "micro average precision",
}


def format_results(results: TestResults | NotFinite, width: int = 80) -> str:
    """A test's results for people. In tables of this many columns, long names are wrapped and never truncated."""
    if isinstance(results, NotFinite):
        strange = results.rows_with_logits_not_finite
        return f"{strange:,} of {results.rows:,} rows have logits that are NaN or infinite: there are no scores"
    scores = results.scores
    parts = [_scores_lines(results, width), _classes_table(scores, width)]
    if scores.confusions:
        rows = [
            [c.true, c.predicted, f"{c.rows:,}", f"{c.share_of_class:.1%}"] for c in scores.confusions[:MAX_CONFUSIONS]
        ]
        parts.append(terminal_table(["true class", "predicted instead", "rows", "of the class"], [rows], 2, width))
    if results.natural_mix is not None:
        parts.append(_wrap(_natural_prior_sentence(results.natural_mix), width))
    if isinstance(results.baselines, Missing):
        parts.append(_wrap(f"no baselines: {results.baselines.missing}", width))
    elif results.baselines is not None:
        parts.append(_baselines_table(results, results.baselines, width))
    if (decision := results.decision) is not None:
        rule = ", ".join(f"{name} {value}" for name, value in decision.asked.items())
        scored = "the most probable class" if scores.multi_label_scores is None else "labels of probability 0.5 or more"
        lines = [f"the model's own rule, {rule}, on these rows (all scores above are of {scored}):"]
        parts.append("\n".join(_wrap(line, width) for line in [*lines, *decision.on_these_rows]))
    return "\n\n".join(parts)


def _scores_lines(results: TestResults, width: int) -> str:
    scores, multi_label = results.scores, results.scores.multi_label_scores
    n = scores.rows
    accuracy = Proportion(scores.accuracy, *scores.accuracy_interval)
    lines = [f"test accuracy {accuracy} of {n:,} texts (95 % Wilson interval)"]
    if multi_label is not None:
        lines.append("accuracy is the fraction of texts of which all labels are right (subset accuracy)")
    named = named_scores(results)
    named = {PRINTED[name]: named[name] for name in PRINTED if name in named}
    if results.loss is None:
        del named["loss"]
    lines.append(_wrap(", ".join(f"{name} {_four_digits(value)}" for name, (value, _) in named.items()), width))
    if bounds := [(name, *interval) for name, (_, interval) in named.items() if interval is not None]:
        shown = ", ".join(f"{name} {low:.3f} to {high:.3f}" for name, low, high in bounds)
        how = "stratified bootstrap" if multi_label is None else "bootstrap"
        lines.append(_wrap(f"95 % intervals by {how}: {shown}", width))
    if scores.top_k:
        values = ", ".join(f"{k}: {_four_digits(value)}" for k, value in scores.top_k.items())
        lines.append(f"right class among the k most probable, for k = {values}")
    copies = 0 if scores.distinct_rows is None else n - scores.distinct_rows
    if scores.accuracy_interval_by_clusters is not None and copies >= MANY_COPIES * n:
        by_clusters = Proportion(scores.accuracy, *scores.accuracy_interval_by_clusters)
        lines.append(f"test accuracy {by_clusters} with an interval by clusters of near-duplicates: {copies:,}")
        what = "text is a near-duplicate" if copies == 1 else "texts are near-duplicates"
        lines.append(f"  {what} of other test texts, and Wilson's interval takes them for independent")
    if results.disagreement:
        lines.append(_wrap(results.disagreement, width))
    return "\n".join(lines)


def _classes_table(scores: Scores, width: int) -> str:
    rows = [
        [c.class_, *map(_four_digits, (c.precision if c.predicted else None, c.recall, c.f1)), f"{c.rows:,}"]
        for c in scores.classes
    ]
    more = rows[MAX_CLASSES:]
    rows[MAX_CLASSES:] = [[f"{len(more)} more classes", "", "", "", ""]] if more else []
    means: dict[str, tuple[float | None, ...]] = {
        "macro": (scores.precision_macro, scores.recall_macro, scores.f1_macro),
        "micro": (scores.accuracy,) * 3,
    }
    if (multi_label := scores.multi_label_scores) is not None:
        means["micro"] = multi_label.precision_micro, multi_label.recall_micro, multi_label.f1_micro
    below = [[name, *map(_four_digits, values), f"{scores.rows:,}"] for name, values in means.items()]
    return terminal_table(["class", "precision", "recall", "F1", "rows"], [rows, below], 1, width)


def _natural_prior_sentence(natural: ScoresAtPrior) -> str:
    prior = ", ".join(f"{prevalence:.1%} {name}" for name, prevalence in natural.shares.items())
    precision = [
        f"precision of {name} {_format_percent(value, natural.precision_interval[name])}"
        for name, value in natural.precision.items()
        if value is not None
    ]
    scores = [
        f"accuracy {_format_percent(natural.accuracy, natural.accuracy_interval)}",
        f"macro F1 {_format_percent(natural.f1_macro, natural.f1_macro_interval)}",
        *precision[:MAX_CONFUSIONS],
    ]
    told = ", ".join(scores)
    return f"The test rows were balanced. At the natural class prior ({prior}): {told}; recall is the same"


def _baselines_table(results: TestResults, baselines: BaselineResults, width: int) -> str:
    """The baselines as rows beside the network, and the verdict."""
    network = _model_row("the network", results.seconds, results.scores)
    models = [_model_row(each.name, each.seconds, each) for each in baselines.models]
    table = terminal_table(["model", "accuracy [95 %]", "macro F1, % [95 %]", "s"], [[network], models], 1, width)
    sentences = [
        f"The baselines learnt from the network's {baselines.training_rows:,} training rows, in full length; "
        "s: seconds of training and of classifying the test texts, of the network up to its checkpoint.",
        *(f"without {name}: {reason}" for name, reason in baselines.skipped.items()),
    ]
    if baselines.against_best is not None:
        sentences.append(baselines.against_best.verdict)
    return "\n".join([table, *(_wrap(sentence, width) for sentence in sentences)])


def _model_row(name: str, seconds: float | None, scores: Scores | BaselineScores) -> list[str]:
    accuracy = str(Proportion(scores.accuracy, *scores.accuracy_interval))
    f1 = "-"  # of labels that neither occur nor are predicted
    if scores.f1_macro is not None:
        f1 = _format_percent(scores.f1_macro, scores.f1_macro_interval).replace(" %", "")
    return [name, accuracy, f1, "-" if seconds is None else f"{seconds:,.1f}"]


def _format_percent(value: float, interval: Interval | None) -> str:
    bounds = "" if interval is None else " [{:.1f}, {:.1f}]".format(*(100 * bound for bound in interval))
    return f"{100 * value:.1f} %{bounds}"


def _four_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _wrap(sentence: str, width: int) -> str:
    """In lines of at most ``width``, but for paths that are longer, which nobody could copy in two parts."""
    return fill(sentence, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
