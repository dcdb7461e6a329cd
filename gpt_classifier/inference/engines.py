"""Classifies the rows of files in the processes of a Ray cluster, through Ray Data.

A process that ends loses the rows of its task only, and Ray classifies them again in another.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import pandas as pd

from gpt_classifier.data.datasets import Columns, read_chunks
from gpt_classifier.data.readers import FileFormat
from gpt_classifier.decision.rule import SEPARATOR
from gpt_classifier.errors import InputError
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.classifier import TextClassifier

BLOCK = 2**20  # bytes of a task's texts, which are all that a process has in memory
ROWS = 2000  # maximum number of rows that are read, or classified, at once


class Worker:
    """The model in one process of the cluster."""

    def __init__(self, contents: Any) -> None:
        import ray

        self.classifier = TextClassifier(ray.get(contents))

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        table = self.classifier.predict_frame(rows["text"])
        if self.classifier.decision.multi_label:
            table["predicted"] = table["predicted"].map(SEPARATOR.join)
        return table


def predictions(
    contents: Bundle, files: Sequence[str], columns: Columns, file_format: FileFormat, workers: int
) -> Iterator[tuple[str, list[float]]]:
    """The prediction and the class probabilities for each row of ``files``, in order, as processes classify them.

    The cluster is that of ``RAY_ADDRESS``, which must see the files under the same names, or one that is started on
    this machine and ended with the iterator. Rows wait in Ray's object store, which has a limit, so memory does not
    grow with the files. Raises ``InputError`` where Ray is missing, and for files that cannot be read.

    Args:
        contents: The model.
        files: Names of the files, read one after the other.
        columns: The columns of their texts.
        file_format: How they are read.
        workers: Number of processes; each takes one core, or one GPU where the cluster has some.
    """
    if find_spec("ray") is None:
        raise InputError("classifying on a cluster needs Ray: pip install 'gpt-classifier[ray]'")
    import ray
    import ray.data

    started = not ray.is_initialized()
    if started:
        _start(workers)
    try:
        gpus = 1 if ray.cluster_resources().get("GPU", 0) else 0
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.target_max_block_size = BLOCK
        context.enable_progress_bars = sys.stderr.isatty()
        names = ray.data.from_items([{"file": name} for name in files], override_num_blocks=len(files))
        texts = names.map_batches(
            _texts,
            batch_size=1,
            batch_format="pandas",
            fn_kwargs={"columns": columns, "file_format": file_format},
            num_cpus=0.5,  # not as many as a worker's, or else Ray has a file classified by the one that reads it
        )
        tables = texts.map_batches(
            Worker,
            fn_constructor_args=[ray.put(contents)],
            compute=ray.data.ActorPoolStrategy(size=workers),
            batch_size=ROWS,
            batch_format="pandas",
            num_gpus=gpus,
        )
        for table in tables.iter_batches(batch_size=None, batch_format="pandas"):
            for label, *probabilities in table.itertuples(index=False):
                yield label, probabilities
    except ray.exceptions.RayError as error:
        raise _cause(error) from error
    finally:
        if started:
            ray.shutdown()


def _start(workers: int) -> None:
    """Joins the cluster of ``RAY_ADDRESS``, or starts one here, with a core for reading."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # or it warns of what is as it should be
    local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers + 1, "include_dashboard": False}
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # what goes wrong is raised; its files have all the rest
            handler.setLevel(logging.CRITICAL)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, ValueError) as error:
        where = os.environ.get("RAY_ADDRESS", "this machine")
        raise InputError(f"no Ray cluster at {where}: {' '.join(str(error).split())[:200]}") from error


def _texts(files: pd.DataFrame, columns: Columns, file_format: FileFormat) -> Iterator[pd.DataFrame]:
    """The texts of the named files, a few thousand at a time; an empty one where a row has none."""
    for name in files["file"]:
        for table in read_chunks(name, columns, file_format, ROWS):
            yield table[["text"]].fillna("")


def _cause(error: BaseException) -> BaseException:
    """The mistake of the user behind an error of Ray's, or that error.

    Ray's is an ``InputError`` too, with the trace of another process, and to the text of ours it adds lines.
    """
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, InputError) and getattr(cause, "cause", None) is None):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return error if cause is None else InputError(str(cause).partition("\n")[0])
