"""Trains trivial models on the training rows of a model, for comparison in its test."""

from collections.abc import Hashable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.data.augmentation import AugmentationConfig
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import trained_on
from gpt_classifier.data.labels import encode_labels, is_multi_label
from gpt_classifier.data.sources import IN_MEMORY
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import Rows, train_baselines
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.evaluation.results import Missing
from gpt_classifier.evaluation.verdict import BaselineResults, against_baselines
from gpt_classifier.settings import flat
from gpt_classifier.training.callbacks.classifier import class_names
from gpt_classifier.training.module import GPTClassifier

# Settings of a data module that do not change which rows are trained on.
OF_BATCHES = {
    *("batch_size", "batching.group_by_length", "batching.max_batch_tokens"),
    *(f"augmentation.{field.name}" for field in fields(AugmentationConfig)),
}


def compared(
    data: TextDataModule | InputError,
    model: GPTClassifier,
    outputs: EpochOutputs,
    texts: list[str] | None,
    clusters: Sequence[Hashable] | None,
    limit: float,
) -> BaselineResults | Missing:
    """Scores of the baselines and the verdict for a test report, or the reason why there are none.

    Args:
        data: With the model's training rows, or why there are none.
        model: The network.
        outputs: Of the network, for the test rows.
        texts: (N,) of these rows, if known.
        clusters: (N,) which of them are near-duplicates of each other.
        limit: See :func:`~gpt_classifier.evaluation.baselines.train_baselines`.
    """
    if texts is None:
        return Missing(missing="the test rows were given without their texts")
    if isinstance(data, InputError):
        return Missing(missing=str(data))
    return _compared(data, model, outputs, texts, clusters, limit)


def _compared(
    data: TextDataModule,
    model: GPTClassifier,
    outputs: EpochOutputs,
    texts: list[str],
    clusters: Sequence[Hashable] | None,
    limit: float,
) -> BaselineResults:
    rank_zero_info("training baselines on the model's training rows (--baselines none leaves them out)")
    weights = None if data.multi_label else data.class_weights
    by_name = None if weights is None else dict(zip(data.class_names, weights.tolist(), strict=True))
    names = class_names(model)
    train, val = (_rows(data.tables[name], names) if name in data.tables else None for name in ("train", "val"))
    assert train is not None, "training_data has these rows"
    if outputs.task.multi_label:
        truth, predicted = outputs.truth.numpy(), outputs.predicted.numpy()
    else:
        numbers = outputs.labels, outputs.logits.argmax(-1)
        truth, predicted = (np.array(names, dtype=object)[each.numpy()] for each in numbers)
    return against_baselines(predicted, truth, train_baselines(train, val, texts, by_name, limit), clusters)


def _rows(table: pd.DataFrame, names: list[str]) -> Rows:
    labels = table["label"]
    several = is_multi_label(labels)
    return Rows(
        table["text"].tolist(),
        encode_labels(labels, names).bool().numpy() if several else labels.to_numpy(dtype=object),
    )


def readable_training_data(tested: TextDataModule | None, model: GPTClassifier) -> TextDataModule | InputError:
    """:func:`training_data`, or the reason why there are none."""
    try:
        return training_data(tested, model)
    except InputError as error:
        return error


def training_data(tested: TextDataModule | None, model: GPTClassifier) -> TextDataModule:
    """Data with the training rows of a model: those that it is tested on, or else read again by its settings.

    Raises ``InputError`` where there are none or they are other rows than it was trained on.
    """
    if not model.data_settings:
        raise InputError("the model does not know which rows it was trained on")
    own, known = flat(model.data_settings), model.trained_on
    data = tested
    if data is None or "train" not in data.tables or _differ(own, flat(data.hparams)):
        if model.data_settings.get("source") == IN_MEMORY:
            raise InputError("the model was trained on a table in memory, which is not there any more")
        try:
            data = TextDataModule(**model.data_settings)
            data.read_tables()
        except InputError as error:
            raise InputError(f"the training rows cannot be read again, as {error}") from error
    if known is None or not trained_on(data.tables["train"]["text"], known).all():
        raise InputError(f"the training rows of {data.source} are not those any more that the model was trained on")
    return data


def _differ(own: dict[str, Any], now: dict[str, Any]) -> bool:
    return any(own[name] != now.get(name) for name in own.keys() - OF_BATCHES)
