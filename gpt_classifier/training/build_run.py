"""Builds data, model and trainer from a configuration, with LightningCLI."""

import importlib
import json
import math
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.datasets import is_named, stem
from gpt_classifier.data.readers import expand_paths
from gpt_classifier.data.sources import IN_MEMORY, find_sources
from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.evaluation.baselines import LIMIT
from gpt_classifier.files import folders_around
from gpt_classifier.inference.checkpoint_file import read_checkpoint
from gpt_classifier.inference.model_folder import load, read_decision
from gpt_classifier.models.build import gpt_config
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.models.transformers_network import context_length
from gpt_classifier.text.encoder import WindowsConfig
from gpt_classifier.text.tokenizers import OWN
from gpt_classifier.training import callbacks
from gpt_classifier.training.cluster import ClusterTrainer
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.network import check_published
from gpt_classifier.training.run_cli import (
    RunCLI,
    build_logger,
    checkpoint_path,
    lightning_errors,
    take_all,
    with_defaults_of_weights,
)
from gpt_classifier.training.runs import find_trained_model, run_of

ABOUT = {
    "fit": "Trains a model.",
    "validate": "Scores a trained model on validation rows.",
    "test": "Scores a trained model on test rows.",
    "predict": "Classifies the rows of a file.",
}
TRAINED = ("validate", "test", "predict")  # the commands that start from a trained model


class ClassifierCLI(RunCLI):
    """LightningCLI with the package's own model, data, callbacks and checkpoints.

    The files of a run are in ``<trainer.default_root_dir>/version_N``. ``--ckpt_path`` takes a file, or ``last`` or
    ``best`` for that checkpoint of the newest run. All commands but ``fit`` load the model, its class names and its
    text encoder from it, by default from the newest best checkpoint, or from the word behind the command: a run, a
    folder of runs, a model folder or a .ckpt file. They use the data settings of the model's training; options have
    precedence.
    """

    model: GPTClassifier
    datamodule: TextDataModule
    given_checkpoint: str | None = None  # --ckpt_path
    trained: GPTClassifier  # trained model of the other commands
    trained_path: Path  # its checkpoint or folder

    def __init__(self, args: list[str], run: bool = True) -> None:
        self.given_model, args = _take_model(args) if args[:1] and args[0] in TRAINED else (None, args)
        self.called = args[0] if run and args else None
        self.has_commands = run
        parser = {"prog": "gpt-classifier", **{name: {"description": ABOUT[name]} for name in self.subcommands()}}
        super().__init__(GPTClassifier, TextDataModule, args, run, parser, root="checkpoints/default", epochs=5)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning's is the same for all
        """Only the command that is called: to build the options of each takes a fifth of a second."""
        return {name: skipped for name, skipped in super().subcommands().items() if self.called in (name, None)}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--output",
            type=str | None,
            help="File that predict writes: .csv, .jsonl or .parquet; by default <run>/predictions/<source>.csv. It is "
            "for programs: kept cells stay as they are, also those that a spreadsheet would run as formulas.",
        )
        parser.add_argument(
            "--keep", nargs="+", default=[], help="Columns of the source that predict copies into its file."
        )
        parser.add_argument(
            "--ray",
            type=int | None,
            help="Number of processes of a Ray cluster in which predict classifies, each on a core or a GPU: of the "
            "cluster at RAY_ADDRESS, or of one that is started on this machine. No trainer's settings then matter.",
        )
        parser.add_argument(
            "--baselines",
            type=Literal["all", "none"] | float,
            default=LIMIT,
            help="Baselines that test trains on the same rows and compares the model with: all, none, or those "
            "that should take no more than so many seconds each, by the number of characters and classes.",
        )
        parser.add_argument(
            "--report",
            type=Literal["all", "none"],
            default="all",
            help="Report that test writes as report.html and report.md, with what is measured only for it.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        assert isinstance(args, list), "as __init__ takes them"
        if self.called == "test":  # ReportTest prints the same scores and more
            parser.set_defaults({"test.verbose": False})
        # Lightning's own method warns about arguments other than sys.argv
        self.config = with_defaults_of_weights(parser, args, "fit" if self.has_commands else None)
        if not self.has_commands:
            return
        command = self.config.subcommand
        self.given_checkpoint = self.config[command].ckpt_path
        if command in TRAINED:
            # The parser reads options from left to right: configuration files, settings of the run, command line.
            config = self.config[command]
            self._find_trained(config)
            files, typed = take_all(args[1:], "--config", "-c")
            own = _collect_settings(self.trained, typed)
            configs = [f"--config={content}" for content in [*files, json.dumps({"data": own})]]
            self.config = parser.parse_args([command, *configs, *typed])
            self._check_data(config.data)
        # Lightning would let the settings of a checkpoint that it finds here override the given ones, without a warning
        # (#21455).
        self.config[command].ckpt_path = None

    def _find_trained(self, config: Namespace) -> None:
        if self.given_model is not None and self.given_checkpoint:
            raise InputError(f"{self.given_model} and --ckpt_path both name the model: give one of them")
        if self.given_model is not None:
            self.trained_path = find_trained_model(Path(self.given_model))
        else:
            self.trained_path = checkpoint_path(self.given_checkpoint or "best", config)
        if self.trained_path.is_file():
            self.trained = GPTClassifier.load_from_checkpoint(self.trained_path, map_location="cpu", weights_only=True)
            if self.trained_path.name == "best.ckpt":  # the weights of the model folder, which may have been calibrated
                self.trained.decision = read_decision(self.trained_path.parents[1] / "model")
        else:
            self.trained = GPTClassifier.from_bundle(load(self.trained_path))
        if self.given_model is None and not self.given_checkpoint:
            command = {"validate": "test"}.get(str(self.called), self.called)
            rank_zero_info(f"model: {self.trained_path}; {command} RUN takes another")
        if (run := run_of(self.trained_path)) is not None:
            self.trained.data_settings = find_sources(self.trained.data_settings, folders_around(run))

    def _check_data(self, configured: Namespace) -> None:
        """Raises ``InputError`` if no data were named, and logs which configured settings those of the run override."""
        command = self.config.subcommand
        data = self.config[command].data
        scored = {"validate": "val_source", "test": "test_source"}.get(command, "source")
        if data.source == IN_MEMORY and data[scored] in (None, IN_MEMORY):
            raise InputError(f"the model was not trained on a file, so name one: --data.{scored} FILE")
        defaults = self.parser.parse_args([command])[command].data
        for name, value in vars(data.as_flat()).items():
            given = configured.get(name)  # None for a field of a group that is null
            if given not in (value, defaults.get(name)):
                rank_zero_info(
                    f"data.{name} is {value!r} as in {self.trained_path}, not {given!r} as in the "
                    f"configuration: to change it, give --data.{name}"
                )

    def before_instantiate_classes(self) -> None:
        config = self.settings_of(self.config)
        for group, kind in ((config.model.lora, LoRAConfig), (config.data.windows, WindowsConfig)):
            if group is not None:  # for a group that may be null, the parser would hide the reason of an error
                kind(**vars(group))
        if self.subcommand is None:
            return
        if self.subcommand == "fit":
            if self.given_checkpoint:
                self.checkpoint = checkpoint_path(self.given_checkpoint, config)
                read_checkpoint(self.checkpoint)  # raises InputError for a file that this package did not write
                config["ckpt_path"] = str(self.checkpoint)
            self._check_tokenizer(config)
            if isinstance(config.model.head, dict) and "class_path" in config.model.head:
                _import(config.model.head["class_path"])
        elif self.subcommand == "predict":
            config["return_predictions"] = False  # predictions are written to the file, batch by batch

    @staticmethod
    def _check_tokenizer(config: Namespace) -> None:
        """Raises ``InputError`` if published weights are not for this tokenizer, before they are downloaded."""
        tokenizer = config.data.tokenizer
        if not isinstance(tokenizer, str) or tokenizer in OWN:
            check_published(config.model, str(tokenizer).replace("'", ""))

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        if self.subcommand in TRAINED:
            self.model = self.trained
        self.model.resumes = self.checkpoint is not None

    def added_to_trainer(self, config: Namespace) -> tuple[list[Callback], Literal[False] | TensorBoardLogger | None]:
        checkpoints = self.subcommand == "fit" and config.get("enable_checkpointing") is not False
        options = self.settings_of(self.config_init)
        limit = {"none": None, "all": math.inf}.get(given := options.get("baselines", LIMIT), given)
        if limit is not None and not limit >= 0:
            raise InputError(f"baselines is {limit}, expected all, none, or a number of seconds")
        added = callbacks.default_callbacks(checkpoints, limit, options.get("report") != "none")
        if self.subcommand is None:  # the caller decides what runs and where files are written
            return [callback for callback in added if not isinstance(callback, callbacks.FinishRun)], False
        if self.subcommand != "predict":
            return added, build_logger(config, self.checkpoint if self.subcommand == "fit" else self.trained_path)
        if config.get("fast_dev_run"):
            rank_zero_info("fast_dev_run: no predictions are written")
            return added, False
        if options.ray is not None:
            self.trainer_class = partial(ClusterTrainer, options.ray)
        return [*added, self._predictions_file()], False

    def _predictions_file(self) -> callbacks.PredictionsFile:
        config = self.settings_of(self.config)
        source, keep, output = self.datamodule.source, config.keep, config.output
        if output is None:
            if (run := run_of(self.trained_path)) is None:
                raise InputError(f"{self.trained_path} lies in no run: name a file for the predictions with --output")
            output = run / "predictions" / f"{stem(source)}.csv"
        if not is_named(source) and Path(output).resolve() in [Path(path).resolve() for path in expand_paths(source)]:
            raise InputError(f"--output {output} is the source itself, which predictions would replace: name another")
        return callbacks.PredictionsFile(output, self.datamodule.columns, keep)


class DataCLI(ClassifierCLI):
    """Only the data of a configuration: its network and its device need not be there."""

    def __init__(self, args: list[str]) -> None:
        super().__init__([*args, "--seed_everything=false"], run=False)  # the split has a seed of its own

    def before_instantiate_classes(self) -> None:
        pass  # it is about the model

    def instantiate_classes(self) -> None:
        self.datamodule = TextDataModule(**self.config.data.as_dict())

    @property
    def context(self) -> int | None:
        """Maximum number of tokens that the network reads; None if it is not there."""
        model = self.config.model
        if model.get("backbone") is None:
            return gpt_config(model.gpt).context_length
        with suppress(InputError):
            return context_length(model.backbone) if isinstance(model.backbone, str) else None
        return None


def run(words: list[str]) -> None:
    """Runs the command that the first word names, ``fit``, ``validate``, ``test`` or ``predict``, with the others."""
    with lightning_errors():
        ClassifierCLI(words)


def _take_model(words: list[str]) -> tuple[str | None, list[str]]:
    """The model, which is the word behind the command if that is no option, and the rest of the line."""
    command, *rest = words
    if rest and not rest[0].startswith("-"):
        return rest[0], [command, *rest[1:]]
    return None, words


def _collect_settings(model: GPTClassifier, typed: list[str]) -> dict[str, Any]:
    """The data settings of the model's training, without those that an option of the command line replaces."""
    settings = {"source": IN_MEMORY} | model.data_settings
    options = {word.partition("=")[0] for word in typed}
    if "--data.source" in options:  # these settings belonged to the previous source
        settings |= {"val_source": None, "test_source": None}
        settings["splitting"] = {**settings.get("splitting", {}), "split_column": None, "group_column": None}
    if "--data.test_source" in options:  # folds are for a source without a test file
        settings["splitting"] = {**settings.get("splitting", {}), "folds": 0, "fold": 0}
    return settings


def _import(class_path: str) -> None:
    module, _, name = class_path.rpartition(".")
    try:
        imported = importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise InputError(f"the module of the class {class_path} cannot be imported: {error}") from error
    if not hasattr(imported, name):
        raise InputError(f"{module} has no class {name}{did_you_mean(name, dir(imported))}")
