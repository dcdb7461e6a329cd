"""Builds texts, a language model and a trainer from a configuration, with LightningCLI."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser
from lightning.pytorch.loggers import TensorBoardLogger

from gpt_classifier.inference.checkpoint_file import open_checkpoint
from gpt_classifier.pretraining.callbacks import ModelFolder, Progress, Samples, StepCheckpoint
from gpt_classifier.pretraining.datamodule import PretrainingData
from gpt_classifier.pretraining.module import LanguageModel
from gpt_classifier.training.callbacks.progress import BatchLines
from gpt_classifier.training.callbacks.stopping import StopCleanly
from gpt_classifier.training.run_cli import (
    RunCLI,
    build_logger,
    checkpoint_path,
    lightning_errors,
    with_defaults_of_weights,
)
from gpt_classifier.training.runs import run_folder


class PretrainingCLI(RunCLI):
    """LightningCLI with a language model and its texts; :meth:`pretrain` trains it."""

    model: LanguageModel
    datamodule: PretrainingData

    def __init__(self, args: list[str]) -> None:
        parser = {"prog": "gpt-classifier pretrain", "description": "Pretrains a network on your own texts."}
        super().__init__(LanguageModel, PretrainingData, args, False, parser, root="checkpoints/pretrain", epochs=10)

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

    def added_to_trainer(self, config: Namespace) -> tuple[list[Callback], Literal[False] | TensorBoardLogger | None]:
        added: list[Callback] = [Progress(), BatchLines(), Samples(), ModelFolder(), StopCleanly()]
        if config.get("enable_checkpointing") is not False:
            added.append(StepCheckpoint(self.config.model.checkpoint_every))
        return added, build_logger(config, self.checkpoint)

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
