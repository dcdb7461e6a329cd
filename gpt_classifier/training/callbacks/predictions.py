"""Writes predictions as a complete CSV, JSONL or Parquet file, in the order of the rows."""

import csv
import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from gpt_classifier.data.writers import WRITERS, csv_lines
from gpt_classifier.errors import InputError
from gpt_classifier.files import whole_file, writable_folder
from gpt_classifier.training.callbacks.classifier import class_names, classifier

ROWS = 10_000  # maximum number of rows in memory


class PredictionsFile(Callback):
    """Writes one row for each row of the source: its number, kept columns, the prediction, the class probabilities.

    The file is for programs: cells are as they are in the source, also those that a spreadsheet would run as formulas.

    Args:
        path: The file; its suffix decides the format.
        columns: Returns columns of the source, given their names, chunk by chunk in the order of its rows.
        keep: Names of the columns to keep.
    """

    def __init__(
        self, path: str | Path, columns: Callable[[Sequence[str]], Iterator[pd.DataFrame]], keep: Sequence[str] = ()
    ) -> None:
        self.path = Path(path)
        self.columns, self.keep = columns, keep
        self.stream: BinaryIO = BytesIO()  # of the rows of this process
        if self.path.suffix.lower() not in WRITERS:
            raise InputError(f"output is {path}, expected a name that ends in {', '.join(WRITERS)}")

    def _part(self, rank: int) -> Path:
        return self.path.with_name(f".{self.path.name}.rank{rank}")

    def check(self, names: Sequence[str]) -> None:
        """Raises ``InputError``, before a text is classified, if no file can be written for classes of these names."""
        writable_folder(self.path.parent)
        if self.path.is_dir():
            raise InputError(f"{self.path} is a folder: name a file for the predictions")
        ours = {"row", "predicted", *_name_probabilities(names)}
        if taken := [name for name in self.keep if name in ours]:
            raise InputError(f"keep has {', '.join(taken)}, which predictions have themselves: leave it out")
        if self.keep:  # raises InputError for a missing column
            next(self.columns(self.keep))

    def write(self, rows: Iterator[list[str]], names: Sequence[str]) -> None:
        """Writes the whole file. A row is its number, the prediction and the probabilities; the numbers increase."""
        with whole_file(self.path) as path:
            count = WRITERS[self.path.suffix.lower()](path, self._frames(rows, names))
        rank_zero_info(f"{count:,} predictions: {self.path}")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(class_names(classifier(pl_module)))
        self.stream = open(self._part(trainer.global_rank), "wb")  # noqa: SIM115

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: tuple[Tensor, Tensor],
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        model = classifier(pl_module)
        rows, probabilities = (tensor.cpu() for tensor in outputs)
        predicted = model.decision.name_predictions(probabilities.numpy(), class_names(model))
        rows_of_batch = zip(rows.tolist(), predicted, probabilities.tolist(), strict=True)
        self.stream.writelines(csv_lines(line(row, prediction, values) for row, prediction, values in rows_of_batch))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stream.close()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            parts = [self._part(rank) for rank in range(trainer.world_size)]
            with ExitStack() as stack:
                readers = [csv.reader(stack.enter_context(open(p, newline="", encoding="utf-8"))) for p in parts]
                rows = heapq.merge(*readers, key=lambda line: int(line[0]))
                self.write(rows, class_names(classifier(pl_module)))
        trainer.strategy.barrier()
        self.teardown(trainer, pl_module, "predict")

    def _frames(self, rows: Iterator[list[str]], names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """The rows of the file, in chunks."""
        kept = _rows_of(self.columns(self.keep)) if self.keep else None
        while chunk := list(itertools.islice(rows, ROWS)):
            parts = [pd.DataFrame({"row": [int(row[0]) for row in chunk]})]
            if kept is not None:
                parts.append(kept(parts[0]["row"]))
            parts.append(pd.DataFrame({"predicted": [row[1] for row in chunk]}, dtype=object))
            values = [[float(value) for value in row[2:]] for row in chunk]
            yield pd.concat([*parts, pd.DataFrame(values, columns=_name_probabilities(names))], axis=1)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "predict")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.stream.close()  # Windows removes no file that is open
        if self.path.parent.is_dir():
            self._part(trainer.global_rank).unlink(missing_ok=True)


def line(row: int, prediction: str, probabilities: Sequence[float]) -> list[str]:
    """What the file says of a row."""
    return [str(row), prediction, *(f"{value:.6f}" for value in probabilities)]


def _name_probabilities(names: Sequence[str]) -> list[str]:
    return [f"probability_{name}" for name in names]


def _rows_of(chunks: Iterator[pd.DataFrame]) -> Callable[[pd.Series], pd.DataFrame]:
    """A function that returns the rows with the given increasing numbers; chunks are read when they are needed."""
    held = next(chunks)
    first = 0  # row number of the first row in ``held``

    def take(rows: pd.Series) -> pd.DataFrame:
        nonlocal held, first
        held, first = held[int(rows.iloc[0]) - first :], int(rows.iloc[0])
        while len(held) <= int(rows.iloc[-1]) - first:
            held = pd.concat([held, next(chunks)], ignore_index=True)
        return held.iloc[rows - first].reset_index(drop=True)

    return take
