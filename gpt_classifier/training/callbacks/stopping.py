"""How a user stops a fit: at the end of a batch, where what is saved can be continued exactly."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.training.callbacks.checkpoints import LastCheckpoint


class Interrupted(SystemExit):
    """Ctrl-C, obeyed at the end of a step; its code is the shell's for a process that SIGINT ended."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGINT)


Handler = Callable[[int, FrameType | None], object] | int | None  # what the module signal keeps for a signal
STOPS = (Interrupted, SIGTERMException, KeyboardInterrupt)  # what a user wants, unlike errors


class StopCleanly(Callback):
    """Obeys Ctrl-C when the present batch is finished, or at the end of an epoch its validation.

    ``last.ckpt`` is written then, so that the fit can be continued as if nothing had happened; after SIGTERM, which
    Lightning obeys at the same place, it is too. A second Ctrl-C stops at once. So does the first with several
    processes, which would stop at different batches.
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
        within_epoch = not trainer.is_last_batch  # or validation comes first
        if within_epoch and (self.asked or trainer.received_sigterm) and trainer.world_size == 1:
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, LastCheckpoint):
                    callback.save(trainer)
        if within_epoch and self.asked:
            raise Interrupted

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.asked:  # in the last batch of the former epoch or after it, whose end last.ckpt is
            raise Interrupted

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.former is not None:
            signal.signal(signal.SIGINT, self.former)
            self.former = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")
