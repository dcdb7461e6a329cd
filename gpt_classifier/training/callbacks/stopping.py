"""Stops a fit on Ctrl-C or SIGTERM at the end of an optimizer step, so that it can go on with the next one."""

import math
import signal
import threading
from collections.abc import Callable
from types import FrameType

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.training.callbacks.checkpoints import LastCheckpoint

AGREE_EVERY = 10  # minimum number of batches after which several processes ask each other: asking waits for the device


class Interrupted(SystemExit):
    """Raised at the end of a step by each process.

    The exit code of the first one is that of a process which the signal has ended, that of the others 0: launchers kill
    all processes once one has failed, and the first still has files to write.
    """

    def __init__(self, number: int, first: bool) -> None:
        super().__init__(128 + number if first else 0)


Handler = Callable[[int, FrameType | None], object] | int | None  # handler of a signal in Python's signal module
STOPS = (Interrupted, KeyboardInterrupt)  # requested by the user, unlike errors


class StopCleanly(Callback):
    """Stops on Ctrl-C and SIGTERM after the current step, or after the validation if that step ends an epoch.

    ``last.ckpt`` is written then, from which the fit goes on with the next batch. A second Ctrl-C stops at once.
    Several processes stop within ten batches or a step, all at the same one, also if only one of them got the signal.
    In a job of SLURM the same is done on SIGUSR1; Lightning would write a checkpoint there, from which every later fit
    in that folder would go on.
    """

    def __init__(self) -> None:
        self.asked = 0  # the signal that asked to stop
        self.former: dict[int, Handler] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts our handlers in the place of Lightning's, whose SIGTERM waits for processes that got none."""
        self.asked = 0
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if SLURMEnvironment.detect() else [])]
            self.former = {number: signal.signal(number, self._ask) for number in numbers}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number
        rank_zero_info("\nstopping at the end of a step; Ctrl-C again stops at once")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.is_last_batch or _validates_after(trainer, batch_idx):  # the validation comes first
            return
        # Between optimizer steps only: the gradients that a step has gathered so far are in no checkpoint.
        step = trainer.accumulate_grad_batches
        every = step if trainer.world_size == 1 else math.ceil(AGREE_EVERY / step) * step
        if (batch_idx + 1) % every == 0 and (number := self._agreed(trainer)):
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, LastCheckpoint):
                    callback.save(trainer)
            raise Interrupted(number, trainer.is_global_zero)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if number := self._agreed(trainer):  # since the last batch of the former epoch; last.ckpt was written after it
            raise Interrupted(number, trainer.is_global_zero)

    def _agreed(self, trainer: Trainer) -> int:
        """The signal that any of the processes got, 0 for none."""
        if trainer.world_size == 1:
            return self.asked
        asked = torch.tensor(self.asked, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(asked, reduce_op="max"))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)
        self.former = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")


def _validates_after(trainer: Trainer, batch: int) -> bool:
    """Whether a validation follows this batch of the epoch: a fit that is stopped before it would go on without it."""
    every = trainer.val_check_batch
    if not every or every == math.inf:
        return False
    # Without a number of epochs, Lightning counts the batches of all epochs.
    number = batch + 1 if trainer.check_val_every_n_epoch is not None else trainer.fit_loop.total_batch_idx + 1
    return number % int(every) == 0
