"""From a source of labelled text to batches for training, evaluation and prediction, on record."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from gpt_classifier import files
from gpt_classifier.data import checks, sources, splits
from gpt_classifier.data.encoded import EncodedTexts, StreamedTexts
from gpt_classifier.data.fingerprints import trained_on, training_fingerprints
from gpt_classifier.data.reading import read_columns
from gpt_classifier.data.sampling import BatchesOfRows, EvaluationBatches, TrainingBatches
from gpt_classifier.encoding import Batch, TextEncoder, batch_tokens
from gpt_classifier.errors import InputError

IN_MEMORY = "the given table"  # stands for a source that is no file


class TextDataModule(L.LightningDataModule):
    """Labelled text as padded batches of token ids.

    After ``setup``, ``labels`` are the class names in the order of the logits, ``encoder`` is the road from text to
    ids, and ``class_weights`` (K,) weight the loss or are None.

    Args:
        source: ``sms_spam``, ``imdb``, ``sample``, or a .csv, .tsv, .jsonl or .parquet file to train on (and to split,
            where no other file is given).
        val_source: A file to validate on; else a part of ``source``.
        test_source: A file to test on; else a part of ``source``.
        text_column: Name of the column with the texts.
        label_column: Name of the column with the class names.
        labels: The class names in the order of the logits; by default those of the training rows, sorted.
        split: ``grouped`` (stratified by class, near-copies never on two sides), ``random`` (stratified by class), or
            the book's own ``chapter6`` and ``article_table`` (with source ``sms_spam``).
        fractions: Shares of train, val and test.
        split_seed: Chooses the split and the undersampled rows.
        folds: For cross-validation, the number of parts that all rows are divided into; 0 for one split by fractions.
        fold: Number of the part to test on, from 0; the others are train and val, in the proportion of fractions.
        balance: Of the training rows: ``none``, ``undersample`` (as many of each class as of the smallest), or
            ``class_weights`` (all rows, the loss weighted by 1 / class frequency).
        empty: What to do with rows without text in training and evaluation: ``drop``, ``keep`` (as one end-of-text
            token) or ``error``. Prediction keeps them, so that each row gets an answer.
        tokenizer: ``gpt2`` (needed for GPT-2's weights), ``bytes`` (needs no download), or that of an encoder: its name
            on the Hugging Face hub, or a folder with its tokenizer.json.
        max_length: Most tokens of a text.
        truncation: What stays of a longer text: ``head``, ``tail`` or ``head+tail``.
        pad_to: Width of batches: ``longest`` (of the batch), ``longest_train`` (of all training texts), or a number of
            tokens, such as the model's context. Texts beyond the width are truncated to it.
        batch_size: Texts of one training step on each device.
        group_by_length: Whether training batches bring together texts of like length, which saves padding.
        eval_tokens: Most tokens of one evaluation batch, padding included; by default what suits the device.
    """

    def __init__(
        self,
        source: str = "sample",
        val_source: str | None = None,
        test_source: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        labels: list[str] | None = None,
        split: Literal["grouped", "random", "chapter6", "article_table"] = "grouped",
        fractions: list[float] = [0.7, 0.1, 0.2],  # noqa: B006 - never changed; a tuple would not be plain YAML
        split_seed: int = 123,
        folds: int = 0,
        fold: int = 0,
        balance: Literal["none", "undersample", "class_weights"] = "none",
        empty: Literal["drop", "keep", "error"] = "drop",
        tokenizer: str = "gpt2",
        max_length: int = 1024,
        truncation: Literal["head", "tail", "head+tail"] = "head",
        pad_to: int | Literal["longest", "longest_train"] = "longest",
        batch_size: int = 8,
        group_by_length: bool = False,
        eval_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        if len(fractions) != 3 or min(fractions) < 0 or fractions[0] == 0 or abs(sum(fractions) - 1) > 1e-6:
            raise InputError(f"fractions are {fractions}, expected three of train, val and test that sum to 1")
        for name, value, allowed in (
            ("split", split, [*splits.BY_FRACTIONS, *splits.OF_THE_BOOK]),
            ("balance", balance, ["none", "undersample", "class_weights"]),
            ("empty", empty, ["drop", "keep", "error"]),
        ):
            if value not in allowed:
                raise InputError(f"{name} is {value!r}, expected one of {', '.join(allowed)}")
        if pad_to not in ("longest", "longest_train") and not str(pad_to).isdigit():
            raise InputError(f"pad_to is {pad_to!r}, expected longest, longest_train or a number of tokens")
        for name, number, least in (
            ("batch_size", batch_size, 1),
            ("eval_tokens", 1 if eval_tokens is None else eval_tokens, 1),
        ):
            if number < least:
                raise InputError(f"{name} is {number}, expected at least {least}")
        if labels is not None and len(set(labels)) != len(labels):
            raise InputError(f"labels are {labels}, expected distinct names")
        if split in splits.OF_THE_BOOK and source != "sms_spam":
            raise InputError(f"split {split} is a division of sms_spam, but source is {source}: use grouped or random")
        if (folds or fold) and (folds < 2 or not 0 <= fold < folds):
            raise InputError(f"folds are {folds} and fold is {fold}, expected at least 2 folds and 0 <= fold < folds")
        if folds and (split in splits.OF_THE_BOOK or test_source is not None):
            raise InputError("folds divide one source by split grouped or random: leave out test_source, change split")
        self.source, self.val_source, self.test_source = source, val_source, test_source
        self.part = splits.Part(fold, folds) if folds else None
        self.text_column, self.label_column = text_column, label_column
        self.declared_labels = labels
        self.split, self.fractions, self.split_seed, self.balance = split, list(fractions), split_seed, balance
        self.empty = empty
        self.tokenizer, self.max_length, self.truncation, self.pad_to = tokenizer, max_length, truncation, pad_to
        self.batch_size, self.group_by_length, self.eval_tokens = batch_size, group_by_length, eval_tokens

        self.labels: list[str] = list(labels or [])
        self.class_weights: torch.Tensor | None = None
        self.encoder: TextEncoder
        self.tables: splits.Splits = {}
        self.encoded: dict[str, EncodedTexts] = {}
        self.notes: list[str] = []  # what happened to rows on the way, a sentence each
        self._given: splits.Splits | None = None
        # What a model may put in place of a split's rows when batches are made: the same rows, further down the road.
        self.view: Callable[[EncodedTexts], Dataset[Any]] = lambda encoded: encoded

    @classmethod
    def from_tables(
        cls,
        train: pd.DataFrame | None = None,
        val: pd.DataFrame | None = None,
        test: pd.DataFrame | None = None,
        predict: pd.DataFrame | None = None,
        **settings: Any,
    ) -> "TextDataModule":
        """From DataFrames in memory, with ``text_column`` and ``label_column`` as for files.

        A trained model needs no ``train``: it can be tested on ``test`` alone. ``predict`` needs no labels; without it,
        prediction takes the rows of ``train``, as it takes those of ``source`` from files.
        """
        data = cls(source=IN_MEMORY, **settings)
        given = {"train": train, "val": val, "test": test, "predict": predict}
        data._given = {
            name: _from_memory(frame, data.text_column, None if name == "predict" else data.label_column)
            for name, frame in given.items()
            if frame is not None
        }
        return data

    @classmethod
    def from_lists(cls, texts: Sequence[str], labels: Sequence[str], /, **settings: Any) -> "TextDataModule":
        """From texts and the class name of each; they are split as a file's rows would be."""
        if len(texts) != len(labels):
            raise InputError(
                f"{len(texts)} texts and {len(labels)} labels were given, expected one label for each text"
            )
        settings = {"text_column": "text", "label_column": "label"} | settings
        columns = {settings["text_column"]: list(texts), settings["label_column"]: list(labels)}
        return cls.from_tables(pd.DataFrame(columns), **settings)

    def prepare_data(self) -> None:
        """Downloads what is missing; called on one process of each machine."""
        for source in (self.source, self.val_source, self.test_source):
            if source is not None and self._given is None:
                sources.prepare(source)
        if self._models("encoder") is None:
            files.keep_tokenizer_files()
            TextEncoder(self.tokenizer)

    def _models(self, name: str) -> Any:
        """What a model that was loaded knows: how its texts were encoded, what its classes are called."""
        return getattr(getattr(self.trainer, "lightning_module", None), name, None)

    def setup(self, stage: str) -> None:
        encoder: TextEncoder | None = self._models("encoder")
        self.declared_labels = self._models("labels") or self.declared_labels
        if stage == "predict":
            self.encoder = encoder or self._new_encoder()
        elif (needed := self._needed(stage)) not in self.encoded:
            self._setup_tables(needed)
            self._encode(encoder)
            rank_zero_info(self.summary())

    def _needed(self, stage: str) -> str:
        """``train``, which others are split off, or what a model is scored on where that is a file of its own."""
        name = {"validate": "val", "test": "test"}.get(stage, "train")
        given = {"val": self.val_source, "test": self.test_source} if self._given is None else self._given
        return name if given.get(name) is not None and self._models("labels") else "train"

    def _setup_tables(self, needed: str) -> None:
        given, self.without_text = checks.without_empty(self._read(needed), self.empty)
        files_ = {"train": self.source, "val": self.val_source, "test": self.test_source}
        self.labels = checks.class_names(
            given, self.declared_labels, {name: files_[name] or self.source for name in given}
        )
        self.class_weights = None
        self.notes = []
        if needed != "train":
            self.tables = given
            return
        self.tables = self._divide(given)
        self.notes = checks.label_conflicts(self.tables)
        train = self.tables["train"]
        if self.balance == "undersample":
            self.tables["train"] = splits.undersample(train, self.split_seed)
            dropped = train["label"].value_counts() - self.tables["train"]["label"].value_counts()
            counts_text = ", ".join(f"{dropped[name]:,} {name}" for name in self.labels if dropped.get(name))
            if counts_text:
                self.notes.append(f"training rows dropped by undersampling: {counts_text}")
        elif self.balance == "class_weights":
            counts = torch.tensor([(train["label"] == name).sum() for name in self.labels])
            if not counts.all():
                raise InputError(f"class {self.labels[int(counts.argmin())]!r} has no training row to weigh")
            # With these, the weights of the training rows have mean 1: the size of the loss does not change.
            self.class_weights = counts.sum() / (len(counts) * counts)

    def _read(self, needed: str) -> splits.Splits:
        if self._given is not None:
            if needed not in self._given:
                raise InputError(f"no {needed} rows were given: expected a table of them")
            wanted = splits.NAMES if needed == "train" else (needed,)
            return {name: table for name, table in self._given.items() if name in wanted}
        given = {"val": self.val_source, "test": self.test_source}
        if needed != "train":
            return {needed: sources.load(str(given[needed]), self.text_column, self.label_column)["train"]}
        if self.split in splits.OF_THE_BOOK:
            return sources.load_sms_spam_as_the_book()
        tables = sources.load(self.source, self.text_column, self.label_column)
        for name, source in given.items():
            if source is not None:
                tables[name] = sources.load(source, self.text_column, self.label_column)["train"]
        return tables

    def _divide(self, given: splits.Splits) -> splits.Splits:
        if self.split in splits.OF_THE_BOOK:
            return splits.OF_THE_BOOK[self.split](given["train"])
        train, val, test = (
            0.0 if n in given and n != "train" else f for n, f in zip(splits.NAMES, self.fractions, strict=True)
        )
        if val == 0 and test == 0 and self.part is None:
            return given
        total = train + val + test
        parts = splits.BY_FRACTIONS[self.split](
            given["train"], (train / total, val / total, test / total), self.split_seed, self.part
        )
        return parts | {name: table for name, table in given.items() if name != "train"}

    def _new_encoder(self, longest_train: int | None = None) -> TextEncoder:
        files.keep_tokenizer_files()
        width = {"longest": None, "longest_train": longest_train}.get(str(self.pad_to), self.pad_to)
        return TextEncoder(self.tokenizer, self.max_length, self.truncation, None if width is None else int(width))

    def _encode(self, encoder: TextEncoder | None) -> None:
        self.encoder = encoder or self._new_encoder()
        self.encoded.clear()
        if "train" in self.tables:
            self.encoded["train"] = self._encode_table("train")
        if encoder is None and self.pad_to == "longest_train":
            self.encoder = self._new_encoder(int(self.encoded["train"].lengths.max()))
            self.encoded["train"].encoder = self.encoder
        for name in self.tables.keys() - {"train"}:
            self.encoded[name] = self._encode_table(name)

    def _encode_table(self, name: str) -> EncodedTexts:
        table = self.tables[name]
        labels = torch.tensor(table["label"].map({n: i for i, n in enumerate(self.labels)}).to_numpy(np.int64))
        index = torch.tensor(table["row"].to_numpy(np.int64))
        return EncodedTexts(table["text"], self.encoder, labels, index)

    def summary(self) -> str:
        """One line for each split and one for whatever happened to rows and texts on the way."""
        lines = [f"{self.source}, split {self.split}, classes {', '.join(self.labels)}"]
        for name in splits.NAMES:
            if name in self.tables:
                counts = self.tables[name]["label"].value_counts()
                shares = ", ".join(f"{counts.get(label, 0):,} {label}" for label in self.labels)
                longest = self.encoded[name].lengths.max()
                lines.append(f"  {name:5} {len(self.tables[name]):7,} rows ({shares}), longest {longest} tokens")
        if self.without_text:
            lines.append(f"  {self.without_text} rows without text: {'dropped' if self.empty == 'drop' else 'kept'}")
        lines += [f"  {note}" for note in self.notes]
        truncated = {name: encoded.truncated for name, encoded in self.encoded.items() if encoded.truncated}
        if truncated:
            counts_text = ", ".join(f"{count:,} in {name}" for name, count in truncated.items())
            lines.append(f"  texts cut to {self.encoder.max_length} tokens ({self.truncation} kept): {counts_text}")
        known = self._models("trained_on")
        if known is None and "train" in self.tables:
            known = training_fingerprints(self.tables["train"]["text"])
        for name in splits.NAMES[1:] if known is not None else ():
            if name in self.tables and (copies := int(trained_on(self.tables[name]["text"], known).sum())):
                lines.append(f"  {copies} {name} texts are near-copies of training texts: {name} scores are optimistic")
        return "\n".join(lines)

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None  # Lightning calls this
        encoded = self.encoded["train"]
        trainer = self.trainer

        # Counted in batches: a resumed trainer's own count of epochs is one behind when it asks for the first batch.
        def batches_begun() -> int:
            return trainer.fit_loop.epoch_loop.batch_progress.total.ready

        def epoch_length() -> int:
            return max(1, int(min(len(batches), trainer.num_training_batches)))

        batches = TrainingBatches(
            encoded.lengths,
            self.batch_size,
            int(os.environ.get("PL_GLOBAL_SEED", 0)),
            lambda: batches_begun() // epoch_length(),
            trainer.global_rank,
            trainer.world_size,
            pool=50 if self.group_by_length else 1,
            done=lambda: batches_begun() % epoch_length(),
        )
        self._training_batches = batches
        return self._loader(encoded, batches)

    def texts_of_step(self, batch_number: int, batches: int) -> int:
        """Texts, over all processes, of the optimizer's step that this batch of the epoch and its neighbours make."""
        assert self.trainer is not None
        start = batch_number // batches * batches
        end = min(start + batches, int(self.trainer.num_training_batches))
        return sum(self._training_batches.round_lengths[start:end])

    def val_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_dataloader("test")

    def evaluation_dataloader(self, name: str) -> DataLoader[Any]:
        """Every row of the split ``name`` once, in batches of like length."""
        if name not in self.encoded:
            raise InputError(f"there are no {name} rows: give --data.{name}_source or a {name} fraction above 0")
        assert self.trainer is not None
        encoded = self.encoded[name]
        batches = self.encoder.rows_by_length(encoded.lengths, self._eval_tokens())
        mine = EvaluationBatches(batches, self.trainer.global_rank, self.trainer.world_size)
        return self._loader(encoded, mine)

    def _eval_tokens(self) -> int:
        assert self.trainer is not None
        return self.eval_tokens or batch_tokens(self.trainer.strategy.root_device.type)

    def _loader(self, encoded: EncodedTexts, batches: BatchesOfRows) -> DataLoader[Any]:
        # Without worker processes: texts are tokenized beforehand, so there is nothing to prepare but the padding, and
        # the batches of a resumed run follow from the trainer's counts, which a worker would know as they were.
        return DataLoader(self.view(encoded), sampler=batches, batch_size=None, collate_fn=_as_it_is)

    def predict_dataloader(self) -> DataLoader[list[Batch]]:
        """All rows of ``source`` in their order, labels not needed; read as a stream."""
        assert self.trainer is not None
        chunks: Iterable[pd.DataFrame]
        if self._given is not None:
            if not (given := self._given.get("predict", self._given.get("train"))) is not None:
                raise InputError("no rows to predict were given")
            chunks = [given]
        elif self.source in sources.NAMED:
            chunks = [sources.load(self.source)["train"]]
        else:
            chunks = sources.read_chunks(self.source, self.text_column, rows=2000)
        texts = StreamedTexts(
            chunks, self.encoder, self._eval_tokens(), self.trainer.global_rank, self.trainer.world_size
        )
        return DataLoader(texts, batch_size=None, collate_fn=_as_it_is)

    def columns(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """These columns of the rows to predict, chunk by chunk, in order."""
        if self.source in sources.NAMED:
            raise InputError(f"{self.source} has no columns to keep: name a file with --data.source")
        return read_columns(self.source, names)


def _as_it_is(item: Any) -> Any:
    return item


def _from_memory(frame: pd.DataFrame, text_column: str, label_column: str | None) -> pd.DataFrame:
    for column in (text_column, label_column):
        if column is not None and column not in frame.columns:
            raise InputError(
                f"the table has no column {column!r}; its columns are {', '.join(map(str, frame.columns))}"
            )
    return sources.table(frame[text_column], frame[label_column] if label_column else [None] * len(frame))
