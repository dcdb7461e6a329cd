"""The command ``search``: looks for the settings with which a configuration does best on the validation rows.

Optuna proposes the settings of each trial; a trial is an ordinary fit. All that is known of a search lies in its
folder, in a journal written line by line: the same command continues a search that was stopped.
"""

import gc
import logging
import math
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from gpt_classifier.errors import CommandParser, InputError, reason
from gpt_classifier.evaluation.metrics import score_names
from gpt_classifier.files import whole_file, writable_folder
from gpt_classifier.study.findings import as_text, best_of, conclusion, draw, finished, write
from gpt_classifier.study.job import QUIET, build
from gpt_classifier.study.plan import Settings, arguments, given_settings
from gpt_classifier.study.space import Search, read_search
from gpt_classifier.training.callbacks import EpochLines, TensorBoardFigures, check_monitors
from gpt_classifier.training.callbacks.checkpoints import mode
from gpt_classifier.training.cli import ClassifierCLI

if TYPE_CHECKING:
    from optuna import Study, Trial

# Trials run in this process, so on one device: for a second one Lightning would start this command once more.
SAME_FOR_ALL: Settings = {**QUIET, "trainer.devices": 1}
# A trial is stopped when it is worse than the median of those before it, of which there must be some, and not in its
# first epoch, which says more about the warm-up than about the settings.
TRIALS_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING = 5, 2
OUT_OF_MEMORY = "out of memory", "allocate memory"  # how a GPU says it and how a CPU says it


def main(words: list[str]) -> None:
    """``search --config FILE ...``."""
    parser = CommandParser(
        "gpt-classifier search",
        description="Look for the settings with which a configuration does best on the validation rows. "
        "Further options, such as --model.weights random, change the configuration in all trials.",
    )
    parser.add_argument("--config", required=True, type=Path, help="the search's YAML file")
    parser.add_argument("--trials", type=int, help="trials in all, those of earlier calls included")
    parser.add_argument("--output", type=Path, help="folder of results; by default checkpoints/search/NAME")
    options, others = parser.parse_known_args(words)
    search, given = read_search(options.config), given_settings(others)
    trials = search.trials if options.trials is None else options.trials
    if trials < 1:
        raise InputError(f"--trials is {trials}, expected at least 1")
    if both := given.keys() & search.space.keys():
        raise InputError(f"--{min(both)} is given, but it is in the space of {options.config}: take it out there")
    search = replace(search, settings=search.settings | given)
    try:
        import filelock  # noqa: F401 - used once the search has been checked
        import optuna
    except ImportError as error:
        raise InputError("search needs Optuna and filelock: pip install 'gpt-classifier[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the line for each trial is ours
    with _quiet():
        check(search)
    folder = writable_folder(options.output or Path("checkpoints/search") / options.config.stem)
    with alone_in(folder):
        perform(search, trials, folder)


def check(search: Search) -> None:
    """Finds, before the first trial, mistakes that would make every trial fail."""
    with TemporaryDirectory() as scratch:
        cli = check_space(search, Path(scratch))
    data = cli.datamodule
    data.prepare_data()
    data.setup("fit")
    cli.model.download()
    if "val" not in data.encoded:
        raise InputError("there are no val rows to judge settings by: give --data.val_source or a val fraction above 0")
    labels = data.encoded["val"].labels
    assert labels is not None, "validation rows have labels"
    names = score_names(labels, data.labels)
    check_monitors([], search.monitor, [f"val/{name}" for name in names])


def check_space(search: Search, scratch: Path) -> ClassifierCLI:
    """Builds what does not change, and has each value in the space parsed."""
    if fixed := search.space.keys() & {*SAME_FOR_ALL, "trainer.default_root_dir", "model.monitor"}:
        raise InputError(f"{min(fixed)} is in the space, but it is the same for all trials: take it out")
    cli = build(search.base.content, search.settings | SAME_FOR_ALL, scratch)
    examples = {key: part.examples() for key, part in search.space.items()}
    for n in range(max(map(len, examples.values()))):
        # Parsed, not built: values that exclude each other are the affair of the trial that meets them.
        chosen = {key: values[n % len(values)] for key, values in examples.items()}
        cli.parser.parse_args(arguments(search.base.content, search.settings | chosen, scratch))
    return cli


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """As long as this lasts, nobody else searches in the folder. The lock does not outlive a killed process."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another search is writing to {folder}: wait for its end, or name another folder with --output"
        ) from error
    try:
        yield
    finally:
        lock.release()


def perform(search: Search, trials: int, folder: Path) -> None:
    """Trials until there are so many, those of earlier calls included; their results after each."""
    study = open_study(search, folder)
    if before := len(finished(study)):
        print(f"{before} of {max(before, trials)} trials were done before", flush=True)
    while (number := len(finished(study)) + 1) <= trials:
        began = time.monotonic()
        trial = ask(study, search, number)
        settings = search.decode(trial.params)
        try:
            told = run(study, search, trial, number, folder)
        except SystemExit as stop:  # Lightning was interrupted or told to end, which it does without a word
            print(f"[{number}/{trials}] stopped; the same command goes on from here", file=sys.stderr)
            raise SystemExit(stop.code or 128 + signal.SIGTERM) from stop
        shown = ", ".join(f"{key} {as_text(value)}" for key, value in settings.items())
        print(f"[{number}/{trials}] {shown}: {told} ({time.monotonic() - began:.1f} s)", flush=True)
        write(study, search, folder)
    write(study, search, folder)
    told = conclusion(study, search, folder)
    with whole_file(folder / "search.png") as path:
        draw(search, finished(study)).savefig(path, format="png")
    print(told)


# ---------------------------------------------------------------- the journal


def open_study(search: Search, folder: Path) -> "Study":
    """The search so far. A trial that was running when it was killed counts for nothing and will be repeated."""
    from optuna.trial import TrialState

    path, identity = folder / "journal.jsonl", search.identity()
    content = path.read_bytes() if path.exists() else b""
    if not content.endswith(b"\n"):  # the line that was being written when the search was killed
        with whole_file(path) as part:
            part.write_bytes(content[: content.rfind(b"\n") + 1])
    try:
        study = _study(search, path)
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} is damaged ({reason(error)}): remove it, or name another --output") from error
    known = study.user_attrs.get("search")
    if known != identity and finished(study):
        other = ", ".join(name for name in identity if (known or {}).get(name) != identity[name])
        raise InputError(f"{folder} holds a search with another {other}: name another --output, or remove it")
    if known != identity:  # new, or with nothing in it that would be lost
        path.unlink()
        study = _study(search, path)
        study.set_user_attr("search", identity)
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _study(search: Search, path: Path) -> "Study":
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    class NoLock(JournalFileOpenLock):
        """The folder is locked; Optuna's lock would outlive a killed process."""

        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            pass

    storage = JournalStorage(JournalFileBackend(str(path), lock_obj=NoLock(str(path))))
    pruner = optuna.pruners.MedianPruner(TRIALS_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING)
    settings: dict[str, Any] = {
        "study_name": "search",
        "storage": storage,
        "pruner": pruner if search.prune else optuna.pruners.NopPruner(),
    }
    if path.stat().st_size:
        return optuna.load_study(**settings)
    return optuna.create_study(direction="minimize" if mode(search.monitor) == "min" else "maximize", **settings)


def ask(study: "Study", search: Search, number: int) -> "Trial":
    """The next trial. It depends on the seed and on the finished ones, not on how often the search was killed."""
    import optuna

    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    if number <= len(search.start):
        start = {key: search.space[key].encode(value) for key, value in search.start[number - 1].items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = optuna.samplers.PartialFixedSampler(start, study.sampler)
    return study.ask({key: part.distribution() for key, part in search.space.items()})


# ---------------------------------------------------------------- one trial


class Report(Callback):
    """Tells Optuna each epoch's metric, and stops the fit when it does worse than others did."""

    def __init__(self, search: Search, trial: "Trial") -> None:
        self.search, self.trial = search, trial
        self.values: list[float] = []
        self.epochs: list[int] = []  # in which the values were measured
        self.pruned = False

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
        """The value of the best epoch, or NaN."""
        good = [value for value in self.values if math.isfinite(value)]
        return (min if mode(self.search.monitor) == "min" else max)(good, default=math.nan)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer.logger, TensorBoardLogger):
            settings = {key: as_text(value) for key, value in self.search.decode(self.trial.params).items()}
            numbers = {key: value for key, value in self.trial.params.items() if isinstance(value, int | float)}
            name = f"best {self.search.monitor.replace('/', ' ')}"
            trainer.logger.log_hyperparams(settings | numbers, {name: self.best})


def run(study: "Study", search: Search, trial: "Trial", number: int, folder: Path) -> str:
    """Performs the trial, tells the study what became of it, and says it in words."""
    from optuna.trial import TrialState

    trials, report, began = finished(study), Report(search, trial), time.monotonic()
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
        study.tell(trial, state=TrialState.FAIL)
        return f"failed: {error}"
    epoch = report.epochs[report.values.index(report.best)]
    for name, of_trial in (("value", report.best), ("epoch", epoch), ("epochs", report.epochs)):
        trial.set_user_attr(name, of_trial)
    told = f"{search.monitor} {report.best:.4f} at epoch {epoch}"
    if report.pruned:
        study.tell(trial, state=TrialState.PRUNED)
        return f"{told}, stopped after epoch {report.epochs[-1]}"
    study.tell(trial, report.best)
    if twins:
        return f"{told}, as trial {twins[0]}"
    best = best_of(finished(study), search)
    return f"{told}, the best so far" if best is not None and best[0] == number else told


def _fit(search: Search, settings: Settings, report: Report, logs: Path) -> str | None:
    """Fits with ``settings``; returns why that failed, if it did."""
    shutil.rmtree(logs, ignore_errors=True)  # of the same trial, killed
    error: str | None = None
    with TemporaryDirectory() as scratch, _quiet():
        try:
            cli = build(search.base.content, search.settings | settings | SAME_FOR_ALL, Path(scratch))
            trainer: Any = cli.trainer
            trainer.loggers = [TensorBoardLogger(logs.parent, name="", version=logs.name, default_hp_metric=False)]
            # Figures of every epoch of every trial would take more time and room than anybody looks at.
            trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, EpochLines | TensorBoardFigures)]
            trainer.callbacks.append(report)
            trainer.fit(cli.model, cli.datamodule)
        except (InputError, MisconfigurationException) as caught:
            error = " ".join(str(caught).split())
        except (RuntimeError, MemoryError) as caught:
            if not isinstance(caught, MemoryError) and not any(words in str(caught) for words in OUT_OF_MEMORY):
                raise
            error = f"out of memory ({reason(caught)})"
    gc.collect()  # the network hung on the exception
    torch.cuda.empty_cache()
    return error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines and warnings of a fit, of which there would be many; `fit` with best.yaml shows them."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
