"""Trains a network to predict the next token with Lightning: loss, optimizer, scores."""

import math
import warnings
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.language_model import LanguageModelScores
from gpt_classifier.pretraining.datamodule import PretrainingData
from gpt_classifier.pretraining.packing import Blocks
from gpt_classifier.settings import flat, grouped, plain
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.training.divergence import WAY_OUT, Diverged, WatchedModule
from gpt_classifier.training.identity import check_same_settings
from gpt_classifier.training.lm_loss import next_token_loss
from gpt_classifier.training.network import ComputeConfig, build_initial_network, check_network, download
from gpt_classifier.training.optimization import OptimizerConfig, build_scheduled_optimizer

MAY_CHANGE_ON_RESUME = {"weights", "compute", "samples", "checkpoint_every"}  # they do not affect what is learnt


class LanguageModel(WatchedModule):
    """A LightningModule that trains a network to predict each token of the texts from those before it.

    The network is built when fitting starts. ``model`` has a classification head, which is not trained or saved.

    Args:
        gpt: ``gpt2``, ``gpt2-medium``, ``gpt2-large`` or ``gpt2-xl``, or a mapping with fields of GPTConfig and
            optionally a ``size`` to start from: ``{n_layer: 2, n_head: 2, n_embd: 64, context_length: 256}``.
        backbone: Network of another family that replaces the GPT, as for ``fit``; it must predict next tokens.
        weights: Initial weights: ``random``, ``pretrained`` (the published weights of the named size), or the folder of
            an earlier pretraining, whose dimensions and tokenizer are then the defaults.
        learning_rate: Peak learning rate.
        samples: Number of validation texts of which the first words are continued by the model, for TensorBoard.
        checkpoint_every: Number of steps between checkpoints, from which a run continues (``--ckpt_path last``).
        optimizer: The optimizer and its learning rates, by step and by block.
        compute: Compilation, activation checkpointing and matrix precision, for speed and memory.
    """

    def __init__(
        self,
        gpt: str | dict[str, Any] = "gpt2",
        backbone: str | dict[str, Any] | None = None,
        weights: str = "random",
        learning_rate: float = 5e-4,
        samples: int = 3,
        checkpoint_every: int = 500,
        optimizer: OptimizerConfig = OptimizerConfig(),
        compute: ComputeConfig = ComputeConfig(),
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.optimizer_config = grouped(OptimizerConfig, "optimizer", optimizer)
        self.compute = grouped(ComputeConfig, "compute", compute)
        groups = {"optimizer": self.optimizer_config, "compute": self.compute, "gpt": gpt, "backbone": backbone}
        self.hparams.update({name: plain(value) for name, value in groups.items()})
        if learning_rate <= 0:
            raise InputError(f"learning_rate is {learning_rate}, expected a number above 0")
        if checkpoint_every < 1 or samples < 0:
            raise InputError(
                f"checkpoint_every {checkpoint_every} must be at least 1, samples {samples} not be negative"
            )
        if self.optimizer_config.unfreeze_every:
            raise InputError("optimizer.unfreeze_every is for fit: pretraining trains all blocks, so leave it out")
        check_network({**self.hparams, "pooling": "last_token", "trainable": "all", "lora": None})
        self.text_encoder: TextEncoder
        self.trained_on: Tensor  # fingerprints of all texts that the weights were trained on
        self.scores: LanguageModelScores

    # ---------------------------------------------------------------- building

    def prepare_data(self) -> None:
        download(self.hparams)

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning does not declare it
        assert isinstance(data, PretrainingData), "as the command makes it"
        self.text_encoder, self.trained_on = data.text_encoder, data.trained_on

    def configure_model(self) -> None:
        if hasattr(self, "model"):
            return
        self.model, before = build_initial_network(self.hparams, self.hparams["weights"], 1, self.text_encoder)
        if before is not None:
            self.trained_on = torch.cat([self.trained_on, before]).unique()
        self.model.head.requires_grad_(False)
        if self.model.backbone.output_embedding is None:
            raise InputError(
                f"this network ({self.model.backbone.config.model_type}) predicts no next token, so there is nothing "
                "to pretrain: expected causal attention and an output layer that is tied to the token embeddings"
            )
        self.compute.apply(self.model)
        self.scores = LanguageModelScores(self.text_encoder.tokenizer.byte_lengths())
        rank_zero_info(f"{sum(parameter.numel() for parameter in self.model.backbone.parameters()):,} parameters")

    # ---------------------------------------------------------------- steps

    def losses(self, batch: Blocks) -> tuple[Tensor, Tensor, Tensor]:
        """The weighted sum of all tokens' losses, and of each token (B, T) its loss in nats and whether it counts."""
        inputs = batch.ids[:, :-1]
        counted = torch.arange(1, batch.ids.shape[1], device=inputs.device) < batch.lengths[:, None]  # (B, T)
        _, states = self.model(inputs, batch.lengths - 1, with_states=True)
        output = self.model.backbone.output_embedding
        assert output is not None, "checked when it was built"
        # The last token of a block is only predicted: it has no state, and none is read.
        loss, nats = next_token_loss(F.pad(states, (0, 0, 0, 1)), batch.ids, counted * batch.weight, output)
        return loss, nats, counted

    def training_step(self, batch: Blocks, batch_number: int) -> Tensor:
        loss, nats, counted = self.losses(batch)
        if (shown := self.watch(loss, None)) is not None:
            mean = nats.sum() / counted.sum()
            self.log("train/loss", mean, on_step=True, on_epoch=False, prog_bar=shown, batch_size=len(batch.ids))
        return loss

    def validation_step(self, batch: Blocks, batch_number: int) -> None:
        _, nats, counted = self.losses(batch)
        self.scores.update(nats, batch.ids[:, 1:], counted)

    def on_validation_epoch_end(self) -> None:
        scores = self.scores.compute()
        if math.isinf(scores["lm_loss"]) or (math.isnan(scores["lm_loss"]) and float(self.scores.sums[1])):
            raise Diverged(f"the validation loss is not finite after step {self.trainer.global_step}: {WAY_OUT}")
        self.scores.reset()
        # Computed over all processes, so every one logs the same value: sync_dist=True would average equal numbers.
        warnings.filterwarnings("ignore", message=".*sync_dist=True")
        if not self.trainer.sanity_checking:
            self.log_dict({f"val/{name}": value for name, value in scores.items()})

    # ---------------------------------------------------------------- optimization and checkpoints

    def configure_optimizers(self) -> Optimizer | OptimizerLRSchedulerConfig:
        return build_scheduled_optimizer(self.model, self.hparams["learning_rate"], self.optimizer_config, self.trainer)

    def on_train_epoch_end(self) -> None:
        self.check_finite()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ``Diverged``, so that nothing is written, if the loss or a weight is no longer finite."""
        self.check_finite()
        checkpoint["trained_on"] = self.trained_on

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ``InputError`` if a run is resumed with other settings, which would silently not be used."""
        if "trained_on" not in checkpoint or "optimizer" not in checkpoint.get("hyper_parameters", {}):
            raise InputError("the checkpoint was not written by pretrain: expected a last.ckpt of its runs")
        self.trained_on = checkpoint["trained_on"]
        check_same_settings(flat(self.hparams), flat(checkpoint["hyper_parameters"]), MAY_CHANGE_ON_RESUME)
