"""What a fit leaves: a model folder, and its settings and scores in TensorBoard."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from gpt_classifier import bundle
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.model.freezing import trainable_names
from gpt_classifier.training.callbacks.checkpoints import BestCheckpoint
from gpt_classifier.training.callbacks.progress import accuracy
from gpt_classifier.training.callbacks.tensorboard import FINAL, log_settings, plain
from gpt_classifier.training.card import model_card
from gpt_classifier.training.runs import run_folder


class FinishRun(Callback):
    """When fitting ends, fills TensorBoard's hparams tab and writes the best model as a folder: ``<run>/model``."""

    def __init__(self) -> None:
        self.best: dict[str, float] = {}  # validation scores of the epoch with the lowest loss, as in best.ckpt
        self.best_accuracy = ""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = {name: float(trainer.callback_metrics.get(f"val/{name}", float("nan"))) for name in FINAL}
        if not trainer.sanity_checking and scores["loss"] < self.best.get("loss", float("inf")):
            self.best, self.best_accuracy = scores, accuracy(pl_module)

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        data = getattr(trainer, "datamodule", None)
        if isinstance(trainer.logger, TensorBoardLogger) and self.best:
            settings = {f"model/{name}": plain(value) for name, value in pl_module.hparams.items()}
            if data is not None:
                settings |= {f"data/{name}": plain(value) for name, value in data.hparams.items()}
            log_settings(trainer.logger, settings, self.best)
        run = run_folder(trainer)
        if run is None:
            rank_zero_info("no model folder: this trainer keeps no files (it has no logger, or fast_dev_run is on)")
        else:
            best = next((c.best_model_path for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint)), "")
            contents = bundle.load_checkpoint(Path(best)) if best else pl_module.bundle()
            summary = data.summary() if isinstance(data, TextDataModule) else "given as data loaders"
            folder = run / "model"
            policy = pl_module.hparams["trainable"]
            if policy in ("lora", "biases"):
                bundle.save_adapter(folder.with_name("adapter"), contents, trainable_names(contents.model, policy))
            bundle.save_folder(folder, contents, model_card(contents, summary, pl_module.hparams, self.best_accuracy))
            rank_zero_info(f"model folder: {folder}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_accuracy": self.best_accuracy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_accuracy = state_dict["best"], state_dict["best_accuracy"]
