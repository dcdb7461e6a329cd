"""A text classifier with the interface of scikit-learn; it is trained exactly as ``fit`` trains one."""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.seed import isolate_rng
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from gpt_classifier import files
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.values import to_list, to_names, to_texts
from gpt_classifier.errors import InputError, reason
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.training.callbacks import BestCheckpoint, EpochLines, default_callbacks
from gpt_classifier.training.callbacks.checkpoints import StopEarly
from gpt_classifier.training.callbacks.outputs import FinishRun
from gpt_classifier.training.overrides import ONE_PROCESS, Settings, build, check_settings, quiet, read_yaml

OWN_TOKENS: Settings = {"data.tokenizer": {"train": 4096}}  # the default settings, with which nothing is downloaded
SETTINGS = {  # the settings that are arguments of the constructor, by their names on the command line
    "backbone": "model.backbone",
    "trainable": "model.trainable",
    "learning_rate": "model.learning_rate",
    "max_epochs": "trainer.max_epochs",
    "batch_size": "data.batch_size",
    "max_length": "data.max_length",
    "tokenizer": "data.tokenizer",
}
FROM_X_AND_Y = ("source", "val_source", "test_source", "class_names", "multi_label", "text_column", "label_column")


class TextClassifierEstimator(ClassifierMixin, BaseEstimator):
    """Texts and their classes in, a trained network out: for pipelines, GridSearchCV and cross-validation.

    A fit divides the texts into training and validation rows, near-duplicates together, trains by a configuration of
    this package and keeps the weights of the best epoch. ``classes_`` (K,) are the classes, in the order of
    ``predict_proba``'s columns, and ``classifier_`` is the :class:`TextClassifier`, which can be saved.

    Examples:
        >>> from sklearn.model_selection import GridSearchCV
        >>> grid = {"learning_rate": [5e-4, 1e-3], "max_epochs": [5, 10]}
        >>> search = GridSearchCV(TextClassifierEstimator(), grid, cv=3)

    Args:
        config: Name of a built-in configuration, such as ``scratch`` or ``spam``, or the path of a file. By default
            ``encoder`` with a ``backbone``; else ``scratch``, with a BPE of 4,096 tokens trained on the texts unless
            ``tokenizer`` or ``settings`` say otherwise, so that nothing is downloaded.
        backbone: Published network: its name on the Hugging Face hub, or its folder.
        trainable: Which parameters are trained: ``head``, ``last_block``, ``lora``, ``all``, a number of last blocks.
        learning_rate: Peak learning rate.
        max_epochs: Number of epochs.
        batch_size: Number of texts in a training batch.
        max_length: Maximum number of tokens per text.
        tokenizer: ``gpt2``, ``bytes``, ``{"train": 4096}``, or that of a published network.
        settings: Further settings that replace those of ``config``, by their names on the command line:
            ``{"model.pooling": "mean"}``. Arguments that are None leave theirs to ``config``.
            With a ``backbone`` training starts from a probe, which is kept where no epoch is better: then the learning
            rate changes nothing; ``{"model.probe": False}`` leaves the probe out.
        validation_fraction: Fraction of the texts that choose the best epoch, and are not trained on.
        random_state: Seed of the division, the initial weights and the order of the texts.
        verbose: Whether to print a line for each epoch.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        backbone: str | None = None,
        trainable: str | int | None = None,
        learning_rate: float | None = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        tokenizer: str | Mapping[str, int] | None = None,
        settings: Mapping[str, Any] | None = None,
        validation_fraction: float = 0.1,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.config = config
        self.backbone = backbone
        self.trainable = trainable
        self.learning_rate = learning_rate
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.max_length = max_length
        self.tokenizer = tokenizer
        self.settings = settings
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Iterable[str], y: Any, sample_weight: Any = None) -> Self:  # scikit-learn's names
        """Trains on N texts and their classes: strings, whole numbers or booleans.

        ``X`` has one dimension, as for the vectorizers of scikit-learn: a list, an array, a column of a table. Missing
        texts are dropped, or what the setting ``data.empty`` says. ``sample_weight`` (N,) are factors of the texts'
        losses, which are divided by their mean; scores that choose the best epoch count each text once.

        Raises:
            InputError: A value is not a text, a class has too few texts, or ``settings`` are invalid.
        """
        texts = to_texts(to_list(X, "the texts"), lambda position: f"X[{position}]")
        y, y_names = _encode_classes(y)
        self.classes_, first, numbers = np.unique(y, return_index=True, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has the single class {self.classes_.tolist()}, expected two classes or more")
        names = [y_names[position] for position in first]
        labels = [names[number] for number in numbers]
        weights = None if sample_weight is None else _check_weights(sample_weight, numbers)
        with TemporaryDirectory() as folder, isolate_rng(), nullcontext() if self.verbose else quiet():
            self.classifier_ = self._trained(texts, labels, names, weights, Path(folder))
        return self

    def predict(self, X: Iterable[str]) -> np.ndarray:
        """(N,) the classes of N texts, by the rule ``model.decide``, by default the most probable ones."""
        probabilities = self.predict_proba(X)
        return self.classes_[self.classifier_.decision.predict(probabilities)]

    def predict_proba(self, X: Iterable[str]) -> np.ndarray:
        """(N, K) class probabilities of N texts, a column for each of ``classes_``."""
        check_is_fitted(self, "classifier_")
        return self.classifier_.predict_proba(X)

    def _trained(
        self,
        texts: list[str | None],
        labels: list[str],
        names: list[str],
        weights: torch.Tensor | None,
        folder: Path,
    ) -> TextClassifier:
        asked = self._settings()
        config = self.config or ("scratch" if self.backbone is None else "encoder")
        cli = build(_read_contents(config), asked | ONE_PROCESS | {"seed_everything": int(self.random_state)}, folder)
        settings = {name: value for name, value in cli.datamodule.hparams.items() if name not in FROM_X_AND_Y}
        settings["splitting"] |= {"fractions": [1 - self.validation_fraction, self.validation_fraction, 0.0]}
        data = TextDataModule.from_lists(texts, labels, class_names=names, **settings)
        trainer: Any = cli.trainer
        trainer.loggers = [TensorBoardLogger(folder, name="", version="run", default_hp_metric=False)]
        kept = (EpochLines, StopEarly, FinishRun)
        best = BestCheckpoint()
        trainer.callbacks = [*(c for c in default_callbacks(False) if isinstance(c, kept)), best]
        cli.model.sample_weights = weights
        trainer.fit(cli.model, data)
        classifier = TextClassifier.load(folder / "run")
        decide = cli.model.hparams["decide"]
        if decide is not None and not classifier.decision.asked:
            raise InputError(
                f"model.decide {decide} cannot be followed with {len(data.tables['val'])} validation texts: give more "
                "texts or a larger validation_fraction, or see the reason with verbose=True"
            )
        if classifier.decision.thresholds or classifier.decision.set_threshold:
            raise InputError(
                f"model.decide {decide} may abstain, and unsure is none of the classes: use "
                "a rule that never abstains, such as {max_fpr: 0.01}"
            )
        return classifier

    def _settings(self) -> Settings:
        check_settings(self.settings or {}, "settings")
        settings = dict(self.settings or {})
        given = {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}
        settings, given = _as_plain(settings), _as_plain(given)  # a grid may have numbers of numpy
        if twice := [name for name in given if SETTINGS[name] in settings]:
            raise InputError(f"settings have {SETTINGS[twice[0]]}, which {twice[0]} sets too: leave it out of one")
        settings |= {SETTINGS[name]: value for name, value in given.items()}
        if self.config is None and self.backbone is None:
            settings = OWN_TOKENS | settings
        if of_data := [f"data.{name}" for name in FROM_X_AND_Y if f"data.{name}" in settings]:
            raise InputError(f"settings have {of_data[0]}, but the data are X and y: leave it out")
        if not isinstance(self.random_state, int | np.integer):
            raise InputError(f"random_state is {self.random_state!r}, expected a whole number")
        if not isinstance(self.validation_fraction, int | float) or not 0 < self.validation_fraction < 1:
            raise InputError(f"validation_fraction is {self.validation_fraction}, expected a fraction between 0 and 1")
        return settings

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        return tags


def _as_plain(settings: Mapping[str, Any]) -> Settings:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}


def _check_weights(given: Any, numbers: np.ndarray) -> torch.Tensor:
    """(N,) weights with mean 1, for texts of the classes ``numbers`` (N,)."""
    try:
        weights = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"sample_weight is not a list of numbers ({reason(error)})") from error
    if weights.shape != numbers.shape:
        raise InputError(f"sample_weight has the shape {weights.shape}, expected {len(numbers)} numbers")
    if len(wrong := np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))):
        raise InputError(f"sample_weight[{wrong[0]}] is {weights[wrong[0]]}, expected a finite number of 0 or more")
    if (np.bincount(numbers, weights) == 0).any():
        raise InputError("sample_weight is 0 for all texts of a class: leave the class out of X and y")
    return torch.from_numpy(weights / weights.mean()).float()


def _encode_classes(y: Any) -> tuple[np.ndarray, list[str]]:
    """(N,) the classes, of a type that can be sorted, and the name of each."""
    values = y.tolist() if getattr(y, "ndim", 1) == 2 else to_list(y, "the classes")  # scikit-learn also takes (N, 1)
    values = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
    names = to_names(values, lambda position: f"y[{position}]")
    if None in names:
        raise InputError(f"y[{names.index(None)}] is missing, expected a class for each text: leave out those without")
    if any(isinstance(value, float) and not value.is_integer() for value in values):
        raise InputError("y has numbers that are not whole, expected classes: convert them to strings if they are some")
    classes = np.asarray(values)
    # Of several types, such as numbers and strings, only the names can be sorted.
    kinds = {type(value) for value in values}
    return (classes if len(kinds) == 1 and classes.dtype.kind in "iufbU" else np.array(names)), [str(n) for n in names]


def _read_contents(config: str | Path) -> str:
    """The configuration of that name, or of the file."""
    path = Path(files.built_in_configurations().get(str(config), config))
    if not isinstance(read_yaml(path), dict):
        raise InputError(f"{path} is not a configuration: it has no keys")
    return path.read_text(encoding="utf-8")
