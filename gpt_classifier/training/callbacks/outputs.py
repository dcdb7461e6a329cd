"""Outputs at the end of a fit, or when it is stopped: a model folder, scores in TensorBoard, the next command."""

import shlex
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from gpt_classifier.data.sources import IN_MEMORY
from gpt_classifier.errors import InputError
from gpt_classifier.inference import adapter, bundle, checkpoint_file, model_folder
from gpt_classifier.inference.calibration import calibrated
from gpt_classifier.inference.model_card import model_card
from gpt_classifier.models.freezing import trainable_names
from gpt_classifier.settings import flat
from gpt_classifier.training.callbacks.checkpoints import BestCheckpoint
from gpt_classifier.training.callbacks.classifier import classifier
from gpt_classifier.training.callbacks.progress import accuracy
from gpt_classifier.training.callbacks.stopping import STOPS
from gpt_classifier.training.callbacks.tensorboard import FINAL, log_settings, plain
from gpt_classifier.training.divergence import Diverged
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.monitor import is_better
from gpt_classifier.training.runs import describe_continuation, run_folder, text_data

OF_THE_LOG = ("events.out.tfevents.*", "hparams.yaml", "config.yaml", "config.*.yaml")  # files that a fit begins with


class FinishRun(Callback):
    """When fitting ends, fills TensorBoard's hparams tab and writes the best model as a folder: ``<run>/model``.

    A fit that is stopped writes that folder too, and prints the command that continues it. If a fit fails before it has
    saved anything, what it wrote is removed again.
    """

    def __init__(self) -> None:
        self.best: dict[str, float] = {}  # validation scores of the epoch in best.ckpt, its ``monitor`` among them
        self.best_accuracy = ""
        self.best_epoch = 0
        self.began = time.time()  # what lies in the run's folder from before is not this fit's
        self.trains = False  # whether the first batch has begun

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trains = True
        kept = [c for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint)]
        if self.best and kept and not kept[0].best_model_path:  # resumed without it: from here on, another is the best
            self.best, self.best_accuracy, self.best_epoch = {}, "", 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        model = classifier(pl_module)
        monitor = model.hparams["monitor"]
        names = {monitor, *(name for name in (f"val/{name}" for name in FINAL) if name in trainer.callback_metrics)}
        scores = {name: float(trainer.callback_metrics.get(name, float("nan"))) for name in names}
        if is_better(monitor, scores[monitor], self.best.get(monitor), model.first_score):
            epoch = trainer.current_epoch + 1 if trainer.global_step else 0
            self.best, self.best_accuracy, self.best_epoch = scores, accuracy(model), epoch

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = classifier(pl_module)
        data = text_data(trainer)
        if isinstance(trainer.logger, TensorBoardLogger) and self.best:
            settings = {f"model/{name}": plain(value) for name, value in flat(model.hparams).items()}
            if data is not None:
                settings |= {f"data/{name}": plain(value) for name, value in flat(data.hparams).items()}
            log_settings(trainer.logger, settings, {n: self.best[f"val/{n}"] for n in FINAL if f"val/{n}" in self.best})
        run = run_folder(trainer)
        if run is None:
            rank_zero_info("no model folder: this trainer keeps no files (it has no logger, or fast_dev_run is on)")
            return
        self._write_model(run, trainer, model)
        if data is not None and "test" in data.tables and data.source != IN_MEMORY:
            rank_zero_info(f"next: gpt-classifier test {shlex.quote(str(run))}")
        rank_zero_info(f'next: gpt-classifier classify {shlex.quote(str(run))} "a text"')

    def _write_model(self, run: Path, trainer: Trainer, model: GPTClassifier) -> None:
        """Writes the best model so far, or the current one if there was no validation yet."""
        data = text_data(trainer)
        best = next((c.best_model_path for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint)), "")
        contents = checkpoint_file.load_checkpoint(Path(best)) if best else model.bundle()
        summary = data.summary() if data is not None else "given as data loaders"
        folder = run / "model"
        policy = model.hparams["trainable"]
        if policy in ("lora", "biases"):
            adapter.save_adapter(folder.with_name("adapter"), contents, trainable_names(contents.model, policy))
        probe = "" if model.probed is None or self.best_epoch else str(model.probed).removeprefix("probe: ")
        contents = replace(contents, card=model_card(contents, model.hparams, self.best_accuracy, summary, probe))
        if (decide := model.hparams["decide"]) is not None and data is not None and "val" in data.tables:
            contents = _calibrate(contents, data.tables["val"], decide)
        model_folder.save_folder(folder, contents, contents.card)
        monitor = model.hparams["monitor"]
        epoch = f"epoch {self.best_epoch}" if self.best_epoch else "the probe"
        which = f"{epoch}, {monitor} {self.best[monitor]:.4f}" if best and self.best else "last step"
        rank_zero_info(f"model folder: {folder} ({which})")

    @rank_zero_only
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        run = run_folder(trainer)
        if trainer.state.fn != "fit" or run is None:
            return
        if isinstance(exception, STOPS) and trainer.global_step > 0:
            self._write_model(run, trainer, classifier(pl_module))
        if isinstance(exception, STOPS) and (told := describe_continuation(trainer, run, "fit")) is not None:
            rank_zero_info(told)
        elif isinstance(exception, Diverged) and (saved := sorted(run.glob("checkpoints/*.ckpt"))):
            rank_zero_info(f"kept, from before: {', '.join(map(str, saved))}")
        elif not self.trains or not any(run.glob("checkpoints/*.ckpt")):
            self._remove_log(run)

    def _remove_log(self, run: Path) -> None:
        """Removes what a fit that left nothing else has written, and then the folders that are empty."""
        for path in [path for name in OF_THE_LOG for path in run.glob(name)]:
            with suppress(OSError):  # on Windows, the logger may have it open
                if path.stat().st_mtime >= self.began:
                    path.unlink()
        for folder in (run / "checkpoints", run):
            with suppress(OSError):  # it is not empty, or not there
                folder.rmdir()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_accuracy": self.best_accuracy, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_accuracy = state_dict["best"], state_dict["best_accuracy"]
        self.best_epoch = state_dict["best_epoch"]


def _calibrate(contents: bundle.Bundle, rows: pd.DataFrame, decide: str | dict[str, Any]) -> bundle.Bundle:
    """The model with its decision; as it is where the rows do not support it, as a fit must not end without a model."""
    try:
        contents, lines = calibrated(contents, rows, decide)
    except InputError as error:
        lines = [f"decide is not followed, and the prediction is the most probable class: {error}"]
    for line in lines:
        rank_zero_info(line)
    return contents
