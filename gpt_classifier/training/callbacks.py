"""What happens around training: TensorBoard's figures, lines on the terminal, the files that runs leave."""

import csv
import heapq
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from gpt_classifier import bundle
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation import metrics
from gpt_classifier.evaluation.statistics import wilson
from gpt_classifier.files import whole_file, writable_folder
from gpt_classifier.model.freezing import trainable_names
from gpt_classifier.training import figures
from gpt_classifier.training.card import model_card


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, the checkpoint with the lowest validation loss."""

    def __init__(self) -> None:
        super().__init__(filename="best", monitor="val/loss", enable_version_counter=False)


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``, from which ``fit --ckpt_path last`` continues.

    A callback of its own: ``save_last`` of a monitored ModelCheckpoint writes only when the monitored figure improved.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False, save_on_train_epoch_end=True)


class Bar(RichProgressBar):
    """Reads the loss that it shows once a second: at each reading, a GPU must finish all steps that are queued."""

    READ_EVERY = 1.0  # seconds

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, Any] = {}
        self.next_reading = 0.0

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        if time.monotonic() >= self.next_reading:
            loss = trainer.callback_metrics.get("train/loss")
            self.shown = super().get_metrics(trainer, pl_module) | ({} if loss is None else {"train/loss": float(loss)})
            self.next_reading = time.monotonic() + self.READ_EVERY
        return self.shown


class EpochLines(Callback):
    """One line for each epoch and evaluation, with the accuracy's 95 % interval; all there is where no bar can move."""

    val_accuracy = ""
    began: float | None = None

    # Callbacks hear of an epoch's end before the module has scored it, so its line is printed when the next one begins.
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch(trainer, trainer.current_epoch)
        self.began = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch(trainer, trainer.current_epoch)

    def _epoch(self, trainer: Trainer, finished: int) -> None:
        scores = trainer.callback_metrics
        if self.began is not None and "train/epoch_loss" in scores:
            line = f"epoch {finished}: train loss {scores['train/epoch_loss']:.4f}"
            if self.val_accuracy:
                line += f", val loss {scores['val/loss']:.4f}, val accuracy {self.val_accuracy}"
            rank_zero_info(f"{line}, {time.monotonic() - self.began:.1f} s")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.val_accuracy = accuracy(pl_module)
        if trainer.state.fn == "validate":
            rank_zero_info(f"val accuracy {self.val_accuracy} of {len(pl_module.epoch_predictions[0])} texts")

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        n = len(pl_module.epoch_predictions[0])
        rank_zero_info(f"test accuracy {accuracy(pl_module)} of {n} texts (95 % Wilson interval)")


def accuracy(pl_module: Any) -> str:
    """The accuracy of the last evaluation, with its interval."""
    logits, labels, _ = pl_module.epoch_predictions
    return str(wilson(int((logits.argmax(-1) == labels).sum()), len(labels)))


class TensorBoardFigures(Callback):
    """Shows each evaluation as a confusion matrix, precision-recall and ROC curves, and its most confident errors."""

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._show(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._show(trainer, pl_module, "test")

    @rank_zero_only
    def _show(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if not isinstance(trainer.logger, TensorBoardLogger):
            return
        logits, labels, index = pl_module.epoch_predictions
        names, writer, step = pl_module.labels, trainer.logger.experiment, pl_module.trained_steps()
        writer.add_figure(f"{stage}/confusion matrix", figures.confusion_matrix(logits, labels, names), step)
        writer.add_figure(f"{stage}/precision-recall", figures.precision_recall(logits, labels, names), step)
        writer.add_figure(f"{stage}/ROC", figures.roc(logits, labels, names), step)
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, TextDataModule) and stage in data.tables:
            texts = data.tables[stage].set_index("row")["text"]
            errors = metrics.most_confident_errors(logits, labels, most=20)
            rows = [
                (texts[int(index[i])], names[labels[i]], names[logits[i].argmax()], float(logits[i].softmax(-1).max()))
                for i in errors
            ]
            writer.add_text(f"{stage}/most confident errors", figures.errors_table(rows), step)
        writer.flush()


def is_logged(trainer: Trainer, step: int) -> bool:
    """Whether loggers hear of this step. Lightning's ``log`` takes a thirtieth of a cached step's time."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and step % every == 0


class ScalarsByExamples(Callback):
    """Repeats the main scalars against examples seen, so that runs with different batch sizes can be compared."""

    seen = 0
    step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen += len(batch.lengths) * trainer.world_size
        if trainer.global_step > self.step and is_logged(trainer, trainer.global_step):
            self._log(trainer, "train/loss")
        self.step = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and self.seen:
            self._log(trainer, "val/loss", "val/accuracy", "val/f1_macro")

    @rank_zero_only
    def _log(self, trainer: Trainer, *names: str) -> None:
        if isinstance(trainer.logger, TensorBoardLogger):
            for name in names:
                value = trainer.callback_metrics[name]
                trainer.logger.experiment.add_scalar(f"by examples/{name.replace('/', ' ')}", value, self.seen)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]


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
