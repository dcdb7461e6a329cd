"""A LightningModule that watches its loss and weights and seeds its batches."""

from typing import Any

import lightning as L
from torch import Tensor

from gpt_classifier.data.resumable import seed_batch
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.training.divergence import LossWatch, check_weights
from gpt_classifier.training.step_loss import is_logged, is_shown


class WatchedModule(L.LightningModule):
    """Ends a fit whose loss or weights are no longer finite, before anything of it is scored or saved."""

    model: SequenceClassifier

    def __init__(self) -> None:
        super().__init__()
        self.loss_watch = LossWatch()

    def on_train_batch_start(self, batch: Any, batch_number: int) -> None:
        """Seeds what the batch draws, such as dropout, so that a resumed fit is the uninterrupted one."""
        seed_batch(self.global_rank, self.trainer.current_epoch, batch_number)

    def watch(self, loss: Tensor, rows: Tensor | None) -> bool | None:
        """Watches the loss of a training step of these ``rows``; raises ``Diverged`` if it is no longer finite.

        Returns:
            None if nobody reads the loss of this step, else whether the progress bar does.
        """
        shown = is_shown(self.trainer)
        self.loss_watch.add(loss, self.trainer, rows)
        if not (shown or is_logged(self.trainer, self.trainer.global_step + 1)):
            return None
        if self.trainer.loggers or shown:  # who read the loss now in any case
            self.loss_watch.check(self.trainer)
        return shown

    def on_validation_start(self) -> None:
        if self.trainer.state.fn == "fit":
            self.loss_watch.check(self.trainer)  # its message says more than that of a validation loss

    def check_finite(self, weights: bool = True) -> None:
        """Raises ``Diverged`` if the loss or, where each process has them all, a weight is no longer finite."""
        self.loss_watch.check(self.trainer)
        if weights:
            check_weights(self.model, self.trainer.global_step)
