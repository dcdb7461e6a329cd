"""Figures, tables and scalars in TensorBoard, in addition to the scalars that the module logs."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.utils.tensorboard.summary import hparams

from gpt_classifier.decision.rule import joined
from gpt_classifier.evaluation.metrics import most_confident_errors
from gpt_classifier.reporting.plots import prediction_figures
from gpt_classifier.text.encoder import Batch
from gpt_classifier.training.callbacks.classifier import class_names, classifier
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.runs import text_data
from gpt_classifier.training.step_loss import is_logged

# Scores in the hparams tab, where they are measured.
FINAL = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "f1_micro", "mcc")


class TensorBoardFigures(Callback):
    """Logs a confusion matrix, precision-recall and ROC curves and the most confident errors of each evaluation."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._show(trainer, classifier(pl_module), "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, classifier(pl_module), "test")

    @rank_zero_only
    def _show(self, trainer: Trainer, model: GPTClassifier, stage: str) -> None:
        if not isinstance(trainer.logger, TensorBoardLogger):
            return
        outputs = model.epoch_outputs[stage]
        names, writer, step = class_names(model), trainer.logger.experiment, model.trained_steps()
        if not outputs.task.multi_label:
            writer.add_figure(f"{stage}/confusion matrix", prediction_figures.confusion_matrix(outputs, names), step)
        writer.add_figure(f"{stage}/precision-recall", prediction_figures.precision_recall(outputs, names), step)
        writer.add_figure(f"{stage}/ROC", prediction_figures.roc(outputs, names), step)
        if (texts := evaluated_texts(trainer, stage, outputs.rows)) is not None:
            positions = most_confident_errors(outputs, most=20)
            errors = outputs[positions]
            true, predicted = (joined(which.numpy(), names) for which in (errors.truth, errors.predicted))
            wrong = [texts[position] for position in positions]
            rows = list(zip(wrong, true, predicted, errors.confidence.tolist(), strict=True))
            writer.add_text(f"{stage}/most confident errors", prediction_figures.errors_table(rows), step)
        writer.flush()


def evaluated_texts(trainer: Trainer, stage: str, rows: Tensor) -> list[str] | None:
    """The texts of these rows of a split, or None if the data module does not have them."""
    data = text_data(trainer)
    if data is None or stage not in data.tables:
        return None
    texts = data.tables[stage].set_index("row")["text"].reindex(rows.tolist())
    return None if texts.isna().any() else texts.tolist()


def log_settings(logger: TensorBoardLogger, settings: dict[str, Any], scores: dict[str, float]) -> None:
    """Shows a run's settings and validation scores in the hparams tab; a later test adds its scores.

    TensorBoard takes the columns from the first record that it finds, so the columns of the test are declared here.
    """
    logger.log_hyperparams(settings)
    logger.log_metrics({f"final/val_{name}": value for name, value in scores.items()}, 0)
    names = [f"final/{stage}_{name}" for stage in ("val", "test") for name in scores]
    writer = logger.experiment.file_writer  # exists since something was logged
    assert writer is not None
    for summary in hparams(settings, dict.fromkeys(names, 0.0)):
        writer.add_summary(summary)


def plain(value: object) -> bool | int | float | str:
    """A setting as a type that the hparams tab accepts."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)


class ScalarsByExamples(Callback):
    """Logs the main scalars by number of examples too, so that runs with different batch sizes can be compared."""

    seen = 0
    step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        assert batch.labels is not None
        self.seen += len(batch.labels) * trainer.world_size
        if trainer.global_step > self.step and is_logged(trainer, trainer.global_step):
            self._log(trainer, "train/loss")
        self.step = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and self.seen:
            self._log(trainer, "val/loss", "val/accuracy", "val/f1_macro")

    @rank_zero_only
    def _log(self, trainer: Trainer, *names: str) -> None:
        if isinstance(trainer.logger, TensorBoardLogger):
            for name in trainer.callback_metrics.keys() & set(names):
                value = trainer.callback_metrics[name]
                trainer.logger.experiment.add_scalar(f"by examples/{name.replace('/', ' ')}", value, self.seen)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]
