"""What a test reports: its predictions as plain values, and these as tables for people; knows nothing about files."""

import io
import math
from collections.abc import Hashable, Sequence
from textwrap import fill
from typing import Any

from torch import Tensor

from gpt_classifier.evaluation import bootstrap
from gpt_classifier.evaluation.metrics import (
    Counts,
    by_class,
    classification_scores,
    confusion_matrix,
    correct,
    counts_by_class,
    predicted_classes,
    ranking_scores,
)
from gpt_classifier.evaluation.statistics import Proportion, clustered, wilson

TOP = (2, 3, 5)  # numbers of most probable classes among which the right one is looked for
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
OF_SEVERAL = ("f1_micro", "hamming_loss", "label_ranking_average_precision", "auroc_micro", "average_precision_micro")


def report(
    logits: Tensor, labels: Tensor, names: Sequence[str], clusters: Sequence[Hashable] | None = None
) -> dict[str, Any]:
    """Scores of logits (N, K) for labels (N,) or (N, K), of all rows and of each class, as values that JSON knows.

    ``clusters`` (N,) tells which rows are near-duplicates of each other. Undefined scores are None. Macro scores are
    means over classes as in :func:`classification_scores`; the micro ones all equal the accuracy, except those of
    labels (N, K), whose accuracy is that of whole rows. Bootstrap intervals are None if the rows allow none.
    """
    strange = int((~logits.isfinite().all(1)).sum())
    if strange:
        return {"rows": len(labels), "rows_with_logits_not_finite": strange}
    multi_label = labels.is_floating_point()
    of_classes = counts_by_class(logits, labels)
    rows, predicted, _ = (count.long().tolist() for count in of_classes)
    each, ranking = by_class(of_classes), ranking_scores(logits, labels)
    right = correct(logits, labels).numpy()
    scores = classification_scores(logits, labels, names)
    result: dict[str, Any] = {"rows": len(labels), "accuracy": scores["accuracy"]}
    result["accuracy_interval"] = wilson(int(right.sum()), len(right))[1:]
    if clusters is not None:
        result["distinct_rows"] = len(set(clusters))
        result["accuracy_interval_by_clusters"] = clustered(right, clusters)[1:]
    for name in ("f1_macro",) if multi_label else ("balanced_accuracy", "f1_macro"):
        result[name] = scores.get(name)
    result["precision_macro"], result["recall_macro"] = (_plain(v.nanmean()) for v in (each.precision, each.recall))
    for name in ("auroc", "average_precision") if multi_label else ("mcc", "auroc", "average_precision"):
        result[name] = scores.get(name)
    if multi_label:
        result |= {"multi_label": True} | {name: scores.get(name) for name in OF_SEVERAL}
        micro = by_class(Counts(*(count.sum() for count in of_classes)))
        result["precision_micro"], result["recall_micro"] = _plain(micro.precision), _plain(micro.recall)
    resampled = bootstrap.intervals(labels.numpy(), _resampled_scores(logits, labels), clusters)
    result |= {f"{name}_interval": interval for name, interval in resampled.items()}
    result["top_k"] = {} if multi_label else {str(k): value for k, value in _top_k(logits, labels).items()}
    values = each._asdict() | ranking._asdict()
    result["classes"] = [
        {"class": names[c], **{name: _plain(v[c]) for name, v in values.items()}}
        | {"rows": rows[c], "predicted": predicted[c]}
        for c in sorted(range(len(names)), key=lambda c: -rows[c])
    ]
    result["confusions"] = [] if multi_label else _confusions(logits, labels, names)
    return result


def _confusions(logits: Tensor, labels: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    counts = confusion_matrix(logits, labels)
    rows = counts.sum(1).tolist()
    wrong = [(int(counts[i, j]), i, j) for i, j in counts.nonzero().tolist() if i != j]
    return [
        {"true": names[i], "predicted": names[j], "rows": n, "share_of_class": n / rows[i]}
        for n, i, j in sorted(wrong, key=lambda item: -item[0])
    ]


def _resampled_scores(logits: Tensor, labels: Tensor) -> dict[str, bootstrap.Score]:
    """Macro F1 and, of several labels, micro F1; of two classes that both occur, also the scores of their ranking.

    With more, that would take minutes.
    """
    if labels.is_floating_point():
        rows = labels.bool().numpy(), predicted_classes(logits, labels).numpy()
        return {"f1_macro": bootstrap.macro_f1(*rows), "f1_micro": bootstrap.micro_f1(*rows)}
    truth = labels.numpy()
    result = {"f1_macro": bootstrap.macro_f1(truth, logits.argmax(-1).numpy())}
    if logits.shape[1] == 2 and len(labels.unique()) == 2:
        ranked = [(truth == c, probabilities) for c, probabilities in enumerate(logits.double().softmax(-1).numpy().T)]
        result["auroc"] = bootstrap.auroc(*ranked[1])  # that of the other class is the same
        result["average_precision"] = bootstrap.mean([bootstrap.average_precision(*each) for each in ranked])
    return result


def _top_k(logits: Tensor, labels: Tensor) -> dict[int, float]:
    """Share of rows with the right class among the k most probable."""
    from sklearn.metrics import top_k_accuracy_score

    k = logits.shape[1]
    return {n: float(top_k_accuracy_score(labels, logits, k=n, labels=range(k))) for n in TOP if n < k}


def _plain(value: Tensor) -> float | None:
    return None if math.isnan(value) else float(value)


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


def table(header: Sequence[str], sections: Sequence[Sequence[Sequence[str]]], names: int, width: int) -> str:
    """The first columns are ``names``, which get all the room that numbers leave; sections are parted by a line."""
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A line below the header and below a section, of a character that every log file can show.
    lines = Box("    \n    \n -- \n    \n    \n -- \n    \n    \n", ascii=True)
    table = Table(box=lines, pad_edge=False, show_edge=False)
    for number, title in enumerate(header):
        if number < names:
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, justify="right", no_wrap=True)
    for section in sections:
        for line in section:
            table.add_row(*(Text(cell) for cell in line))  # not as strings, in which rich would look for markup
        table.add_section()
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())
