"""Computes what an audit reports: duplicates, lengths, scripts, trivial models, words.

Rows are concatenated tables of :mod:`~gpt_classifier.data.datasets`, with the columns ``split`` and ``null`` (whether
the text was missing; missing texts and labels are ``""``). For duplicates, they also have ``key``, the
:func:`~gpt_classifier.data.duplicates.near_duplicate_key` of the text.
"""

import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gpt_classifier.data import minhash, readers
from gpt_classifier.data.readers import FileFormat
from gpt_classifier.data.splits import NAMES, Splits
from gpt_classifier.text import scripts
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.text.tokenizers import Tokenizer

Rows = pd.DataFrame

PERCENTILES = (50, 90, 95, 99, 100)
MAX_CHARACTERS = 200_000_000  # tokenized characters; of longer data, every n-th text is tokenized
MIN_TEXTS = 5  # minimum number of texts with a word for the word to count
GIVEN_AWAY = 0.9  # share of the errors of the most frequent class that a revealing word or length avoids
COVERED = 0.5  # minimum share of a class's texts with a revealing word
NAMED = 0.05  # likewise, if the word is the name of the class
DEPTH = 3  # of the decision trees


def joined(tables: Splits) -> Rows:
    """Concatenates the tables, train first."""
    parts = [tables[name][["text", "label", "row"]].assign(split=name) for name in NAMES if name in tables]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(null=rows["text"].isna(), text=rows["text"].fillna(""), label=rows["label"].fillna(""))


def with_label(rows: Rows, names: Collection[str]) -> Rows:
    """Those of the rows that have one of these labels."""
    labels = rows["label"].explode()
    return rows.loc[labels.index[labels.isin(names)].unique()]


def count_lines(path: str, file_format: FileFormat) -> int | None:
    """Number of lines with content below the header; of Parquet, of rows; of JSON, None."""
    kind = readers.kind_of(path)
    if kind == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.ParquetFile(path).metadata.num_rows)
    if kind == ".json":
        return None
    with file_format.open(path) as stream:
        lines = sum(1 for line in stream if line.strip("\r\n"))
    return lines - (kind != ".jsonl" and file_format.header)


def with_swallowed_rows(several: Rows, labels: Sequence[str]) -> Rows:
    """Those of the texts of several lines that contain further rows of the file: a line begins or ends with a label."""
    # A number after a line end and before a comma is ordinary text.
    names = "|".join(re.escape(label) for label in labels[:1000] if label and not label.isdigit())
    swallowed = rf'\n"?(?:{names})"?[\t,;|]|[\t,;|]"?(?:{names})"?\r?\n'
    return several[several["text"].str.contains(swallowed)] if names else several[:0]


def mark_duplicates(rows: Rows, distinct: Rows, words: minhash.Words) -> Rows:
    """The rows with bool columns that say what each repeats.

    ``repeated``: an earlier row of its split, near-duplicates included; ``exact`` and ``near``: a training text, of
    rows outside train; ``near_val``: a validation text but no training text, of test rows; ``similar``: most of the
    wording of a training text, but not all of it. ``distinct`` has the first row of each key, with its ``words``.
    """
    train, val, test = (rows["split"] == name for name in NAMES)
    near = rows["key"].isin(rows["key"][train]) & ~train
    similar = distinct["key"][minhash.similar(words, int((distinct["split"] == "train").sum())) >= 0]
    return rows.assign(
        repeated=rows.duplicated(["split", "key"]),
        exact=rows["text"].isin(rows["text"][train]) & ~train,
        near=near,
        near_val=rows["key"].isin(rows["key"][val]) & test & ~near,
        similar=rows["key"].isin(similar) & ~near,
    )


def count_duplicates(rows: Rows) -> dict[str, dict[str, int]]:
    """For each split, its rows and distinct texts, and those that repeat training texts; ``rows`` are marked."""
    counts = {}
    for split, part in rows.groupby("split", sort=False):
        counts[str(split)] = {"rows": len(part), "texts": part["text"].nunique(), "distinct": part["key"].nunique()}
        if split != "train":
            repeats = {"exact": part["exact"], "near": part["near"], "similar": part["near"] | part["similar"]}
            counts[str(split)] |= {name: int(mask.sum()) for name, mask in repeats.items()}
    return counts


def measured(rows: Rows, tokenizer: Tokenizer) -> Rows:
    """The rows, or every n-th if they exceed :data:`MAX_CHARACTERS`, with their number of ``tokens``."""
    rows = rows[:: max(1, -(-int(rows["text"].str.len().sum()) // MAX_CHARACTERS))]
    encoder = TextEncoder(tokenizer, sys.maxsize)
    which, distinct = pd.factorize(rows["text"])
    return rows.assign(tokens=np.array([len(encoder.encode(text)[0]) for text in distinct], dtype=np.int64)[which])


def length_limit(rows: Rows, max_length: int, pad_to: int | str) -> int:
    """Maximum number of tokens per text; ``rows`` are measured."""
    if pad_to == "longest":
        return max_length
    train = rows["tokens"][rows["split"] == "train"]
    return min(max_length, max([1, *train]) if pad_to == "longest_train" else int(pad_to))


def class_lengths(rows: Rows, some: Rows, names: Sequence[str], limit: int) -> dict[str, dict[str, Any]]:
    """For each class its rows in each split, and percentiles of the tokens and truncated texts of measured rows."""
    splits = rows["split"].unique()
    rows, some = rows.explode("label"), some.explode("label")
    counts = Counter(zip(rows["label"], rows["split"], strict=True))
    tokens = {str(name): part for name, part in some.groupby("label")["tokens"]}
    classes = {}
    for name in names:
        own = tokens.get(name, some["tokens"][:0])
        lengths = {"tokens": percentiles(own), "truncated": int((own > limit).sum())}
        classes[name] = {split: counts[name, split] for split in splits} | lengths
    return classes


def percentiles(values: pd.Series) -> dict[int, int]:
    """The values at :data:`PERCENTILES`, or 0 if there are no values."""
    found = np.percentile(values, PERCENTILES, method="higher") if len(values) else [0] * len(PERCENTILES)
    return {percentile: int(value) for percentile, value in zip(PERCENTILES, found, strict=True)}


def find_scripts(rows: Rows) -> tuple[dict[str, float], np.ndarray]:
    """Shares of the letters by script, and (N,) the main script of each row, ``""`` without letters."""
    letters = scripts.letters(rows["text"].tolist())
    return scripts.shares(letters), np.array([*letters.names, ""])[letters.main]


def trivial_accuracies(rows: Rows) -> tuple[dict[str, float], str]:
    """Accuracy of the most frequent class and of small decision trees, by feature, and their split."""
    scored = next((name for name in ("test", "val") if (rows["split"] == name).any()), "")
    train, test = rows["split"] == "train", rows["split"] == scored
    if not scored or not train.any():
        return {}, ""
    from sklearn.tree import DecisionTreeClassifier

    labels = rows["label"].astype(str)  # several labels count as one class
    accuracies = {"nothing": float((labels[test] == labels[train].mode()[0]).mean())}
    features = np.stack([rows["text"].str.len(), rows["text"].str.count(r"\d")], axis=1)
    for name, columns in {"length": [0], "length and digits": [0, 1]}.items():
        tree = DecisionTreeClassifier(max_depth=DEPTH, random_state=0).fit(features[train][:, columns], labels[train])
        accuracies[name] = float(tree.score(features[test][:, columns], labels[test]))
    return accuracies, scored


def class_words(words: minhash.Words, rows: Rows) -> tuple[dict[str, dict[str, Any]], list[tuple[pd.DataFrame, Rows]]]:
    """The word that distinguishes each class best from the others, and the words that reveal a class.

    Revealing words are pairs: a table of the words of one class, the most frequent first, and the rows of the class
    with this word. ``rows`` are training rows; ``words`` are theirs, followed by those of further rows.
    """
    text = np.repeat(np.arange(len(rows)), words.lengths[: len(rows)])
    if rows["label"].nunique() < 2 or not len(text):
        return {}, []
    pairs = pd.DataFrame({"text": text, "word_id": words.ids[: len(text)]}).drop_duplicates()
    texts_of_word = pairs["word_id"].value_counts()
    labels = rows["label"].reset_index(drop=True).explode().dropna().astype("category")
    pairs = pairs.join(labels, on="text", how="inner")  # with a row for each label of a text
    scores = pairs.groupby(["word_id", "label"], observed=True).size().reset_index(name="count")
    texts = scores["word_id"].map(texts_of_word)
    of_class = scores["label"].map(labels.value_counts()).astype(int)
    scores["precision"], scores["coverage"] = scores["count"] / texts, scores["count"] / of_class
    # Youden's J of the rule that answers this class for a text with the word, and another one for a text without.
    scores["youden"] = scores["coverage"] - (texts - scores["count"]) / (len(rows) - of_class)
    scores["errors"] = (1 - scores["precision"]) / (1 - of_class / len(rows))  # relative to the most frequent class
    scores = scores[texts >= MIN_TEXTS]
    scores = scores.assign(word=[words.vocabulary[number] for number in scores["word_id"]])

    best = scores[scores["youden"] > 0].sort_values(["label", "youden"], ascending=[True, False])
    best = best.drop_duplicates("label").set_index("label")[["word", "precision", "coverage"]]
    telling = {str(label): {str(name): value for name, value in row.items()} for label, row in best.iterrows()}
    is_name = scores["word"] == scores["label"].astype(str).str.lower().str.split().str[-1]
    found = scores[(scores["coverage"] >= np.where(is_name, NAMED, COVERED)) & (scores["errors"] <= 1 - GIVEN_AWAY)]
    found = found.sort_values("coverage", ascending=False, kind="stable")
    revealing = []
    for label, own in found.groupby("label", sort=False, observed=True):
        with_word = pairs["text"][(pairs["word_id"] == own["word_id"].iloc[0]) & (pairs["label"] == label)]
        revealing.append((own, rows.iloc[with_word]))
    return telling, revealing


class Telling(NamedTuple):
    """A character that most texts of some classes have, and hardly any other."""

    character: str
    classes: tuple[str, ...]
    share: float  # of the texts of these classes
    others: float  # of all other texts
    rows: Rows  # of these classes, with it

    @property
    def is_invisible(self) -> bool:
        return is_invisible(self.character)


def class_characters(rows: Rows) -> list[Telling]:
    """Marks, symbols and invisible characters that give classes away, invisible ones first.

    Letters and digits are those of words, and vowel signs and accents belong to letters.
    """
    labels = rows["label"].reset_index(drop=True).explode().dropna()
    texts = defaultdict(list)
    for number, text in enumerate(rows["text"]):
        for character in set(text):
            if not character.isalnum() and character not in " \n\t\r" and _may_tell(character):
                texts[character].append(number)
    sizes, found = labels.value_counts(), []
    for character, numbers in texts.items():
        if len(numbers) < MIN_TEXTS:
            continue
        counts = labels[labels.index.isin(numbers)].value_counts()
        shares = counts / sizes[counts.index]
        classes = tuple(map(str, shares[shares >= COVERED].index))
        of_classes = labels.index[labels.astype(str).isin(classes)]
        inside = pd.Series(False, index=range(len(rows)))  # a text may have no label
        inside[of_classes] = True
        own = int(inside[numbers].sum())
        outside = len(rows) - int(inside.sum())
        if not classes or not outside:
            continue
        if (len(numbers) - own) / len(numbers) <= (1 - GIVEN_AWAY) * outside / len(rows):
            share, others = own / int(inside.sum()), (len(numbers) - own) / outside
            with_it = rows.iloc[[number for number in numbers if inside[number]]]
            found.append(Telling(character, tuple(sorted(classes)), share, others, with_it))
    return sorted(found, key=lambda each: (not each.is_invisible, -each.share, each.character))


def is_invisible(character: str) -> bool:
    """Whether nobody sees it: format and control characters, unusual spaces, variation selectors."""
    return unicodedata.category(character) in ("Cf", "Cc", "Zs", "Zl", "Zp") or _selects_variant(character)


def _may_tell(character: str) -> bool:
    return not unicodedata.category(character).startswith("M") or _selects_variant(character)


def _selects_variant(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
