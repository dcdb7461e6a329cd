"""Runs one trial of a search: a fit with the settings that Optuna proposed, whose scores are reported back."""

import gc
import math
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from gpt_classifier.data.pace import Pace
from gpt_classifier.errors import InputError, reason
from gpt_classifier.experiments.search.findings import find_best, find_finished, rounded
from gpt_classifier.experiments.search.space import Search
from gpt_classifier.training.callbacks import EpochLines, TensorBoardFigures
from gpt_classifier.training.monitor import mode
from gpt_classifier.training.overrides import ONE_PROCESS, Settings, build, quiet

if TYPE_CHECKING:
    import optuna

OUT_OF_MEMORY = "out of memory", "allocate memory"  # in PyTorch's messages for GPUs and for CPUs


def run_trial(optuna_study: "optuna.Study", search: Search, trial: "optuna.Trial", number: int, folder: Path) -> str:
    """Runs the trial, reports its outcome to Optuna and returns one sentence about it."""
    from optuna.trial import TrialState

    trials, report, began = find_finished(optuna_study), Report(search, trial), time.monotonic()
    twins = [n for n, t in enumerate(trials, 1) if t.state.name == "COMPLETE" and t.params == trial.params]
    error = None
    if twins:  # the same settings and the same seed would give the same values again
        twin = trials[twins[0] - 1]
        for value, epoch in zip(twin.intermediate_values.values(), twin.user_attrs["epochs"], strict=True):
            report.add(value, epoch)
    else:
        error = _fit(search, search.decode(trial.params), report, folder / "tensorboard" / f"trial-{number:03}")
    if error is None and math.isnan(report.best):
        error = f"{search.monitor} was never a finite number"
    trial.set_user_attr("seconds", round(time.monotonic() - began, 1))
    if error is not None:
        trial.set_user_attr("error", error)
        optuna_study.tell(trial, state=TrialState.FAIL)
        return f"failed: {error}"
    epoch = report.epochs[report.values.index(report.best)]
    for name, of_trial in (("value", report.best), ("epoch", epoch), ("epochs", report.epochs)):
        trial.set_user_attr(name, of_trial)
    outcome = f"{search.monitor} {report.best:.4f} at epoch {epoch}"
    if report.pruned:
        optuna_study.tell(trial, state=TrialState.PRUNED)
        return f"{outcome}, stopped after epoch {report.epochs[-1]}"
    optuna_study.tell(trial, report.best)
    if twins:
        return f"{outcome}, as trial {twins[0]}"
    best = find_best(optuna_study)
    return f"{outcome}, the best so far" if best is not None and best[0] == number else outcome


class Report(Callback):
    """Reports the monitored score of each epoch to Optuna and stops the fit when Optuna prunes the trial."""

    def __init__(self, search: Search, trial: "optuna.Trial") -> None:
        self.search, self.trial = search, trial
        self.values: list[float] = []
        self.epochs: list[int] = []  # in which the values were measured
        self.pruned = False
        self.pace = Pace()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.pace.due():  # of the fit's own lines, none is printed
            place = f"epoch {trainer.current_epoch + 1}, batch {batch_idx + 1} of {trainer.num_training_batches}"
            print(f"trial {self.trial.number + 1}: {place}, {self.pace.elapsed():.0f} s", file=sys.stderr, flush=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.add(float(trainer.callback_metrics.get(self.search.monitor, math.nan)), trainer.current_epoch + 1)
            self.pruned = self.trial.should_prune()
            trainer.should_stop = trainer.should_stop or self.pruned

    def add(self, value: float, epoch: int) -> None:
        self.values.append(value)
        self.epochs.append(epoch)
        self.trial.report(value, len(self.values))

    @property
    def best(self) -> float:
        """The score of the best epoch; NaN if none was finite."""
        good = [value for value in self.values if math.isfinite(value)]
        return (min if mode(self.search.monitor) == "min" else max)(good, default=math.nan)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer.logger, TensorBoardLogger):
            settings = {key: rounded(value) for key, value in self.search.decode(self.trial.params).items()}
            numbers = {key: value for key, value in self.trial.params.items() if isinstance(value, int | float)}
            name = f"best {self.search.monitor.replace('/', ' ')}"
            trainer.logger.log_hyperparams(settings | numbers, {name: self.best})


def _fit(search: Search, settings: Settings, report: Report, logs: Path) -> str | None:
    """Fits with ``settings``. Returns the reason if that failed, else None."""
    shutil.rmtree(logs, ignore_errors=True)  # of the same trial, killed
    error: str | None = None
    with TemporaryDirectory() as scratch, quiet():
        try:
            cli = build(search.base.content, search.settings | settings | ONE_PROCESS, Path(scratch))
            trainer: Any = cli.trainer
            trainer.loggers = [TensorBoardLogger(logs.parent, name="", version=logs.name, default_hp_metric=False)]
            # Figures of every epoch of every trial would take more time and disk space than they are worth.
            trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, EpochLines | TensorBoardFigures)]
            trainer.callbacks.append(report)
            trainer.fit(cli.model, cli.datamodule)
        except (InputError, MisconfigurationException) as caught:
            error = " ".join(str(caught).split())
        except (RuntimeError, MemoryError) as caught:
            if not isinstance(caught, MemoryError) and not any(words in str(caught) for words in OUT_OF_MEMORY):
                raise
            error = f"out of memory ({reason(caught)})"
    gc.collect()  # the exception held a reference to the network
    torch.cuda.empty_cache()
    return error
