"""Turns text into padded batches of token ids; knows nothing about labels' names, files or models.

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
    """A right-padded batch. Padding is never recognised by its id, which is a real token too: ``lengths`` counts.

    What ``inputs`` are, ``depth`` says: ``ids``, token ids (B, T) in int64; a number n, the hidden states (B, T, C)
    that enter block n; or ``pooled``, what the head reads, (B, C).
    """

    inputs: Tensor
    lengths: Tensor  # (B,) int64, real tokens of each row
    labels: Tensor | None = None  # (B,) int64
    rows: Tensor | None = None  # (B,) int64, the row's number
    depth: int | Literal["ids", "pooled"] = "ids"
    share: float = 1.0  # factor of its mean loss in the optimizer's step that it belongs to


class TextEncoder:
    """Encodes texts with a tokenizer, truncates them to ``max_length`` tokens and pads batches.

    Args:
        tokenizer: ``gpt2`` (GPT-2's byte-pair encoding), ``bytes`` (one token per UTF-8 byte), or that of an encoder:
            its name on the Hugging Face hub, or a folder with its ``tokenizer.json``.
        max_length: Maximum number of tokens per text, with the special tokens that some tokenizers put around it.
        truncation: What stays of a longer text: its ``head``, its ``tail``, or half of each with ``head+tail``.
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
        self._room = max_length - len(self._tokenizer.before) - len(self._tokenizer.after)
        if self._room < 1:
            minimum = max_length - self._room + 1
            raise InputError(
                f"texts cannot be truncated to {max_length} tokens: max_length and pad_to must be at least {minimum}"
            )
        self.max_length = max_length
        self.truncation = truncation
        self.pad_to = pad_to
        # No max_length tokens are longer than this many characters, so the rest of a huge text need not be tokenized.
        self._window = max_length * self._tokenizer.longest

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.vocab_size

    @property
    def padding_id(self) -> int:
        """The token that padding is filled with."""
        return self._tokenizer.padding_id

    def encode(self, text: str) -> tuple[list[int], bool]:
        """The text's ids, at least one and at most ``max_length``, and whether the text was truncated.

        What looks like a special token in a text (``<|endoftext|>``, ``[SEP]``) is ordinary text; the tokenizer's own
        stand around what is left of it. An empty text without those is one padding token.
        """
        truncated = len(text) > self._window
        if truncated:
            window = int(self._window)
            parts = {"head": (text[:window],), "tail": (text[-window:],)}.get(
                self.truncation, (text[:window], text[-window:])
            )
        else:
            parts = (text,)
        # Whole where it matters: what truncation drops below is the middle or an end, never what both parts end at.
        ids = [token for part in parts for token in self._tokenizer.ids(part)]
        if len(ids) > self._room:
            truncated = True
            tail = {"head": 0, "tail": self._room, "head+tail": self._room // 2}[self.truncation]
            ids = ids[: self._room - tail] + (ids[-tail:] if tail else [])
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
        """The same encoder, but each batch is only as wide as its longest text."""
        other = copy.copy(self)
        other.pad_to = None
        return other

    def rows_by_length(self, lengths: Sequence[int] | np.ndarray, tokens: int) -> list[list[int]]:
        """Row numbers in batches of like length, each of at most ``tokens`` tokens, padding included, or of one row."""
        batches: list[list[int]] = []
        longest_first = np.argsort(-np.asarray(lengths), kind="stable")  # what is too big fails early
        for row in longest_first.tolist():
            width = self.pad_to or lengths[batches[-1][0]] if batches else 0
            if batches and width * (len(batches[-1]) + 1) <= tokens:
                batches[-1].append(row)
            else:
                batches.append([row])
        return batches

    def settings(self) -> dict[str, Any]:
        """All but the vocabulary, as plain values; :meth:`restore` takes both."""
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
        """The encoder that gave these ``settings()`` and this ``vocabulary()``; needs no download."""
        tokenizer = restore_tokenizer(settings, vocabulary)
        return cls(tokenizer, settings["max_length"], settings["truncation"], settings["pad_to"])


def batch_tokens(device: str) -> int:
    """How many tokens to put through a network at a time, without gradients, on this kind of device.

    On a CPU the widest activation, 16 C bytes a token, then stays in its cache; a GPU wants to be filled.
    """
    return 1024 if device == "cpu" else 16384
