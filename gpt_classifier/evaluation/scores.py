"""Scores a test: a network's outputs as values with their uncertainty."""

import math
from collections.abc import Hashable, Sequence

from torch import Tensor

from gpt_classifier.evaluation.metrics import (
    ByClass,
    classification_scores,
    confusion_matrix,
    ranking_scores,
    score_classes,
)
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.evaluation.results import (
    ClassScores,
    Confusion,
    MultiLabelScores,
    NotFinite,
    Scores,
)
from gpt_classifier.statistics import resampling
from gpt_classifier.statistics.intervals import Interval, clustered, wilson

TOP = (2, 3, 5)  # numbers of most probable classes among which the right one is looked for


def report(
    outputs: EpochOutputs, names: Sequence[str], clusters: Sequence[Hashable] | None = None
) -> Scores | NotFinite:
    """Scores of a network's outputs, of all rows and of each class.

    ``clusters`` (N,) tells which rows are near-duplicates of each other. Macro scores are means over classes as in
    :func:`classification_scores`; the micro ones all equal the accuracy, except those of labels (N, K), whose accuracy
    is that of whole rows. Bootstrap intervals are None if the rows allow none.
    """
    if strange := int((~outputs.logits.isfinite().all(1)).sum()):
        return NotFinite(rows=len(outputs), rows_with_logits_not_finite=strange)
    multi_label, right = outputs.task.multi_label, outputs.correct.numpy()
    each, scores = score_classes(outputs), classification_scores(outputs, names)
    resampled = resampling.intervals(outputs.labels.numpy(), _resampled_scores(outputs), clusters)
    _, low, high = wilson(int(right.sum()), len(right))
    return Scores(
        rows=len(outputs),
        accuracy=scores["accuracy"],
        accuracy_interval=(low, high),
        distinct_rows=None if clusters is None else len(set(clusters)),
        accuracy_interval_by_clusters=None if clusters is None else clustered(right, clusters)[1:],
        balanced_accuracy=scores.get("balanced_accuracy"),
        f1_macro=scores.get("f1_macro"),
        precision_macro=_plain(each.precision.nanmean()),
        recall_macro=_plain(each.recall.nanmean()),
        mcc=scores.get("mcc"),
        auroc=scores.get("auroc"),
        average_precision=scores.get("average_precision"),
        multi_label_scores=_multi_label_scores(scores, each, resampled["f1_micro"]) if multi_label else None,
        f1_macro_interval=resampled["f1_macro"],
        auroc_interval=resampled.get("auroc"),
        average_precision_interval=resampled.get("average_precision"),
        top_k={} if multi_label else {str(k): value for k, value in _top_k(outputs).items()},
        classes=_classes(outputs, each, names),
        confusions=[] if multi_label else _confusions(outputs, names),
    )


def _multi_label_scores(scores: dict[str, float], each: ByClass, interval: Interval | None) -> MultiLabelScores:
    micro = each.sum()
    return MultiLabelScores(
        multi_label=True,
        f1_micro=scores.get("f1_micro"),
        hamming_loss=scores.get("hamming_loss"),
        label_ranking_average_precision=scores.get("label_ranking_average_precision"),
        auroc_micro=scores.get("auroc_micro"),
        average_precision_micro=scores.get("average_precision_micro"),
        precision_micro=_plain(micro.precision),
        recall_micro=_plain(micro.recall),
        f1_micro_interval=interval,
    )


def _classes(outputs: EpochOutputs, each: ByClass, names: Sequence[str]) -> list[ClassScores]:
    """The most frequent first."""
    rows, predicted = each.rows.long().tolist(), each.predicted.long().tolist()
    values = {name: getattr(each, name) for name in ("precision", "recall", "f1")} | ranking_scores(outputs)._asdict()
    return [
        ClassScores(
            class_=names[c],
            rows=rows[c],
            predicted=predicted[c],
            **{name: _plain(each_class[c]) for name, each_class in values.items()},
        )
        for c in sorted(range(len(names)), key=lambda c: -rows[c])
    ]


def _confusions(outputs: EpochOutputs, names: Sequence[str]) -> list[Confusion]:
    """The most frequent first."""
    counts = confusion_matrix(outputs)
    rows = counts.sum(1).tolist()
    wrong = [(int(counts[i, j]), i, j) for i, j in counts.nonzero().tolist() if i != j]
    return [
        Confusion(true=names[i], predicted=names[j], rows=n, share_of_class=n / rows[i])
        for n, i, j in sorted(wrong, key=lambda item: -item[0])
    ]


def _resampled_scores(outputs: EpochOutputs) -> dict[str, resampling.Score]:
    """Macro F1, for multi-label outputs also micro F1, for two classes that both occur AUROC and average precision.

    With more classes, that would take minutes.
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
    """Fraction of rows with the right class among the k most probable."""
    from sklearn.metrics import top_k_accuracy_score

    k = outputs.classes
    return {n: float(top_k_accuracy_score(outputs.labels, outputs.logits, k=n, labels=range(k))) for n in TOP if n < k}


def _plain(value: Tensor) -> float | None:
    return None if math.isnan(value) else float(value)
