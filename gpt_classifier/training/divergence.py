"""Ends a training whose loss or weights are no longer finite, without waiting for the device in every step."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn

from gpt_classifier.data.resumable import seed_batch
from gpt_classifier.errors import InputError
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.tensor_file import is_finite

NONE = 2**62  # no batch
ROWS_SHOWN = 5
WAY_OUT = (
    "lower --model.learning_rate, let it rise from 0 (--model.optimizer.warmup 0.1) or clip gradients "
    "(--trainer.gradient_clip_val 1.0); what was saved before is kept"
)


class Diverged(InputError):
    """A loss or weight is NaN or infinite."""


class WatchedModule(LightningModule):
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
        # Lightning reads a loss that is sent to the bar after every step, and waits for the device to finish it.
        bar = self.trainer.progress_bar_callback
        shown = bar is not None and not isinstance(bar, ReadsLoss)
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


class ReadsLoss:
    """A progress bar that reads the loss from ``trainer.callback_metrics`` itself, so that it need not be sent."""


def is_logged(trainer: Trainer, step: int) -> bool:
    """Whether this step is logged. Lightning's ``log`` takes a thirtieth of the time of a step with cached states."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and step % every == 0


class LossWatch:
    """Remembers on the device which batch was the first with a loss that is NaN or infinite.

    Reading that waits until the device has finished all queued steps. So :meth:`check` is for where a loss is read in
    any case, and for before something is saved.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None  # position of the first such batch in ``_batches``
        # For each batch since the last check: its optimizer step, from 1, learning rate and rows (B,) on the device.
        self._batches: list[tuple[int, float, Tensor | None]] = []

    def add(self, loss: Tensor, trainer: Trainer, rows: Tensor | None) -> None:
        """Takes the loss of a training batch."""
        wrong = torch.where(loss.detach().isfinite(), NONE, len(self._batches))
        self._first = wrong if self._first is None else torch.minimum(self._first, wrong)
        rate = max(float(group["lr"]) for group in trainer.optimizers[0].param_groups)
        self._batches.append((trainer.global_step + 1, rate, rows))

    def check(self, trainer: Trainer) -> None:
        """Raises :class:`Diverged`, in all processes, if a loss since the last check was not finite in any of them."""
        batches, first = self._batches, NONE if self._first is None else int(self._first)
        self._batches, self._first = [], None
        if isinstance(trainer.logger, DummyLogger):  # of Lightning's search for a rate, which is to find where it ends
            return
        if trainer.world_size > 1:
            wrong = torch.tensor(int(first != NONE), device=trainer.strategy.root_device)
            if int(trainer.strategy.reduce(wrong, reduce_op="max")) and first == NONE:
                raise Diverged(f"the training loss of another process is no longer finite: {WAY_OUT}")
        if first != NONE:
            step, rate, rows = batches[first]
            where = "" if rows is None else f", train {format_rows(rows.tolist())}"
            raise Diverged(
                f"the training loss is no longer finite at step {step} (learning rate {rate:g}{where}): {WAY_OUT}"
            )


def check_logits(logits: Tensor, stage: str, rows: Tensor, fits: bool) -> None:
    """Raises ``InputError`` if logits (N, K) of some ``rows`` (N,) are not finite; during a fit :class:`Diverged`."""
    wrong = ~logits.isfinite().all(-1)
    if bool(wrong.any()):
        what = f"the logits of {stage} {format_rows(rows[wrong].tolist())} are not finite"
        if fits:
            raise Diverged(f"{what}: {WAY_OUT}")
        raise InputError(f"{what}: compute with --trainer.precision 32-true, or train again at a lower learning rate")


def format_rows(rows: list[int]) -> str:
    """A list of row numbers in a message: the first ones."""
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    return f"rows {', '.join(map(str, sorted(rows)[:ROWS_SHOWN]))}{more}"


def check_weights(model: nn.Module, step: int) -> None:
    """Raises :class:`Diverged` if a trained weight is NaN or infinite, before it is saved."""
    trained = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    # One reading of the device for all: a sum is finite only if all numbers are, and may overflow.
    sums = [parameter.sum(dtype=torch.float32) for parameter in trained.values()]
    if not sums or bool(torch.stack(sums).isfinite().all()):
        return
    for name, parameter in trained.items():
        if not is_finite(parameter):
            raise Diverged(f"the weights {name} are no longer finite after step {step}: {WAY_OUT}")
