"""Packs documents into one file of tokens without padding, and reads blocks of it.

Each document begins with the end-of-text token, as in GPT-2. Shapes: N tokens, T tokens of a block.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gpt_classifier.files import whole_file
from gpt_classifier.text.tokenizers import Tokenizer, end_of_text


class Blocks(NamedTuple):
    """Some blocks of a file of tokens: each token but the first is predicted from those before it."""

    ids: Tensor  # (B, T + 1)
    lengths: Tensor  # (B,) number of tokens of each, of which the last block of a file may have fewer
    weight: float = 1.0  # of the loss of each token


class Packed(torch.utils.data.Dataset[Blocks]):
    """A file of tokens as blocks of ``length`` tokens and the next one; its item is a list of block numbers.

    A block begins with the token that the one before it predicts last, so that each token is predicted once.
    """

    def __init__(self, path: Path, dtype: str, length: int) -> None:
        self._path, self._dtype, self.length = path, dtype, length
        self.tokens = path.stat().st_size // np.dtype(dtype).itemsize
        self.tokens_predicted = max(0, self.tokens - 1)

    def __len__(self) -> int:
        return -(-self.tokens_predicted // self.length)

    def __getitem__(self, numbers: Sequence[int]) -> Blocks:
        tokens = np.memmap(self._path, self._dtype, mode="r")
        ids = np.zeros((len(numbers), self.length + 1), dtype=np.int64)
        lengths = []
        for row, number in zip(ids, numbers, strict=True):
            block = tokens[number * self.length : (number + 1) * self.length + 1]
            row[: len(block)] = block
            lengths.append(len(block))
        return Blocks(torch.from_numpy(ids), torch.tensor(lengths))


def token_dtype(vocab_size: int) -> str:
    """The smallest type of numbers that holds all token ids."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def pack(texts: Iterable[str], tokenizer: Tokenizer, path: Path) -> int:
    """Writes the tokens of all texts, whole or not at all, and returns their number."""
    dtype, start, count = token_dtype(tokenizer.vocab_size), end_of_text(tokenizer), 0
    with whole_file(path) as scratch, open(scratch, "wb") as stream:
        for text in texts:
            ids = np.array([start, *tokenizer.ids(text)], dtype=dtype)
            stream.write(ids.tobytes())
            count += len(ids)
    return count
