"""Shows the probe that a fit started from in TensorBoard, and keeps its scores in the run for the report of a test."""

import json
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gpt_classifier.evaluation.probe_results import ProbeResults
from gpt_classifier.files import whole_file
from gpt_classifier.records import from_json, to_json
from gpt_classifier.reporting.plots.probe_figure import probe_figure, probe_table
from gpt_classifier.training.callbacks.classifier import classifier
from gpt_classifier.training.runs import run_folder

FILE = "probe.json"  # of a run


class KeepProbe(Callback):
    """Writes ``probe.json`` into the run's folder, and a figure of scores by block and a table into TensorBoard."""

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (probed := classifier(pl_module).probed) is None or (run := run_folder(trainer)) is None:
            return
        with whole_file(run / FILE) as path:
            path.write_text(json.dumps(to_json(probed), indent=2) + "\n", encoding="utf-8")
        if isinstance(trainer.logger, TensorBoardLogger):
            writer = trainer.logger.experiment
            writer.add_figure("probe/scores by block", probe_figure(probed), 0)
            writer.add_text("probe/all that was tried", probe_table(probed), 0)


def kept_probe(run: Path) -> ProbeResults | None:
    """What a run started from; None if that was no probe."""
    path = run / FILE
    return from_json(ProbeResults, json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
