"""The parts of a run: its data, the folder of its files, and its trained model."""

import shlex
from pathlib import Path
from weakref import WeakKeyDictionary

from lightning.pytorch import Trainer
from lightning.pytorch.loggers.logger import DummyLogger

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.files import find_in_run
from gpt_classifier.inference.checkpoint_file import CHECKPOINTS


def text_data(trainer: Trainer) -> TextDataModule | None:
    """The trainer's data module, or None if the trainer has data loaders or another kind of data module."""
    data = getattr(trainer, "datamodule", None)  # Lightning sets this attribute but does not declare it
    return data if isinstance(data, TextDataModule) else None


_OWN: "WeakKeyDictionary[Trainer, Path]" = WeakKeyDictionary()  # folders of runs whose loggers keep none


def run_folder(trainer: Trainer) -> Path | None:
    """The folder of this run, or None if the trainer has none (no logger, or ``fast_dev_run``).

    It is that of the first logger which has one, as of TensorBoard; where all log elsewhere, as to a server, a new
    ``version_N`` in the trainer's ``default_root_dir``, unless :func:`use_run` has named one.
    """
    found = next((Path(logger.log_dir) for logger in trainer.loggers if logger.log_dir), None)
    if found is not None or all(isinstance(logger, DummyLogger) for logger in trainer.loggers):
        return found
    if trainer not in _OWN:
        root = Path(trainer.default_root_dir)
        number = 1 + max((int(run.name[8:]) for run in root.glob("version_*") if run.name[8:].isdigit()), default=-1)
        _OWN[trainer] = trainer.strategy.broadcast(root / f"version_{number}")
    return _OWN[trainer]


def use_run(trainer: Trainer, run: Path) -> None:
    """Has the files of a trainer whose loggers keep none written into the folder of a run, which it continues."""
    _OWN[trainer] = run


def run_of(path: Path) -> Path | None:
    """The folder of the run that contains a checkpoint or model folder, or None if it is not inside a run."""
    folder = path.parent if path.is_file() else path
    inside = folder.name in ("checkpoints", "model") and (folder.parent / "checkpoints").is_dir()
    return folder.parent if inside else None


def describe_continuation(trainer: Trainer, run: Path, command: str) -> str | None:
    """What to type to continue a stopped run; None if it has no checkpoint."""
    kept = run / "checkpoints" / "last.ckpt"
    if not kept.is_file():
        return None
    # A run that was continued has a configuration of each time.
    configs = sorted(run.glob("config*.yaml"), key=lambda path: path.stat().st_mtime)
    config = f"--config {shlex.quote(str(configs[-1]))} " if configs else ""
    return (
        f"stopped in epoch {trainer.current_epoch + 1}, after {trainer.global_step} steps; to continue: "
        f"gpt-classifier {command} {config}--ckpt_path {shlex.quote(str(kept))}"
    )


def find_trained_model(path: Path) -> Path:
    """The best (or else the last) checkpoint of a run or of the newest of several runs; any other path is unchanged."""
    return find_in_run(path, *CHECKPOINTS) or path
