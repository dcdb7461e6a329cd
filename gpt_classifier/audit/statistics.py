"""Computes the statistics of labelled rows that an audit reports; draws no conclusions from them.

Rows are concatenated tables of :mod:`~gpt_classifier.data.datasets`, with the columns ``split`` and ``null`` (whether
the text was missing; missing texts and labels are ``""``).
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from gpt_classifier.audit.leakage import ClassWord, find_class_words
from gpt_classifier.data import datasets, minhash, readers, splits
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import near_duplicate_key
from gpt_classifier.errors import InputError
from gpt_classifier.text import scripts
from gpt_classifier.text.bpe import tokenizer_for
from gpt_classifier.text.encoder import TextEncoder

Rows = pd.DataFrame
Options = Mapping[str, Any]  # settings of the data by name, such as {"splitting.folds": 5}

PERCENTILES = (50, 90, 95, 99, 100)
DEPTH = 3  # of the decision trees
MAX_COMPARED = 1_000_000  # distinct texts whose wording is compared
MAX_TRAINING = 10_000  # training texts that are searched for what reveals their class
MAX_CHARACTERS = 200_000_000  # tokenized characters; of longer data, every n-th text is tokenized


@dataclass(frozen=True)
class File:
    """A file, with its number of lines with content below the header: of Parquet, of rows; of JSON, None."""

    file: str
    lines: int | None


class Statistics:
    """Statistics of the rows of ``data``, each computed when it is first asked for.

    Rows that a fit would refuse are counted all the same.
    """

    def __init__(self, data: TextDataModule, context: int | None = None) -> None:
        self.data = data
        self.context = context  # maximum number of tokens that the network reads, None if no network is known
        self.is_prepared = bool(data.tables)
        self.others: dict[str, Statistics] = {}  # by their options

    # ---------------------------------------------------------------- rows

    @cached_property
    def read(self) -> tuple[splits.Splits, list[str]]:
        """The tables as they are in their sources, and remarks on them."""
        return self.data.read_rows()

    @cached_property
    def refusal(self) -> str:
        """Why a fit would refuse the rows, or ``""``."""
        try:
            if not self.is_prepared:
                self.data.prepare_rows(*self.read)
        except InputError as error:
            return str(error)
        return ""

    @cached_property
    def given(self) -> Collection[str]:
        """The splits that were read."""
        return self.read[0].keys() if self.refusal else self.data.rows.given

    @cached_property
    def is_divided(self) -> bool:
        """Whether the rows of the training source are divided into splits."""
        return splits.is_divided(self.given, self.data.preparation.split, self.data.splitting)

    @cached_property
    def parts(self) -> int:
        """Number of splits or folds that every class has to be divided into."""
        splitting = self.data.splitting
        return splitting.count_parts(self.read[0]) if self.is_divided else splitting.folds

    @cached_property
    def all_rows(self) -> Rows:
        """All rows as they were read, in the order of their files."""
        return self.in_files(_concatenate(self.read[0]))

    @cached_property
    def rows(self) -> Rows:
        """The rows of a fit with their splits; if it refuses them, those with a label."""
        if not self.refusal:
            return _concatenate(self.data.tables)
        rows = _concatenate(self.read[0])
        return rows[rows["label"] != ""]

    def in_files(self, rows: Rows) -> Rows:
        """The rows as a person finds them: in the order of their sources, those of divided ones without a split."""
        if not self.is_divided:
            return rows
        own = rows["split"].where(rows["split"].isin([name for name in self.given if name != "train"]), "")
        return rows.assign(split=own).sort_values(["split", "row"], kind="stable")

    @cached_property
    def class_names(self) -> list[str]:
        return sorted(self.rows["label"].explode().dropna().unique()) if self.refusal else self.data.class_names

    @cached_property
    def paths(self) -> list[str]:
        sources = [source for source in self.data.sources.all(self.given) if not datasets.is_named(source)]
        return [path for source in sources for path in readers.expand_paths(source)]

    @cached_property
    def files(self) -> list[File]:
        if self.data.preparation.split in splits.OF_THE_BOOK:
            return [File("SMSSpamCollection", len(datasets.load_sms_spam()["train"]))]
        return [File(path, _count_lines(path, self.data.file_format)) for path in self.paths]

    @property
    def encodings(self) -> Sequence[str]:
        """Encodings that the files may have: what is valid UTF-8 is hardly ever anything else."""
        return ("utf-8",) if any(map(readers.seems_utf8, self.paths)) else ("utf-8", "cp1252")

    # ---------------------------------------------------------------- texts

    @cached_property
    def distinct(self) -> Rows:
        """The first row of each text, near-duplicates counting as one."""
        return with_keys(self.rows).drop_duplicates("key")[:MAX_COMPARED]

    @cached_property
    def words(self) -> minhash.Words:
        """The words of the distinct texts."""
        return minhash.find_words(self.distinct["text"])

    @cached_property
    def marked(self) -> Rows:
        """The rows with their near-duplicate ``key``, main ``script``, and bool columns that say what each repeats.

        ``repeated``: an earlier row of its split, near-duplicates included; ``exact`` and ``near``: a training text, of
        rows outside train; ``near_val``: a validation text but no training text, of test rows; ``similar``: most of the
        wording of a training text, but not all of it.
        """
        rows, letters = with_keys(self.rows), self.letters
        train, val, test = (rows["split"] == name for name in splits.NAMES)
        near = rows["key"].isin(rows["key"][train]) & ~train
        of_train = int((self.distinct["split"] == "train").sum())
        similar = self.distinct["key"][minhash.find_similar(self.words, of_train) >= 0]
        return rows.assign(
            repeated=rows.duplicated(["split", "key"]),
            exact=rows["text"].isin(rows["text"][train]) & ~train,
            near=near,
            near_val=rows["key"].isin(rows["key"][val]) & test & ~near,
            similar=rows["key"].isin(similar) & ~near,
            script=np.array([*letters.names, ""])[letters.main],
        )

    @cached_property
    def letters(self) -> scripts.Letters:
        return scripts.count_letters(self.rows["text"].tolist())

    @cached_property
    def scripts(self) -> dict[str, float]:
        """Fractions of the letters by script, the largest first."""
        return scripts.compute_fractions(self.letters)

    @cached_property
    def training(self) -> Rows:
        """Distinct training texts, evenly spaced: files are often ordered by class."""
        train = self.rows[self.rows["split"] == "train"]
        return with_keys(train[:: max(1, len(train) // MAX_TRAINING)]).drop_duplicates("key")

    @cached_property
    def class_words(self) -> tuple[dict[str, ClassWord], list[tuple[pd.DataFrame, Rows]]]:
        """The word that distinguishes each class best, and the words that reveal a class."""
        return find_class_words(self.training)

    @cached_property
    def measured(self) -> Rows:
        """The rows, or every n-th if they exceed :data:`MAX_CHARACTERS`, with their number of ``tokens``."""
        training = self.rows if self.refusal else self.rows[self.rows["split"] == "train"]
        text_encoder = TextEncoder(tokenizer_for(self.data.tokenizer, training["text"]), sys.maxsize)
        rows = self.rows[:: max(1, -(-int(self.rows["text"].str.len().sum()) // MAX_CHARACTERS))]
        lengths = {text: len(text_encoder.encode(text)[0]) for text in rows["text"].unique()}
        return rows.assign(tokens=rows["text"].map(lengths).astype(np.int64))

    @cached_property
    def max_length(self) -> int:
        """Maximum number of tokens per text, which padding to a smaller width may lower."""
        max_length, pad_to = self.data.encoding.max_length, self.data.batching.pad_to
        if pad_to == "longest":
            return max_length
        train = self.measured["tokens"][self.measured["split"] == "train"]
        return min(max_length, max([1, *train]) if pad_to == "longest_train" else int(pad_to))

    @cached_property
    def baselines(self) -> tuple[dict[str, float], str]:
        """Accuracy of the most frequent class and of small decision trees, by feature, and their split."""
        rows = self.rows
        scored = next((name for name in ("test", "val") if (rows["split"] == name).any()), "")
        train, test = rows["split"] == "train", rows["split"] == scored
        if not scored or not train.any():
            return {}, ""
        from sklearn.tree import DecisionTreeClassifier

        labels = rows["label"].astype(str)  # the labels of a multi-label text count as one class
        accuracies = {"nothing": float((labels[test] == labels[train].mode()[0]).mean())}
        features = np.stack([rows["text"].str.len(), rows["text"].str.count(r"\d")], axis=1)
        for name, number in {"length": 1, "length and digits": 2}.items():
            tree = DecisionTreeClassifier(max_depth=DEPTH, random_state=0)
            tree.fit(features[train][:, :number], labels[train])
            accuracies[name] = float(tree.score(features[test][:, :number], labels[test]))
        return accuracies, scored

    # ---------------------------------------------------------------- tables

    def count_duplicates(self) -> dict[str, dict[str, int]]:
        """For each split, its rows and distinct texts, and those that repeat training texts."""
        marked = self.marked.assign(similar=self.marked["near"] | self.marked["similar"])
        counts: dict[str, dict[str, int]] = {}
        for split, part in marked.groupby("split", sort=False):
            counts[str(split)] = {"rows": len(part), "texts": part["text"].nunique(), "distinct": part["key"].nunique()}
            if split != "train":
                counts[str(split)] |= {name: int(part[name].sum()) for name in ("exact", "near", "similar")}
        return counts

    def count_classes(self) -> dict[str, dict[str, Any]]:
        """For each class its rows in each split, and percentiles of the tokens and truncated texts of measured rows."""
        rows, measured = self.rows.explode("label"), self.measured.explode("label")
        counts = pd.crosstab(rows["label"], rows["split"])
        counts = counts.reindex(index=self.class_names, columns=self.rows["split"].unique(), fill_value=0)
        tokens: dict[Any, pd.Series] = dict(list(measured.groupby("label")["tokens"]))
        table: dict[str, dict[str, Any]] = {}
        for name, row in counts.to_dict("index").items():
            own = tokens.get(name, measured["tokens"][:0])
            lengths = {"tokens": count_percentiles(own), "truncated": int((own > self.max_length).sum())}
            table[str(name)] = {str(split): count for split, count in row.items()} | lengths
        return table

    # ---------------------------------------------------------------- other settings

    def with_options(self, options: Options) -> "Statistics":
        """The statistics of the same sources under other settings. Raises ``InputError`` if there can be none."""
        if (name := str(options)) in self.others:
            return self.others[name]
        settings: dict[str, Any] = dict(self.data.hparams)
        for option, value in options.items():
            group, _, field = option.partition(".")
            settings[group] = {**(settings[group] or {}), field: value} if field else value
        data = TextDataModule(**settings)
        data.sources = replace(data.sources, tables=self.data.sources.tables)
        data.fitted = self.data.fitted
        other = self.others[name] = Statistics(data, self.context)
        changed = {option.partition(".")[0] for option in options}
        same = set() if "file_format" in changed else {"read"}
        if changed <= {"max_length", "windows", "batching", "truncation"}:
            other.is_prepared, data.rows = self.is_prepared, self.data.rows
            same = {"read", "refusal", "given", "is_divided", "rows", "measured"}
        vars(other).update({key: value for key, value in vars(self).items() if key in same})
        return other


def with_keys(rows: Rows) -> Rows:
    """The rows with their near-duplicate ``key``."""
    return rows.assign(key=rows["text"].map(near_duplicate_key))


def with_label(rows: Rows, names: Collection[str]) -> Rows:
    """The rows that have one of these labels."""
    labels = rows["label"].explode()
    return rows.loc[labels.index[labels.isin(names)].unique()]


def count_percentiles(values: pd.Series) -> dict[int, int]:
    """The values at :data:`PERCENTILES`, or 0 if there are no values."""
    found = np.percentile(values, PERCENTILES, method="higher") if len(values) else [0] * len(PERCENTILES)
    return {percentile: int(value) for percentile, value in zip(PERCENTILES, found, strict=True)}


def _concatenate(tables: splits.Splits) -> Rows:
    parts = [tables[name][["text", "label", "row"]].assign(split=name) for name in splits.NAMES if name in tables]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(null=rows["text"].isna(), text=rows["text"].fillna(""), label=rows["label"].fillna(""))


def _count_lines(path: str, file_format: readers.FileFormat) -> int | None:
    kind = readers.find_format(path)
    if kind == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.ParquetFile(path).metadata.num_rows)
    if kind == ".json":
        return None
    with file_format.open(path) as stream:
        lines = sum(1 for line in stream if line.strip("\r\n"))
    return lines - (kind != ".jsonl" and file_format.header)
