"""Trains a SequenceClassifier with Lightning: loss, optimizer, scores; the network itself is defined elsewhere."""

import warnings
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Dataset

from gpt_classifier.audit.inspection import new_warnings
from gpt_classifier.data.encoded import EncodedTexts, FittedText
from gpt_classifier.data.summary import describe_leaks
from gpt_classifier.data.task import Task
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.inference.model_folder import find_weights
from gpt_classifier.models.freezing import freeze_other_tokens, unfreeze_other_tokens
from gpt_classifier.models.heads import Pooling
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.settings import grouped, plain
from gpt_classifier.text.encoder import Batch
from gpt_classifier.training.connection import check_training, connect
from gpt_classifier.training.divergence import LossWatch, check_logits
from gpt_classifier.training.hints import hints, size
from gpt_classifier.training.lm_loss import LanguageModelLoss, find_output_layer
from gpt_classifier.training.monitor import DEFAULT_MONITOR, StagePredictions, compute_logged_scores
from gpt_classifier.training.network import ComputeConfig, build_initial_network, check_network, download, keep
from gpt_classifier.training.optimization import OptimizerConfig, build_scheduled_optimizer, usual_learning_rate
from gpt_classifier.training.probing import start_from_probe, trains_more, validate
from gpt_classifier.training.runs import text_data
from gpt_classifier.training.state_cache import HiddenStateCache
from gpt_classifier.training.stored_module import StoredModule
from gpt_classifier.training.teacher import Teacher, teacher_config
from gpt_classifier.training.text_states import CacheConfig, Shard


class GPTClassifier(StoredModule):
    """A LightningModule that trains and evaluates a network with a classification head.

    The network itself is a :class:`~gpt_classifier.models.heads.SequenceClassifier`, an ``nn.Module`` without
    tokenizer or class names; to classify texts, :meth:`to_text_classifier` returns a
    :class:`~gpt_classifier.inference.classifier.TextClassifier`.

    The network is built when fitting starts, with class names and vocabulary from the data, or when a checkpoint is
    loaded, which holds its ``class_names``. A group of settings is a ``LoRAConfig``, ``OptimizerConfig``,
    ``CacheConfig`` or ``ComputeConfig``, or a mapping of its fields: ``optimizer={"weight_decay": 0.0}``.

    Args:
        gpt: ``gpt2``, ``gpt2-medium``, ``gpt2-large`` or ``gpt2-xl``, or a mapping with fields of GPTConfig and
            optionally a ``size`` to start from: ``{n_layer: 2, n_head: 2, n_embd: 64, context_length: 256}``.
        backbone: Encoder (BERT, ...) or decoder (Llama, Qwen, Gemma, ...) of transformers that replaces the GPT: its
            name on the Hugging Face hub, its folder, a .gguf file, or the fields of its configuration:
            ``{model_type: distilbert, dim: 64, n_layers: 2, n_heads: 2}``. It needs its own tokenizer.
        weights: Initial weights: ``pretrained`` (the published weights of the named size or network), ``random``, or a
            .safetensors file or folder; of a model folder (also one of ``pretrain``), a run or a .ckpt file of this
            package, network and tokenizer are the defaults of the command line.
        blocks: Number of first blocks that the network keeps; null for those that a probe chooses where the head or
            last blocks train, else all.
        pooling: Which hidden states the head gets: ``last_token``, ``first_token``, ``mean``, or, to reproduce the
            article, ``last_position`` and ``mean_positions``, which include padding; null for what a probe chooses,
            else the last token of a causal network, and the mean of another.
        head: ``linear``, ``mlp``, or the class_path and init_args of a module that maps (B, C) to (B, K).
        probe: Whether training starts from a linear probe: the head is solved behind each block on the frozen network,
            and the best is kept (see training/probe.py). If only the head trains, that is all. null for where the
            weights are not random, the head is linear and no padding counts.
        trainable: Which parameters are trained: ``head``, ``last_block``, ``last_two_blocks``, ``all``, a number of
            last blocks, ``lora`` (low-rank adaptation) or ``biases`` (BitFit). The head is always trained, and the
            final norm together with any block.
        learning_rate: Peak learning rate; null for the usual one for what trains of a pretrained network: with hidden
            size 384, 1e-4 for all blocks, 1e-3 for the last block, LoRA and biases; less for a larger hidden size.
        dropout: Dropout probability of the blocks that train; null for that of the network, which is 0.1 of BERT
            and its like, and 0 of GPT-2 and most decoders. 0 makes a step on a CPU up to twice as fast.
        lm_loss: Weight of the auxiliary language-modelling loss, which also trains the network to predict each token
            of the texts from those before it (the GPT paper, section 3.2); 0 for none. For causal networks.
        teacher: A trained model whose predictions are training targets too, also on the texts of
            ``data.unlabelled_source``: its folder, or ``{folder: checkpoints/large, weight: 0.5, temperature: 2.0}``.
        monitor: Validation score that selects the best epoch for ``best.ckpt``, the model folder and early stopping:
            the minimum of ``val/loss``, or the maximum of ``val/f1_macro``, ``val/accuracy``,
            ``val/balanced_accuracy``, ``val/mcc``, ``val/auroc``, ``val/average_precision``, ``val/recall_<class>``;
            for multi-label data also ``val/f1_micro``, ``val/hamming_loss`` (the minimum),
            ``val/label_ranking_average_precision``, but neither balanced accuracy nor MCC.
        patience: Number of validations without a better ``monitor`` after which training stops; null for all epochs.
        decide: Rule by which the model in the model folder decides, fitted on the validation rows when training ends,
            as ``calibrate`` does: ``argmax`` (calibrated probabilities), ``{max_fpr: 0.01}``, ``{min_recall: 0.99}``,
            ``{min_precision: 0.9}``, ``{coverage: 0.95}`` or ``{costs: ...}``; null for the most probable class by
            uncalibrated probabilities.
        lora: Settings of LoRA, for trainable ``lora``: ``{rank: 16, alpha: 16, scale: alpha/rank, dropout: 0.0,
            dora: false, targets: <regular expression of layer names>}``.
        optimizer: The optimizer and its learning rates, by step and by block.
        cache: Cache of the frozen blocks' hidden states.
        compute: Compilation, activation checkpointing and matrix precision, for speed and memory.
        class_names: Class names in the order of the logits; by default those of the data.
    """

    def __init__(
        self,
        gpt: str | dict[str, Any] = "gpt2",
        backbone: str | dict[str, Any] | None = None,
        weights: str | None = "pretrained",
        blocks: int | None = None,
        pooling: Pooling | None = None,
        head: str | dict[str, Any] = "linear",
        probe: bool | None = None,
        trainable: str | int = "last_block",
        learning_rate: float | None = 5e-5,
        dropout: float | None = None,
        lm_loss: float = 0.0,
        teacher: str | dict[str, Any] | None = None,
        monitor: str = DEFAULT_MONITOR,
        patience: int | None = None,
        decide: str | dict[str, Any] | None = None,
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
        self.teacher_config = teacher_config(teacher)
        # Plain values only: such a checkpoint loads without running code, and without jsonargparse.
        groups = {"optimizer": self.optimizer_config, "cache": self.cache, "compute": self.compute, "lora": lora}
        settings = {"gpt": gpt, "backbone": backbone, "head": head, "decide": decide, "teacher": self.teacher_config}
        self.hparams.update({name: plain(value) for name, value in (groups | settings).items()})
        check_training(learning_rate, dropout, monitor, patience, lm_loss)
        check_network(self.hparams)
        decided = ("blocks", "pooling", "head", "learning_rate")
        self.given = {name: self.hparams[name] for name in decided}  # null: decided by a fit
        self.class_names = class_names
        self.has_weights = weights is None
        self.resumes = False  # whether a checkpoint will bring the weights of this fit
        self.state_cache: HiddenStateCache | None = None  # created with the first data loader
        self.teacher: Teacher | None = None  # built when a fit is set up
        self.language_model: LanguageModelLoss | None = None  # created with the network, if lm_loss is above 0
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None, persistent=False)
        self.sample_weights: Tensor | None  # (M,) factors of the training loss by row number, as an estimator sets them
        self.register_buffer("sample_weights", None, persistent=False)
        self.predictions = StagePredictions()
        self.epoch_outputs: dict[str, EpochOutputs] = {}  # of the last evaluation of val and test, for callbacks
        # Processes get unequal numbers of batches on purpose; each gets at least one.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    # ---------------------------------------------------------------- building

    def prepare_data(self) -> None:
        """Downloads pretrained weights; called on one process of each machine, when fitting starts."""
        if not self.has_weights and self.fits():
            self.download()

    def download(self) -> None:
        """Downloads what fitting will need."""
        download(self.hparams)

    def configure_callbacks(self) -> list[Callback]:
        """Hands what the model knows of texts to the data; the first hook in each process, before data are set up."""
        if (data := text_data(self.trainer)) is not None:
            data.fitted = FittedText(self.text_encoder, self.class_names, self.trained_on)
        return []

    def setup(self, stage: str) -> None:
        if (data := text_data(self.trainer)) is not None:
            for warning in new_warnings(data):
                rank_zero_info(f"  {warning}")  # below the summary of the data
            connect(self, data, stage)

    def configure_model(self) -> None:
        """Builds the network; called by Lightning after ``setup`` and when a checkpoint is loaded.

        ``WeightAveraging`` calls it before ``setup``.
        """
        if not hasattr(self, "model"):
            if self.class_names is None and self.fits() and (data := text_data(self.trainer)) is not None:
                connect(self, data, "fit")
            self._build()
            if (probed := start_from_probe(self)) is not None:
                self.probed = probed
                self.complete()
        if self.hparams["lm_loss"] > 0:
            if self.trainer_if_any() is not None and not self.has_whole_weights():
                raise InputError("lm_loss needs the whole network on each device: use --trainer.strategy ddp or auto")
            # An output layer trains all rows: the tokens that do not occur are to become improbable.
            self.language_model = LanguageModelLoss.of(self.model.backbone, self.hparams["lm_loss"], self.text_encoder)
        elif self.fits() and (data := text_data(self.trainer)) is not None:
            freeze_other_tokens(self.model.backbone, data.encoded_training_texts().tokens())

    def _build(self) -> None:
        if self.class_names is None:
            raise InputError("the model has no class names yet: fit it with a TextDataModule, or give class_names")
        # Random where weights are loaded already, or a checkpoint will bring them.
        weights = self.hparams["weights"] if self.fits() and not self.has_weights else "random"
        self.model, before = build_initial_network(self.hparams, weights, len(self.class_names), self.text_encoder)
        if self.hparams["blocks"] is not None:
            keep(self.model, self.hparams["blocks"])
        if self.hparams["learning_rate"] is None:
            rate = usual_learning_rate(self.hparams["trainable"], self.model.backbone.config.n_embd)
            self.hparams["learning_rate"] = rate
            if trains_more(self.hparams["trainable"]):
                rank_zero_info(f"learning rate {rate:g}: the usual one for {self.hparams['trainable']} of this network")
        if before is not None:
            data, found = text_data(self.trainer), str(find_weights(weights))
            if data is not None and (leaks := describe_leaks(data.tables, before, found)):
                rank_zero_info(leaks)
            self.remember(before)
        self.complete()
        self.compute.apply(self.model)

    def behind_frozen_layers(self, texts: EncodedTexts) -> Dataset[Any]:
        """``texts``, or, where caching is exact, their hidden states after the frozen layers."""
        assert self.text_encoder is not None
        exact = HiddenStateCache.is_exact(self.model, self.hparams["trainable"], self.text_encoder)
        if not (self.cache.enabled and exact and self.has_whole_weights()):
            return texts
        if self.state_cache is None:
            parts = (self.cache, self.model, self.hparams["trainable"], self.text_encoder, self.trainer)
            self.state_cache = HiddenStateCache.from_config(*parts, self.hparams["lm_loss"] > 0)
        return self.state_cache.texts(texts, Shard.from_trainer(self.trainer))

    # ---------------------------------------------------------------- steps

    def loss(self, logits: Tensor, labels: Tensor, sample_weights: Tensor | None = None) -> Tensor:
        return self.task.loss(logits, labels, self.class_weights, sample_weights)

    def logits(self, batch: Batch) -> Tensor:
        """Logits (B, K), computed from the layer at which the batch enters the network."""
        return batch.aggregate_logits(self.model(batch.inputs, batch.lengths, batch.start_layer))

    def training_step(self, batch: Batch, batch_number: int) -> Tensor:
        loss, lm_loss = self._losses(batch, "train")
        if self.trainer_if_any() is not None:
            shown = self.watch(loss if lm_loss is None else loss + lm_loss, batch.rows)
            if shown is not None:
                losses = {"train/loss": loss} | ({} if lm_loss is None else {"train/lm_loss": lm_loss})
                self.log_dict(losses, on_step=True, on_epoch=False, prog_bar=shown, batch_size=len(batch.lengths))
        return (loss if lm_loss is None else loss + self.hparams["lm_loss"] * lm_loss) * batch.loss_weight

    def validation_step(self, batch: Batch, batch_number: int) -> None:
        self._losses(batch, "val")

    def test_step(self, batch: Batch, batch_number: int) -> None:
        self._losses(batch, "test")

    def _losses(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor | None]:
        """The loss of the classification and that of the next tokens, if there is one; keeps what scores need."""
        assert batch.labels is not None, "only prediction does without labels"
        if Task.from_labels(batch.labels) is not self.task:
            wanted = "class numbers (B,), or, if decision.multi_label is set, as 0.0 and 1.0 (B, K)"
            raise InputError(f"labels of a batch are expected as {wanted}")
        lm_loss = None
        if self.language_model is None:
            logits = self.logits(batch)
        else:
            logits, states = self.model(batch.inputs, batch.lengths, batch.start_layer, with_states=True)
            logits = batch.aggregate_logits(logits)
            output = find_output_layer(self.model.backbone, self.hparams["lm_loss"])
            lm_loss = self.language_model(states, batch, output, stage)
        self.predictions.add(stage, logits, batch)
        weights = self.sample_weights if stage == "train" else None
        loss = self.loss(logits, batch.labels, None if weights is None else weights[batch.rows])
        if stage == "train" and self.teacher is not None:
            loss = self.teacher.loss(loss, logits, batch.rows)
        return loss, lm_loss

    def predict_step(self, batches: list[Batch] | Batch, batch_number: int) -> tuple[Tensor, Tensor]:
        """The row numbers (N,) of a chunk of rows, in ascending order, and their class probabilities (N, K)."""
        batches = [batches] if isinstance(batches, Batch) else batches  # of the loaders of other splits
        rows = torch.cat([batch.rows for batch in batches if batch.rows is not None])
        logits = torch.cat([self.logits(batch) for batch in batches])
        order = rows.argsort()
        probabilities = self.decision.probabilities(logits[order].double().cpu().numpy())
        return rows[order], torch.from_numpy(probabilities)

    def on_train_epoch_end(self) -> None:
        self.check_finite(weights=self.has_whole_weights())
        if self.predictions["train"].update_called:  # not if a run is resumed at the end of an epoch
            self._score("train")

    def on_validation_epoch_end(self) -> None:
        self._score("val")

    def on_test_epoch_end(self) -> None:
        self._score("test")

    def _score(self, stage: str) -> None:
        outputs = self.predictions.end_epoch(stage, self.task)
        if stage != "train":
            self.epoch_outputs[stage] = outputs  # the callbacks' hooks at the end of the epoch come after this one
        token_scores = {} if self.language_model is None else self.language_model.end_epoch(stage)
        check_logits(outputs.logits, stage, outputs.rows, fits=self.trainer.state.fn == "fit")
        if self.trainer.sanity_checking:
            return
        scores = compute_logged_scores(outputs, stage, self.class_names or [], self.class_weights, token_scores)
        if not self.trainer.training and self.trainer.state.fn != "fit":
            scores["step"] = float(self.trained_steps())  # for TensorBoard, as the trainer's own count is 0
        # Computed from all processes' predictions, so every process logs the same value: sync_dist=True, which
        # Lightning recommends once for each score, would average equal numbers.
        warnings.filterwarnings("ignore", message=".*sync_dist=True")
        self.log_dict(scores)

    # ---------------------------------------------------------------- optimization

    def configure_optimizers(self) -> Optimizer | OptimizerLRSchedulerConfig:
        self._optimizer_learning_rate = self.hparams["learning_rate"]
        return build_scheduled_optimizer(self.model, self._optimizer_learning_rate, self.optimizer_config, self.trainer)

    # ---------------------------------------------------------------- begin and end

    def on_train_start(self) -> None:
        """Validates what a probe has solved, as epoch 0; if nothing else trains, that is the whole fit."""
        self._loaded_steps = None
        if self.probed is None:
            return
        self.first_score = validate(self.trainer, self.hparams["monitor"])
        self.trainer.should_stop = not trains_more(self.hparams["trainable"])

    def on_fit_start(self) -> None:
        self.loss_watch = LossWatch()
        warnings.filterwarnings("ignore", message="Found .* in eval mode")  # frozen blocks are, on purpose
        self.clock.start()
        lines = hints(self.hparams, self.model, str(self.trainer.precision), self.device)
        for line in [size(self.model, self.hparams["trainable"]), *lines]:
            rank_zero_info(line)
        if self.hparams["learning_rate"] != self._optimizer_learning_rate:  # Lightning's LearningRateFinder has set it
            self.trainer.strategy.setup_optimizers(self.trainer)  # so that the schedule starts from it too

    def on_fit_end(self) -> None:
        self.clock.stop()
        if self.has_whole_weights():
            unfreeze_other_tokens(self.model.backbone)
