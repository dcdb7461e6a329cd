"""Turns labelled text into batches for training, evaluation and prediction, and keeps the settings that it used."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from typing import Any, Literal

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from gpt_classifier.audit.inspection import Audit, look_at, warnings
from gpt_classifier.data import balance, datasets, labels, readers, splits
from gpt_classifier.data.augmentation import AugmentationConfig, AugmentedTexts
from gpt_classifier.data.datasets import Columns
from gpt_classifier.data.duplicates import trained_on, training_fingerprints
from gpt_classifier.data.encoded import EncodedTexts, StreamedTexts
from gpt_classifier.data.labels import encode_labels
from gpt_classifier.data.readers import FileFormat
from gpt_classifier.data.resumable import ResumableDataModule, training_seed
from gpt_classifier.data.samplers import BatchesOfRows, BatchingConfig, EvaluationBatches, TrainingBatches
from gpt_classifier.data.splits import Split, SplittingConfig
from gpt_classifier.data.summary import class_counts
from gpt_classifier.data.trained import TrainedModel, Untrained
from gpt_classifier.data.values import listed, names_of, shown
from gpt_classifier.errors import InputError
from gpt_classifier.settings import check_choice, grouped
from gpt_classifier.text.bpe import TrainTokenizer, tokenizer_for
from gpt_classifier.text.encoder import Batch, TextEncoder, Truncation, WindowsConfig, batch_tokens
from gpt_classifier.text.tokenizers import Tokenizer

MAX_CLASSES = 10  # with more classes than this, a summary names only the most frequent ones
IN_MEMORY = "the given table"  # stands for a source that is no file

Balance = Literal["none", "undersample", "class_weights"]
Empty = Literal["drop", "keep", "error"]
RareClasses = Literal["error", "drop", "merge"]


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
            token) or ``error``. Prediction keeps them, so that each row gets an answer.
        rare_classes: What to do with classes that have too few distinct texts to be split: ``error``, ``drop`` their
            rows, or ``merge`` them into one class ``other``.
        split: ``grouped`` (stratified by class or label, near-duplicates in the same split), ``random`` (stratified),
            or the book's own ``chapter6`` and ``article_table`` (with source ``sms_spam``).
        tokenizer: ``gpt2`` (needed for GPT-2's weights), ``bytes`` (needs no download), ``{train: 4096}`` (byte pairs
            of that many tokens, learned from the training rows), a model folder or run of this package for its
            tokenizer, or that of a published network: its name on the Hugging Face hub, or a folder with its
            tokenizer.json.
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
        # Plain values, for checkpoints and model folders.
        plain: dict[str, Any] = {"splitting": asdict(self.splitting), "batching": asdict(self.batching)}
        plain["augmentation"] = asdict(self.augmentation)
        plain["windows"] = None if self.windows is None else asdict(self.windows)
        plain["tokenizer"] = self.tokenizer if isinstance(self.tokenizer, str) else asdict(self.tokenizer)
        self.hparams.update(plain, file_format=asdict(self.file_format))
        check_choice("split", split, Split)
        check_choice("balance", balance, Balance)
        check_choice("empty", empty, Empty)
        check_choice("rare_classes", rare_classes, RareClasses)
        check_choice("truncation", truncation, Truncation)
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, expected at least 1")
        if any(isinstance(name, bool) for name in class_names or []):
            raise InputError(
                f"class_names are {class_names}: write names such as yes and no in quotes, or YAML reads true and false"
            )
        names = [str(name) for name in names_of(class_names or [], lambda n: f"class_names[{n}]")]
        if len(set(names)) != len(names):
            raise InputError(f"class_names are {class_names}, expected distinct names")
        if multi_label is not None:
            _check_multi_label(multi_label, source, balance, rare_classes)
        if multi_label == datasets.COLUMNS:
            names = names or ([label_column] if isinstance(label_column, str) else list(label_column))
        if not text_column:
            raise InputError("text_column is an empty list, expected the name of at least one column")
        if split in splits.OF_THE_BOOK and source != "sms_spam":
            raise InputError(f"split {split} is a division of sms_spam, but source is {source}: use grouped or random")
        folds, split_column = self.splitting.folds, self.splitting.split_column
        if folds and (split in splits.OF_THE_BOOK or test_source is not None or split_column is not None):
            raise InputError(
                "folds divide one source by split grouped or random: leave out test_source and split_column, or change "
                "split"
            )
        if self.splitting.group_column is not None and split != "grouped":
            raise InputError(f"split {split} keeps no groups together: use split grouped, or leave out group_column")
        self.source, self.val_source, self.test_source = source, val_source, test_source
        self.fold = splits.Fold(self.splitting.fold, folds) if folds else None
        self.text_column, self.label_column = text_column, label_column
        self.source_columns = Columns(
            text_column, label_column, self.splitting.group_column, split_column, text_separator, multi_label
        )
        self.multi_label = multi_label is not None
        self.declared_class_names, self.rare_classes = names or None, rare_classes
        self.split, self.balance, self.empty = split, balance, empty
        self.max_length, self.truncation = max_length, truncation
        self.batch_size = batch_size

        self.class_names: list[str] = names
        self.class_weights: torch.Tensor | None = None
        self.text_encoder: TextEncoder
        self.tables: splits.Splits = {}
        self.encoded: dict[str, EncodedTexts] = {}
        self.natural_counts: dict[str, int] = {}  # rows of each class, where the split balances them; else empty
        self.notes: list[str] = []  # sentences on how rows were read, merged or dropped
        self._given: splits.Splits | None = None
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
        tables: splits.Splits = {}
        for name, frame in given.items():
            if frame is not None:
                columns = data._columns(name, tables.get("train"))
                tables[name] = _from_memory(frame, columns, f"the given {name} table")
        if "train" in tables:
            tables = data._with_splits(datasets.by_split(tables["train"], data.source_columns, IN_MEMORY), tables)
        data._given = tables
        return data

    @classmethod
    def from_lists(
        cls, texts: Iterable[str | None], labels: Sequence[str | Sequence[str]], /, **settings: Any
    ) -> "TextDataModule":
        """A data module for texts and the class name of each, which are split like the rows of a file.

        With ``multi_label="lists"``, for texts and the list of labels of each.
        """
        texts, labels = listed(texts, "the texts"), listed(labels, "the labels")
        if len(texts) != len(labels):
            raise InputError(
                f"{len(texts)} texts and {len(labels)} labels were given, expected one label for each text"
            )
        settings = {"text_column": "text", "label_column": "label"} | settings
        # As objects, and each column by itself: pandas would make floats of whole numbers among which one is missing.
        columns = {settings["text_column"]: texts, settings["label_column"]: labels}
        return cls.from_tables(pd.DataFrame({n: pd.Series(v, dtype=object) for n, v in columns.items()}), **settings)

    def _columns(self, name: str, train: pd.DataFrame | None = None) -> Columns:
        """The columns to read for a split; only ``source`` has columns of groups and splits.

        Numbers among the labels are to meet the declared class names, else those of the rows ``train``.
        """
        known = self.declared_class_names or ([] if train is None else train["label"].explode().dropna().unique())
        columns = replace(self.source_columns, known=frozenset(known))
        if name == "train":
            return columns
        texts = columns.of_texts()
        return texts if name == "predict" else replace(texts, label=self.source_columns.label)

    def _with_splits(self, tables: splits.Splits, others: splits.Splits) -> splits.Splits:
        """The tables of ``source`` and those of other sources. Raises ``InputError`` if both have the same split."""
        if both := [name for name in tables if name != "train" and name in others]:
            column = self.source_columns.split
            raise InputError(f"{both[0]} rows are named by {column} and by {both[0]}_source: leave out one of them")
        return tables | {name: table for name, table in others.items() if name not in tables}

    def prepare_data(self) -> None:
        """Downloads what is missing; called on one process of each machine."""
        for source in (self.source, self.val_source, self.test_source):
            if source is not None and self._given is None:
                datasets.prepare(source)
        if self._model.text_encoder is None and isinstance(self.tokenizer, str):
            TextEncoder(self.tokenizer)

    @property
    def _model(self) -> TrainedModel:
        """The trainer's model: a loaded one brings its text encoder, class names and training fingerprints.

        Only used here. Lightning sets up the data before the model, in each process, so the model cannot pass them.
        """
        model = None if self.trainer is None else self.trainer.lightning_module
        return model if isinstance(model, TrainedModel) else Untrained()

    def setup(self, stage: str) -> None:
        text_encoder = self._model.text_encoder
        self.declared_class_names = self._model.class_names or self.declared_class_names
        if stage == "predict":
            self.text_encoder = text_encoder or self._new_text_encoder(self._new_tokenizer())
        elif (needed := self._needed(stage)) not in self.encoded:
            self.notes = []
            self._setup_tables(needed, self._read(needed))
            self._encode(text_encoder)
            rank_zero_info(self.summary())
        if stage == "fit":
            self.begin_fit()

    def identity(self) -> dict[str, Any]:
        """Rows with their labels and tokens, in their order, and what is made of them."""
        rows = {f"the {name} rows": self._rows_identity(name) for name in ("train", "val") if name in self.encoded}
        batches = {"data.batch_size": self.batch_size, "data.batching.group_by_length": self.batching.group_by_length}
        weights = None if self.class_weights is None else self.class_weights.tolist()
        changes = {f"data.augmentation.{name}": value for name, value in asdict(self.augmentation).items()}
        return rows | batches | changes | {"the class weights": weights, "class_names": list(self.class_names)}

    def _rows_identity(self, name: str) -> str:
        digest = blake2b(self.encoded[name].digest(), digest_size=4)
        if self.augmentation:  # is made of the texts themselves, also of what is truncated
            digest.update("\0".join(self.tables[name]["text"]).encode("utf-8", "surrogatepass"))
        return f"{len(self.encoded[name]):,} rows with the hash {digest.hexdigest()}"

    def read_tables(self) -> splits.Splits:
        """The rows of each split as for ``fit``, read and divided anew, without token ids."""
        self.notes = []
        self._setup_tables("train", self._read("train"))
        return self.tables

    def _needed(self, stage: str) -> str:
        """The split to load: the evaluated one if it has its own source, else ``train``, which is split."""
        name = {"validate": "val", "test": "test"}.get(stage, "train")
        given = {"val": self.val_source, "test": self.test_source} if self._given is None else self._given
        return name if given.get(name) is not None and self._model.class_names else "train"

    def audit(self) -> Audit:
        """What to know of the rows before anything is trained on them, which needs no ``setup``.

        Rows that a fit would refuse are no error but a finding. Raises ``InputError`` for files that cannot be read.
        """
        self.notes, refused = [], ""
        read = self._read("train")
        try:
            self._setup_tables("train", read)
        except InputError as error:
            refused = str(error)
        divided = self.split not in splits.OF_THE_BOOK and len(read) < len(splits.NAMES)
        shares = self._fractions_to_divide(read) if divided else ()
        needed = self.fold.count if self.fold else sum(share > 0 for share in shares)
        given = [self.source, self.val_source, self.test_source] if self._given is None else []
        files = [source for source in given if source is not None and not datasets.is_named(source)]
        return look_at(self, read, refused, needed, files)

    def _setup_tables(self, needed: str, read: splits.Splits) -> None:
        given, self.without_text = labels.without_empty(read, self.empty)
        files_ = {"train": self.source, "val": self.val_source, "test": self.test_source}
        titles = {name: datasets.title(files_[name] or self.source) for name in given}
        given, declared = self._without_rare_classes(given, self._model.class_names)
        self.class_names = labels.class_names(given, declared, titles)
        self.class_weights = None
        if needed != "train":
            self.tables = given
            return
        self.tables = self._divide(given)
        self.notes += labels.label_conflicts(self.tables)
        train = self.tables["train"]
        if self.balance == "undersample":
            self.tables["train"] = balance.undersample(train, self.splitting.seed)
            dropped = train["label"].value_counts() - self.tables["train"]["label"].value_counts()
            counts_text = ", ".join(f"{dropped[name]:,} {name}" for name in self.class_names if dropped.get(name))
            if counts_text:
                self.notes.append(f"training rows dropped by undersampling: {counts_text}")
            train = self.tables["train"]
        if (fraction := self.splitting.train_fraction) < 1:  # of balanced rows: else subsets would not be nested
            self.tables["train"] = balance.nested_subset(train, fraction, self.splitting.seed)
            used = f"{len(self.tables['train']):,} of {len(train):,}"
            self.notes.append(f"training rows used: {used} (splitting.train_fraction {fraction:g})")
            train = self.tables["train"]
        if self.balance == "class_weights":
            counts = self._class_counts(train)
            if not counts.all():
                raise InputError(f"class {self.class_names[int(counts.argmin())]!r} has no training row to weigh")
            if self.multi_label:
                if (counts == len(train)).any():
                    raise InputError(f"all training rows have the label {self.class_names[int(counts.argmax())]!r}")
                self.class_weights = (len(train) - counts) / counts
            else:
                # The mean weight of a training row is 1, so the scale of the loss does not change.
                self.class_weights = counts.sum() / (len(counts) * counts)

    def _class_counts(self, table: pd.DataFrame) -> torch.Tensor:
        """(K,) rows of each class; where a text has several labels, it counts for each."""
        counts = table["label"].explode().value_counts()
        return torch.tensor([int(counts.get(name, 0)) for name in self.class_names])

    def _read(self, needed: str) -> splits.Splits:
        if self._given is not None:
            if needed not in self._given:
                raise InputError(f"no {needed} rows were given: expected a table of them")
            names = splits.NAMES if needed == "train" else (needed,)
            return {name: table for name, table in self._given.items() if name in names}
        given = {"val": self.val_source, "test": self.test_source}
        if needed != "train":
            return {needed: self._load(needed, given[needed])["train"]}
        if self.split in splits.OF_THE_BOOK:
            return datasets.load_sms_spam_as_the_book()
        tables = self._load("train", self.source)
        others = {
            name: self._load(name, source, tables["train"])["train"]
            for name, source in given.items()
            if source is not None
        }
        return tables | others if datasets.is_named(self.source) else self._with_splits(tables, others)

    def _load(self, name: str, source: str | list[str] | None, train: pd.DataFrame | None = None) -> splits.Splits:
        assert source is not None  # checked by the caller
        tables = datasets.load(source, self._columns(name, train), self.file_format)
        self.notes += self._reading_notes(source)
        return tables

    def _reading_notes(self, source: str | list[str]) -> list[str]:
        return [] if datasets.is_named(source) else readers.notes(source, self.file_format)

    def _without_rare_classes(
        self, given: splits.Splits, known: list[str] | None
    ) -> tuple[splits.Splits, list[str] | None]:
        """The tables without classes that are too rare (or unknown to the model), and the declared class names."""
        declared, merge = self.declared_class_names, self.rare_classes == "merge"
        if self.rare_classes == "error":
            return given, declared
        if known is not None:  # rare classes were determined when the model was trained
            if not merge or labels.OTHER in known:
                given, note = labels.without_rare(given, known, merge)
                self.notes += [note] if note else []
            return given, declared
        train = given["train"]
        units = splits.linked_rows(train) if self.split == "grouped" else splits.single_rows(train)
        counts = splits.units_of_classes(train, units)
        needed = self.fold.count if self.fold else sum(fraction > 0 for fraction in self._fractions_to_divide(given))
        keep = [name for name in counts.index[counts >= needed] if name != ""]
        tables, note = labels.without_rare(given, keep, merge)
        if not note:
            return given, declared
        self.notes.append(note)
        names = [name for name in declared or labels.in_order(keep) if name in keep or name not in counts.index]
        if not merge:
            return tables, names
        if labels.OTHER in counts.index:
            raise InputError(
                f"rare_classes merge makes a class {labels.OTHER!r}, but there is one: rename it, or use drop"
            )
        if (number := units[tables["train"]["label"] == labels.OTHER].nunique()) < needed:
            raise InputError(
                f"the rare classes together have {number} distinct texts, too few for {needed} splits (near-duplicates "
                "and rows of one group count once): use --data.rare_classes drop, or add rows"
            )
        return tables, list(dict.fromkeys([*names, labels.OTHER]))

    def _divide(self, given: splits.Splits) -> splits.Splits:
        if self.split in splits.OF_THE_BOOK:
            self.natural_counts = {str(name): int(n) for name, n in given["train"]["label"].value_counts().items()}
            return splits.OF_THE_BOOK[self.split](given["train"])
        fractions = self._fractions_to_divide(given)
        if fractions[1:] == (0, 0) and self.fold is None:
            return given
        parts = splits.BY_FRACTIONS[self.split](given["train"], fractions, self.splitting.seed, self.fold)
        return parts | {name: table for name, table in given.items() if name != "train"}

    def _fractions_to_divide(self, given: splits.Splits) -> tuple[float, ...]:
        """``fractions`` of ``source`` for train, val and test: 0 for splits with a source of their own, sum 1."""
        named = zip(splits.NAMES, self.splitting.fractions, strict=True)
        fractions = [0.0 if name in given and name != "train" else fraction for name, fraction in named]
        return tuple(fraction / sum(fractions) for fraction in fractions)

    def _new_tokenizer(self) -> Tokenizer:
        """The tokenizer that the settings name, or the one that they let be learned from the training rows."""
        tokenizer = tokenizer_for(self.tokenizer, self.tables["train"]["text"] if "train" in self.tables else None)
        asked, learned = getattr(self.tokenizer, "train", 0), tokenizer.vocab_size - 1
        if learned < asked:
            why = "no further pair occurs twice in the training rows"
            self.notes.append(f"tokenizer: {learned:,} tokens learned, not {asked:,}, as {why}")
        return tokenizer

    def _new_text_encoder(self, tokenizer: Tokenizer, longest_train: int | None = None) -> TextEncoder:
        pad_to = self.batching.pad_to
        width = {"longest": None, "longest_train": longest_train}.get(str(pad_to), pad_to)
        pad_to_width = None if width is None else int(width)
        return TextEncoder(tokenizer, self.max_length, self.truncation, pad_to_width, self.windows)

    def _encode(self, given: TextEncoder | None) -> None:
        if given is None:
            tokenizer = self._new_tokenizer()
            self.text_encoder = self._new_text_encoder(tokenizer)
        else:
            self.text_encoder = given
        self.encoded.clear()
        if "train" in self.tables:
            self.encoded["train"] = self._encode_table("train")
        if given is None and self.batching.pad_to == "longest_train":
            self.text_encoder = self._new_text_encoder(tokenizer, int(self.encoded["train"].lengths.max()))
            self.encoded["train"].text_encoder = self.text_encoder
        for name in self.tables:
            if name != "train":
                self.encoded[name] = self._encode_table(name)

    def _encode_table(self, name: str) -> EncodedTexts:
        table = self.tables[name]
        labels = encode_labels(table["label"], self.class_names)
        numbers = torch.tensor(table["row"].to_numpy(np.int64))
        return EncodedTexts(table["text"], self.text_encoder, labels, numbers)

    def summary(self) -> str:
        """A line for each split, then a line for each change to rows and texts."""
        classes = (
            f"classes {', '.join(self.class_names)}"
            if len(self.class_names) <= MAX_CLASSES
            else f"{len(self.class_names)} classes"
        )
        lines = [f"{datasets.title(self.source)}, split {self.split}, {classes}"]
        for name in splits.NAMES:
            if name in self.tables:
                counts = self._class_counts(self.tables[name])
                by_class = class_counts(dict(zip(self.class_names, counts.tolist(), strict=True)), MAX_CLASSES)
                if self.multi_label:
                    by_class += f", {(self.tables[name]['label'].str.len() == 0).sum():,} without label"
                longest = self.encoded[name].lengths.max()
                lines.append(f"  {name:5} {len(self.tables[name]):7,} rows ({by_class}), longest {longest} tokens")
        if self.without_text:
            lines.append(f"  {self.without_text} rows without text: {'dropped' if self.empty == 'drop' else 'kept'}")
        lines += [f"  {note}" for note in self.notes]
        encoder = self.text_encoder
        if windowed := self._counts({name: int((encoded.windows > 1).sum()) for name, encoded in self.encoded.items()}):
            lines.append(f"  texts longer than {encoder.max_length} tokens, read in windows: {windowed}")
        if truncated := self._counts({name: encoded.truncated for name, encoded in self.encoded.items()}):
            how = (
                f"read in {encoder.windows.limit} windows with gaps"
                if encoder.windows
                else (f"truncated to {encoder.max_length} tokens ({self.truncation} kept)")
            )
            lines.append(f"  texts {how}: {truncated}")
        if self.augmentation and "train" in self.tables:
            how = ", ".join(f"{name} {value:g}" for name, value in asdict(self.augmentation).items() if value)
            lines.append(f"  training texts are changed at random ({how}); a frozen trunk runs for them in each epoch")
        known = self._model.trained_on
        if known is None and "train" in self.tables:
            known = training_fingerprints(self.tables["train"]["text"])
        for name in splits.NAMES[1:]:
            if known is None or name not in self.tables:
                continue
            if copies := int(trained_on(self.tables[name]["text"], known).sum()):
                about = f"texts are near-duplicates of training texts: {name} scores are optimistic"
                lines.append(f"  {copies} {name} {about}")
        lines += [f"  {line}" for line in warnings(self.tables, self.class_names)]
        return "\n".join(lines)

    @staticmethod
    def _counts(by_split: dict[str, int]) -> str:
        return ", ".join(f"{count:,} in {name}" for name, count in by_split.items() if count)

    # ---------------------------------------------------------------- batches

    def train_dataloader(self) -> DataLoader[Any]:
        """Every training row once per epoch; a resumed run continues with the next batch of its epoch."""
        encoded = self.encoded["train"]
        self.training_batches = TrainingBatches(
            encoded.lengths,
            self.batch_size,
            training_seed(),
            self.epoch_now,
            *self.process(),
            pool=50 if self.batching.group_by_length else 1,
            done=self.batches_done,
        )
        rows: Dataset[Any]
        if self.augmentation:  # texts are other ones in each epoch, so no states of theirs are kept
            texts = self.tables["train"]["text"].tolist()
            rows = AugmentedTexts(encoded, texts, self.augmentation, training_seed(), self.epoch_now)
        else:
            rows = self._view(encoded)
        return self._loader(rows, self.training_batches)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Counts training batches, so that a resumed run skips them, and sets the weight of each one's loss."""
        if self.trainer is None or not self.trainer.training:
            return batch
        return batch._replace(share=self._share_of_step(len(batch.labels), self.count_batch(), self.trainer))

    def _share_of_step(self, texts: int, number: int, trainer: L.Trainer) -> float:
        """Weight of a batch's mean loss with which the gradient of a step is the mean over all texts of the step.

        Lightning averages over ``accumulate_grad_batches`` batches even if the last step of an epoch has fewer or
        smaller ones (transformers #34191 is the same bug), and over processes with batches of unequal size.
        """
        batches = trainer.accumulate_grad_batches
        start = number // batches * batches
        end = min(start + batches, self.epoch_length())
        return texts * batches * trainer.world_size / sum(self.training_batches.round_lengths[start:end])

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
        return self._loader(self._view(encoded), EvaluationBatches(batches, *self.process()))

    def _max_batch_tokens(self) -> int:
        device = "cpu" if self.trainer is None else self.trainer.strategy.root_device.type
        return self.batching.max_batch_tokens or batch_tokens(device)

    def show_rows_as(self, view: Callable[[EncodedTexts], Dataset[Any]]) -> None:
        """Makes batches of ``view(encoded)`` from now on: the same rows, for example as cached hidden states."""
        self._view = view

    def _loader(self, rows: Dataset[Any], batches: BatchesOfRows) -> DataLoader[Any]:
        # Without worker processes: texts are already tokenized, so only padding is left to do, and the position in a
        # resumed epoch is read from this object, not from a copy, when the first batch is requested.
        return DataLoader(rows, sampler=batches, batch_size=None, collate_fn=_as_it_is)

    def predict_dataloader(self) -> DataLoader[list[Batch]]:
        """All rows of ``source`` in order, read as a stream; labels are not needed."""
        chunks: Iterable[pd.DataFrame]
        if self._given is not None:
            if not (given := self._given.get("predict", self._given.get("train"))) is not None:
                raise InputError("no rows to predict were given")
            chunks = [given]
        elif datasets.is_named(self.source):
            chunks = [datasets.load(self.source)["train"]]
        else:
            chunks = datasets.read_chunks(self.source, self._columns("predict"), self.file_format, rows=2000)
            for note in self._reading_notes(self.source):
                rank_zero_info(note)
        texts = StreamedTexts(chunks, self.text_encoder, self._max_batch_tokens(), *self.process())
        return DataLoader(texts, batch_size=None, collate_fn=_as_it_is)

    def columns(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """These columns of the rows to predict, chunk by chunk, in order."""
        if datasets.is_named(self.source):
            raise InputError(f"{self.source} has no columns to keep: name a file with --data.source")
        return readers.read_columns(self.source, names, file_format=self.file_format)


def _check_multi_label(multi_label: str, source: Any, balance: str, rare_classes: str) -> None:
    """Raises ``InputError`` for settings that suppose one label a text."""
    if not multi_label:
        raise InputError("multi_label is empty, expected what stands between labels, such as |, lists or columns")
    if isinstance(source, str) and datasets.is_named(source):
        raise InputError(f"the texts of {source} have one label each: leave out multi_label")
    if balance == "undersample":
        raise InputError("balance undersample is for one label a text: use class_weights, or leave out multi_label")
    if rare_classes != "error":
        raise InputError(f"rare_classes {rare_classes} is for one label a text: leave it out, or leave out multi_label")


def _as_it_is(item: Any) -> Any:
    return item


def _from_memory(given: Any, columns: Columns, where: str) -> pd.DataFrame:
    frame = _as_pandas(given, where)
    names = list(frame.columns)
    for column in columns.names():
        if names.count(column) != 1:
            trouble = "two columns" if column in names else "no column"
            raise InputError(f"the table has {trouble} {column!r}; its columns are {', '.join(map(str, names))}")
    return columns.table(frame, 0, where)


def _as_pandas(table: Any, where: str) -> pd.DataFrame:
    """A table of pandas, pyarrow or polars, with its values as Python has them."""
    if isinstance(table, pd.DataFrame):
        return table
    names = getattr(table, "column_names", getattr(table, "columns", None))  # of pyarrow, and of polars
    if isinstance(table, Mapping) or not isinstance(names, list):
        raise InputError(f"{where} is {shown(table)}, expected a DataFrame")
    by_number = hasattr(table, "column_names")  # in pyarrow, two columns may have one name
    columns = [table.column(number) if by_number else table[name] for number, name in enumerate(names)]
    frame = pd.DataFrame({n: pd.Series(listed(v, where), dtype=object) for n, v in enumerate(columns)})
    frame.columns = pd.Index(names)
    return frame
