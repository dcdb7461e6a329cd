"""Decides where the loss of a training step is sent, as each receiver costs time."""

from lightning.pytorch import Trainer


class ReadsLoss:
    """A progress bar that reads the loss from ``trainer.callback_metrics`` itself, so that it need not be sent."""


def is_shown(trainer: Trainer) -> bool:
    """Whether the loss must be sent to a progress bar. Lightning then reads it after every step, and each reading waits
    until a GPU has finished all queued steps.
    """
    bar = trainer.progress_bar_callback
    return bar is not None and not isinstance(bar, ReadsLoss)


def is_logged(trainer: Trainer, step: int) -> bool:
    """Whether this step is logged. Lightning's ``log`` takes a thirtieth of the time of a step with cached states."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and step % every == 0
