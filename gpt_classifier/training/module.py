"""Fits a SequenceClassifier with Lightning: loss, optimizer, scores; what is computed is defined elsewhere."""

import math
import time
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Dataset

from gpt_classifier.bundle import TRAINED_ON, VOCABULARY, Bundle, check_format, read_checkpoint, trained_on_before
from gpt_classifier.card import model_card
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.data.fingerprints import training_fingerprints
from gpt_classifier.encoding import Batch, TextEncoder
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.metrics import (
    Predictions,
    classification_scores,
    score_names,
    weighted_cross_entropy,
)
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.model.build import Specification
from gpt_classifier.model.classification import Pooling, SequenceClassifier
from gpt_classifier.model.embedding import freeze_other_tokens, unfreeze_other_tokens
from gpt_classifier.model.freezing import freeze
from gpt_classifier.model.lora import LoRAConfig
from gpt_classifier.settings import flat, grouped
from gpt_classifier.training.hints import hints
from gpt_classifier.training.monitor import DEFAULT_MONITOR, check_monitors
from gpt_classifier.training.network import ComputeConfig, build_network, check_network, download
from gpt_classifier.training.optimization import OptimizerConfig, build_optimizer, learning_rate_schedule
from gpt_classifier.training.runs import text_data
from gpt_classifier.training.step_loss import is_logged, is_shown
from gpt_classifier.training.trunk_cache import CacheConfig, Share, TrunkCache

# A resumed run continues with the settings that it began with; these do not touch what is learnt, but for the numbers
# that cached states are rounded to.
MAY_CHANGE_ON_RESUME = {"weights", "compute", "cache"}
MUST_NOT_CHANGE = {"cache.dtype"}


class GPTClassifier(L.LightningModule):
    """Trains and evaluates: a network with a classification head, as a Lightning module.

    The network itself is a :class:`~gpt_classifier.model.classification.SequenceClassifier`, an ``nn.Module`` without
    tokenizer or class names; to classify texts, :meth:`to_text_classifier` makes a
    :class:`~gpt_classifier.inference.classifier.TextClassifier` of it.

    The network is built when fitting starts (class names and vocabulary come from the data), or at once when
    ``class_names`` are given, as in a checkpoint. A group of settings is a ``LoRAConfig``, ``OptimizerConfig``,
    ``CacheConfig`` or ``ComputeConfig``, or a mapping of its fields: ``optimizer={"weight_decay": 0.0}``.

    Args:
        gpt: ``gpt2``, ``gpt2-medium``, ``gpt2-large`` or ``gpt2-xl``, or a mapping with fields of GPTConfig and, if
            wanted, a ``size`` to start from: ``{n_layer: 2, n_head: 2, n_embd: 64, context_length: 256}``.
        encoder: Instead of a GPT, an encoder of transformers: its name on the Hugging Face hub, its folder, or the
            fields of its configuration: ``{model_type: distilbert, dim: 64, n_layers: 2, n_heads: 2}``. It wants its
            own tokenizer, and mostly pooling ``first_token``.
        weights: ``pretrained`` (the published ones of the named size or encoder), ``random``, or a .safetensors file
            or folder.
        pooling: Which hidden states the head sees: ``last_token``, ``first_token``, ``mean``, or, to reproduce the
            article, ``last_position`` and ``mean_positions``, for which padding counts.
        head: ``linear``, ``mlp``, or a class_path with init_args of any module that maps (B, C) to (B, K).
        trainable: ``head``, ``last_block``, ``last_two_blocks``, ``all``, or a number of blocks; ``lora`` (low-rank
            updates) or ``biases`` (BitFit). The head always trains, the final norm with any block.
        learning_rate: Peak learning rate.
        monitor: Score of the validation rows that chooses the best epoch, for ``best.ckpt``, the model folder and early
            stopping: ``val/loss`` (the lowest), or (the highest) ``val/f1_macro``, ``val/accuracy``,
            ``val/balanced_accuracy``, ``val/mcc``, ``val/auroc``, ``val/average_precision``, ``val/recall_<class>``.
        patience: Validations without a better ``monitor`` after which training stops; null to train for all epochs.
        lora: With trainable ``lora``, the low-rank updates: ``{rank: 16, alpha: 16, scale: alpha/rank, dropout: 0.0,
            dora: false, targets: <regular expression of layer names>}``.
        optimizer: The optimizer, and the learning rate over time and over the blocks.
        cache: The cache of the frozen blocks' hidden states.
        compute: How the network is computed, for speed and memory.
        class_names: In the order of the logits; by default those of the data.
    """

    def __init__(
        self,
        gpt: str | dict[str, Any] = "gpt2",
        encoder: str | dict[str, Any] | None = None,
        weights: str | None = "pretrained",
        pooling: Pooling = "last_token",
        head: str | dict[str, Any] = "linear",
        trainable: str | int = "last_block",
        learning_rate: float = 5e-5,
        monitor: str = DEFAULT_MONITOR,
        patience: int | None = None,
        lora: LoRAConfig | None = None,
        optimizer: OptimizerConfig = OptimizerConfig(),
        cache: CacheConfig = CacheConfig(),
        compute: ComputeConfig = ComputeConfig(),
        class_names: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # a callback logs them together with the final scores
        if lora is not None or trainable == "lora":
            lora = grouped(LoRAConfig, "lora", lora or {})
        self.optimizer_config = grouped(OptimizerConfig, "optimizer", optimizer)
        self.cache = grouped(CacheConfig, "cache", cache)
        self.compute = grouped(ComputeConfig, "compute", compute)
        # Plain values only: such a checkpoint loads without running code, and without jsonargparse.
        network = {"gpt": gpt, "encoder": encoder, "head": head}
        self.hparams.update({n: dict(value) if isinstance(value, Mapping) else value for n, value in network.items()})
        groups = {"lora": lora, "optimizer": self.optimizer_config, "cache": self.cache, "compute": self.compute}
        self.hparams.update({name: None if group is None else asdict(group) for name, group in groups.items()})
        check_training(learning_rate, monitor, patience)
        check_network(self.hparams)
        self.class_names = class_names
        self.text_encoder: TextEncoder | None = None
        self.data_settings: dict[str, Any] = {}  # of the TextDataModule that it is trained with
        self.trained_on: Tensor | None = None  # fingerprints of the training texts, None where nobody knows them
        self.model: SequenceClassifier
        self._has_weights = weights is None
        self._loaded_steps = 0
        self._fit_began: float | None = None  # a time as of time.perf_counter, less what earlier fits took
        self._seconds: float | None = None  # that all fits so far took
        self.trunk: TrunkCache | None = None  # filled when batches are first made
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None, persistent=False)
        # Modules, so that Lightning moves them to the device of the predictions that they gather.
        self.train_predictions, self.val_predictions, self.test_predictions = (Predictions() for _ in range(3))
        # Batches are dealt out unevenly on purpose; each process has at least one.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    # ---------------------------------------------------------------- building

    def prepare_data(self) -> None:
        """Downloads pretrained weights; called on one process of each machine, when fitting starts."""
        if not self._has_weights and self._fits():
            self.download()

    def download(self) -> None:
        """Downloads what fitting will need."""
        download(self.hparams)

    def setup(self, stage: str) -> None:
        if (data := text_data(self.trainer)) is not None:
            self._connect(data, stage)

    def _connect(self, data: TextDataModule, stage: str) -> None:
        """Takes classes, text encoder and class weights from the data, and has it show its rows behind the trunk."""
        if self.class_names is None:
            self.class_names = list(data.class_names)
        elif data.class_names and data.class_names != self.class_names:
            raise InputError(
                f"the data has the classes {data.class_names}, but the model was made for {self.class_names}"
            )
        self.text_encoder = data.text_encoder
        self.class_weights = data.class_weights
        if stage == "fit":
            self._check_monitors(data)
            self.data_settings = dict(data.hparams)
            self._remember(training_fingerprints(data.tables["train"]["text"]))
        self.trunk = None  # the weights may be others than at the last setup
        data.show_rows_as(self.behind_frozen_trunk)

    def _check_monitors(self, data: TextDataModule) -> None:
        """Refuses a score that no epoch will log, before the first one is spent."""
        if type(self) is GPTClassifier and "val" in data.encoded:  # others may log more
            labels = data.encoded["val"].labels
            assert labels is not None, "validation rows have labels"
            names = score_names(labels, data.class_names)
            logged = [f"{stage}/{name}" for stage in ("val", "train") for name in names] + ["train/epoch_loss"]
            check_monitors(self.trainer.callbacks, self.hparams["monitor"], logged)  # type: ignore[attr-defined]

    def _remember(self, trained_on: Tensor | None) -> None:
        """Adds fingerprints of training texts; those of an earlier training of the same weights stay."""
        known = [each for each in (self.trained_on, trained_on) if each is not None]
        self.trained_on = torch.cat(known).unique() if known else None

    def configure_model(self) -> None:
        """Builds the network; called by Lightning after ``setup`` and when a checkpoint is loaded."""
        if not hasattr(self, "model"):
            self._build()
        if self._fits() and (data := text_data(self.trainer)) is not None:
            freeze_other_tokens(self.model.backbone, data.encoded["train"].tokens())

    def _build(self) -> None:
        if self.class_names is None:
            raise InputError("the model has no class names yet: fit it with a TextDataModule, or give class_names")
        weights = self._first_weights()
        self.model = build_network(self.hparams, weights, len(self.class_names), self.text_encoder)
        if weights not in ("random", "pretrained"):
            self._remember(trained_on_before(Path(weights)))
        self._complete()
        self.compute.apply(self.model)

    def _complete(self) -> None:
        """Follows the settings, now that there is a network, and has them describe it in full."""
        freeze(self.model, self.hparams["trainable"])
        self._has_weights = True
        self.hparams.update(Specification.of(self.model).settings(), class_names=self.class_names)

    @classmethod
    def from_bundle(cls, contents: Bundle) -> "GPTClassifier":
        """A trained model, as :func:`gpt_classifier.bundle.load` gives it, to test and to predict with."""
        contents = contents.merged()
        found = Specification.of(contents.model)
        shape: dict[str, Any] = {"pooling": found.pooling, "head": found.head, "class_names": contents.class_names}
        module = cls(weights=None, trainable="all", **found.settings(), **shape)
        module.model, module.text_encoder = contents.model, contents.text_encoder
        module.data_settings, module.trained_on = contents.data, contents.trained_on
        module._complete()
        return module

    def _first_weights(self) -> str:
        """What fitting starts from; ``random`` where weights are already there, or will be put in by a checkpoint."""
        return "random" if self._has_weights or not self._fits() else self.hparams["weights"]

    def _fits(self) -> bool:
        trainer = self._trainer_if_any()
        return trainer is not None and trainer.training

    def _trainer_if_any(self) -> L.Trainer | None:
        """The trainer, which a model has once it was given to one."""
        try:
            return self.trainer if self.fabric is None else None  # with Fabric, what stands in for it trains nothing
        except RuntimeError:  # so Lightning says that there is none
            return None

    def behind_frozen_trunk(self, texts: EncodedTexts) -> Dataset[Any]:
        """``texts``, or their hidden states behind the frozen blocks where these are the same every time."""
        assert self.text_encoder is not None
        settings, trainer = self.hparams, self.trainer
        exact = TrunkCache.is_exact(self.model, settings["trainable"], self.text_encoder)
        if not (self.cache.enabled and exact and self._has_whole_weights()):
            return texts
        if self.trunk is None:
            self.trunk = TrunkCache(
                self.model,
                settings["trainable"],
                self.text_encoder,
                getattr(torch, self.cache.dtype),
                int(self.cache.gigabytes * 2**30),
                str(trainer.precision),
                trainer.precision_plugin.forward_context,
            )
        return self.trunk.texts(texts, Share(trainer.local_rank, trainer.num_devices, trainer.strategy.barrier))

    def _has_whole_weights(self) -> bool:
        return isinstance(self.trainer.strategy, SingleDeviceStrategy | DDPStrategy)  # others keep parts of them

    # ---------------------------------------------------------------- steps

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return weighted_cross_entropy(logits, labels, self.class_weights)

    def logits(self, batch: Batch) -> Tensor:
        """(B, K), from wherever the batch enters the network."""
        return self.model(batch.inputs, batch.lengths, batch.depth)

    def training_step(self, batch: Batch, batch_number: int) -> Tensor:
        logits, labels = self._classify(batch, self.train_predictions)
        loss = self.loss(logits, labels)
        if (trainer := self._trainer_if_any()) is not None:
            shown = is_shown(trainer)
            if shown or is_logged(trainer, trainer.global_step + 1):
                self.log("train/loss", loss, on_step=True, on_epoch=False, prog_bar=shown, batch_size=len(labels))
        return loss * batch.share

    def validation_step(self, batch: Batch, batch_number: int) -> None:
        self._classify(batch, self.val_predictions)

    def test_step(self, batch: Batch, batch_number: int) -> None:
        self._classify(batch, self.test_predictions)

    def _classify(self, batch: Batch, predictions: Predictions) -> tuple[Tensor, Tensor]:
        assert batch.labels is not None, "only prediction does without labels"
        assert batch.rows is not None
        logits = self.logits(batch)
        predictions.update(logits, batch.labels, batch.rows)
        return logits, batch.labels

    def predict_step(self, batches: list[Batch], batch_number: int) -> tuple[Tensor, Tensor]:
        """The row numbers (N,) of a chunk of rows, rising, and their class probabilities (N, K)."""
        rows = torch.cat([batch.rows for batch in batches if batch.rows is not None])
        logits = torch.cat([self.logits(batch) for batch in batches])
        order = rows.argsort()
        return rows[order], logits[order].double().softmax(-1)

    def on_train_epoch_end(self) -> None:
        if self.train_predictions.update_called:  # not where a run is resumed at the very end of an epoch
            self._score("train", self.train_predictions)

    def on_validation_epoch_end(self) -> None:
        self._score("val", self.val_predictions)

    def on_test_epoch_end(self) -> None:
        self._score("test", self.test_predictions)

    def _score(self, stage: str, predictions: Predictions) -> None:
        self.epoch_predictions = predictions.gathered()  # for the callbacks that draw, which run after this
        predictions.reset()
        if self.trainer.sanity_checking:
            return
        logits, labels, _ = self.epoch_predictions
        weights = None if self.class_weights is None else self.class_weights.cpu()
        scores = {"loss": float(weighted_cross_entropy(logits, labels, weights))}
        scores |= classification_scores(logits, labels, self.class_names or [])
        # Computed from all processes' predictions, so every process logs the same and nothing is left to reduce: what
        # Lightning advises, once for each score, would be a mean of equal numbers.
        warnings.filterwarnings("ignore", message=".*sync_dist=True")
        # The loss of a training epoch has a name of its own: train/loss is that of one step.
        names = {"loss": "train/epoch_loss"} if stage == "train" else {}
        logged = {names.get(name, f"{stage}/{name}"): value for name, value in scores.items()}
        if not self.trainer.training and self.trainer.state.fn != "fit":
            logged["step"] = float(self.trained_steps())  # where TensorBoard puts them; the trainer's own count is 0
        self.log_dict(logged)

    def trained_steps(self) -> int:
        """Steps that the present weights were trained for, also where a checkpoint brought them."""
        return self.trainer.global_step or self._loaded_steps

    def trained_seconds(self) -> float | None:
        """Seconds that the present weights were trained for; None where nobody knows them, as of a model folder."""
        return self._seconds if self._fit_began is None else time.perf_counter() - self._fit_began

    # ---------------------------------------------------------------- optimization

    def configure_optimizers(self) -> Optimizer | OptimizerLRSchedulerConfig:
        config = self.optimizer_config
        self._rate_of_optimizer = self.hparams["learning_rate"]
        optimizer = build_optimizer(self.model, self._rate_of_optimizer, config)
        if config.is_constant:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise InputError("warmup, schedule and unfreeze_every need a number of steps: give --trainer.max_epochs")
        unfreeze_steps = 0
        if config.unfreeze_every:
            if self.trainer.max_epochs in (None, -1):
                raise InputError("unfreeze_every counts epochs: give --trainer.max_epochs")
            # Of an epoch, whatever max_steps says, so that a longer resumed run unfreezes as the first one would.
            epoch_steps = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
            unfreeze_steps = config.unfreeze_every * epoch_steps
        schedule = learning_rate_schedule(optimizer, int(steps), config, unfreeze_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ---------------------------------------------------------------- checkpoints

    def bundle(self) -> Bundle:
        """The trained model with everything that classifying needs."""
        if self.text_encoder is None or self.class_names is None:
            raise InputError("the model does not know its tokenizer: fit it with a TextDataModule")
        return Bundle(self.model, self.text_encoder, self.class_names, self.data_settings, self.trained_on)

    def to_text_classifier(self, device: str | torch.device = "auto") -> TextClassifier:
        """The trained model, ready to classify texts and to be saved; a copy, which further training does not touch."""
        contents = self.bundle()
        card = model_card(contents, self.hparams)
        return TextClassifier(replace(contents, model=deepcopy(self.model), card=card), device)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> "GPTClassifier":
        """As Lightning's, without running code from the file; ``InputError`` where another version wrote it."""
        if isinstance(checkpoint_path, str | Path):
            read_checkpoint(Path(checkpoint_path))  # Lightning would build the model first, from what it cannot read
        return super().load_from_checkpoint(checkpoint_path, *args, **{"weights_only": True} | kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Whoever loads this has the weights: nothing is downloaded then.
        checkpoint["hyper_parameters"] = {**self.hparams, "weights": None}
        contents = self.bundle()
        checkpoint["gpt_classifier"] = {"config": contents.config(), "tensors": contents.tensors()}
        checkpoint["gpt_classifier"]["seconds"] = self.trained_seconds()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "gpt_classifier" not in checkpoint:
            raise InputError("the checkpoint was not written by gpt_classifier")
        self._loaded_steps = checkpoint["global_step"]
        saved = checkpoint["gpt_classifier"]
        self._seconds = saved.get("seconds")
        check_format(saved["config"], "the checkpoint")
        text_encoder = TextEncoder.restore(saved["config"]["text_encoder"], saved["tensors"][VOCABULARY])
        if not self._fits():
            self.data_settings = saved["config"]["data"]
        self._remember(saved["tensors"].get(TRAINED_ON))
        if self._trainer_if_any() is not None and self.text_encoder is not None:
            self._check_same(checkpoint["hyper_parameters"], text_encoder)
        self.text_encoder = text_encoder

    def _check_same(self, saved: Mapping[str, Any], text_encoder: TextEncoder) -> None:
        """A run that is resumed under other settings would quietly keep the old ones; say so instead."""
        now = flat({**self.hparams, "encoding": self.text_encoder.settings() if self.text_encoder else None})
        then = flat({**saved, "encoding": text_encoder.settings()})
        for name in now | then:
            may_change = name.partition(".")[0] in MAY_CHANGE_ON_RESUME and name not in MUST_NOT_CHANGE
            if now.get(name) != then.get(name) and not may_change:
                raise InputError(
                    f"{name} is {now.get(name)!r}, but the checkpoint was written with {then.get(name)!r}: continue "
                    "with the checkpoint's settings, or start a new run from its model folder with --model.weights "
                    "FOLDER"
                )

    def on_fit_start(self) -> None:
        self._fit_began = time.perf_counter() - (self._seconds or 0.0)
        total = sum(tensor.numel() for tensor in self.model.state_dict().values())
        trainable = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        rank_zero_info(f"{total:,} parameters, {trainable:,} of them train ({self.hparams['trainable']})")
        for line in hints(self.hparams, self.model, str(self.trainer.precision), self.device):
            rank_zero_info(line)
        if self.hparams["learning_rate"] != self._rate_of_optimizer:  # Lightning's LearningRateFinder has set it
            self.trainer.strategy.setup_optimizers(self.trainer)  # so that the schedule starts from it too

    def on_fit_end(self) -> None:
        self._seconds, self._fit_began = self.trained_seconds(), None
        if self._has_whole_weights():
            unfreeze_other_tokens(self.model.backbone)


def check_training(learning_rate: float, monitor: str, patience: int | None) -> None:
    """Raises ``InputError`` for values that no training can use, before anything is built."""
    if learning_rate <= 0:
        raise InputError(f"learning_rate is {learning_rate}, expected a number above 0")
    if not str(monitor).startswith("val/"):
        raise InputError(f"monitor is {monitor!r}, expected a score of the validation rows such as val/loss")
    if patience is not None and patience < 1:
        raise InputError(f"patience is {patience}, expected at least 1 validation, or null to train for all epochs")
