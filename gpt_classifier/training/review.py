"""What a review of labels needs of fit: its data, a network as judge of the rows, and the options of the next fit.

Knows nothing about the reviewed file.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from gpt_classifier.audit.columns import found_options, found_settings
from gpt_classifier.data import writers
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.sources import IN_MEMORY, found_again
from gpt_classifier.data.splits import OF_THE_BOOK
from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.evaluation.label_quality import Judge
from gpt_classifier.files import folders_around
from gpt_classifier.inference import model_folder
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.settings import flat
from gpt_classifier.training import build_run

Prepared = Callable[[str, list[str]], list[str]]  # a command and its words -> these, checked, configurations by path


def review_data(words: Sequence[str], prepared: Prepared) -> TextDataModule:
    """The data of fit that SOURCE, --config and settings describe, but never undersampled: all rows can be reviewed."""
    source, settings = source_and_options(words)
    trained = []
    if source is not None and Path(source).is_dir():
        model = model_folder.load(model_folder.model_folder(Path(source)))
        run = model_folder.model_folder(Path(source)).parent
        own = {"source": IN_MEMORY} | found_again(model.data, folders_around(run)) | {"class_names": model.class_names}
        trained = [f"--config={json.dumps({'data': own})}"]
    elif source is not None:
        settings = [source, *settings]
    words = prepared("audit", settings)
    found = [] if trained else found_options(words)
    data = build_run.DataCLI([*trained, *found, *words, "--data.balance=none"]).datamodule
    if data.source == IN_MEMORY:
        raise InputError(f"{source} was not trained on a file, so name one: --data.source FILE")
    if data.multi_label:
        raise InputError("a text may have several labels here, and review is for one: leave out data.multi_label")
    return data


def source_and_options(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file or folder that a command line begins with, if it does, and the rest of the line."""
    if words and not words[0].startswith("-"):
        return words[0], list(words[1:])
    return None, list(words)


def network_judge(words: list[str], data: TextDataModule, prepared: Prepared, train: pd.DataFrame) -> Judge:
    """Judges by the network that fit trains with ``words``; every tenth row to train on chooses its best epoch."""

    def judge(fitted: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        split = np.full(len(train), "test", dtype=object)
        split[fitted], split[fitted[::10]] = "train", "val"
        with TemporaryDirectory() as folder:
            path = Path(folder) / "fold.csv"
            rows = zip(train["text"], train["label"], split, strict=True)
            writers.write(path, chain([("text", "label", "split")], rows))
            plain = {"text_column": "text", "label_column": "label", "splitting.group_column": None}
            options = fit_options(words, data, path, "split", plain)
            own = [f"--data.class_names={json.dumps(data.class_names)}", f"--trainer.default_root_dir={folder}"]
            build_run.run(["fit", *prepared("fit", [*options, *own])])
            return TextClassifier.load(folder).predict_proba(train["text"].iloc[held_out].tolist())

    return judge


def fit_options(
    words: list[str], data: TextDataModule, path: Path, column: str, columns: Mapping[str, Any] | None = None
) -> list[str]:
    """The options with which fit reads ``path``, whose ``column`` has the splits, and does all else as with ``words``.

    ``columns`` are settings of the columns where these have other names than in the source.
    """
    needed = {
        "source": str(path),
        "splitting.split_column": column,
        **(columns or {}),
        "val_source": None,
        "test_source": None,
        "split": "grouped" if data.preparation.split in OF_THE_BOOK else data.preparation.split,
        "splitting.folds": 0,
        "splitting.fold": 0,
        "file_format.delimiter": None,
        "file_format.encoding": "utf-8",
        "file_format.header": True,
    }
    source, words = source_and_options(words)
    if source is not None and Path(source).is_dir():
        config = model_folder.model_folder(Path(source)).parent / "config.yaml"
        words = [*([f"--config={config}"] if config.is_file() else []), *words]
    elif source is not None:
        found = found_settings([f"--data.source={source}", *words])
        usual = {"text_column": "text", "label_column": "label"}
        own = {name: found[name] for name in usual if found.get(name, usual[name]) != usual[name]}
        own = {name: value for name, value in own.items() if not any(w.startswith(f"--data.{name}") for w in words)}
        words = [*(f"--data.{n}={v if isinstance(v, str) else json.dumps(v)}" for n, v in own.items()), *words]
    parser = CommandParser(add_help=False, allow_abbrev=False)
    for key in needed:
        parser.add_argument(f"--data.{key}", dest=key)
    typed, options = parser.parse_known_args(words)
    now = flat(data.hparams)
    for key, value in needed.items():
        if value != now[key] or getattr(typed, key) is not None:  # what was typed is replaced
            options += [f"--data.{key}", value if isinstance(value, str) else json.dumps(value)]
    return options
