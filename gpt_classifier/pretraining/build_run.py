"""Builds texts, a language model and a trainer from a configuration, with LightningCLI."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from gpt_classifier.errors import InputError
from gpt_classifier.files import writable_folder
from gpt_classifier.inference.checkpoint_file import open_checkpoint
from gpt_classifier.pretraining.callbacks import ModelFolder, Progress, Samples, StepCheckpoint
from gpt_classifier.pretraining.datamodule import PretrainingData
from gpt_classifier.pretraining.module import LanguageModel
from gpt_classifier.training import callbacks
from gpt_classifier.training.build_run import (
    SaveConfig,
    checkpoint_path,
    lightning_errors,
    quiet,
    with_defaults_of_weights,
)
from gpt_classifier.training.callbacks.progress import BatchLines
from gpt_classifier.training.callbacks.stopping import StopCleanly
from gpt_classifier.training.parser import Parser
from gpt_classifier.training.runs import run_folder, run_of


class PretrainingCLI(LightningCLI):
    """LightningCLI with a language model and its texts; :meth:`pretrain` trains it."""

    model: LanguageModel
    datamodule: PretrainingData
    checkpoint: Path | None = None  # checkpoint that the run continues from

    def __init__(self, args: list[str]) -> None:
        quiet()
        super().__init__(
            LanguageModel,
            PretrainingData,
            args=args,
            run=False,
            parser_class=Parser,
            parser_kwargs={"prog": "gpt-classifier pretrain", "description": "Pretrains a network on your own texts."},
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults={
                "default_root_dir": "checkpoints/pretrain",
                "max_epochs": 10,
                "log_every_n_steps": 10,
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
            },
            seed_everything_default=123,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            help="Checkpoint to continue from: a file, or last for that of the newest run.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        assert isinstance(args, list), "as __init__ takes them"
        self.config = with_defaults_of_weights(parser, args)

    def before_instantiate_classes(self) -> None:
        if given := self.config.ckpt_path:
            self.checkpoint = checkpoint_path(given, self.config)
            open_checkpoint(self.checkpoint)  # raises InputError for a file that is missing or damaged

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config_init.trainer
        every = self.config.model.checkpoint_every
        extra = [*(config.get("callbacks") or []), Progress(), BatchLines(), Samples(), ModelFolder(), StopCleanly()]
        if config.get("enable_checkpointing") is not False:
            extra.append(StepCheckpoint(every))
        if config.get("enable_progress_bar") is not False:
            if sys.stdout.isatty():  # in a log file, each update of a progress bar is a new line
                extra.append(callbacks.Bar())
            else:
                kwargs["enable_progress_bar"] = False
        if config.get("logger") in (None, True) and not config.get("fast_dev_run"):
            run = None if self.checkpoint is None else run_of(self.checkpoint)
            root, version = (Path(config.default_root_dir), None) if run is None else (run.parent, run.name)
            kwargs["logger"] = TensorBoardLogger(writable_folder(root), "", version, default_hp_metric=False)
        if kwargs.get("logger", config.get("logger")) is False:
            extra = [callback for callback in extra if not isinstance(callback, LearningRateMonitor)]
        try:
            return super().instantiate_trainer(callbacks=extra, **kwargs)
        except InputError:
            raise
        except (TypeError, ValueError) as error:  # Lightning raises them for an unknown name or number
            raise InputError(f"the trainer cannot be made: {' '.join(str(error).split())}") from error

    def pretrain(self) -> Path | None:
        """Trains, and returns the model folder; None if the trainer has no folder, as with ``fast_dev_run``."""
        checkpoint = None if self.checkpoint is None else str(self.checkpoint)
        self.trainer.fit(self.model, datamodule=self.datamodule, ckpt_path=checkpoint)
        folder = run_folder(self.trainer)
        return None if folder is None else folder / "model"


def pretrain(folder: Path, *settings: Mapping[str, Any]) -> Path:
    """Pretrains in a run below ``folder`` and returns the model folder.

    Args:
        folder: Folder of runs.
        settings: Contents of configurations; later ones have precedence.
    """
    found = run([*(f"--config={json.dumps(each)}" for each in settings), f"--trainer.default_root_dir={folder}"])
    assert found is not None, "the trainer has a logger by default"
    return found


def run(args: list[str]) -> Path | None:
    with lightning_errors():
        return PretrainingCLI(args).pretrain()
