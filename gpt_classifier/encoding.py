"""Turns text into padded batches of token ids; knows nothing about labels' names, files or models.

This is the only road from text to tensor: training, evaluation, prediction and export all take it.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tiktoken
import torch
from torch import Tensor

from gpt_classifier.errors import InputError, reason

TRUNCATIONS = ("head", "tail", "head+tail")


class Batch(NamedTuple):
    """A right-padded batch. Padding is never recognised by its id, which is a real token too: ``lengths`` counts."""

    input_ids: Tensor  # (B, T) int64
    lengths: Tensor  # (B,) int64, real tokens of each row
    labels: Tensor | None = None  # (B,) int64
    index: Tensor | None = None  # type: ignore[assignment]  # (B,) int64, the row's number; hides tuple.index


class TextEncoder:
    """Encodes texts with a byte-pair tokenizer, cuts them to ``max_length`` tokens and pads batches.

    Args:
        tokenizer: ``gpt2`` (GPT-2's byte-pair encoding), ``bytes`` (one token per UTF-8 byte), or a tiktoken Encoding.
        max_length: Most tokens of one text.
        truncation: What stays of a longer text: its ``head``, its ``tail``, or half of each with ``head+tail``.
        pad_to: Width of every batch in tokens, or None for the longest text of each batch.
    """

    def __init__(
        self,
        tokenizer: str | tiktoken.Encoding = "gpt2",
        max_length: int = 1024,
        truncation: str = "head",
        pad_to: int | None = None,
    ) -> None:
        if truncation not in TRUNCATIONS:
            raise InputError(f"truncation is {truncation!r}, expected one of {', '.join(TRUNCATIONS)}")
        if pad_to is not None:
            max_length = min(max_length, pad_to)
        if max_length < 1:
            raise InputError(f"texts cannot be cut to {max_length} tokens: max_length and pad_to must be at least 1")
        self._encoding = tokenizer if isinstance(tokenizer, tiktoken.Encoding) else _encoding(tokenizer)
        self.max_length = max_length
        self.truncation = truncation
        self.pad_to = pad_to
        # No max_length tokens are longer than this many characters, so the rest of a huge text need not be tokenized.
        self._window = max_length * max(map(len, self._encoding.token_byte_values()))

    @property
    def vocab_size(self) -> int:
        return self._encoding.n_vocab

    @property
    def padding_id(self) -> int:
        """The end-of-text token, as in GPT-2, which has no padding token of its own."""
        return self._encoding.eot_token

    def encode(self, text: str) -> tuple[list[int], bool]:
        """The text's ids, at least one and at most ``max_length``, and whether something was cut.

        ``<|endoftext|>`` in a text is ordinary text. An empty text is one end-of-text token.
        """
        cut = len(text) > self._window
        if cut:
            parts = {"head": (text[: self._window],), "tail": (text[-self._window :],)}.get(
                self.truncation, (text[: self._window], text[-self._window :])
            )
        else:
            parts = (text,)
        # In order and uncut in between: what truncation drops below is the middle or an end, never the seam's sides.
        ids = [token for part in parts for token in self._encoding.encode_ordinary(part)]
        if len(ids) > self.max_length:
            cut = True
            tail = {"head": 0, "tail": self.max_length, "head+tail": self.max_length // 2}[self.truncation]
            ids = ids[: self.max_length - tail] + (ids[-tail:] if tail else [])
        return ids or [self.padding_id], cut

    def batch(
        self, ids: Sequence[Sequence[int] | np.ndarray], labels: Tensor | None = None, index: Tensor | None = None
    ) -> Batch:
        """Pads encoded texts on the right into one :class:`Batch`."""
        lengths = torch.tensor([len(row) for row in ids])
        width = self.pad_to or int(lengths.max())
        table = np.full((len(ids), width), self.padding_id, dtype=np.int64)
        for row, tokens in zip(table, ids, strict=True):
            row[: len(tokens)] = tokens
        return Batch(torch.from_numpy(table), lengths, labels, index)

    def unpadded(self) -> "TextEncoder":
        """The same encoder, but each batch is only as wide as its longest text."""
        other = copy.copy(self)
        other.pad_to = None
        return other

    def rows_by_length(self, lengths: Sequence[int] | np.ndarray, tokens: int) -> list[list[int]]:
        """Row numbers in batches of like length, each of at most ``tokens`` tokens, padding included, or of one row."""
        batches: list[list[int]] = []
        for row in np.argsort(
            -np.asarray(lengths), kind="stable"
        ).tolist():  # longest first: what is too big fails early
            width = self.pad_to or lengths[batches[-1][0]] if batches else 0
            if batches and width * (len(batches[-1]) + 1) <= tokens:
                batches[-1].append(row)
            else:
                batches.append([row])
        return batches

    def settings(self) -> dict[str, Any]:
        """All but the vocabulary, as plain values; :meth:`restore` takes both."""
        return {
            "tokenizer": self._encoding.name,
            "pattern": self._encoding._pat_str,
            "end_of_text": self._encoding.eot_token,
            "max_length": self.max_length,
            "truncation": self.truncation,
            "pad_to": self.pad_to,
        }

    def vocabulary(self) -> Tensor:
        """The byte strings of all ordinary tokens in rank order as one uint8 tensor: lengths, a 0, bytes."""
        tokens = sorted(self._encoding._mergeable_ranks, key=self._encoding._mergeable_ranks.__getitem__)
        return torch.frombuffer(bytearray(bytes(map(len, tokens)) + b"\0" + b"".join(tokens)), dtype=torch.uint8)

    @classmethod
    def restore(cls, settings: dict[str, Any], vocabulary: Tensor) -> "TextEncoder":
        """The encoder that gave these ``settings()`` and this ``vocabulary()``; needs no download."""
        lengths, _, joined = vocabulary.numpy().tobytes().partition(b"\0")
        ends = np.cumsum(np.frombuffer(lengths, dtype=np.uint8))
        encoding = tiktoken.Encoding(
            settings["tokenizer"],
            pat_str=settings["pattern"],
            mergeable_ranks={
                joined[end - n : end]: rank for rank, (end, n) in enumerate(zip(ends, lengths, strict=True))
            },
            special_tokens={"<|endoftext|>": settings["end_of_text"]},
        )
        return cls(encoding, settings["max_length"], settings["truncation"], settings["pad_to"])


def batch_tokens(device: str) -> int:
    """How many tokens to put through a network at a time, without gradients, on this kind of device.

    On a CPU the widest activation, 16 C bytes a token, then stays in its cache; a GPU wants to be filled.
    """
    return 1024 if device == "cpu" else 16384


def _encoding(name: str) -> tiktoken.Encoding:
    if name == "bytes":
        return tiktoken.Encoding(
            "bytes",
            pat_str="(?s:.)",
            mergeable_ranks={bytes([value]): value for value in range(256)},
            special_tokens={"<|endoftext|>": 256},
        )
    if name != "gpt2":
        raise InputError(f"tokenizer is {name!r}, expected gpt2 or bytes")
    try:
        return tiktoken.get_encoding("gpt2")
    except (OSError, ValueError) as error:  # tiktoken raises ValueError for a file with the wrong checksum
        raise InputError(
            "could not load GPT-2's tokenizer files (vocab.bpe and encoder.json of the GPT-2 release): "
            f"{reason(error)}. Fetch them on a machine with internet by `gpt-classifier download`, "
            "copy its tiktoken cache folder and name it in TIKTOKEN_CACHE_DIR, or use `--data.tokenizer bytes`."
        ) from error
