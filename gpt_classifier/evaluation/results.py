"""What a test reports: its predictions as plain values, and these as tables for people; knows nothing about files."""

import math
from collections.abc import Hashable, Sequence
from typing import Any

from torch import Tensor

from gpt_classifier.evaluation.metrics import (
    Counts,
    by_class,
    classification_scores,
    confusion_matrix,
    counts_by_class,
    ranking_scores,
)
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.statistics import resampling
from gpt_classifier.statistics.intervals import clustered, wilson

TOP = (2, 3, 5)  # numbers of most probable classes among which the right one is looked for
OF_SEVERAL = ("f1_micro", "hamming_loss", "label_ranking_average_precision", "auroc_micro", "average_precision_micro")


def report(outputs: EpochOutputs, names: Sequence[str], clusters: Sequence[Hashable] | None = None) -> dict[str, Any]:
    """Scores of a network's outputs, of all rows and of each class, as values that JSON knows.

    ``clusters`` (N,) tells which rows are near-duplicates of each other. Undefined scores are None. Macro scores are
    means over classes as in :func:`classification_scores`; the micro ones all equal the accuracy, except those of
    labels (N, K), whose accuracy is that of whole rows. Bootstrap intervals are None if the rows allow none.
    """
    strange = int((~outputs.logits.isfinite().all(1)).sum())
    if strange:
        return {"rows": len(outputs), "rows_with_logits_not_finite": strange}
    multi_label = outputs.task.multi_label
    of_classes = counts_by_class(outputs)
    rows, predicted, _ = (count.long().tolist() for count in of_classes)
    each, ranking = by_class(of_classes), ranking_scores(outputs)
    right = outputs.correct.numpy()
    scores = classification_scores(outputs, names)
    result: dict[str, Any] = {"rows": len(outputs), "accuracy": scores["accuracy"]}
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
    resampled = resampling.intervals(outputs.labels.numpy(), _resampled_scores(outputs), clusters)
    result |= {f"{name}_interval": interval for name, interval in resampled.items()}
    result["top_k"] = {} if multi_label else {str(k): value for k, value in _top_k(outputs).items()}
    values = each._asdict() | ranking._asdict()
    result["classes"] = [
        {"class": names[c], **{name: _plain(v[c]) for name, v in values.items()}}
        | {"rows": rows[c], "predicted": predicted[c]}
        for c in sorted(range(len(names)), key=lambda c: -rows[c])
    ]
    result["confusions"] = [] if multi_label else _confusions(outputs, names)
    return result


def _confusions(outputs: EpochOutputs, names: Sequence[str]) -> list[dict[str, Any]]:
    counts = confusion_matrix(outputs)
    rows = counts.sum(1).tolist()
    wrong = [(int(counts[i, j]), i, j) for i, j in counts.nonzero().tolist() if i != j]
    return [
        {"true": names[i], "predicted": names[j], "rows": n, "share_of_class": n / rows[i]}
        for n, i, j in sorted(wrong, key=lambda item: -item[0])
    ]


def _resampled_scores(outputs: EpochOutputs) -> dict[str, resampling.Score]:
    """Macro F1 and, of several labels, micro F1; of two classes that both occur, also the scores of their ranking.

    With more, that would take minutes.
    """
    if outputs.task.multi_label:
        rows = outputs.truth.numpy(), outputs.predicted.numpy()
        return {"f1_macro": resampling.macro_f1(*rows), "f1_micro": resampling.micro_f1(*rows)}
    truth = outputs.labels.numpy()
    result = {"f1_macro": resampling.macro_f1(truth, outputs.logits.argmax(-1).numpy())}
    if outputs.classes == 2 and len(outputs.labels.unique()) == 2:
        ranked = [(truth == c, probabilities) for c, probabilities in enumerate(outputs.probabilities.numpy().T)]
        result["auroc"] = resampling.auroc(*ranked[1])  # that of the other class is the same
        result["average_precision"] = resampling.mean([resampling.average_precision(*each) for each in ranked])
    return result


def _top_k(outputs: EpochOutputs) -> dict[int, float]:
    """Share of rows with the right class among the k most probable."""
    from sklearn.metrics import top_k_accuracy_score

    k = outputs.classes
    return {n: float(top_k_accuracy_score(outputs.labels, outputs.logits, k=n, labels=range(k))) for n in TOP if n < k}


def _plain(value: Tensor) -> float | None:
    return None if math.isnan(value) else float(value)
