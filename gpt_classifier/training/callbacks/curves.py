"""Keeps the losses of a fit and the scores of its validations in its checkpoints, for the report of a test."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.validation import Validation
from gpt_classifier.inference.checkpoint_file import read_checkpoint
from gpt_classifier.training.callbacks.classifier import classifier
from gpt_classifier.training.step_loss import is_logged

MAX_POINTS = 1000  # training losses, an even number: when there are so many, every second one goes
Curves = dict[str, list[tuple[int, float]]]  # points (step, loss), of ``train`` and ``val``


class LearningCurves(Callback):
    """Collects the training loss of logged steps and the loss of each validation.

    A checkpoint holds the curves up to its step, and a resumed fit continues from there, so they are those of a fit
    that was never stopped.
    """

    def __init__(self) -> None:
        self.curves: Curves = {"train": [], "val": []}
        self.validated: list[tuple[int, int, int]] = []  # step, number of texts that were classified correctly, of all
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
                self._keep(trainer, "train")
            if len(self.curves["train"]) >= MAX_POINTS:
                self.curves["train"], self.stride = self.curves["train"][1::2], 2 * self.stride
        self.step = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._keep(trainer, "val")
            correct = classifier(pl_module).epoch_outputs["val"].correct
            self.validated.append((trainer.global_step, int(correct.sum()), len(correct)))

    def _keep(self, trainer: Trainer, name: str) -> None:
        if math.isfinite(loss := float(trainer.callback_metrics[f"{name}/loss"])):
            self.curves[name].append((trainer.global_step, loss))

    def state_dict(self) -> dict[str, Any]:
        counts = {"stride": self.stride, "skipped": self.skipped}
        return {"curves": self.curves, "validated": self.validated, **counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curves = {name: list(points) for name, points in state_dict["curves"].items()}
        self.validated = list(state_dict.get("validated", ()))  # earlier versions of the package did not keep them
        self.stride, self.skipped = state_dict["stride"], state_dict["skipped"]

    def validation_at(self, step: int) -> Validation | None:
        """The last one at this step; None if there is none."""
        found = [Validation(right=right, rows=rows) for at, right, rows in self.validated if at == step]
        return found[-1] if found else None


def learning_curves(trainer: Trainer, run: Path | None) -> LearningCurves | None:
    """Those of the fit of a run: of this trainer if it was this one, else of the run's last checkpoint."""
    kept = [callback for callback in trainer.callbacks if isinstance(callback, LearningCurves)]  # type: ignore[attr-defined]
    if kept and any(kept[0].curves.values()):
        return kept[0]
    if run is None:
        return None
    found = LearningCurves()
    try:
        found.load_state_dict(
            read_checkpoint(run / "checkpoints" / "last.ckpt")["callbacks"][LearningCurves.__qualname__]
        )
    except (InputError, KeyError):  # there is none, or an earlier version of the package wrote it
        return None
    return found
