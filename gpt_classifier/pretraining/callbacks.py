"""Callbacks of pretraining: lines of progress, checkpoints within epochs, samples of text, the model folder."""

import json
import math
import shlex
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.data import datasets
from gpt_classifier.pretraining.datamodule import PretrainingData
from gpt_classifier.pretraining.folder import save_network
from gpt_classifier.pretraining.generation import continue_texts
from gpt_classifier.pretraining.module import LanguageModel
from gpt_classifier.pretraining.packing import Blocks
from gpt_classifier.training.callbacks.checkpoints import LastCheckpoint
from gpt_classifier.training.callbacks.stopping import STOPS
from gpt_classifier.training.divergence import WAY_OUT, Diverged, is_logged
from gpt_classifier.training.runs import describe_continuation, run_folder


def _check_parts(trainer: Trainer, module: LightningModule) -> tuple[LanguageModel, PretrainingData]:
    data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning does not declare it
    assert isinstance(module, LanguageModel)
    assert isinstance(data, PretrainingData)
    return module, data


class StepCheckpoint(LastCheckpoint):
    """Saves ``last.ckpt`` every so many steps and after each epoch."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every == 0 and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.save(trainer)


class Progress(Callback):
    """Prints a line for each validation or epoch, and logs tokens per second of training."""

    def __init__(self) -> None:
        self.tokens, self.began, self.paused = 0, 0.0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tokens, self.began = 0, time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Blocks, batch_idx: int
    ) -> None:
        self.tokens += batch.ids[:, 1:].numel() * trainer.world_size
        if is_logged(trainer, trainer.global_step):
            pl_module.log("train/tokens_per_second", self.speed())

    def speed(self) -> float:
        return self.tokens / max(1e-9, time.monotonic() - self.began)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.paused = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began += time.monotonic() - self.paused
        if not trainer.sanity_checking:
            self._print(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if "val/lm_loss" not in trainer.callback_metrics:
            self._print(trainer)

    def _print(self, trainer: Trainer) -> None:
        names = {"train/loss": "train loss", "val/lm_loss": "val loss", "val/bits_per_byte": "bits per byte"}
        found = trainer.callback_metrics
        scores = ", ".join(f"{name} {float(found[key]):.4f}" for key, name in names.items() if key in found)
        place = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
        rank_zero_info(f"{place}: {scores}, {self.speed():,.0f} tokens/s")


class Samples(Callback):
    """Writes to TensorBoard how the model continues the first tokens of some validation texts."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module, data = _check_parts(trainer, pl_module)
        prompts = data.statistics.prompts[: module.hparams["samples"]]
        if not prompts or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if isinstance(trainer.logger, TensorBoardLogger):
            samples = continue_texts(module.model.backbone, module.text_encoder.tokenizer, prompts)
            text = "\n\n".join(f"{prompt} **{more}**" for prompt, more in samples)
            trainer.logger.experiment.add_text("val/samples", text, trainer.global_step)


class ModelFolder(Callback):
    """Writes the folder ``model`` after each validation with a lower loss than all before; without any, at the end."""

    def __init__(self) -> None:
        self.best = math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = float(trainer.callback_metrics.get("val/lm_loss", math.inf))  # Lightning's sanity check has none
        if loss < self.best:
            self.best = loss
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if math.isinf(self.best):
            self._save(trainer, pl_module)
        if (run := run_folder(trainer)) is not None:
            rank_zero_info(f"pretrained network: {run / 'model'}")
            _, data = _check_parts(trainer, pl_module)
            rank_zero_info(f"next: gpt-classifier {shlex.join(_build_next_command(data, run / 'model'))}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        run = run_folder(trainer)
        if run is None or not isinstance(exception, STOPS):
            return
        if math.isinf(self.best) and trainer.global_step > 0:
            self._save(trainer, pl_module)
        if (run / "model").is_dir():
            rank_zero_info(f"pretrained network so far: {run / 'model'}")
        if (told := describe_continuation(trainer, run, "pretrain")) is not None:
            rank_zero_info(told)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module, data = _check_parts(trainer, pl_module)
        run, found = run_folder(trainer), trainer.callback_metrics
        if run is None or not trainer.is_global_zero:
            return
        _check_states(module, trainer.global_step)
        names = ("lm_loss", "bits_per_byte")
        scores = {name: round(float(found[f"val/{name}"]), 4) for name in names if f"val/{name}" in found}
        training = {
            "source": datasets.title(data.source),
            "texts": data.statistics.texts["train"],
            "tokens": data.packed["train"].tokens,
            "steps": trainer.global_step,
            "weights": module.hparams["weights"],
        }
        save_network(run / "model", module.model.backbone, module.text_encoder, module.trained_on, training | scores)

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best = state_dict["best"]


def _build_next_command(data: PretrainingData, folder: Path) -> list[str]:
    """The words of a fit with the pretrained network, on the same rows if they have labels."""
    words = ["fit", "--config", "scratch", "--model.weights", str(folder)]
    for name, value in (data.find_fit_settings() or {"source": "LABELLED.csv"}).items():
        words += [f"--data.{name}", value if isinstance(value, str) else json.dumps(value)]
    return words


@torch.no_grad()
def _check_states(module: LanguageModel, step: int) -> None:
    """Raises ``Diverged`` if the network's hidden states are not finite, as with weights of which products overflow."""
    ids = torch.tensor([module.text_encoder.encode("a text")[0]], device=module.device)  # (1, T)
    _, states = module.model(ids, torch.tensor([ids.shape[1]], device=module.device), with_states=True)
    if not bool(states.isfinite().all()):
        raise Diverged(f"the network's hidden states are not finite after step {step}: {WAY_OUT}")
