"""The files that runs leave: a model folder, predictions."""

import csv
import heapq
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from gpt_classifier import bundle
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.errors import InputError
from gpt_classifier.files import whole_file, writable_folder
from gpt_classifier.model.freezing import trainable_names
from gpt_classifier.training.callbacks.checkpoints import BestCheckpoint
from gpt_classifier.training.callbacks.progress import accuracy
from gpt_classifier.training.card import model_card


class FinishRun(Callback):
    """When fitting ends, fills TensorBoard's hparams tab and writes the best model as a folder: ``<run>/model``."""

    SHOWN: ClassVar = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "mcc")

    def __init__(self) -> None:
        self.best: dict[str, float] = {}  # validation scores of the epoch with the lowest loss, as in best.ckpt
        self.best_accuracy = ""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = {name: float(trainer.callback_metrics.get(f"val/{name}", float("nan"))) for name in self.SHOWN}
        if not trainer.sanity_checking and scores["loss"] < self.best.get("loss", float("inf")):
            self.best, self.best_accuracy = scores, accuracy(pl_module)

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        data = getattr(trainer, "datamodule", None)
        if isinstance(trainer.logger, TensorBoardLogger) and self.best:
            settings = {f"model/{name}": _plain(value) for name, value in pl_module.hparams.items()}
            if data is not None:
                settings |= {f"data/{name}": _plain(value) for name, value in data.hparams.items()}
            trainer.logger.log_hyperparams(settings, {f"final/val_{name}": value for name, value in self.best.items()})
        if trainer.loggers:  # and not trainer.log_dir, for which all processes would have to meet
            best = next((c.best_model_path for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint)), "")
            contents = bundle.load_checkpoint(Path(best)) if best else pl_module.bundle()
            summary = data.summary() if isinstance(data, TextDataModule) else "given as data loaders"
            folder = Path(trainer.loggers[0].log_dir or "") / "model"
            policy = pl_module.hparams["trainable"]
            if policy in ("lora", "biases"):
                bundle.save_adapter(folder.with_name("adapter"), contents, trainable_names(contents.model, policy))
            bundle.save_folder(folder, contents, model_card(contents, summary, pl_module.hparams, self.best_accuracy))
            rank_zero_info(f"model folder: {folder}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_accuracy": self.best_accuracy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_accuracy = state_dict["best"], state_dict["best_accuracy"]


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


class PredictionsFile(Callback):
    """Writes row numbers, classes and probabilities as a CSV file, in the order of the rows, whole or not at all."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def _part(self, rank: int) -> Path:
        return self.path.with_name(f".{self.path.name}.rank{rank}")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writable_folder(self.path.parent)
        if self.path.is_dir():
            raise InputError(f"{self.path} is a folder: name a file for the predictions")
        self.stream = open(self._part(trainer.global_rank), "w", newline="", encoding="utf-8")  # noqa: SIM115
        self.writer = csv.writer(self.stream)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        index, probabilities = (tensor.cpu() for tensor in outputs)
        best = probabilities.argmax(-1)
        for row, label, values in zip(index.tolist(), best.tolist(), probabilities.tolist(), strict=True):
            self.writer.writerow([row, pl_module.labels[label], *(f"{value:.6f}" for value in values)])

    def on_predict_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.stream.close()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            parts = [self._part(rank) for rank in range(trainer.world_size)]
            with ExitStack() as stack, whole_file(self.path) as path:
                readers = [csv.reader(stack.enter_context(open(p, newline="", encoding="utf-8"))) for p in parts]
                writer = csv.writer(stack.enter_context(open(path, "w", newline="", encoding="utf-8")))
                writer.writerow(["row", "label", *(f"probability_{name}" for name in pl_module.labels)])
                count = 0
                for line in heapq.merge(*readers, key=lambda line: int(line[0])):
                    writer.writerow(line)
                    count += 1
            rank_zero_info(f"{count:,} predictions: {self.path}")
        trainer.strategy.barrier()
        self.teardown(trainer, pl_module, "predict")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "predict")

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if self.path.parent.is_dir():
            self._part(trainer.global_rank).unlink(missing_ok=True)
