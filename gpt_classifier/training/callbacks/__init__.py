"""What happens around training, by purpose: checkpoints, progress, TensorBoard, results, the files that runs leave."""

from gpt_classifier.training.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from gpt_classifier.training.callbacks.leaks import TrainedRows
from gpt_classifier.training.callbacks.outputs import FinishRun
from gpt_classifier.training.callbacks.predictions import PredictionsFile
from gpt_classifier.training.callbacks.progress import Bar, EpochLines
from gpt_classifier.training.callbacks.results import TestResults
from gpt_classifier.training.callbacks.tensorboard import ScalarsByExamples, TensorBoardFigures, is_logged

__all__ = [
    "Bar",
    "BestCheckpoint",
    "EpochLines",
    "FinishRun",
    "LastCheckpoint",
    "PredictionsFile",
    "ScalarsByExamples",
    "TensorBoardFigures",
    "TestResults",
    "TrainedRows",
    "is_logged",
]
