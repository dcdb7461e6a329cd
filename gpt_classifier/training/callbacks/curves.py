"""Keeps the losses of a fit, in its checkpoints and in a file of the run."""

import csv
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gpt_classifier.files import whole_file
from gpt_classifier.training.runs import run_folder
from gpt_classifier.training.step_loss import is_logged

FILE = "curves.csv"
MAX_POINTS = 1000  # training losses, an even number: when there are so many, every second one goes


class LearningCurves(Callback):
    """Writes ``curves.csv`` into the run after each validation: step, training loss of that step, validation loss.

    A checkpoint holds the curves up to its step, and a resumed fit continues from there, so the file is that of a fit
    that was never stopped.
    """

    def __init__(self) -> None:
        self.train: list[tuple[int, float]] = []  # (step, loss) of steps that are logged
        self.val: list[tuple[int, float]] = []
        self.stride = 1  # how many logged steps there are for each that is kept
        self.skipped = 0
        self.step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.global_step > self.step and is_logged(trainer, trainer.global_step):
            self.skipped += 1
            if self.skipped == self.stride:
                self.skipped = 0
                self.train.append((trainer.global_step, float(trainer.callback_metrics["train/loss"])))
            if len(self.train) >= MAX_POINTS:
                self.train, self.stride = self.train[1::2], 2 * self.stride
        self.step = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.val.append((trainer.global_step, float(trainer.callback_metrics["val/loss"])))
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    @rank_zero_only
    def _write(self, trainer: Trainer) -> None:
        if (run := run_folder(trainer)) is None:
            return
        losses = {step: [loss, ""] for step, loss in self.train}
        for step, loss in self.val:
            losses.setdefault(step, ["", ""])[1] = loss
        with whole_file(run / FILE) as path, open(path, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["step", "train_loss", "val_loss"])
            writer.writerows([step, *losses[step]] for step in sorted(losses))

    def state_dict(self) -> dict[str, Any]:
        return {"train": self.train, "val": self.val, "stride": self.stride, "skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.train, self.val = list(state_dict["train"]), list(state_dict["val"])
        self.stride, self.skipped = state_dict["stride"], state_dict["skipped"]


def read_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The points (step, loss) of a run's ``train`` and ``val`` losses that are finite; none where it kept none."""
    curves: dict[str, list[tuple[int, float]]] = {"train": [], "val": []}
    if (run / FILE).is_file():
        with open(run / FILE, newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                for name, points in curves.items():
                    if row[f"{name}_loss"] and math.isfinite(float(row[f"{name}_loss"])):
                        points.append((int(row["step"]), float(row[f"{name}_loss"])))
    return curves
