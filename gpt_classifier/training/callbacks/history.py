"""Keeps what a fit was like for the report of a test: the probe that it started from, its losses and validations."""

import json
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.probe_results import ProbeResults
from gpt_classifier.evaluation.validation import Validation
from gpt_classifier.files import whole_file
from gpt_classifier.inference.checkpoint_file import read_checkpoint
from gpt_classifier.records import from_json, to_json
from gpt_classifier.reporting.plots import draw_probe
from gpt_classifier.reporting.render import markdown_table
from gpt_classifier.reporting.score_sections import probe_table
from gpt_classifier.training.callbacks.classifier import classifier
from gpt_classifier.training.divergence import is_logged
from gpt_classifier.training.runs import run_folder

PROBE_FILE = "probe.json"  # of a run
MAX_POINTS = 1000  # training losses, an even number: when there are so many, every second one goes
Curves = dict[str, list[tuple[int, float]]]  # points (step, loss), of ``train`` and ``val``


class LearningCurves(Callback):
    """Collects the training loss of logged steps and the loss of each validation; keeps the results of a probe.

    A checkpoint holds the curves up to its step, and a resumed fit continues from there, so they are those of a fit
    that was never stopped. The probe's results are ``probe.json`` in the run's folder, and a figure in TensorBoard.
    """

    def __init__(self) -> None:
        self.curves: Curves = {"train": [], "val": []}
        self.validated: list[tuple[int, int, int]] = []  # step, number of texts that were classified correctly, of all
        self.stride = 1  # how many logged steps there are for each that is kept
        self.skipped = 0
        self.step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step
        if (probed := classifier(pl_module).probed) is not None and (run := run_folder(trainer)) is not None:
            _save_probe(trainer, run, probed)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.global_step > self.step and is_logged(trainer, trainer.global_step):
            self.skipped = (self.skipped + 1) % self.stride
            if self.skipped == 0:
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
    """The curves of the fit of a run, from this trainer if it ran that fit, else from the run's last checkpoint."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, LearningCurves) and any(callback.curves.values()):
            return callback
    if run is None:
        return None
    found = LearningCurves()
    try:
        states = read_checkpoint(run / "checkpoints" / "last.ckpt")["callbacks"]
        found.load_state_dict(states[LearningCurves.__qualname__])
    except (InputError, KeyError):  # there is none, or an earlier version of the package wrote it
        return None
    return found


@rank_zero_only
def _save_probe(trainer: Trainer, run: Path, probed: ProbeResults) -> None:
    with whole_file(run / PROBE_FILE) as path:
        path.write_text(json.dumps(to_json(probed), indent=2) + "\n", encoding="utf-8")
    if isinstance(trainer.logger, TensorBoardLogger):
        writer = trainer.logger.experiment
        writer.add_figure("probe/scores by block", draw_probe(probed), 0)
        table = probe_table(probed, probed.trials)
        writer.add_text("probe/all that was tried", markdown_table(table.header, table.rows, table.names), 0)


def read_probe(run: Path) -> ProbeResults | None:
    """What a run started from; None if that was no probe."""
    path = run / PROBE_FILE
    return from_json(ProbeResults, json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
