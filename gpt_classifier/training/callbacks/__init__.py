"""What happens around training, by purpose: checkpoints, stopping, progress, TensorBoard, results, files."""

from lightning.pytorch import Callback

from gpt_classifier.training.callbacks.checkpoints import BestCheckpoint, LastCheckpoint, StopEarly
from gpt_classifier.training.callbacks.leaks import TrainedRows
from gpt_classifier.training.callbacks.outputs import FinishRun
from gpt_classifier.training.callbacks.predictions import PredictionsFile
from gpt_classifier.training.callbacks.progress import Bar, BatchLines, EpochLines
from gpt_classifier.training.callbacks.results import TestResults
from gpt_classifier.training.callbacks.stopping import StopCleanly
from gpt_classifier.training.callbacks.tensorboard import ScalarsByExamples, TensorBoardFigures

__all__ = [
    "Bar",
    "BestCheckpoint",
    "EpochLines",
    "FinishRun",
    "PredictionsFile",
    "TensorBoardFigures",
    "default_callbacks",
]


def default_callbacks(checkpoints: bool = True, baselines: bool = True) -> list[Callback]:
    """What the command line gives its trainer, for one of your own: ``Trainer(callbacks=default_callbacks())``.

    Lines for epochs and tests; figures and scores in TensorBoard; early stopping by the model's ``patience``; in the
    folder of the trainer's logger ``checkpoints/best.ckpt`` by the model's ``monitor``, ``checkpoints/last.ckpt`` to
    continue from, and the folder ``model``. Without ``checkpoints``, for a trainer that has ``enable_checkpointing``
    off, that folder holds the weights of the last step. A test compares the model with ``baselines``, trivial ones.
    """
    told = [EpochLines(), BatchLines(), TensorBoardFigures(), ScalarsByExamples()]
    tested = [TestResults(baselines), TrainedRows()]
    kept = [BestCheckpoint(), LastCheckpoint()] if checkpoints else []
    return [*told, *tested, StopEarly(), StopCleanly(), FinishRun(), *kept]
