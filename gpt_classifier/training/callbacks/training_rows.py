"""What the training rows of a model say of its test: baselines trained on them, and scored rows that are among them."""

from collections.abc import Hashable, Sequence
from dataclasses import fields

import numpy as np
import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.data.augmentation import AugmentationConfig
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import find_trained_on
from gpt_classifier.data.labels import encode_labels, is_multi_label
from gpt_classifier.data.sources import IN_MEMORY
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import Rows, train_baselines
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.evaluation.results import Missing
from gpt_classifier.evaluation.verdict import BaselineResults, score_baselines
from gpt_classifier.settings import flat
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.training.callbacks.classifier import class_names, classifier
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.runs import text_data

# Settings of a data module that do not change which rows are trained on.
BATCH_SETTINGS = {
    *("batch_size", "batching.group_by_length", "batching.max_batch_tokens"),
    *(f"augmentation.{field.name}" for field in fields(AugmentationConfig)),
}


def compare_with_baselines(
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
        outputs: Outputs of the network for the test rows.
        texts: (N,) of these rows, if known.
        clusters: (N,) which of them are near-duplicates of each other.
        limit: See :func:`~gpt_classifier.evaluation.baselines.train_baselines`.
    """
    if texts is None:
        return Missing(missing="the test rows were given without their texts")
    if isinstance(data, InputError):
        return Missing(missing=str(data))
    rank_zero_info("training baselines on the model's training rows (--baselines none leaves them out)")
    weights = None if data.multi_label else data.class_weights
    by_name = None if weights is None else dict(zip(data.class_names, weights.tolist(), strict=True))
    names = class_names(model)
    train, val = (_rows(data.tables[name], names) if name in data.tables else None for name in ("train", "val"))
    assert train is not None, "read_training_data has these rows"
    if outputs.task.multi_label:
        truth, predicted = outputs.truth.numpy(), outputs.predicted.numpy()
    else:
        numbers = outputs.labels, outputs.logits.argmax(-1)
        truth, predicted = (np.array(names, dtype=object)[each.numpy()] for each in numbers)
    return score_baselines(predicted, truth, train_baselines(train, val, texts, by_name, limit), clusters)


def _rows(table: pd.DataFrame, names: list[str]) -> Rows:
    labels = table["label"]
    encoded = encode_labels(labels, names).bool().numpy() if is_multi_label(labels) else labels.to_numpy(dtype=object)
    return Rows(table["text"].tolist(), encoded)


def read_training_data(tested: TextDataModule | None, model: GPTClassifier) -> TextDataModule | InputError:
    """Data with the training rows of a model: those that it is tested on, or else read again by its settings.

    Returns the reason where there are none, or where they are other rows than it was trained on.
    """
    if not model.data_settings:
        return InputError("the model does not know which rows it was trained on")
    own, data = flat(model.data_settings), tested
    now = {} if data is None else flat(data.hparams)
    changed = any(own[name] != now.get(name) for name in own.keys() - BATCH_SETTINGS)
    if data is None or "train" not in data.tables or changed:
        if model.data_settings.get("source") == IN_MEMORY:
            return InputError("the model was trained on a table in memory, which is not there any more")
        try:
            data = TextDataModule(**model.data_settings)
            data.read_tables()
        except InputError as error:
            return InputError(f"the training rows cannot be read again, as {error}")
    if model.trained_on is None or not find_trained_on(data.tables["train"]["text"], model.trained_on).all():
        return InputError(f"the training rows of {data.source} are not those any more that the model was trained on")
    return data


class TrainedRows(Callback):
    """After ``test`` and ``validate``, prints the accuracy without the rows that were trained on, for any split."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._report(trainer, classifier(pl_module), "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, classifier(pl_module), "test")

    def _report(self, trainer: Trainer, model: GPTClassifier, stage: str) -> None:
        data = text_data(trainer)
        if data is None or stage not in data.tables or model.trained_on is None:
            return
        table = data.tables[stage]
        rows = table["row"].to_numpy()[find_trained_on(table["text"], model.trained_on)]
        outputs = model.epoch_outputs[stage]
        unseen = ~np.isin(outputs.rows.numpy(), rows)
        if unseen.all():
            return
        message = f"{(~unseen).sum():,} of {len(unseen):,} {stage} rows, or near-duplicates of them, were trained on"
        if unseen.any():
            right = outputs.correct.numpy()[unseen]
            message += f": {stage} accuracy without them {wilson(int(right.sum()), len(right))} of {len(right):,}"
        rank_zero_info(message)
