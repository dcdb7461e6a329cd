"""Predicts in the processes of a Ray cluster, in the place of Lightning's own loop."""

from collections.abc import Iterable, Iterator
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.datasets import is_named
from gpt_classifier.data.pace import Pace
from gpt_classifier.data.readers import expand_paths
from gpt_classifier.errors import InputError
from gpt_classifier.inference.engines import predictions
from gpt_classifier.training.callbacks.predictions import PredictionsFile, line
from gpt_classifier.training.module import GPTClassifier


class ClusterTrainer(Trainer):
    """Predicts in the processes of a Ray cluster, whose number comes first, and not itself."""

    def __init__(self, workers: int, **settings: Any) -> None:
        if workers < 1:
            raise InputError(f"--ray is {workers}, expected a number of processes of at least 1")
        super().__init__(**settings)
        self.workers = workers

    def predict(self, model: Any = None, dataloaders: Any = None, datamodule: Any = None, *_: Any, **__: Any) -> None:
        """Writes the file of predictions. Raises ``InputError`` for a source that is no file."""
        assert isinstance(model, GPTClassifier), "as the command passes them"
        assert isinstance(datamodule, TextDataModule)
        if is_named(datamodule.source):
            raise InputError(f"--ray is for files, and the source is {datamodule.source}: leave --ray out")
        contents = model.bundle()
        given: list[Callback] = self.callbacks  # type: ignore[attr-defined]
        file = next(callback for callback in given if isinstance(callback, PredictionsFile))
        file.check(contents.class_names)
        columns = datamodule.sources.columns.without_labels()
        predicted = predictions(
            contents, expand_paths(datamodule.source), columns, datamodule.file_format, self.workers
        )
        file.write(
            _report_pace(line(row, *prediction) for row, prediction in enumerate(predicted)), contents.class_names
        )


def _report_pace(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """The rows, while lines tell how many there were."""
    pace = Pace()
    for count, row in enumerate(rows, 1):
        yield row
        if pace.due():
            rank_zero_info(f"{count:,} rows, {pace.elapsed():.0f} s")
