"""Says who hears of the loss of a step: each that does costs time."""

from lightning.pytorch import Trainer


class ReadsLoss:
    """A progress bar that takes the loss from ``trainer.callback_metrics`` when it wants it, so nobody sends it one."""


def is_shown(trainer: Trainer) -> bool:
    """Whether a bar must be sent it. What is sent to a bar, Lightning reads after every step, for which a GPU must
    finish all that is queued.
    """
    bar = trainer.progress_bar_callback
    return bar is not None and not isinstance(bar, ReadsLoss)


def is_logged(trainer: Trainer, step: int) -> bool:
    """Whether loggers hear of this step. Lightning's ``log`` takes a thirtieth of a cached step's time."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and step % every == 0
