"""Turns texts without labels, or those that a fit would train on, into blocks of tokens for a language model."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader

from gpt_classifier.data import datasets, readers
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.datasets import Columns
from gpt_classifier.data.duplicates import compute_fingerprints
from gpt_classifier.data.rare_classes import RareClasses
from gpt_classifier.data.readers import FileFormat
from gpt_classifier.data.resumable import ResumableDataModule
from gpt_classifier.data.samplers import EvaluationBatches, loader
from gpt_classifier.data.splits import Split, SplittingConfig
from gpt_classifier.errors import InputError
from gpt_classifier.files import PRETRAINING, computed_folder, whole_file, writable_folder
from gpt_classifier.pretraining.packing import Packed, pack, token_dtype
from gpt_classifier.pretraining.texts import find_files, has_labels, is_held_out, read_documents
from gpt_classifier.settings import flat, grouped, plain
from gpt_classifier.text.bpe import TrainTokenizer, tokenizer_for
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.text.tokenizers import Tokenizer, restore_tokenizer, tokenizer_named

PROMPTS = 16  # number of validation texts that are kept for samples
LAYOUT = 1  # of the files of tokens; another number makes those on disk unused
STATISTICS = "facts.json"
AS_FIT = (  # settings that mean what they mean for fit
    *("source", "val_source", "test_source", "text_column", "text_separator", "label_column", "multi_label"),
    *("rare_classes", "split", "file_format", "splitting"),
)


@dataclass(frozen=True)
class Statistics:
    """What is known of the texts once they are files of tokens."""

    texts: dict[str, int]  # number of texts of train and val
    divided: str  # how the texts were divided, for the summary
    prompts: list[str]  # beginnings of some validation texts


class PretrainingData(ResumableDataModule):
    """Texts as blocks of tokens without padding, each token predicted once an epoch.

    Texts with labels are divided as by ``fit`` with the same settings: rows of ``train`` are trained on, those of
    ``val`` validate, those of ``test`` are not read into tokens. A fraction of the texts without labels validates. The
    files of tokens lie in the folder of computed files, from which a resumed run reads them.

    Args:
        source: Texts to train on: ``sms_spam``, ``imdb``, ``sample``, a .csv, .tsv, .jsonl, .json, .parquet or .txt
            file (in which a blank line ends a document), a folder with .txt files, or several of these.
        val_source: Files to validate on, of texts with labels; by default a part of ``source``.
        test_source: Files that a fit will test on, for the same division of ``source`` as in that fit.
        text_column: Name of the column with the texts, or names of several columns whose texts are joined.
        text_separator: Separator of the texts of several columns; missing texts are skipped.
        label_column: Name of the column with the class names, which the division needs, or names of several; null for
            texts without labels, as are those of files without a column ``label``.
        multi_label: How the labels of a text are written where it may have none or several, as for ``fit``.
        rare_classes: What to do with classes too rare to be split, as for ``fit``.
        split: How texts with labels are divided: ``grouped``, ``random``, ``chapter6`` or ``article_table``, as for
            ``fit``.
        val_share: Fraction of the texts without labels that validates; near-duplicates stay together.
        tokenizer: ``gpt2``, ``bytes``, ``{train: 4096}`` (a BPE of that many tokens, trained on the training texts),
            a name on the Hugging Face hub, or a folder with a tokenizer, such as a model folder.
        max_length: Number of tokens of a block.
        batch_size: Number of blocks in a training batch on each device.
        file_format: How CSV, TSV, JSON and text files are read.
        splitting: How texts with labels are divided into train, val and test, as for ``fit``.
    """

    def __init__(
        self,
        source: str | list[str] = "sample",
        val_source: str | list[str] | None = None,
        test_source: str | list[str] | None = None,
        text_column: str | list[str] = "text",
        text_separator: str = "\n",
        label_column: str | list[str] | None = "label",
        multi_label: str | None = None,
        rare_classes: RareClasses = "error",
        split: Split = "grouped",
        val_share: float = 0.05,
        tokenizer: str | dict[str, int] = "gpt2",
        max_length: int = 256,
        batch_size: int = 16,
        file_format: FileFormat = readers.AS_NAMED,
        splitting: SplittingConfig = SplittingConfig(),
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.file_format = grouped(FileFormat, "file_format", file_format)
        self.splitting = grouped(SplittingConfig, "splitting", splitting)
        self.tokenizer = tokenizer if isinstance(tokenizer, str) else grouped(TrainTokenizer, "tokenizer", tokenizer)
        groups = ("file_format", "splitting", "tokenizer")
        self.hparams.update({name: plain(getattr(self, name)) for name in groups})  # for checkpoints
        for name, value in (("max_length", max_length), ("batch_size", batch_size)):
            if value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        if not 0 <= val_share < 1:
            raise InputError(f"val_share is {val_share}, expected a fraction of the texts from 0 to below 1")
        self.source, self.label_column, self.val_share = source, label_column, val_share
        self.sources = [each for each in (source, val_source, test_source) if each is not None]
        self.max_length, self.batch_size = max_length, batch_size
        self.columns = Columns(text_column, None, separator=text_separator)
        self.statistics: Statistics
        self.trained_on: Tensor  # fingerprints of the training texts
        self.packed: dict[str, Packed] = {}
        self.text_encoder: TextEncoder

    def prepare_data(self) -> None:
        """Writes the files of tokens, unless they are there; called on one process of each machine."""
        for source in self.sources:
            datasets.prepare(source)
        tokenizer = self._tokenizer(train=True)
        folder = self._folder(tokenizer)
        if not (folder / STATISTICS).is_file():
            self._write(writable_folder(folder), tokenizer)

    def setup(self, stage: str) -> None:
        tokenizer = self._tokenizer()
        self.text_encoder = TextEncoder(tokenizer, self.max_length)
        folder, dtype = self._folder(tokenizer), token_dtype(tokenizer.vocab_size)
        self.statistics = Statistics(**json.loads((folder / STATISTICS).read_text(encoding="utf-8")))
        self.trained_on = torch.from_numpy(np.load(folder / "fingerprints.npy"))
        self.packed = {name: Packed(folder / f"{name}.bin", dtype, self.max_length) for name in ("train", "val")}
        if self.packed["train"].tokens <= self.max_length:
            raise InputError(
                f"the training texts have {self.packed['train'].tokens} tokens, less than one block of "
                f"{self.max_length} and the next: lower --data.max_length, or give more text"
            )
        rank_zero_info(self.summary())
        self.begin_fit()

    def identity(self) -> dict[str, Any]:
        """The files of tokens, which lie in a folder by everything that they depend on, and the size of batches."""
        texts = f"{self.statistics.texts['train']:,} texts with the hash {self._folder(self._tokenizer()).name}"
        return {"the train texts": texts, "data.max_length": self.max_length, "data.batch_size": self.batch_size}

    def summary(self) -> str:
        """A line for each split."""
        lines = [f"{datasets.title(self.source)}, {self.statistics.divided}"]
        for name, packed in self.packed.items():
            texts = self.statistics.texts[name]
            lines.append(f"  {name:5} {texts:9,} texts, {packed.tokens:11,} tokens, {len(packed):7,} blocks")
        return "\n".join(lines)

    def find_fit_settings(self) -> dict[str, Any] | None:
        """The settings with which fit divides the same rows, but for its defaults; None for texts without labels."""
        if not self._has_labels():
            return None
        defaults = flat(TextDataModule().hparams) | {"source": None}
        return {name: value for name, value in flat(self._as_fit()).items() if value != defaults[name]}

    def _as_fit(self) -> dict[str, Any]:
        return {name: self.hparams[name] for name in AS_FIT}

    def _has_labels(self) -> bool:
        return has_labels(self.source, self.label_column, self.file_format)

    # ---------------------------------------------------------------- files of tokens

    def _tokenizer(self, train: bool = False) -> Tokenizer:
        """The tokenizer that is named, or the one that was trained on the training texts; or is, with ``train``."""
        if isinstance(self.tokenizer, str):
            return tokenizer_named(self.tokenizer)
        folder = self._computed(plain(self.tokenizer))
        if train and not (folder / "tokenizer.json").is_file():
            trained = tokenizer_for(self.tokenizer, self._streams()[0]["train"]())
            _save_array(writable_folder(folder) / "vocabulary.npy", trained.vocabulary().numpy())
            _save_json(folder / "tokenizer.json", trained.settings())  # last: with it, the folder is complete
        settings = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        return restore_tokenizer(settings, torch.from_numpy(np.load(folder / "vocabulary.npy")))

    def _folder(self, tokenizer: Tokenizer) -> Path:
        """The folder of the files of tokens, by everything that they depend on."""
        vocabulary = tokenizer.vocabulary().numpy().tobytes()
        return self._computed(tokenizer.settings(), blake2b(vocabulary, digest_size=12).hexdigest())

    def _computed(self, *tokenizer: Any) -> Path:
        """The folder for what is computed from the training texts with a tokenizer, given as plain values."""
        paths = [path for source in self.sources if not datasets.is_named(source) for path in find_files(source)]
        stats = [(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in paths]
        depends = json.dumps([LAYOUT, self._as_fit(), self.val_share, stats, *tokenizer])
        return computed_folder() / PRETRAINING / blake2b(depends.encode(), digest_size=12).hexdigest()

    def _write(self, folder: Path, tokenizer: Tokenizer) -> None:
        known: set[int] = set()
        texts, prompts = {"train": 0, "val": 0}, list[str]()

        def counted(name: str, documents: Iterable[str]) -> Iterator[str]:
            for text in documents:
                texts[name] += 1
                if name == "train":
                    known.add(int(compute_fingerprints([text])[0]))
                elif len(prompts) < PROMPTS:
                    prompts.append(text[:1000])
                yield text

        streams, divided = self._streams()
        for name, stream in streams.items():
            pack(counted(name, stream()), tokenizer, folder / f"{name}.bin")
        if not texts["train"]:
            raise InputError(
                f"there is no text to train on in {datasets.title(self.source)}: expected texts, not blanks"
            )
        _save_array(folder / "fingerprints.npy", np.array(sorted(known), dtype=np.int64))
        _save_json(folder / STATISTICS, asdict(Statistics(texts, divided, prompts)))  # last: the folder is complete

    def _streams(self) -> tuple[dict[str, Callable[[], Iterable[str]]], str]:
        """What yields the texts of train and val, and how they were divided."""
        if self._has_labels():
            tables = TextDataModule(**self._as_fit()).read_tables()
            texts = {name: [text for text in table["text"] if text] for name, table in tables.items()}
            divided = f"split {self.hparams['split']} as by fit, {len(tables.get('test', ())):,} test texts left out"
            return {name: partial(list, texts.get(name, [])) for name in ("train", "val")}, divided
        if len(self.sources) > 1:
            raise InputError("val_source and test_source are for texts with labels: leave them out, or name the column")
        if (column := self.splitting.split_column) is not None:
            raise InputError(
                f"splitting.split_column is {column}, but the texts have no labels, so they are not divided as by fit: "
                "name the label column, or leave out split_column and the test rows"
            )
        divided = f"texts without labels, {self.val_share:.0%} held out"
        return {"train": partial(self._documents, False), "val": partial(self._documents, True)}, divided

    def _documents(self, held_out: bool) -> Iterator[str]:
        for text in read_documents(self.source, self.columns, self.file_format):
            if is_held_out(text, self.val_share) == held_out:
                yield text

    # ---------------------------------------------------------------- batches

    def train_dataloader(self) -> DataLoader[Any]:
        """Every block once per epoch; a resumed run continues with the next batch of its epoch."""
        packed = self.packed["train"]
        ones = np.ones(len(packed), dtype=np.int64)  # blocks of equal length
        return loader(packed, self.new_training_batches(ones, self.batch_size))

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        packed = self.packed["val"]
        numbers = list(range(len(packed)))
        batches = [numbers[i : i + self.batch_size] for i in range(0, len(numbers), self.batch_size)]
        return loader(packed, EvaluationBatches(batches, *self.process())) if batches else []

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Counts training batches, so that a resumed run skips them, and sets the weight of each one's tokens.

        The gradient of a step is the mean over all its tokens, over accumulated batches and over processes; the short
        last block counts as a whole one, so that its tokens weigh as much as others.
        """
        if self.trainer is None or not self.trainer.training:
            return batch
        tokens = self.count_rows_of_step() * self.max_length
        batches = self.trainer.accumulate_grad_batches
        return batch._replace(weight=batches * self.trainer.world_size / tokens)


def _save_array(path: Path, array: np.ndarray) -> None:
    with whole_file(path) as scratch, open(scratch, "wb") as file:
        np.save(file, array)


def _save_json(path: Path, value: Any) -> None:
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(value), encoding="utf-8")
