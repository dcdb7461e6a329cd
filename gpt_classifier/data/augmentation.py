"""Changes training texts at random, each time they are read."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from torch.utils.data import Dataset

from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.errors import InputError
from gpt_classifier.text.encoder import Batch

WORD = re.compile(r"\s*\S+")
MINIMUM = 3  # words that a cropped text keeps
CASES: tuple[Callable[[str], str], ...] = (str.lower, str.upper, str.capitalize)


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes to training texts, new ones in each epoch; words are what white space separates.

    They keep the label only if the task allows it: parts of a text must have its class, and case must not matter.
    Random deletion is that of Wei and Zou, "EDA: Easy data augmentation" (2019).

    Args:
        crop: Probability that of a text only some successive words remain, at least 3. Half the time they are the first
            ones, which teaches a model to predict early.
        delete: Probability with which each word is left out; one word always remains.
        case: Probability that a text is written in small letters, in capitals or with one capital, at random.
    """

    crop: float = 0.0
    delete: float = 0.0
    case: float = 0.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InputError(f"{name} is {value}, expected a probability from 0 to 1")

    def __bool__(self) -> bool:
        return self.crop > 0 or self.delete > 0 or self.case > 0

    def change(self, text: str, rng: np.random.Generator) -> str:
        """A random version of the text."""
        words = WORD.findall(text)
        if len(words) > MINIMUM and rng.random() < self.crop:
            length = rng.integers(MINIMUM, len(words), endpoint=True)
            start = rng.integers(len(words) - length, endpoint=True) if rng.random() < 0.5 else 0
            words = words[start : start + length]
        if self.delete and words:
            kept = rng.random(len(words)) >= self.delete
            kept[rng.integers(len(words))] = True
            words = [word for word, keep in zip(words, kept, strict=True) if keep]
        text = "".join(words).lstrip() if words else text
        return CASES[rng.integers(len(CASES))](text) if rng.random() < self.case else text


@dataclass(eq=False)
class AugmentedTexts(Dataset[Batch]):
    """The rows of ``encoded``, made of random versions of their ``texts``, which are tokenized as they are read.

    A version depends on the seed, the epoch and the row's number in its source alone, so that a resumed run, or one on
    more processes, sees the same.
    """

    encoded: EncodedTexts
    texts: Sequence[str]
    config: AugmentationConfig
    seed: int
    epoch: Callable[[], int]

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, rows: list[int]) -> Batch:
        epoch, numbers = self.epoch(), self.encoded.rows[rows]
        texts = [
            self.config.change(self.texts[row], np.random.default_rng([self.seed, epoch, number]))
            for row, number in zip(rows, numbers.tolist(), strict=True)
        ]
        labels = None if self.encoded.labels is None else self.encoded.labels[rows]
        return EncodedTexts(texts, self.encoded.text_encoder, labels, numbers)[list(range(len(rows)))]
