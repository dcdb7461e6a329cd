"""What belongs to a run: its data, the folder of its files, and the trained model in it."""

from pathlib import Path

from lightning.pytorch import Trainer

from gpt_classifier.bundle import CHECKPOINTS, find_in_run
from gpt_classifier.data.datamodule import TextDataModule


def text_data(trainer: Trainer) -> TextDataModule | None:
    """The data module that this trainer was given; None where it was given loaders, or somebody else's data."""
    data = getattr(trainer, "datamodule", None)  # which Lightning sets when it is called, and does not declare
    return data if isinstance(data, TextDataModule) else None


def run_folder(trainer: Trainer) -> Path | None:
    """The folder of this run, or None where the trainer keeps none (no logger, or ``fast_dev_run``)."""
    return next((Path(logger.log_dir) for logger in trainer.loggers if logger.log_dir), None)


def run_of(path: Path) -> Path | None:
    """The run that a checkpoint or a model folder lies in; None where it was copied out of one."""
    place = path.parent if path.is_file() else path
    inside = place.name in ("checkpoints", "model") and (place.parent / "checkpoints").is_dir()
    return place.parent if inside else None


def trained_model(path: Path) -> Path:
    """The best checkpoint of a run or of the newest of several runs, else its last one; any other path as it is."""
    return find_in_run(path, *CHECKPOINTS) or path
