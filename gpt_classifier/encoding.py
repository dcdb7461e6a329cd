"""Turns text into padded batches of token ids; knows nothing about class names, files or models.

This is the only path from text to tensor: training, evaluation, prediction and export all take it.
"""

import copy
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from gpt_classifier.errors import InputError
from gpt_classifier.settings import check_choice
from gpt_classifier.tokenizer import Tokenizer, restore_tokenizer, tokenizer_named

Truncation = Literal["head", "tail", "head+tail"]
TRUNCATIONS = get_args(Truncation)


class Batch(NamedTuple):
    """A right-padded batch. ``lengths`` says where padding begins; its token id does not, as real tokens have it too.

    ``depth`` says what ``inputs`` are: ``ids`` for token ids (B, T) in int64, a number n for the hidden states
    (B, T, C) that enter block n, or ``pooled`` for the pooled hidden states (B, C) that enter the head.
    """

    inputs: Tensor
    lengths: Tensor  # (B,) int64, number of real tokens of each row
    labels: Tensor | None = None  # (B,) int64, class numbers; or (B, K) float32, 1 for each label that a text has
    rows: Tensor | None = None  # (B,) int64, row numbers
    depth: int | Literal["ids", "pooled"] = "ids"
    share: float = 1.0  # weight of the batch's mean loss in its optimizer step


class TextEncoder:
    """Encodes texts with a tokenizer, truncates them to ``max_length`` tokens and pads batches.

    Args:
        tokenizer: ``gpt2`` (GPT-2's byte-pair encoding), ``bytes`` (one token per UTF-8 byte), or the tokenizer of an
            encoder: its name on the Hugging Face hub, or a folder with its ``tokenizer.json``.
        max_length: Maximum number of tokens per text, including the special tokens that some tokenizers add.
        truncation: Which part of a longer text is kept: its ``head``, its ``tail``, or half of each (``head+tail``).
        pad_to: Width of every batch in tokens, or None for the longest text of each batch.
    """

    def __init__(
        self,
        tokenizer: str | Tokenizer = "gpt2",
        max_length: int = 1024,
        truncation: str = "head",
        pad_to: int | None = None,
    ) -> None:
        check_choice("truncation", truncation, Truncation)
        if pad_to is not None:
            max_length = min(max_length, pad_to)
        self._tokenizer = tokenizer_named(tokenizer) if isinstance(tokenizer, str) else tokenizer
        self._max_text_tokens = max_length - len(self._tokenizer.before) - len(self._tokenizer.after)
        if self._max_text_tokens < 1:
            minimum = max_length - self._max_text_tokens + 1
            raise InputError(
                f"texts cannot be truncated to {max_length} tokens: max_length and pad_to must be at least {minimum}"
            )
        self.max_length = max_length
        self.truncation = truncation
        self.pad_to = pad_to
        # max_length tokens cover at most this many characters, so the rest of a huge text need not be tokenized.
        self._max_characters = max_length * self._tokenizer.longest

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.vocab_size

    @property
    def padding_id(self) -> int:
        """Token id of padding."""
        return self._tokenizer.padding_id

    def encode(self, text: str) -> tuple[list[int], bool]:
        """The text's token ids, at least one and at most ``max_length``, and whether the text was truncated.

        A special token that is written in a text (``<|endoftext|>``, ``[SEP]``) is ordinary text; the tokenizer's own
        special tokens are added after truncation. An empty text without any becomes one padding token.
        """
        truncated, limit = len(text) > self._max_characters, self._max_text_tokens
        if truncated:
            n = int(self._max_characters)
            parts = {"head": (text[:n],), "tail": (text[-n:],)}.get(self.truncation, (text[:n], text[-n:]))
        else:
            parts = (text,)
        # Tokens next to the cuts may not be those of the whole text: truncation drops them below.
        ids = [token for part in parts for token in self._tokenizer.ids(part)]
        if len(ids) > limit:
            truncated = True
            tail = {"head": 0, "tail": limit, "head+tail": limit // 2}[self.truncation]
            ids = ids[: limit - tail] + (ids[-tail:] if tail else [])
        return [*self._tokenizer.before, *ids, *self._tokenizer.after] or [self.padding_id], truncated

    def batch(
        self, ids: Sequence[Sequence[int] | np.ndarray], labels: Tensor | None = None, rows: Tensor | None = None
    ) -> Batch:
        """Pads encoded texts on the right into one :class:`Batch`."""
        lengths = [len(row) for row in ids]
        width = self.pad_to or max(lengths)
        table = np.full((len(ids), width), self.padding_id, dtype=np.int64)
        for row, tokens in zip(table, ids, strict=True):
            row[: len(tokens)] = tokens
        return Batch(torch.from_numpy(table), torch.tensor(lengths), labels, rows)

    def unpadded(self) -> "TextEncoder":
        """The same text encoder, except that each batch is only as wide as its longest text."""
        unpadded = copy.copy(self)
        unpadded.pad_to = None
        return unpadded

    def rows_by_length(self, lengths: Sequence[int] | np.ndarray, tokens: int) -> list[list[int]]:
        """Row numbers in batches of similar length, each of at most ``tokens`` tokens with padding, or of one row."""
        batches: list[list[int]] = []
        longest_first = np.argsort(-np.asarray(lengths), kind="stable")  # so that running out of memory happens early
        for row in longest_first.tolist():
            width = self.pad_to or lengths[batches[-1][0]] if batches else 0
            if batches and width * (len(batches[-1]) + 1) <= tokens:
                batches[-1].append(row)
            else:
                batches.append([row])
        return batches

    def settings(self) -> dict[str, Any]:
        """All settings as plain values, without the vocabulary; :meth:`restore` takes both."""
        return {
            **self._tokenizer.settings(),
            "max_length": self.max_length,
            "truncation": self.truncation,
            "pad_to": self.pad_to,
        }

    def vocabulary(self) -> Tensor:
        """The tokenizer's vocabulary as one uint8 tensor."""
        return self._tokenizer.vocabulary()

    @classmethod
    def restore(cls, settings: dict[str, Any], vocabulary: Tensor) -> "TextEncoder":
        """The text encoder that returned these ``settings()`` and this ``vocabulary()``; needs no download."""
        tokenizer = restore_tokenizer(settings, vocabulary)
        return cls(tokenizer, settings["max_length"], settings["truncation"], settings["pad_to"])


def batch_tokens(device: str) -> int:
    """Maximum number of tokens in a batch that is computed without gradients on this kind of device.

    On a CPU, the largest activation (16 C bytes per token) then fits into the processor's cache; a GPU needs larger
    batches to be busy.
    """
    return 1024 if device == "cpu" else 16384
