"""Progress of a run: a progress bar on a terminal, else lines; always one for each epoch and validation."""

import math
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.data.pace import Pace
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.training.callbacks.checkpoints import before_first_step
from gpt_classifier.training.callbacks.classifier import classifier
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.step_loss import ReadsLoss


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

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pace = Pace()

    on_train_epoch_start = on_validation_epoch_start = on_test_epoch_start = on_predict_epoch_start = _start

    def _say(self, trainer: Trainer, what: str, done: int, of: float) -> None:
        if self.pace.due() and trainer.progress_bar_callback is None:
            batches = f"{done:,} of {of:,} batches" if of < float("inf") else f"{done:,} batches"
            rank_zero_info(f"{what}: {batches}, {self.pace.elapsed():.0f} s")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._say(trainer, f"epoch {trainer.current_epoch + 1}", batch_idx + 1, trainer.num_training_batches)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int, *_: object
    ) -> None:
        self._say(trainer, "validation", batch_idx + 1, trainer.num_val_batches[0])

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int, *_: object
    ) -> None:
        self._say(trainer, "test", batch_idx + 1, trainer.num_test_batches[0])

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int, *_: object
    ) -> None:
        self._say(trainer, "prediction", batch_idx + 1, trainer.num_predict_batches[0])


class EpochLines(Callback):
    """Prints one line for each epoch and validation, with the accuracy and its 95 % interval."""

    val_accuracy = ""
    began: float | None = None

    # Lightning calls on_train_epoch_end of callbacks before the module's, so the line is printed in the next epoch.
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch(trainer, trainer.current_epoch)
        self.began = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch(trainer, trainer.current_epoch)

    def _epoch(self, trainer: Trainer, finished: int) -> None:
        scores = trainer.callback_metrics
        if self.began is not None and "train/epoch_loss" in scores:
            line = f"epoch {finished}: train loss {scores['train/epoch_loss']:.4f}"
            if self.val_accuracy:
                line += f", val loss {scores['val/loss']:.4f}, val accuracy {self.val_accuracy}"
                line += f", val macro-F1 {scores.get('val/f1_macro', math.nan):.4f}"
            if "val/bits_per_byte" in scores:
                line += f", val {scores['val/bits_per_byte']:.3f} bits per byte"
            rank_zero_info(f"{line}, {time.monotonic() - self.began:.1f} s")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = classifier(pl_module)
        self.val_accuracy = accuracy(model)
        if before_first_step(trainer):
            scores = trainer.callback_metrics
            line = f"epoch 0: the probe, val loss {scores['val/loss']:.4f}, val accuracy {self.val_accuracy}"
            rank_zero_info(f"{line}, val macro-F1 {scores.get('val/f1_macro', math.nan):.4f}")
        if trainer.state.fn == "validate":
            rank_zero_info(f"val accuracy {self.val_accuracy} of {len(model.epoch_outputs['val'])} texts")


def accuracy(model: GPTClassifier) -> str:
    """The accuracy of the last validation, with its 95 % interval."""
    outputs = model.epoch_outputs["val"]
    return str(wilson(int(outputs.correct.sum()), len(outputs)))
