"""Wires data, model and trainer into the commands fit, validate, test and predict."""

import importlib
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from gpt_classifier.bundle import newest, read_checkpoint
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import writable_folder
from gpt_classifier.training import callbacks
from gpt_classifier.training.module import GPTClassifier


class Parser(LightningArgumentParser):
    """Says what is wrong in one line, instead of behind a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise InputError(" ".join(message.split())) from ex


class SaveConfig(SaveConfigCallback):
    """Keeps the configuration of a fit beside its results; that of a resumed one gets a name of its own."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.loggers:
            folder = writable_folder(Path(trainer.loggers[0].log_dir or ""))
            first = folder / "config.yaml"
            path = first if not first.exists() else folder / f"config.{time.strftime('%Y-%m-%dT%H-%M-%S')}.yaml"
            self.parser.save(self.config, path, overwrite=True)


class ClassifierCLI(LightningCLI):
    """LightningCLI with the package's own model, data, callbacks and checkpoints.

    A run's files lie in ``<trainer.default_root_dir>/version_N``. ``--ckpt_path`` takes a file, or ``last`` or
    ``best`` for that of the newest run. All commands but ``fit`` take the model, its class names and its encoder from
    the checkpoint, by default the newest best one.
    """

    model: GPTClassifier
    datamodule: TextDataModule
    checkpoint: Path | None = None

    def __init__(self, args: list[str] | None = None, run: bool = True) -> None:
        _quiet()
        super().__init__(
            GPTClassifier,
            TextDataModule,
            args=args if args != sys.argv[1:] else None,  # Lightning warns of arguments beside those of the process
            run=run,
            parser_class=Parser,
            parser_kwargs={"prog": "gpt-classifier"},
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults={
                "default_root_dir": "checkpoints/default",
                "max_epochs": 5,
                "log_every_n_steps": 10,
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,  # the module says how many parameters train
            },
            seed_everything_default=123,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # our checkpoints hold plain values and need no jsonargparse
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--output", default="predictions.csv", help="File that predict writes.")

    def _parse_ckpt_path(self) -> None:
        # Lightning would let the checkpoint's settings override those that were given, without a word (#21455).
        pass

    def before_instantiate_classes(self) -> None:
        if self.subcommand is None:
            return
        config = self.config[self.subcommand]
        self.checkpoint = self._find_checkpoint(config)
        if self.subcommand == "fit":
            config["ckpt_path"] = None if self.checkpoint is None else str(self.checkpoint)
            if isinstance(config.model.head, dict) and "class_path" in config.model.head:
                _import(config.model.head["class_path"])
        else:
            config["ckpt_path"] = None  # the model is loaded from it below, once
            if self.subcommand == "predict":
                config["return_predictions"] = False  # they go to the file, batch by batch

    def _find_checkpoint(self, config: Any) -> Path | None:
        given = config.get("ckpt_path") or (None if self.subcommand == "fit" else "best")
        if given is None:
            return None
        root = Path(config.trainer.default_root_dir)
        path: Path | None = Path(given)
        if given in ("last", "best"):
            path = newest(root, f"checkpoints/{given}.ckpt")
            if path is None:
                raise InputError(
                    f"no {given}.ckpt in any {root / 'version_N' / 'checkpoints'}: fit first, name the run's folder "
                    "with --trainer.default_root_dir, or the file itself with --ckpt_path"
                )
        assert path is not None
        read_checkpoint(path)  # refuses what is not ours before anything else happens
        return path

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        if self.subcommand not in (None, "fit"):
            assert self.checkpoint is not None  # or looking for it has failed
            self.model = GPTClassifier.load_from_checkpoint(self.checkpoint, map_location="cpu", weights_only=True)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        try:
            return self._trainer(**kwargs)
        except InputError:
            raise
        except (TypeError, ValueError) as error:  # from Lightning, of a name or number that it does not know
            raise InputError(f"the trainer cannot be made: {reason(error)}") from error

    def _trainer(self, **kwargs: Any) -> Trainer:
        config = self._get(self.config_init, "trainer")
        extra = list(config.get("callbacks") or [])
        lines = callbacks.EpochLines()
        if config.get("enable_progress_bar") is not False and not any(isinstance(c, ProgressBar) for c in extra):
            # A bar that moves is for people: in a log file each move is a line.
            if sys.stdout.isatty():
                extra.append(callbacks.Bar())
            else:
                kwargs["enable_progress_bar"] = False
        extra += [lines, callbacks.TensorBoardFigures(), callbacks.ScalarsByExamples()]
        if self.subcommand == "fit":
            extra.append(callbacks.FinishRun())
            if config.get("enable_checkpointing") is not False:
                extra += [callbacks.BestCheckpoint(), callbacks.LastCheckpoint()]
        if self.subcommand == "predict":
            extra.append(callbacks.PredictionsFile(self._get(self.config, "output")))
            kwargs["logger"] = False
        elif self.subcommand is None:
            kwargs["logger"] = False  # nothing runs, so no run's folder is wanted
        elif config.get("logger") in (None, True):
            kwargs["logger"] = self._logger(Path(config["default_root_dir"]))
        return super().instantiate_trainer(callbacks=extra, **kwargs)

    def _logger(self, root: Path) -> TensorBoardLogger:
        """Writes to the run that a checkpoint belongs to, or to a new one."""
        writable_folder(root)
        if self.checkpoint is not None and self.checkpoint.parent.name == "checkpoints":
            run = self.checkpoint.parent.parent
            return TensorBoardLogger(run.parent, name="", version=run.name, default_hp_metric=False)
        return TensorBoardLogger(root, name="", default_hp_metric=False)


def main(args: list[str]) -> None:
    """Runs one of fit, validate, test and predict."""
    ClassifierCLI(args)


def download(args: list[str]) -> None:
    """Fetches all that a configuration needs, for machines without internet."""
    cli = ClassifierCLI(args, run=False)
    cli.datamodule.prepare_data()
    cli.model.download()
    from gpt_classifier import files

    print(f"data sets: {files.cache_folder()}\ntokenizer: {files.keep_tokenizer_files()}")
    if cli.model.hparams["weights"] == "pretrained":
        from huggingface_hub.constants import HF_HUB_CACHE

        print(f"weights: {HF_HUB_CACHE}")


def _import(class_path: str) -> None:
    module = class_path.rpartition(".")[0]
    try:
        importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise InputError(f"the module of the class {class_path} cannot be imported: {error}") from error


def _quiet() -> None:
    """Drops Lightning's advertisements, and what it should change itself; what is left in the log concerns the run."""
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec")  # with a newer PyTorch
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.trainer.setup"):
        logging.getLogger(name).addFilter(lambda record: "Tip:" not in record.getMessage())
