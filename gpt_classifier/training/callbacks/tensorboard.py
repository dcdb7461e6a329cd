"""Figures, tables and settings in TensorBoard, in addition to the scalars that the module logs."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.utils.tensorboard.summary import hparams

from gpt_classifier.decision.rule import join_labels
from gpt_classifier.evaluation.metrics import most_confident_errors
from gpt_classifier.reporting import plots
from gpt_classifier.reporting.render import markdown_table
from gpt_classifier.training.callbacks.classifier import class_names, classifier
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.runs import text_data

MAX_CHARACTERS = 200  # of a text in a table
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
        figures = {"precision-recall": plots.draw_precision_recall, "ROC": plots.draw_roc}
        if not outputs.task.multi_label:
            figures["confusion matrix"] = plots.draw_confusion_matrix
        for name, draw in figures.items():
            writer.add_figure(f"{stage}/{name}", draw(outputs, names), step)
        if (texts := find_evaluated_texts(trainer, stage, outputs.rows)) is not None:
            positions = most_confident_errors(outputs, limit=20)
            errors = outputs[positions]
            true, predicted = (join_labels(which.numpy(), names) for which in (errors.truth, errors.predicted))
            confidence = [f"{value:.3f}" for value in errors.confidence.tolist()]
            wrong = [texts[position][:MAX_CHARACTERS] for position in positions]
            rows = list(zip(confidence, predicted, true, wrong, strict=True))
            table = markdown_table(("probability", "predicted", "true", "text"), rows, 4) if rows else "No errors."
            writer.add_text(f"{stage}/most confident errors", table, step)
        writer.flush()


def find_evaluated_texts(trainer: Trainer, stage: str, rows: Tensor) -> list[str] | None:
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
