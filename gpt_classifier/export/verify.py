"""Compares an exported model's probabilities with the model's own, on texts that exports get wrong first."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_classifier.errors import InputError, reason

if TYPE_CHECKING:
    import numpy as np

# What exports get wrong first: nothing, blanks, emoji, special tokens, scripts, more tokens than a model reads.
AWKWARD = [
    *(
        "",
        " ",
        "\n\t ",
        "a",
        "\x00\x07",
        "🎉",
        "👩\u200d👩\u200d👧 ünïcödé",
        "<|endoftext|>",
        "[CLS] a [SEP]<s> b</s><pad>[MASK]",
        "中文和 العربية",
        "हिन्दी ไทย",
    ),
    *("it's  2,000.50 $\r\n\r\nNEW line", "don't CAN'T I'll 12345678", "x" * 2000, "WIN a car now! " * 300, "😀" * 500),
    *("ha" * 3001, "1234567890" * 601),  # tokens of such a run depend on where it begins
]
MIN_EQUAL = 0.8  # fraction of the texts; the awkward ones are often near a tie
WORDS = "see you at five tonight call now to claim your free prize of 2000 pounds and reply stop to end"


@dataclass(frozen=True)
class Measured:
    """How far the exported model's probabilities are from ours."""

    texts: int
    largest_difference: float
    equal_labels: float  # fraction of the texts with the same most probable class
    largest_difference_of_shapes: float | None = None  # on random ids in batches of awkward shapes


def compare(expected: "np.ndarray", found: "np.ndarray", shape_difference: float | None = None) -> Measured:
    """Of probabilities (N, K): what the model gives, and what the exported one gives for the same texts."""
    same = (expected.argmax(-1) == found.argmax(-1)).mean()
    return Measured(len(expected), float(abs(expected - found).max()), float(same), shape_difference)


def check_difference(measured: Measured, tolerance: float | None, advice: str = "") -> None:
    """Raises ``InputError``, which ends with ``advice``, if the probabilities differ by more than ``tolerance``.

    None is for formats that are less exact on purpose: MIN_EQUAL of the most probable classes must be the same.
    """
    worst = max(measured.largest_difference, measured.largest_difference_of_shapes or 0.0)
    if tolerance is None and measured.equal_labels < MIN_EQUAL:
        raise InputError(
            f"the exported model gives another class on {1 - measured.equal_labels:.0%} of {measured.texts:,} texts: "
            "nothing was written; use --to onnx, or --texts with a file of texts like those that it is for"
        )
    if tolerance is not None and not worst <= tolerance:
        raise InputError(
            f"the exported model's probabilities differ by up to {worst:.2g}, expected at most {tolerance:g}: "
            f"nothing was written{advice}"
        )


def build_probe_texts() -> list[str]:
    """Awkward texts, and made-up ones of every length up to 40 words."""
    words = WORDS.split()
    return AWKWARD + [" ".join(words[n * step % len(words)] for step in range(n)) for n in range(1, 41)]


def read_texts(path: Path) -> list[str]:
    """The lines of a file. Raises ``InputError`` if there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--texts {path} cannot be read ({reason(error)}): expected UTF-8 text, a text a line"
        ) from error
    if not lines:
        raise InputError(f"--texts {path} is empty, expected a text a line")
    return lines
