"""What the command lines of all trainings share: a trainer with its logger, readable errors, weights to start from."""

import json
import logging
import signal
import sys
import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.errors import InputError
from gpt_classifier.files import BUILT_IN_MODEL, CALLED_IN, newest, whole_file, writable_folder
from gpt_classifier.inference.initial_weights import network_settings
from gpt_classifier.inference.model_folder import find_weights
from gpt_classifier.models.transformers_config import usual_length
from gpt_classifier.models.transformers_network import context_length
from gpt_classifier.text.tokenizers import OWN, are_alike
from gpt_classifier.training.callbacks.progress import Bar
from gpt_classifier.training.parser import Parser
from gpt_classifier.training.runs import run_folder, run_of, use_run


class SaveConfig(SaveConfigCallback):
    """Saves the configuration of a fit next to its results; a resumed fit saves its own under another name."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and (folder := run_folder(trainer)) is not None:
            first = writable_folder(folder) / "config.yaml"
            path = first if not first.exists() else folder / f"config.{time.strftime('%Y-%m-%dT%H-%M-%S')}.yaml"
            with whole_file(path) as part:  # jsonargparse would write it in the encoding of the system
                part.write_text(f"{CALLED_IN}{Path.cwd()}\n{self.parser.dump(self.config)}", encoding="utf-8")


class RunCLI(LightningCLI):
    """LightningCLI for a model and data of this package; the files of a run are in a folder ``version_N``.

    Args:
        model: Class of the LightningModule.
        data: Class of the data module.
        args: Words of the command line.
        run: Whether the first word is a subcommand, which is run.
        parser: Name and descriptions of the parser.
        root: Folder of the runs.
        epochs: Number of epochs, unless the configuration says otherwise.
    """

    checkpoint: Path | None = None  # that the command continues from

    def __init__(
        self,
        model: type[LightningModule],
        data: type[LightningDataModule],
        args: list[str],
        run: bool,
        parser: dict[str, Any],
        root: str,
        epochs: int,
    ) -> None:
        quiet()
        super().__init__(
            model,
            data,
            args=args,
            run=run,
            parser_class=Parser,
            parser_kwargs=parser,
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults={
                "default_root_dir": root,
                "max_epochs": epochs,
                "log_every_n_steps": 10,
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,  # the module reports the number of trained parameters
            },
            seed_everything_default=123,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # our checkpoints hold plain values and need no jsonargparse
        )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer with a progress bar on a terminal, and without what needs a logger where it has none."""
        config = self.settings_of(self.config_init).trainer
        extra = list(config.get("callbacks") or [])
        if config.get("enable_progress_bar") is not False and not any(isinstance(c, ProgressBar) for c in extra):
            # Only on a terminal: in a log file, each update of a progress bar is a new line.
            if sys.stdout.isatty():
                extra.append(Bar())
            else:
                kwargs["enable_progress_bar"] = False
        added, logger = self.added_to_trainer(config)
        extra += added
        if logger is not None:
            kwargs["logger"] = logger
        if kwargs.get("logger", config.get("logger")) is False:  # learning rates are written only to a logger
            extra = [callback for callback in extra if not isinstance(callback, LearningRateMonitor)]
        try:
            trainer = super().instantiate_trainer(callbacks=extra, **kwargs)
        except InputError:
            raise
        except (TypeError, ValueError) as error:  # Lightning raises them for an unknown name or number
            raise InputError(f"the trainer cannot be made: {' '.join(str(error).split())}") from error
        if self.checkpoint is not None and (run := run_of(self.checkpoint)) is not None:
            use_run(trainer, run)
        return trainer

    @abstractmethod
    def added_to_trainer(self, config: Namespace) -> tuple[list[Callback], Literal[False] | TensorBoardLogger | None]:
        """Callbacks that a trainer of these settings gets, and its logger; None for the one that ``config`` names."""

    def settings_of(self, config: Namespace) -> Namespace:
        """The settings of the command."""
        return config if self.subcommand is None else config[self.subcommand]


def build_logger(config: Namespace, checkpoint: Path | None) -> TensorBoardLogger | None:
    """A logger that writes to the run of ``checkpoint`` or to a new run; None if ``config`` names another or none."""
    if config.get("logger") not in (None, True) or config.get("fast_dev_run"):
        return None
    run = None if checkpoint is None else run_of(checkpoint)
    if run is None:
        return TensorBoardLogger(writable_folder(Path(config.default_root_dir)), name="", default_hp_metric=False)
    writable_folder(run)
    return TensorBoardLogger(run.parent, name="", version=run.name, default_hp_metric=False)


@contextmanager
def lightning_errors() -> Iterator[None]:
    """Makes an ``InputError`` or an exit code of what Lightning raises."""
    try:
        yield
    except MisconfigurationException as error:  # an unavailable accelerator, or options that exclude each other
        raise InputError(" ".join(str(error).split())) from error
    except SIGTERMException as stop:  # Lightning's exception has no exit code
        raise SystemExit(128 + signal.SIGTERM) from stop


def checkpoint_path(given: str, config: Namespace) -> Path:
    """The given file; for ``last`` and ``best``, that file of the newest run that has one."""
    if given not in ("last", "best"):
        return Path(given)
    root = Path(config.trainer.default_root_dir)
    if (path := newest(root, f"checkpoints/{given}.ckpt")) is None:
        raise InputError(
            f"no {given}.ckpt in any {root / 'version_N' / 'checkpoints'}: fit first, name a model "
            "behind the command, the folder of its runs with --trainer.default_root_dir, or the file with --ckpt_path"
        )
    return path


def take_all(words: list[str], *options: str) -> tuple[list[str], list[str]]:
    """The values of ``options`` on a command line, and the rest of the line."""
    values, rest, left = [], [], iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if name not in options:
            rest.append(word)
        elif (given := value if equals else next(left, None)) is None:
            raise InputError(f"{word} needs a value")
        else:
            values.append(given)
    return values, rest


def with_defaults_of_weights(parser: LightningArgumentParser, args: list[str], command: str | None = None) -> Namespace:
    """What the options say; where they name weights, the network and tokenizer are those of the weights.

    They replace what a configuration says, which was written for others, but not what is typed as an option.

    Args:
        parser: Reads the options from left to right; the right one has precedence.
        args: The words of a command line.
        command: The subcommand to which this applies, which is the first word; None if there are no subcommands.
    """
    config = parser.parse_args(args)
    if command is not None and config.subcommand != command:
        return config
    settings = config if command is None else config[command]
    weights = settings.model.weights
    if weights in ("random", "pretrained") and isinstance(settings.model.get("backbone"), str):
        given = parser.parse_args(args, defaults=False)
        given = given if command is None else given[command]
        for name, value in _encoding_of(settings.model.backbone, settings.data, given.get("data", {})).items():
            settings.data[name] = value
    if weights in (None, "random", "pretrained") or (defaults := network_settings(find_weights(weights))) is None:
        return config
    first = [] if command is None else [command]
    files, typed = take_all(args[len(first) :], "--config", "-c")
    if weights == BUILT_IN_MODEL:
        defaults["data"]["tokenizer"] = weights  # not where this machine keeps it
    own: dict[str, dict[str, Any]] = {"data": {"tokenizer": defaults["data"]["tokenizer"]}}
    if (gpt := defaults["model"].get("gpt")) is not None:
        written = settings.model.gpt
        own["model"] = {"gpt": gpt if isinstance(written, str) else gpt | {"dropout": written.get("dropout", 0.0)}}
    contents = [json.dumps(defaults), *files, json.dumps(own)]
    found = parser.parse_args([*first, *(f"--config={content}" for content in contents), *typed])
    _adopt(settings, found if command is None else found[command], str(weights), defaults)
    return found


def _adopt(before: Namespace, now: Namespace, weights: str, own: Mapping[str, Any]) -> None:
    """Says what a configuration wanted ``before`` and ``weights`` have otherwise, and takes over their context.

    Raises ``InputError`` for another tokenizer, which was typed.
    """
    tokenizer, context = now.data.tokenizer, own["data"].get("max_length")
    if isinstance(tokenizer, str) and tokenizer != own["data"]["tokenizer"]:
        alike = True
        with suppress(InputError):  # it is not there: the fit says so
            alike = are_alike(tokenizer, own["data"]["tokenizer"])
        if not alike:
            raise InputError(
                f"tokenizer is {tokenizer}, but {weights} was trained with another one: leave it out, or give "
                f"--data.tokenizer {weights}"
            )
    if context is not None and now.data.max_length > context:
        now.data.max_length = context
    changed = [f"data.{name}" for name in ("tokenizer", "max_length") if now.data[name] != before.data[name]]
    if isinstance(written := before.model.get("gpt"), Mapping) and "gpt" in own["model"]:
        theirs = own["model"]["gpt"]
        changed += [f"model.gpt.{n}" for n, value in written.items() if n != "dropout" and theirs.get(n) != value]
    if changed:
        rank_zero_info(f"{', '.join(changed)}: those of {weights}")


def _encoding_of(network: str, data: Namespace, given: Mapping[str, Any]) -> dict[str, Any]:
    """How texts are encoded for a published network, where neither the command line nor a configuration knows better.

    Its tokenizer replaces those of the package, which it does not know, and whose ids would mean nothing to it. A
    length is by default the usual one for it; one that is ``given`` is at most its context.
    """
    found: dict[str, Any] = {}
    with suppress(InputError):  # it has no tokenizer of its own
        own = isinstance(data.tokenizer, str) and data.tokenizer not in OWN
        if not (own and are_alike(data.tokenizer, network)):
            found["tokenizer"] = network
    with suppress(InputError):  # it is not there: the fit says so, when it needs it
        wanted = data.max_length if given.get("max_length") is not None else usual_length(network)
        found["max_length"] = min(wanted, context_length(network))
    changed = {name: value for name, value in found.items() if data[name] != value}
    if changed:
        said = " and ".join(f"data.{name} {value}" for name, value in changed.items())
        rank_zero_info(f"{said}: those of model.backbone {network}")
    return changed


def quiet() -> None:
    """Silences Lightning's tips and those warnings that do not concern the run."""
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec")  # with a newer PyTorch
    # When a fit is resumed, its folder is not empty, and the data do resume at the right batch (a test checks that).
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.trainer.setup"):
        logging.getLogger(name).addFilter(lambda record: "Tip:" not in record.getMessage())
