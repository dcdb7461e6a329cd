"""A test's results as tables for people, in the terminal and in the model card; computes nothing of them."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

from gpt_classifier.inference.early import EarlyScore
from gpt_classifier.reporting.terminal import table
from gpt_classifier.statistics.intervals import Proportion

MANY_COPIES = 0.05  # share of rows that are copies, from which on the interval by clusters is printed

MOST_CONFUSIONS = 10  # printed; all are reported

MOST_CLASSES = 100  # printed; all are reported

NAMES = {
    "loss": "loss",
    "macro F1": "f1_macro",
    "micro F1": "f1_micro",
    "Hamming loss": "hamming_loss",
    "label ranking average precision": "label_ranking_average_precision",
    "MCC": "mcc",
    "AUROC": "auroc",
    "micro AUROC": "auroc_micro",
    "average precision": "average_precision",
    "micro average precision": "average_precision_micro",
}


def tables(result: dict[str, Any], width: int = 80) -> str:
    """A :func:`report` for people. In tables of this many columns, long names are folded and never cut."""
    n = result["rows"]
    if strange := result.get("rows_with_logits_not_finite"):
        return f"{strange:,} of {n:,} rows have logits that are NaN or infinite: there are no scores"
    parts = [_of_rows(result, width), _of_classes(result, width)]
    if result["confusions"]:
        parts.append(_of_confusions(result, width))
    if mix := result.get("natural_mix"):
        parts.append(_folded(_of_class_mix(mix), width))
    if "baselines" in result:
        parts.append(_of_baselines(result, width))
    if decision := result.get("decision"):
        rule = ", ".join(f"{name} {value}" for name, value in decision["asked"].items())
        scored = "labels of probability 0.5 or more" if "multi_label" in result else "the most probable class"
        lines = [f"the model's own rule, {rule}, on these rows (all scores above are of {scored}):"]
        parts.append("\n".join(_folded(line, width) for line in [*lines, *decision["on_these_rows"]]))
    return "\n\n".join(parts)


def _of_rows(result: dict[str, Any], width: int) -> str:
    n, distinct = result["rows"], result.get("distinct_rows", result["rows"])
    accuracy = Proportion(result["accuracy"], *result["accuracy_interval"])
    lines = [f"test accuracy {accuracy} of {n:,} texts (95 % Wilson interval)"]
    if "multi_label" in result:
        lines.append("accuracy is the share of texts of which all labels are right (subset accuracy)")
    scores = ", ".join(f"{name} {_four(result[key])}" for name, key in NAMES.items() if key in result)
    lines.append(_folded(scores, width))
    if bounds := {name: bound for name, key in NAMES.items() if (bound := result.get(f"{key}_interval"))}:
        shown = ", ".join(f"{name} {low:.3f} to {high:.3f}" for name, (low, high) in bounds.items())
        how = "bootstrap" if "multi_label" in result else "stratified bootstrap"
        lines.append(_folded(f"95 % intervals by {how}: {shown}", width))
    if result["top_k"]:
        shares = ", ".join(f"{k}: {_four(share)}" for k, share in result["top_k"].items())
        lines.append(f"right class among the k most probable, for k = {shares}")
    if n - distinct >= MANY_COPIES * n:
        by_clusters = Proportion(result["accuracy"], *result["accuracy_interval_by_clusters"])
        lines.append(
            f"test accuracy {by_clusters} with an interval by clusters of near-duplicates: {n - distinct:,} texts"
        )
        lines.append("  are near-duplicates of other test texts, and Wilson's interval takes them for independent")
    return "\n".join(lines)


def _of_classes(result: dict[str, Any], width: int) -> str:
    classes = result["classes"]
    lines = [
        [c["class"], *(_four(c[name]) for name in ("precision", "recall", "f1")), f"{c['rows']:,}"] for c in classes
    ]
    more = lines[MOST_CLASSES:]
    lines[MOST_CLASSES:] = [[f"{len(more)} more classes", "", "", "", ""]] if more else []
    macro = [_four(result[f"{name}_macro"]) for name in ("precision", "recall", "f1")]
    micro = [_four(result.get(f"{name}_micro", result["accuracy"])) for name in ("precision", "recall", "f1")]
    means = [["macro", *macro, f"{result['rows']:,}"], ["micro", *micro, f"{result['rows']:,}"]]
    return table(["class", "precision", "recall", "F1", "rows"], [lines, means], 1, width)


def _of_confusions(result: dict[str, Any], width: int) -> str:
    shown = result["confusions"][:MOST_CONFUSIONS]
    lines = [[c["true"], c["predicted"], f"{c['rows']:,}", f"{c['share_of_class']:.1%}"] for c in shown]
    return table(["true class", "predicted instead", "rows", "of the class"], [lines], 2, width)


def _of_class_mix(mix: dict[str, Any]) -> str:
    shares = ", ".join(f"{share:.1%} {name}" for name, share in mix["shares"].items())
    precision = [
        f"precision of {name} {_percent(value, mix['precision_interval'][name])}"
        for name, value in mix["precision"].items()
        if value is not None
    ]
    scores = [
        f"accuracy {_percent(mix['accuracy'], mix['accuracy_interval'])}",
        f"macro F1 {_percent(mix['f1_macro'], mix['f1_macro_interval'])}",
        *precision[:MOST_CONFUSIONS],
    ]
    return f"The test rows were balanced. At the natural class mix ({shares}): {', '.join(scores)}; recall is the same"


def _percent(value: float, interval: tuple[float, float] | None) -> str:
    bounds = "" if interval is None else " [{:.1f}, {:.1f}]".format(*(100 * bound for bound in interval))
    return f"{100 * value:.1f} %{bounds}"


def _of_baselines(result: dict[str, Any], width: int) -> str:
    """The baselines as rows beside the network, and the verdict."""
    baselines = result["baselines"]
    if missing := baselines.get("missing"):
        return _folded(f"no baselines: {missing}", width)
    trained = result["training_seconds"]
    network = {"name": "the network", "seconds": trained and trained + result["test_seconds"], **result}
    lines = [
        [each["name"], _accuracy(each), _f1(each), "-" if each["seconds"] is None else f"{each['seconds']:,.1f}"]
        for each in (network, *baselines["models"])
    ]
    parts = [table(["model", "accuracy [95 %]", "macro F1, % [95 %]", "s"], [lines[:1], lines[1:]], 1, width)]
    about = f"The baselines learnt from the network's {baselines['training_rows']:,} training rows, in full length; "
    seconds = "s: seconds of training and of classifying the test texts, of the network up to its checkpoint."
    parts.append(_folded(about + seconds, width))
    parts += [_folded(f"without {name}: {reason}", width) for name, reason in baselines["skipped"].items()]
    if "verdict" in baselines:
        parts.append(_folded(baselines["verdict"], width))
    return "\n".join(parts)


def _accuracy(scores: dict[str, Any]) -> str:
    return str(Proportion(scores["accuracy"], *scores["accuracy_interval"]))


def _f1(scores: dict[str, Any]) -> str:
    if scores["f1_macro"] is None:  # of labels that neither occur nor are predicted
        return "-"
    return _percent(scores["f1_macro"], scores["f1_macro_interval"]).replace(" %", "")


def _folded(sentence: str, width: int) -> str:
    """In lines of at most ``width``, but for paths that are longer, which nobody could copy in two parts."""
    return fill(sentence, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def early_table(scores: Sequence[EarlyScore], width: int = 80) -> str:
    """The scores for people."""
    header = ("read until", "accuracy [95 %]", "tokens read", "of the text")
    rows = [
        [
            "the end" if score.level is None else f"probability {score.level:g}",
            str(score.accuracy),
            f"{score.tokens:.1f}",
            f"{100 * score.share:.1f} %",
        ]
        for score in scores
    ]
    return table(header, [rows], 1, width)
