"""Callbacks of training by purpose: checkpoints, stopping, progress, TensorBoard, results, files."""

from lightning.pytorch import Callback

from gpt_classifier.evaluation.baselines import LIMIT
from gpt_classifier.training.callbacks.checkpoints import BestCheckpoint, LastCheckpoint, StopEarly
from gpt_classifier.training.callbacks.history import LearningCurves
from gpt_classifier.training.callbacks.outputs import FinishRun
from gpt_classifier.training.callbacks.predictions import PredictionsFile
from gpt_classifier.training.callbacks.progress import Bar, BatchLines, EpochLines
from gpt_classifier.training.callbacks.results import ReportTest
from gpt_classifier.training.callbacks.stopping import StopCleanly
from gpt_classifier.training.callbacks.tensorboard import TensorBoardFigures
from gpt_classifier.training.callbacks.training_rows import TrainedRows

__all__ = [
    "Bar",
    "BestCheckpoint",
    "EpochLines",
    "FinishRun",
    "PredictionsFile",
    "TensorBoardFigures",
    "default_callbacks",
]


def default_callbacks(checkpoints: bool = True, baselines: float | None = LIMIT, report: bool = True) -> list[Callback]:
    """The callbacks of the command line, for your own trainer: ``Trainer(callbacks=default_callbacks())``.

    They print a line for each epoch and test, write figures and scores to TensorBoard, and stop early according to the
    model's ``patience``. In the folder of the trainer's logger they write ``checkpoints/best.ckpt`` according to the
    model's ``monitor``, ``checkpoints/last.ckpt`` to continue from, and the folder ``model``. Without ``checkpoints``,
    for a trainer with ``enable_checkpointing=False``, that folder holds the weights of the last step. A test
    compares the model with baselines, those of at most ``baselines`` estimated seconds each; with ``report``, it
    writes ``report.html``.
    """
    reports = [EpochLines(), BatchLines(), TensorBoardFigures(), LearningCurves(), ReportTest(baselines, report)]
    saved = [BestCheckpoint(), LastCheckpoint()] if checkpoints else []
    return [*reports, TrainedRows(), StopEarly(), StopCleanly(), FinishRun(), *saved]
