"""Finds the words and characters of training texts that reveal their class."""

import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from gpt_classifier.data import minhash

MIN_TEXTS = 5  # minimum number of texts with a word or character for it to count
AVOIDED = 0.9  # fraction of the errors of the most frequent class that a revealing word or length avoids
COVERED = 0.5  # minimum fraction of a class's texts with a revealing word
NAMED = 0.05  # likewise, if the word is the name of the class


@dataclass(frozen=True)
class ClassWord:
    """The word that distinguishes a class best from the others."""

    word: str
    precision: float  # fraction of the texts with it that are of the class
    coverage: float  # fraction of the texts of the class that have it


class Telling(NamedTuple):
    """A character that most texts of some classes have, and hardly any other."""

    character: str
    is_invisible: bool
    classes: list[str]
    fraction: float  # of the texts of these classes
    others: float  # of all other texts
    rows: pd.DataFrame  # of these classes, with it


def find_class_words(rows: pd.DataFrame) -> tuple[dict[str, ClassWord], list[tuple[pd.DataFrame, pd.DataFrame]]]:
    """The word that distinguishes each class best from the others, and the words that reveal a class.

    Revealing words are pairs: a table of the words of one class, the most frequent first, and the rows of the class
    with the first of them.
    """
    words = minhash.find_words(rows["text"])
    if rows["label"].nunique() < 2 or not len(words.ids):
        return {}, []
    text = np.repeat(np.arange(len(rows)), words.lengths)
    pairs = pd.DataFrame({"text": text, "word_id": words.ids}).drop_duplicates()
    texts_of_word = pairs["word_id"].value_counts()
    labels = rows["label"].reset_index(drop=True).explode().dropna().astype("category")
    pairs = pairs.join(labels, on="text", how="inner")  # with a row for each label of a text
    scores = pairs.groupby(["word_id", "label"], observed=True).size().reset_index(name="count")
    texts = scores["word_id"].map(texts_of_word)
    of_class = scores["label"].map(labels.value_counts()).astype(int)
    scores["precision"], scores["coverage"] = scores["count"] / texts, scores["count"] / of_class
    # Youden's J of the rule that predicts this class for a text with the word, and another one for a text without.
    scores["youden"] = scores["coverage"] - (texts - scores["count"]) / (len(rows) - of_class)
    scores["errors"] = (1 - scores["precision"]) / (1 - of_class / len(rows))  # relative to the most frequent class
    scores = scores[texts >= MIN_TEXTS]
    scores = scores.assign(word=[words.vocabulary[number] for number in scores["word_id"]])

    best = scores[scores["youden"] > 0].sort_values(["label", "youden"], ascending=[True, False])
    best = best.drop_duplicates("label")[["label", "word", "precision", "coverage"]]
    best_words = {str(label): ClassWord(*row) for label, *row in best.itertuples(index=False)}
    is_name = scores["word"] == scores["label"].astype(str).str.lower().str.split().str[-1]
    found = scores[(scores["coverage"] >= np.where(is_name, NAMED, COVERED)) & (scores["errors"] <= 1 - AVOIDED)]
    found = found.sort_values("coverage", ascending=False, kind="stable")
    revealing = []
    for label, own in found.groupby("label", sort=False, observed=True):
        with_word = pairs["text"][(pairs["word_id"] == own["word_id"].iloc[0]) & (pairs["label"] == label)]
        revealing.append((own, rows.iloc[with_word]))
    return best_words, revealing


def find_class_characters(rows: pd.DataFrame) -> list[Telling]:
    """Marks, symbols and invisible characters that reveal classes, invisible ones first.

    Letters and digits are those of words, and vowel signs and accents belong to letters.
    """
    labels = rows["label"].reset_index(drop=True).explode().dropna()
    characters = rows["text"].reset_index(drop=True).map(lambda text: list(filter(_may_tell, set(text))))
    characters = characters.explode().dropna()
    characters = characters[characters.map(characters.value_counts()) >= MIN_TEXTS]
    pairs = characters.rename("character").to_frame().join(labels.rename("label"), how="inner")
    fractions = pairs.groupby(["character", "label"]).size().div(labels.value_counts(), level="label")
    found = []
    for character, group in fractions[fractions >= COVERED].groupby("character"):
        classes = sorted(group.index.get_level_values("label"))
        of_classes = labels.index[labels.isin(classes)].unique()
        having = characters.index[characters == character]
        with_it = having[having.isin(of_classes)]
        outside, wrong = len(rows) - len(of_classes), len(having) - len(with_it)
        if outside and wrong / len(having) <= (1 - AVOIDED) * outside / len(rows):
            fraction, others = len(with_it) / len(of_classes), wrong / outside
            invisible = _is_invisible(str(character))
            found.append(Telling(str(character), invisible, classes, fraction, others, rows.iloc[with_it]))
    return sorted(found, key=lambda each: (not each.is_invisible, -each.fraction, each.character))


def _is_invisible(character: str) -> bool:
    """Whether nobody sees it: format and control characters, unusual spaces, variation selectors."""
    return unicodedata.category(character) in ("Cf", "Cc", "Zs", "Zl", "Zp") or _selects_variant(character)


def _may_tell(character: str) -> bool:
    if character.isalnum() or character in " \n\t\r":
        return False
    return not unicodedata.category(character).startswith("M") or _selects_variant(character)


def _selects_variant(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
