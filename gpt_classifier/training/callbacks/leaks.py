"""Reports that scores are optimistic if some of the scored rows were trained on."""

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.data.duplicates import trained_on
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.training.callbacks.classifier import classifier
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.runs import text_data


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
        rows = table["row"].to_numpy()[trained_on(table["text"], model.trained_on)]
        outputs = model.epoch_outputs[stage]
        unseen = ~np.isin(outputs.rows.numpy(), rows)
        if unseen.all():
            return
        message = f"{(~unseen).sum():,} of {len(unseen):,} {stage} rows, or near-duplicates of them, were trained on"
        if unseen.any():
            right = outputs.correct.numpy()[unseen]
            message += f": {stage} accuracy without them {wilson(int(right.sum()), len(right))} of {len(right):,}"
        rank_zero_info(message)
