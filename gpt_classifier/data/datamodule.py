"""Turns labelled text into batches for training, evaluation and prediction, and keeps the settings that it used."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gpt_classifier.data import datasets, readers
from gpt_classifier.data.augmentation import AugmentationConfig, AugmentedTexts
from gpt_classifier.data.balance import Balance
from gpt_classifier.data.datasets import Columns
from gpt_classifier.data.encoded import UNFITTED, EncodedTexts, Encoding, StreamedTexts, encode_table
from gpt_classifier.data.labels import check_class_names
from gpt_classifier.data.preparation import Empty, Preparation, Rows, choose_unlabelled
from gpt_classifier.data.rare_classes import RareClasses
from gpt_classifier.data.readers import FileFormat
from gpt_classifier.data.resumable import ResumableDataModule, training_seed
from gpt_classifier.data.samplers import BatchingConfig, EvaluationBatches, loader
from gpt_classifier.data.sources import IN_MEMORY, Sources, build_table, check_sources, use_tables
from gpt_classifier.data.splits import OF_THE_BOOK, Split, Splits, SplittingConfig
from gpt_classifier.data.summary import summarize
from gpt_classifier.errors import InputError
from gpt_classifier.settings import check_choice, grouped, plain
from gpt_classifier.text.bpe import TrainTokenizer
from gpt_classifier.text.encoder import Batch, TextEncoder, Truncation, WindowsConfig, batch_tokens


class TextDataModule(ResumableDataModule):
    """Labelled text as padded batches of token ids.

    After ``setup``, ``class_names`` are in the order of the logits, ``text_encoder`` turns texts into
    ids, and ``class_weights`` (K,) weight the loss or are None. Where a text may have any number of labels
    (``multi_label``), these are the classes. A group of settings is a ``FileFormat``, ``SplittingConfig``,
    ``BatchingConfig`` or ``AugmentationConfig``, or a mapping of its fields: ``splitting={"folds": 5}``.

    Args:
        source: Data to train on (and to split, unless other files are given): ``sms_spam``, ``imdb``, ``sample``, a
            .csv, .tsv, .jsonl, .json or .parquet file, several files, or a pattern such as ``data/*.csv``.
        val_source: Files to validate on; by default a part of ``source``.
        test_source: Files to test on; by default a part of ``source``.
        unlabelled_source: Texts without labels (files, or a named data set) that train too, with the predictions
            of ``model.teacher``; their texts are in ``text_column``.
        text_column: Name of the column with the texts, or names of several columns whose texts are joined.
        text_separator: Separator of the texts of several columns; missing texts are skipped.
        label_column: Name of the column with the class names, or names of several columns, one for each label.
        multi_label: How the labels of a text are written where it may have none or several: what stands between them,
            such as ``|``, ``lists`` (in JSON and Parquet files), or ``columns`` (of 0 and 1, named by
            ``label_column``). By default each text has exactly one label.
        class_names: Class names in the order of the logits; by default those of the training rows, sorted.
        balance: How to balance the classes of the training rows: ``none``, ``undersample`` (as many rows of each class
            as of the smallest), or ``class_weights`` (all rows, the loss weighted by 1 / class frequency; with several
            labels that of texts with a label by the number of those without it over that of those with it).
        empty: What to do with rows without text in training and evaluation: ``drop``, ``keep`` (as one end-of-text
            token) or ``error``. Prediction keeps them, so that each row gets a prediction.
        rare_classes: What to do with classes that have too few distinct texts to be split: ``error``, ``drop`` their
            rows, or ``merge`` them into one class ``other``.
        split: ``grouped`` (stratified by class or label, near-duplicates in the same split), ``random`` (stratified),
            or the book's own ``chapter6`` and ``article_table`` (with source ``sms_spam``).
        tokenizer: ``gpt2`` (needed for GPT-2's weights), ``bytes`` (needs no download), ``{train: 4096}`` (a BPE
            of that many tokens, trained on the training rows), a model folder or run of this package for its
            tokenizer, or that of a published network: its name on the Hugging Face hub, a folder with its
            tokenizer.json, or a .gguf file.
        max_length: Maximum number of tokens per text.
        truncation: Which part of a longer text is kept: ``head``, ``tail`` or ``head+tail``.
        windows: Windows in which texts beyond ``max_length`` are read as a whole, instead of being truncated:
            ``{stride: 128, aggregate: mean, limit: 16}``.
        batch_size: Number of texts in a training batch on each device.
        file_format: How CSV, TSV and JSON files are read.
        splitting: How rows are divided into train, val and test.
        batching: Padding, grouping by length, and the size of evaluation batches.
        augmentation: Random changes to training texts: parts of them, without some words, in another case.
    """

    def __init__(
        self,
        source: str | list[str] = "sample",
        val_source: str | list[str] | None = None,
        test_source: str | list[str] | None = None,
        unlabelled_source: str | list[str] | None = None,
        text_column: str | list[str] = "text",
        text_separator: str = "\n",
        label_column: str | list[str] = "label",
        multi_label: str | None = None,
        class_names: list[str | int | float | bool] | None = None,
        balance: Balance = "none",
        empty: Empty = "drop",
        rare_classes: RareClasses = "error",
        split: Split = "grouped",
        tokenizer: str | dict[str, int] = "gpt2",
        max_length: int = 1024,
        truncation: Truncation = "head",
        windows: WindowsConfig | None = None,
        batch_size: int = 8,
        file_format: FileFormat = readers.AS_NAMED,
        splitting: SplittingConfig = SplittingConfig(),
        batching: BatchingConfig = BatchingConfig(),
        augmentation: AugmentationConfig = AugmentationConfig(),
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.file_format = grouped(FileFormat, "file_format", file_format)
        self.splitting = grouped(SplittingConfig, "splitting", splitting)
        self.batching = grouped(BatchingConfig, "batching", batching)
        self.augmentation = grouped(AugmentationConfig, "augmentation", augmentation)
        self.windows = None if windows is None else grouped(WindowsConfig, "windows", windows)
        self.tokenizer = tokenizer if isinstance(tokenizer, str) else grouped(TrainTokenizer, "tokenizer", tokenizer)
        groups = ("file_format", "splitting", "batching", "augmentation", "windows", "tokenizer")
        self.hparams.update({name: plain(getattr(self, name)) for name in groups})  # for checkpoints and model folders
        check_choice("truncation", truncation, Truncation)
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, expected at least 1")
        names = check_class_names(class_names)
        if multi_label == datasets.COLUMNS:
            names = names or ([label_column] if isinstance(label_column, str) else list(label_column))
        self.preparation = Preparation(
            names or None, multi_label is not None, empty, rare_classes, split, self.splitting, balance
        )
        group, part = self.splitting.group_column, self.splitting.split_column
        columns = Columns(text_column, label_column, group, part, text_separator, multi_label)
        others, as_the_book = (val_source, test_source, unlabelled_source), split in OF_THE_BOOK
        self.sources = Sources(source, *others, columns, self.file_format, as_the_book)
        check_sources(self.sources, split, self.splitting)
        self.source, self.val_source, self.test_source = source, val_source, test_source
        self.multi_label = multi_label is not None
        self.encoding = Encoding(self.tokenizer, max_length, truncation, self.windows, self.batching.pad_to)
        self.batch_size = batch_size

        self.fitted = UNFITTED  # what the model brings that these data are used with
        self.text_encoder: TextEncoder
        self.rows = Rows({}, names, 0)
        self.encoded: dict[str, EncodedTexts] = {}
        self._view: Callable[[EncodedTexts], Dataset[Any]] = lambda encoded: encoded

    @classmethod
    def from_tables(
        cls,
        train: pd.DataFrame | None = None,
        val: pd.DataFrame | None = None,
        test: pd.DataFrame | None = None,
        predict: pd.DataFrame | None = None,
        **settings: Any,
    ) -> "TextDataModule":
        """A data module for tables in memory, of pandas, polars or pyarrow, whose columns are named as for files.

        ``train`` may be left out to test a trained model on ``test`` alone. ``predict`` needs no labels; without it,
        the rows of ``train`` are classified, as those of ``source`` are for files.
        """
        data = cls(source=IN_MEMORY, **settings)
        given = {"train": train, "val": val, "test": test, "predict": predict}
        data.sources = use_tables(data.sources, given, data.preparation.class_names)
        return data

    @classmethod
    def from_lists(
        cls, texts: Iterable[str | None], labels: Sequence[str | Sequence[str]], /, **settings: Any
    ) -> "TextDataModule":
        """A data module for texts and the class name of each, which are split like the rows of a file.

        With ``multi_label="lists"``, for texts and the list of labels of each.
        """
        columns = {"text_column": "text", "label_column": "label"} | settings
        table = build_table(texts, labels, columns["text_column"], columns["label_column"])
        return cls.from_tables(table, **columns)

    # ---------------------------------------------------------------- rows

    @property
    def tables(self) -> Splits:
        """The rows of each split."""
        return self.rows.tables

    @property
    def class_names(self) -> list[str]:
        """(K,) in the order of the logits."""
        return self.rows.class_names

    @property
    def class_weights(self) -> Tensor | None:
        """(K,) of the loss; None without weights."""
        return self.rows.class_weights

    def prepare_data(self) -> None:
        """Downloads what is missing; called on one process of each machine."""
        self.sources.prepare()
        if self.fitted.text_encoder is None and isinstance(self.tokenizer, str):
            TextEncoder(self.tokenizer)

    def setup(self, stage: str) -> None:
        """Reads, divides and encodes the rows of the stage, unless they are there, and prints a summary."""
        if stage == "predict":
            self.text_encoder = self.fitted.text_encoder or self.encoding.encode({}, [], None)[0]
        elif (needed := self._needed(stage)) not in self.encoded:
            self.prepare_rows(*self.read_rows(needed), whole=needed == "train")
            self.text_encoder, self.encoded, notes = self.encoding.encode(
                self.tables, self.class_names, self.fitted.text_encoder
            )
            self.rows.notes += notes
            rank_zero_info(self.summary())
        if stage == "fit":
            if self.sources.unlabelled is not None and "unlabelled" not in self.encoded:
                title = datasets.title(self.sources.unlabelled)
                self.rows.unlabelled, note = choose_unlabelled(self.sources.unlabelled_chunks(), self.tables, title)
                self.rows.notes.append(note)
                rank_zero_info(f"  {note}")  # below the summary
                self.encoded["unlabelled"] = encode_table(self.rows.unlabelled, self.text_encoder)
            self.begin_fit()

    def _needed(self, stage: str) -> str:
        """The split to load: the evaluated one if it has its own source, else ``train``, which is split."""
        name = {"validate": "val", "test": "test"}.get(stage, "train")
        return name if self.sources.has_own(name) and self.fitted.class_names else "train"

    def read_rows(self, split: str = "train") -> tuple[Splits, list[str]]:
        """The rows of all splits, or of one other than train alone, as they are in their sources, and remarks."""
        return self.sources.read(split, self._known_names())

    def _known_names(self) -> list[str] | None:
        return self.fitted.class_names or self.preparation.class_names

    def prepare_rows(self, read: Splits, notes: list[str], whole: bool = True) -> None:
        """Cleans, divides and balances the rows that :meth:`read_rows` gave."""
        titles = {name: self.sources.title(name) for name in read}
        self.rows = self.preparation.rows(read, titles, self.fitted.class_names, whole)
        self.rows.notes[:0] = notes

    def read_tables(self) -> Splits:
        """The rows of each split as for ``fit``, read and divided again, without token ids."""
        self.prepare_rows(*self.read_rows())
        return self.tables

    def summary(self) -> str:
        """A line for each split, then a line for each change to rows and texts."""
        title, how = self.sources.title("train"), self.preparation
        return summarize(
            title, how.split, how.empty, self.rows, self.encoded, self.augmentation, self.fitted.trained_on
        )

    def identity(self) -> dict[str, object]:
        """Rows with their labels and tokens, in their order, and what is made of them."""
        texts = self.tables if self.augmentation else {}  # which is made of the texts, also of what is truncated
        rows: dict[str, object] = {
            f"the {name} rows": encoded.identity(texts[name]["text"] if name in texts else ())
            for name, encoded in self.encoded.items()
            if name != "test"
        }
        batches = {"data.batch_size": self.batch_size, "data.batching.group_by_length": self.batching.group_by_length}
        weights = None if self.class_weights is None else self.class_weights.tolist()
        changes = {f"data.augmentation.{name}": value for name, value in asdict(self.augmentation).items()}
        return rows | batches | changes | {"the class weights": weights, "class_names": list(self.class_names)}

    # ---------------------------------------------------------------- batches

    def train_dataloader(self) -> DataLoader[Any]:
        """Every training row once per epoch; a resumed run continues with the next batch of its epoch."""
        encoded, view = self.encoded_training_texts(), self._view
        if self.augmentation:  # texts change in each epoch, so no hidden states are cached
            view = self._augmented
        pool = 50 if self.batching.group_by_length else 1
        return loader(view(encoded), self.new_training_batches(encoded.lengths, self.batch_size, pool))

    def encoded_training_texts(self) -> EncodedTexts:
        """The training rows, and after them the texts without labels, if there are any."""
        encoded, others = self.encoded["train"], self.encoded.get("unlabelled")
        return encoded if others is None else encoded.with_unlabelled(others)

    def training_texts(self) -> tuple[list[str], Tensor]:
        """The texts of :meth:`encoded_training_texts`, and their row numbers (N,)."""
        tables = [self.tables["train"], *([] if self.rows.unlabelled is None else [self.rows.unlabelled])]
        return [text for table in tables for text in table["text"]], self.encoded_training_texts().rows

    def _augmented(self, encoded: EncodedTexts) -> Dataset[Any]:
        return AugmentedTexts(encoded, self.training_texts()[0], self.augmentation, training_seed(), self.epoch_now)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Counts training batches, so that a resumed run skips them, and sets the weight of each one's loss."""
        if self.trainer is None or not self.trainer.training:
            return batch
        rows, trainer = self.count_rows_of_step(), self.trainer
        batches = trainer.accumulate_grad_batches * trainer.world_size
        return batch._replace(loss_weight=len(batch.labels) * batches / rows)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_dataloader("test")

    def evaluation_dataloader(self, name: str) -> DataLoader[Any]:
        """Every row of the split ``name`` once, in batches of texts of similar length."""
        if name not in self.encoded:
            raise InputError(f"there are no {name} rows: give --data.{name}_source or a {name} fraction above 0")
        encoded = self.encoded[name]
        batches = self.text_encoder.rows_by_length(encoded.lengths, self._max_batch_tokens(), encoded.windows)
        return loader(self._view(encoded), EvaluationBatches(batches, *self.process()))

    def predict_dataloader(self) -> DataLoader[list[Batch]]:
        """All rows of ``source`` in order, read as a stream; labels are not needed."""
        chunks, notes = self.sources.chunks(self._known_names())
        for note in notes:
            rank_zero_info(note)
        return loader(StreamedTexts(chunks, self.text_encoder, self._max_batch_tokens(), *self.process()))

    def columns(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """These columns of the rows to predict, chunk by chunk, in order."""
        return self.sources.kept_columns(names)

    def show_rows_as(self, view: Callable[[EncodedTexts], Dataset[Any]]) -> None:
        """Makes batches of ``view(encoded)`` from now on: the same rows, for example as cached hidden states."""
        self._view = view

    def _max_batch_tokens(self) -> int:
        device = "cpu" if self.trainer is None else self.trainer.strategy.root_device.type
        return self.batching.max_batch_tokens or batch_tokens(device)
