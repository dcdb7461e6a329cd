"""Progress of a run: a progress bar on a terminal, else lines; always one for each epoch and validation."""

import math
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.data.pace import Pace
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.training.callbacks.checkpoints import is_before_first_step
from gpt_classifier.training.callbacks.classifier import classifier
from gpt_classifier.training.divergence import ReadsLoss
from gpt_classifier.training.module import GPTClassifier


class Bar(ReadsLoss, RichProgressBar):
    """Reads the loss only once a second, because each reading waits until a GPU has finished all queued steps."""

    READ_EVERY = 1.0  # seconds

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, Any] = {}
        self.next_reading = 0.0

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        if time.monotonic() >= self.next_reading:
            loss = trainer.callback_metrics.get("train/loss")
            self.shown = super().get_metrics(trainer, pl_module) | ({} if loss is None else {"train/loss": float(loss)})
            self.next_reading = time.monotonic() + self.READ_EVERY
        return self.shown


class BatchLines(Callback):
    """Prints the progress of an epoch, validation, test or prediction every 30 seconds, unless there is a bar."""

    def __init__(self) -> None:
        self.pace = Pace()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pace = Pace()

    on_validation_epoch_start = on_test_epoch_start = on_predict_epoch_start = on_train_epoch_start

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self.pace.due() or trainer.progress_bar_callback is not None:
            return
        if trainer.training:
            what, total = f"epoch {trainer.current_epoch + 1}", trainer.num_training_batches
        elif trainer.testing:
            what, total = "test", trainer.num_test_batches[0]
        elif trainer.predicting:
            what, total = "prediction", trainer.num_predict_batches[0]
        else:
            what, total = "validation", trainer.num_val_batches[0]
        batches = f"{batch_idx + 1:,} of {total:,} batches" if total < math.inf else f"{batch_idx + 1:,} batches"
        rank_zero_info(f"{what}: {batches}, {self.pace.elapsed():.0f} s")

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = on_train_batch_end


class EpochLines(Callback):
    """Prints one line for each epoch and validation, with the accuracy and its 95 % interval."""

    val_accuracy = ""
    began: float | None = None

    # Lightning calls on_train_epoch_end of callbacks before the module's, so the line is printed in the next epoch.
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_end(trainer, pl_module)
        self.began = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = trainer.callback_metrics
        if self.began is not None and "train/epoch_loss" in scores:
            line = f"epoch {trainer.current_epoch}: train loss {scores['train/epoch_loss']:.4f}"
            if self.val_accuracy:
                line += f", {self._validation(trainer)}"
            if "val/bits_per_byte" in scores:
                line += f", val {scores['val/bits_per_byte']:.3f} bits per byte"
            rank_zero_info(f"{line}, {time.monotonic() - self.began:.1f} s")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = classifier(pl_module)
        self.val_accuracy = accuracy(model)
        if is_before_first_step(trainer):
            rank_zero_info(f"epoch 0: the probe, {self._validation(trainer)}")
        if trainer.state.fn == "validate":
            rank_zero_info(f"val accuracy {self.val_accuracy} of {len(model.epoch_outputs['val'])} texts")

    def _validation(self, trainer: Trainer) -> str:
        scores = trainer.callback_metrics
        f1 = scores.get("val/f1_macro", math.nan)
        return f"val loss {scores['val/loss']:.4f}, val accuracy {self.val_accuracy}, val macro-F1 {f1:.4f}"


def accuracy(model: GPTClassifier) -> str:
    """The accuracy of the last validation, with its 95 % interval."""
    outputs = model.epoch_outputs["val"]
    return str(wilson(int(outputs.correct.sum()), len(outputs)))
