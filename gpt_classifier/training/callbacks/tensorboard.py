"""What TensorBoard shows beside the scalars that the module logs."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.utils.tensorboard.summary import hparams

from gpt_classifier.evaluation import metrics
from gpt_classifier.training import figures
from gpt_classifier.training.runs import text_data

FINAL = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "mcc")  # scores in the hparams tab


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
        if (texts := evaluated_texts(trainer, stage, index)) is not None:
            errors = metrics.most_confident_errors(logits, labels, most=20)
            rows = [
                (texts[i], names[labels[i]], names[logits[i].argmax()], float(logits[i].softmax(-1).max()))
                for i in errors
            ]
            writer.add_text(f"{stage}/most confident errors", figures.errors_table(rows), step)
        writer.flush()


def evaluated_texts(trainer: Trainer, stage: str, rows: Tensor) -> list[str] | None:
    """The texts of these rows of a split; None where a data module of ours does not have them."""
    data = text_data(trainer)
    if data is None or stage not in data.tables:
        return None
    texts = data.tables[stage].set_index("row")["text"].reindex(rows.tolist())
    return None if texts.isna().any() else texts.tolist()


def log_settings(logger: TensorBoardLogger, settings: dict[str, Any], scores: dict[str, float]) -> None:
    """Shows a run's settings and validation scores in the hparams tab, which a test will add its scores to.

    TensorBoard takes the columns from the first record that it finds, so those of the test are announced here.
    """
    logger.log_hyperparams(settings)
    names = [f"final/{stage}_{name}" for stage in ("val", "test") for name in FINAL]
    writer = logger.experiment._get_file_writer()
    for summary in hparams(settings, dict.fromkeys(names, 0.0)):
        writer.add_summary(summary)
    logger.log_metrics({f"final/val_{name}": value for name, value in scores.items()}, 0)


def plain(value: Any) -> Any:
    """A setting as the hparams tab takes it."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)


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
