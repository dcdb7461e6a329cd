"""What a run says while it goes on: a bar where one can move, and a line for each epoch and validation."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.evaluation.statistics import wilson


class Bar(RichProgressBar):
    """Reads the loss that it shows once a second: at each reading, a GPU must finish all steps that are queued."""

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


class EpochLines(Callback):
    """One line for each epoch and validation, with the accuracy's 95 % interval; all there is where no bar can move."""

    val_accuracy = ""
    began: float | None = None

    # Callbacks hear of an epoch's end before the module has scored it, so its line is printed when the next one begins.
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
                line += f", val macro-F1 {scores['val/f1_macro']:.4f}"
            rank_zero_info(f"{line}, {time.monotonic() - self.began:.1f} s")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.val_accuracy = accuracy(pl_module)
        if trainer.state.fn == "validate":
            rank_zero_info(f"val accuracy {self.val_accuracy} of {len(pl_module.epoch_predictions[0])} texts")


def accuracy(pl_module: Any) -> str:
    """The accuracy of the last evaluation, with its interval."""
    logits, labels, _ = pl_module.epoch_predictions
    return str(wilson(int((logits.argmax(-1) == labels).sum()), len(labels)))
