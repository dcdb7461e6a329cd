"""Turns texts without labels, or those that a fit would train on, into blocks of tokens for a language model."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
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
from gpt_classifier.data.duplicates import fingerprints
from gpt_classifier.data.rare_classes import RareClasses
from gpt_classifier.data.readers import FileFormat
from gpt_classifier.data.resumable import ResumableDataModule
from gpt_classifier.data.samplers import EvaluationBatches, loader
from gpt_classifier.data.splits import Split, SplittingConfig
from gpt_classifier.errors import InputError
from gpt_classifier.files import PRETRAINING, computed_folder, whole_file, writable_folder
from gpt_classifier.pretraining.packing import Packed, pack, token_dtype
from gpt_classifier.pretraining.texts import documents, files, has_labels, is_held_out
from gpt_classifier.settings import flat, grouped
from gpt_classifier.text.bpe import TrainTokenizer, tokenizer_for
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.text.tokenizers import Tokenizer, restore_tokenizer, tokenizer_named

PROMPTS = 16  # number of validation texts that are kept for samples
LAYOUT = 1  # of the files of tokens; another number makes those on disk unused


class PretrainingData(ResumableDataModule):
    """Texts as blocks of tokens without padding, each token predicted once an epoch.

    Texts with labels are divided as by ``fit`` with the same settings: rows of ``train`` are trained on, those of
    ``val`` validate, those of ``test`` are not read into tokens. Of texts without labels, a share validates. The files
    of tokens lie in the folder of computed files, from which a resumed run reads them.

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
        val_share: Share of the texts without labels that validates; near-duplicates stay together.
        tokenizer: ``gpt2``, ``bytes``, ``{train: 4096}`` (byte pairs of that many tokens, learned from the training
            texts), a name on the Hugging Face hub, or a folder with a tokenizer, such as a model folder.
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
        self.file_format = grouped(FileFormat, "file_format", file_format)
        self.splitting = grouped(SplittingConfig, "splitting", splitting)
        for name, value in (("max_length", max_length), ("batch_size", batch_size)):
            if value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        if not 0 <= val_share < 1:
            raise InputError(f"val_share is {val_share}, expected a share of the texts from 0 to below 1")
        self.source, self.val_source, self.test_source = source, val_source, test_source
        self.label_column, self.val_share = label_column, val_share
        self.max_length, self.batch_size = max_length, batch_size
        self.columns = Columns(text_column, None, separator=text_separator)
        self.tokenizer = tokenizer if isinstance(tokenizer, str) else grouped(TrainTokenizer, "tokenizer", tokenizer)
        as_fit: dict[str, Any] = {
            "source": source,
            "val_source": val_source,
            "test_source": test_source,
            "text_column": text_column,
            "text_separator": text_separator,
            "label_column": label_column,
            "multi_label": multi_label,
            "rare_classes": rare_classes,
            "split": split,
        }
        self._as_fit = as_fit | {"file_format": asdict(self.file_format), "splitting": asdict(self.splitting)}
        self.facts: dict[str, Any] = {}  # numbers of texts and tokens, and some validation texts
        self.trained_on: Tensor  # fingerprints of the training texts
        self.packed: dict[str, Packed] = {}
        self.text_encoder: TextEncoder

    def prepare_data(self) -> None:
        """Writes the files of tokens, unless they are there; called on one process of each machine."""
        for source in (self.source, self.val_source, self.test_source):
            if source is not None:
                datasets.prepare(source)
        tokenizer = self._tokenizer(learn=True)
        folder = self._folder(tokenizer)
        if not (folder / "facts.json").is_file():
            self._write(writable_folder(folder), tokenizer)

    def setup(self, stage: str) -> None:
        tokenizer = self._tokenizer()
        self.text_encoder = TextEncoder(tokenizer, self.max_length)
        folder, dtype = self._folder(tokenizer), token_dtype(tokenizer.vocab_size)
        self.facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
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
        texts = f"{self.facts['texts']['train']:,} texts with the hash {self._folder(self._tokenizer()).name}"
        return {"the train texts": texts, "data.max_length": self.max_length, "data.batch_size": self.batch_size}

    def summary(self) -> str:
        """A line for each split."""
        lines = [f"{datasets.title(self.source)}, {self.facts['divided']}"]
        for name, packed in self.packed.items():
            texts = self.facts["texts"][name]
            lines.append(f"  {name:5} {texts:9,} texts, {packed.tokens:11,} tokens, {len(packed):7,} blocks")
        return "\n".join(lines)

    def _tokenizer(self, learn: bool = False) -> Tokenizer:
        """The tokenizer that is named, or the one that was learned from the training texts; or is, with ``learn``."""
        if isinstance(self.tokenizer, str):
            return tokenizer_named(self.tokenizer)
        folder = self._computed([*self._texts(), asdict(self.tokenizer)])
        if learn and not (folder / "tokenizer.json").is_file():
            learned = tokenizer_for(self.tokenizer, self._streams()[0]["train"]())
            with whole_file(writable_folder(folder) / "vocabulary.npy") as path, open(path, "wb") as file:
                np.save(file, learned.vocabulary().numpy())
            with whole_file(folder / "tokenizer.json") as path:  # last: with it, the folder is complete
                path.write_text(json.dumps(learned.settings()), encoding="utf-8")
        settings = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        return restore_tokenizer(settings, torch.from_numpy(np.load(folder / "vocabulary.npy")))

    def _folder(self, tokenizer: Tokenizer) -> Path:
        """The folder of the files of tokens, by everything that they depend on."""
        vocabulary = tokenizer.vocabulary().numpy().tobytes()
        return self._computed([*self._texts(), tokenizer.settings(), blake2b(vocabulary, digest_size=12).hexdigest()])

    @staticmethod
    def _computed(depends: list[Any]) -> Path:
        return computed_folder() / PRETRAINING / blake2b(json.dumps(depends).encode(), digest_size=12).hexdigest()

    def _texts(self) -> list[Any]:
        """What the training texts depend on, as plain values."""
        given = [source for source in (self.source, self.val_source, self.test_source) if source is not None]
        stats = [
            (path, os.stat(path).st_size, os.stat(path).st_mtime_ns)
            for source in given
            if not datasets.is_named(source)
            for path in files(source)
        ]
        return [LAYOUT, self._as_fit, self.val_share, stats]

    def _write(self, folder: Path, tokenizer: Tokenizer) -> None:
        known: set[int] = set()
        texts, prompts = {"train": 0, "val": 0}, list[str]()

        def counted(name: str, documents: Iterable[str]) -> Iterator[str]:
            for text in documents:
                texts[name] += 1
                if name == "train":
                    known.add(int(fingerprints([text])[0]))
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
        with whole_file(folder / "fingerprints.npy") as path, open(path, "wb") as file:
            np.save(file, np.array(sorted(known), dtype=np.int64))
        with whole_file(folder / "facts.json") as path:  # last: with it, the folder is complete
            path.write_text(json.dumps({"texts": texts, "divided": divided, "prompts": prompts}), encoding="utf-8")

    def settings_of_fit(self) -> dict[str, Any] | None:
        """The settings with which fit divides the same rows, but for its defaults; None for texts without labels."""
        if not has_labels(self.source, self.label_column, self.file_format):
            return None
        usual = flat(TextDataModule().hparams) | {"source": None}
        return {name: value for name, value in flat(self._as_fit).items() if value != usual[name]}

    def _streams(self) -> tuple[dict[str, Callable[[], Iterable[str]]], str]:
        """What yields the texts of train and val, and how they were divided."""
        if has_labels(self.source, self.label_column, self.file_format):
            tables = TextDataModule(**self._as_fit).read_tables()
            texts = {
                name: [t for t in tables[name]["text"] if t] if name in tables else [] for name in ("train", "val")
            }
            tests = len(tables["test"]) if "test" in tables else 0
            divided = f"split {self._as_fit['split']} as by fit, {tests:,} test texts left out"
            return {name: lambda name=name: texts[name] for name in texts}, divided  # type: ignore[misc]
        if self.val_source is not None or self.test_source is not None:
            raise InputError("val_source and test_source are for texts with labels: leave them out, or name the column")
        if (column := self.splitting.split_column) is not None:
            raise InputError(
                f"splitting.split_column is {column}, but the texts have no labels, so they are not divided as by fit: "
                "name the label column, or leave out split_column and the test rows"
            )

        def part(held_out: bool) -> Callable[[], Iterable[str]]:
            return lambda: (
                text
                for text in documents(self.source, self.columns, self.file_format)
                if is_held_out(text, self.val_share) == held_out
            )

        return {"train": part(False), "val": part(True)}, f"texts without labels, {self.val_share:.0%} held out"

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
