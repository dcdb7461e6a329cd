"""Callbacks of pretraining: lines of progress, checkpoints within epochs, samples of text, the model folder."""

import json
import math
import shlex
import time
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from gpt_classifier.data import datasets
from gpt_classifier.pretraining.datamodule import PretrainingData
from gpt_classifier.pretraining.folder import save
from gpt_classifier.pretraining.generation import generate
from gpt_classifier.pretraining.module import LanguageModel
from gpt_classifier.pretraining.packing import Blocks
from gpt_classifier.training.callbacks.checkpoints import LastCheckpoint
from gpt_classifier.training.callbacks.stopping import STOPS
from gpt_classifier.training.divergence import WAY_OUT, Diverged
from gpt_classifier.training.runs import continuation, run_folder
from gpt_classifier.training.step_loss import is_logged

PROMPT, SAMPLE = 8, 40  # tokens of a prompt, and of its continuation


def _parts(trainer: Trainer, module: LightningModule) -> tuple[LanguageModel, PretrainingData]:
    data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning does not declare it
    assert isinstance(module, LanguageModel)
    assert isinstance(data, PretrainingData)
    return module, data


class StepCheckpoint(LastCheckpoint):
    """Saves ``last.ckpt`` every so many steps and after each epoch."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every, self.saved = every, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step != self.saved and trainer.global_step % self.every == 0:
            self.saved = trainer.global_step
            self.save(trainer)


class Progress(Callback):
    """Prints a line for each validation or epoch, and logs tokens per second."""

    def __init__(self) -> None:
        self.tokens, self.began, self.seconds, self.step = 0, 0.0, 0.0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tokens, self.began, self.seconds, self.step = 0, time.monotonic(), 0.0, trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Blocks, batch_idx: int
    ) -> None:
        self.tokens += batch.ids[:, 1:].numel() * trainer.world_size
        if trainer.global_step > self.step and is_logged(trainer, trainer.global_step):
            pl_module.log("train/tokens_per_second", self.speed())
        self.step = trainer.global_step

    def speed(self) -> float:
        return self.tokens / max(1e-9, self.seconds + time.monotonic() - self.began)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += time.monotonic() - self.began

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = time.monotonic()
        self._say(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if "val/lm_loss" not in trainer.callback_metrics:
            self._say(trainer)

    def _say(self, trainer: Trainer) -> None:
        names = {"train/loss": "train loss", "val/lm_loss": "val loss", "val/bits_per_byte": "bits per byte"}
        scores = ", ".join(
            f"{name} {float(trainer.callback_metrics[key]):.4f}"
            for key, name in names.items()
            if key in trainer.callback_metrics
        )
        place = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
        rank_zero_info(f"{place}: {scores}, {self.speed():,.0f} tokens/s")


class Samples(Callback):
    """Writes to TensorBoard how the model continues the first words of some validation texts."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module, data = _parts(trainer, pl_module)
        if trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger) and not trainer.sanity_checking:
            written = samples(module, data.facts["prompts"][: module.hparams["samples"]])
            text = "\n\n".join(f"{prompt} **{more}**" for prompt, more in written)
            if text:
                trainer.logger.experiment.add_text("val/samples", text, trainer.global_step)


def samples(module: LanguageModel, texts: list[str], seed: int = 0) -> list[tuple[str, str]]:
    """The first tokens of each text, and what the model writes after them; the same seed gives the same samples."""
    encoder, backbone = module.text_encoder, module.model.backbone
    was_training = module.training
    module.eval()
    written = []
    for text in texts:
        ids = encoder.tokens(text)[:PROMPT]
        more = generate(backbone, [encoder.end_of_text, *ids], SAMPLE, seed, stop=encoder.end_of_text)
        written.append((encoder.decode(ids), encoder.decode(more)))
    module.train(was_training)
    return written


class ModelFolder(Callback):
    """Writes the folder ``model`` after each validation with a lower loss than all before; without any, at the end."""

    def __init__(self) -> None:
        self.best = math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = float(trainer.callback_metrics["val/lm_loss"])
        if not trainer.sanity_checking and loss < self.best:
            self.best = loss
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if math.isinf(self.best):
            self._save(trainer, pl_module)
        if (folder := run_folder(trainer)) is not None:
            rank_zero_info(f"pretrained network: {folder / 'model'}")
            _, data = _parts(trainer, pl_module)
            rank_zero_info(f"next: gpt-classifier {shlex.join(_next(data, folder / 'model'))}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        run = run_folder(trainer)
        if run is None or not isinstance(exception, STOPS):
            return
        if math.isinf(self.best) and trainer.global_step > 0:
            self._save(trainer, pl_module)
        if (run / "model").is_dir():
            rank_zero_info(f"pretrained network so far: {run / 'model'}")
        if (told := continuation(trainer, run, "pretrain")) is not None:
            rank_zero_info(told)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module, data = _parts(trainer, pl_module)
        folder = run_folder(trainer)
        if folder is None or not trainer.is_global_zero:
            return
        _check_states(module, trainer.global_step)
        scores = {
            name: round(float(value), 4)
            for name in ("lm_loss", "bits_per_byte")
            if isinstance(value := trainer.callback_metrics.get(f"val/{name}"), Tensor)
        }
        facts = {
            "source": datasets.title(data.source),
            "texts": data.facts["texts"]["train"],
            "tokens": data.packed["train"].tokens,
            "steps": trainer.global_step,
            "weights": module.hparams["weights"],
        }
        save(folder / "model", module.model.backbone, module.text_encoder, module.trained_on, facts | scores)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


def _next(data: PretrainingData, folder: Path) -> list[str]:
    """The words of a fit with the pretrained network, on the same rows if they have labels."""
    words = ["fit", "--config", "scratch", "--model.weights", str(folder)]
    settings = data.settings_of_fit() or {"source": "LABELLED.csv"}
    given = ((f"--data.{name}", v if isinstance(v, str) else json.dumps(v)) for name, v in settings.items())
    return [*words, *chain.from_iterable(given)]


@torch.no_grad()
def _check_states(module: LanguageModel, step: int) -> None:
    """Raises ``Diverged`` if the network's hidden states are not finite, as with weights of which products overflow."""
    ids = torch.tensor([module.text_encoder.encode("a text")[0]], device=module.device)  # (1, T)
    _, states = module.model(ids, torch.tensor([ids.shape[1]], device=module.device), with_states=True)
    if not bool(states.isfinite().all()):
        raise Diverged(f"the network's hidden states are not finite after step {step}: {WAY_OUT}")
