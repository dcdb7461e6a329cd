"""Stops a fit on Ctrl-C at the end of a batch, where its checkpoint can be resumed exactly."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.training.callbacks.checkpoints import LastCheckpoint


class Interrupted(SystemExit):
    """Raised for Ctrl-C at the end of a step, with the exit code of a process that was ended by SIGINT."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGINT)


Handler = Callable[[int, FrameType | None], object] | int | None  # handler of a signal in Python's signal module
STOPS = (Interrupted, SIGTERMException, KeyboardInterrupt)  # requested by the user, unlike errors


class StopCleanly(Callback):
    """Stops on Ctrl-C after the current batch, or after the validation if that batch ends an epoch.

    ``last.ckpt`` is written then, so that the fit can be resumed exactly; likewise after SIGTERM, on which Lightning
    stops at the same point. A second Ctrl-C stops at once. With several processes the first one does too, as they
    would stop at different batches.
    """

    def __init__(self) -> None:
        self.asked = False
        self.former: Handler = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.asked = False
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self.former = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        rank_zero_info("\nstopping after this batch; Ctrl-C again stops at once")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        within_epoch = not trainer.is_last_batch  # after the last batch, validation comes first
        if within_epoch and (self.asked or trainer.received_sigterm) and trainer.world_size == 1:
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, LastCheckpoint):
                    callback.save(trainer)
        if within_epoch and self.asked:
            raise Interrupted

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.asked:  # during or after the last batch of the previous epoch, after which last.ckpt was written
            raise Interrupted

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.former is not None:
            signal.signal(signal.SIGINT, self.former)
            self.former = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")
