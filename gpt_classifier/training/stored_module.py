"""A LightningModule that carries all that it takes to classify texts, and keeps it in checkpoints; computes nothing."""

import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Self, cast

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from gpt_classifier import __version__
from gpt_classifier.data.task import Task
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.probe_results import ProbeResults
from gpt_classifier.inference.bundle import TRAINED_ON, VOCABULARY, Bundle
from gpt_classifier.inference.checkpoint_file import read_checkpoint
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.inference.formats import up_to_date
from gpt_classifier.inference.model_card import model_card
from gpt_classifier.models.build import Specification
from gpt_classifier.models.freezing import freeze
from gpt_classifier.settings import check_resumed
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.training.divergence import WatchedModule
from gpt_classifier.training.identity import check_same_fit
from gpt_classifier.training.probing import adopt_choices

KEY = "gpt_classifier"  # of what a checkpoint tells of the model besides its weights


class StoredModule(WatchedModule):
    """A network with its class names, text encoder and decision, and what is known of its training."""

    def __init__(self) -> None:
        super().__init__()
        self.class_names: list[str] | None = None  # in the order of the logits
        self.text_encoder: TextEncoder | None = None
        self.data_settings: dict[str, Any] = {}  # settings of the TextDataModule that it is trained with
        self.version = __version__  # of the package that trained the weights
        self.decision = Decision()  # how logits become predictions
        self.trained_on: Tensor | None = None  # fingerprints of the training texts, None if unknown
        self.clock = FitClock()
        self.given: dict[str, Any] = {}  # settings that a fit decides if they are null, as they were given
        self.probed: ProbeResults | None = None  # what the fit started from
        self.first_score: float | None = None  # the monitored one of what it started from
        self.has_weights = False  # whether they are loaded, or will be from a checkpoint
        self._loaded_steps: int | None = None  # None while it trains, and if no checkpoint was loaded since

    @property
    def task(self) -> Task:
        """What its labels mean."""
        return Task.of(self.decision.multi_label)

    def bundle(self) -> Bundle:
        """The trained model with everything that is needed to classify texts."""
        if self.text_encoder is None or self.class_names is None:
            raise InputError("the model does not know its tokenizer: fit it with a TextDataModule")
        return Bundle(
            self.model,
            self.text_encoder,
            self.class_names,
            self.data_settings,
            self.trained_on,
            self.decision,
            version=self.version,
        )

    @classmethod
    def from_bundle(cls, contents: Bundle) -> Self:
        """A module for testing and prediction, from a loaded model."""
        contents = contents.merged()
        spec = Specification.of(contents.model)
        others: dict[str, Any] = {"pooling": spec.pooling, "head": spec.head, "class_names": contents.class_names}
        module = cast(Any, cls)(weights=None, trainable="all", **spec.settings(), **others)
        module.model, module.text_encoder = contents.model, contents.text_encoder
        module.data_settings, module.trained_on = contents.data, contents.trained_on
        module.decision, module.version = contents.decision, contents.version
        module.complete()
        return module

    def to_text_classifier(self, device: str | torch.device = "auto") -> TextClassifier:
        """A copy of the trained model that classifies texts and can be saved; further training does not change it."""
        contents = self.bundle()
        card = model_card(contents, self.hparams)
        return TextClassifier(replace(contents, model=deepcopy(self.model), card=card), device)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path | IO[bytes], *args: Any, **kwargs: Any) -> Self:
        """Like Lightning's, without running code from the file. Raises ``InputError`` if another version wrote it."""
        if isinstance(checkpoint_path, str | Path):
            read_checkpoint(Path(checkpoint_path))  # before Lightning builds a model from settings of another version
        return super().load_from_checkpoint(checkpoint_path, *args, **{"weights_only": True} | kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ``Diverged``, so that nothing is written, if the loss or a weight is no longer finite."""
        if self.has_whole_weights():
            self.check_finite()
        # The checkpoint holds the weights, so nothing is downloaded when it is loaded.
        checkpoint["hyper_parameters"] = {**self.hparams, "weights": None}
        contents = self.bundle()
        kept = {"seconds": self.trained_seconds(), "first_score": self.first_score}
        checkpoint[KEY] = {"config": contents.config(), "tensors": contents.tensors()} | kept

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ``InputError`` for a checkpoint of another program, or of another version that cannot be read."""
        if KEY not in checkpoint:
            raise InputError("the checkpoint was not written by gpt_classifier")
        saved = checkpoint[KEY]
        config, tensors = up_to_date(saved["config"], "the checkpoint"), saved["tensors"]
        text_encoder = TextEncoder.restore(config["text_encoder"], tensors[VOCABULARY])
        decision = Decision(**config["decision"])
        self._loaded_steps = checkpoint["global_step"]
        self.clock.set(saved.get("seconds"))
        self.remember(tensors.get(TRAINED_ON))
        if self.fits():
            check_resumed({"data.multi_label": self.decision.multi_label}, {"data.multi_label": decision.multi_label})
            self.probed, self.first_score = None, saved.get("first_score")  # of the fit that is resumed
            adopt_choices(self.model, self.given, checkpoint)
            self.describe()
        else:
            self.data_settings, self.decision, self.version = config["data"], decision, config["version"]
        if self.trainer_if_any() is not None and self.text_encoder is not None:
            check_same_fit(self.hparams, self.text_encoder, checkpoint["hyper_parameters"], text_encoder)
        self.text_encoder = text_encoder

    def complete(self) -> None:
        """Freezes parameters as the settings say, and adds the network's full specification to the settings."""
        freeze(self.model, self.hparams["trainable"])
        self.model.train()
        self.has_weights = True
        self.describe()

    def describe(self) -> None:
        """Adds the network's full specification to the settings."""
        specification = Specification.of(self.model)
        own = {"pooling": specification.pooling, "head": specification.head, "class_names": self.class_names}
        self.hparams.update(specification.settings(), **own)

    def remember(self, trained_on: Tensor | None) -> None:
        """Adds fingerprints of training texts to those of earlier trainings of the same weights."""
        known = [each for each in (self.trained_on, trained_on) if each is not None]
        self.trained_on = torch.cat(known).unique() if known else None

    def trained_steps(self) -> int:
        """Number of steps that the current weights were trained for, also if a checkpoint brought them."""
        return self.trainer.global_step if self._loaded_steps is None else self._loaded_steps

    def trained_seconds(self) -> float | None:
        """Seconds that the current weights were trained for; None if unknown, as for a model folder."""
        return self.clock.seconds()

    def fits(self) -> bool:
        """Whether it is attached to a trainer that trains."""
        trainer = self.trainer_if_any()
        return trainer is not None and trainer.training

    def trainer_if_any(self) -> L.Trainer | None:
        """The trainer, or None if the module is not attached to one."""
        try:
            return self.trainer if self.fabric is None else None  # Fabric's stand-in for a trainer does not train
        except RuntimeError:  # Lightning raises it if there is no trainer
            return None

    def has_whole_weights(self) -> bool:
        """Whether each process holds all weights, which other strategies shard."""
        return isinstance(self.trainer.strategy, SingleDeviceStrategy | DDPStrategy)


class FitClock:
    """Counts the seconds of fits, also of those that were stopped and continued; between fits it stands still."""

    def __init__(self) -> None:
        self._total: float | None = None  # seconds of the fits that ended
        self._began: float | None = None  # a time of time.perf_counter, less the seconds of earlier fits

    def set(self, seconds: float | None) -> None:
        """Sets the total, which a checkpoint has kept; None if nothing is known of earlier fits."""
        self._total = seconds

    def start(self) -> None:
        """Runs from now on, or goes on where it runs already, since a probe that came before the fit."""
        if self._began is None:
            self._began = time.perf_counter() - (self._total or 0.0)

    def stop(self) -> None:
        self._total, self._began = self.seconds(), None

    def seconds(self) -> float | None:
        """Total so far; None if unknown."""
        return self._total if self._began is None else time.perf_counter() - self._began
