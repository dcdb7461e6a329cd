"""Turns text into padded batches of token ids.

This is the only path from text to tensor: training, evaluation, prediction and export all take it.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from gpt_classifier.errors import InputError
from gpt_classifier.settings import check_choice
from gpt_classifier.text.tokenizers import Tokenizer, restore_tokenizer, tokenizer_named

Truncation = Literal["head", "tail", "head+tail"]
TRUNCATIONS = get_args(Truncation)
FAR = 100_000  # characters by which the beginning of a tail may move back to a place between two words
Aggregate = Literal["mean", "max"]


@dataclass(frozen=True)
class WindowsConfig:
    """Overlapping windows of ``max_length`` tokens, in which a longer text is read as a whole.

    Args:
        stride: Number of tokens from the start of a window to the start of the next one.
        aggregate: How the logits of a text's windows become those of the text: their ``mean``, or the ``max`` of each
            class.
        limit: Maximum number of windows of a text, spread evenly over it; null for all.
    """

    stride: int = 128
    aggregate: Aggregate = "mean"
    limit: int | None = 16

    def __post_init__(self) -> None:
        check_choice("aggregate", self.aggregate, Aggregate)
        if self.stride < 1:
            raise InputError(f"stride is {self.stride}, expected at least 1 token")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit}, expected at least 1 window, or null for all")


class Batch(NamedTuple):
    """A right-padded batch. ``lengths`` says where padding begins; its token id does not, as real tokens have it too.

    ``start_layer`` says what ``inputs`` are: ``ids`` for token ids (W, T) in int64, a number n for the hidden states
    (W, T, C) that enter block n, or ``pooled`` for the pooled hidden states (W, C) that enter the head. Usually each of
    the B texts is one input, W = B; a text that is read in windows is several, one after the other.
    """

    inputs: Tensor
    lengths: Tensor  # (W,) int64, number of real tokens of each input
    # (B,) int64, class numbers; or (B, K) float32, 1 for each label that a text has; -1 where they are not known
    labels: Tensor | None = None
    rows: Tensor | None = None  # (B,) int64, row numbers
    start_layer: int | Literal["ids", "pooled"] = "ids"
    loss_weight: float = 1.0  # weight of the batch's mean loss in its optimizer step
    texts: Tensor | None = None  # (W,) int64, which of the B texts each input is a window of; None if each is a text
    aggregate: Aggregate = "mean"
    ids: Tensor | None = None  # (W, T) int64, token ids of inputs that are hidden states, for a language-model loss

    def aggregate_logits(self, logits: Tensor) -> Tensor:
        """Logits (W, K) of the inputs -> (B, K) of the texts."""
        if self.texts is None:
            return logits
        assert self.rows is not None, "data give every text a row number"
        return aggregate_logits(logits, self.texts, len(self.rows), self.aggregate)


def texts_of_windows(counts: Sequence[int] | np.ndarray) -> Tensor | None:
    """(W,) the text that each window belongs to, where text i has ``counts[i]`` of W windows; None if each has one."""
    if all(count == 1 for count in counts):
        return None
    return torch.from_numpy(np.repeat(np.arange(len(counts)), counts))


def aggregate_logits(logits: Tensor, texts: Tensor, number: int, aggregate: Aggregate) -> Tensor:
    """Logits (W, K) of windows -> (B, K) of the ``number`` texts that ``texts`` (W,) says they belong to."""
    index, how = texts[:, None].expand_as(logits), {"mean": "mean", "max": "amax"}[aggregate]
    return logits.new_zeros(number, logits.shape[1]).scatter_reduce(0, index, logits, how, include_self=False)


class TextEncoder:
    """Encodes texts with a tokenizer, truncates them to ``max_length`` tokens and pads batches.

    Args:
        tokenizer: ``gpt2`` (GPT-2's byte-pair encoding), ``bytes`` (one token per UTF-8 byte), a model folder or run
            of this package, or the tokenizer of a published network: its name on the hub, a folder with its
            ``tokenizer.json``, or a .gguf file; or a tokenizer itself.
        max_length: Maximum number of tokens per text, including the special tokens that some tokenizers add.
        truncation: Which part of a longer text is kept: its ``head``, its ``tail``, or half of each (``head+tail``).
        pad_to: Width of every batch in tokens, or None for the longest text of each batch.
        windows: How longer texts are read as a whole, in windows; None to truncate them.
    """

    def __init__(
        self,
        tokenizer: str | Tokenizer = "gpt2",
        max_length: int = 1024,
        truncation: str = "head",
        pad_to: int | None = None,
        windows: WindowsConfig | None = None,
    ) -> None:
        check_choice("truncation", truncation, Truncation)
        if pad_to is not None:
            max_length = min(max_length, pad_to)
        self.tokenizer = tokenizer_named(tokenizer) if isinstance(tokenizer, str) else tokenizer
        special = len(self.tokenizer.before) + len(self.tokenizer.after)
        self._max_text_tokens = room = max_length - special
        if room < 1:
            raise InputError(
                f"texts cannot be truncated to {max_length} tokens: "
                f"max_length and pad_to must be at least {special + 1}"
            )
        self.max_length, self.truncation, self.pad_to, self.windows = max_length, truncation, pad_to, windows
        if windows is not None and windows.stride > room:
            raise InputError(
                f"windows.stride is {windows.stride}, expected at most {room}, the tokens of text in a window: "
                "those between windows would be left out"
            )
        # max_length tokens cover at most this many characters, so the rest of a huge text need not be tokenized.
        self._max_characters = max_length * self.tokenizer.longest

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    @property
    def padding_id(self) -> int:
        return self.tokenizer.padding_id

    def encode(self, text: str) -> tuple[list[int], bool]:
        """The text's token ids, at least one and at most ``max_length``, and whether the text was truncated.

        A special token that is written in a text (``<|endoftext|>``, ``[SEP]``) is ordinary text; the tokenizer's own
        special tokens are added after truncation. An empty text without any becomes one padding token.
        """
        parts = self._parts(text)
        # Tokens before the end of a head may not be those of the whole text: truncation drops them below.
        ids = [token for start, end in parts for token in self.tokenizer.ids(text[start:end])]
        kept = self._kept(ids)
        return self._completed(kept), parts != [(0, len(text))] or len(kept) < len(ids)

    def spans(self, text: str) -> list[tuple[int, int] | None]:
        """For each id of :meth:`encode` the start and end of its characters in ``text``; None for special tokens.

        Tokens that are parts of one character have the same span.
        """
        spans = [
            (begin + start, begin + end)
            for begin, stop in self._parts(text)
            for start, end in self.tokenizer.spans(text[begin:stop])
        ]
        return [None for _ in self.tokenizer.before] + self._kept(spans) + [None for _ in self.tokenizer.after] or [
            None
        ]

    def _parts(self, text: str) -> list[tuple[int, int]]:
        """Start and end of the parts of a text that have the tokens which truncation keeps; usually it is whole."""
        if len(text) <= self._max_characters:
            return [(0, len(text))]
        n = int(self._max_characters)
        head, tail = (0, n), (_find_word_begin(text, len(text) - n), len(text))
        return {"head": [head], "tail": [tail]}.get(self.truncation, [head, tail])

    def _kept(self, tokens: list[Any]) -> list[Any]:
        """The tokens of a text that truncation keeps."""
        limit = self._max_text_tokens
        if len(tokens) <= limit:
            return tokens
        tail = {"head": 0, "tail": limit, "head+tail": limit // 2}[self.truncation]
        return tokens[: limit - tail] + (tokens[-tail:] if tail else [])

    def encode_windows(self, text: str) -> tuple[list[list[int]], bool]:
        """The text's windows, each as :meth:`encode` returns ids, and whether tokens are in none of them.

        A text of at most ``max_length`` tokens, or any text if there are to be no windows, is one. The last window ends
        with the text, so that all are full.
        """
        if self.windows is None:
            ids, truncated = self.encode(text)
            return [ids], truncated
        ids, length = self.tokenizer.ids(text), self._max_text_tokens
        last = max(0, len(ids) - length)
        starts = [*range(0, last, self.windows.stride), last]
        if self.windows.limit is not None and len(starts) > self.windows.limit:
            starts = [starts[int(i)] for i in np.linspace(0, len(starts) - 1, self.windows.limit).round()]
        truncated = any(end - start > length for start, end in pairwise([*starts, len(ids)]))
        return [self._completed(ids[start : start + length]) for start in starts], truncated

    def _completed(self, ids: list[int]) -> list[int]:
        return [*self.tokenizer.before, *ids, *self.tokenizer.after] or [self.padding_id]

    def batch(
        self,
        ids: Sequence[Sequence[int] | np.ndarray],
        labels: Tensor | None = None,
        rows: Tensor | None = None,
        texts: Tensor | None = None,
    ) -> Batch:
        """Pads encoded texts, or their windows, on the right into one :class:`Batch`."""
        lengths = [len(row) for row in ids]
        width = self.pad_to or max(lengths)
        table = np.full((len(ids), width), self.padding_id, dtype=np.int64)
        for row, tokens in zip(table, ids, strict=True):
            row[: len(tokens)] = tokens
        batch = Batch(torch.from_numpy(table), torch.tensor(lengths), labels, rows)
        return batch if self.windows is None else batch._replace(texts=texts, aggregate=self.windows.aggregate)

    def unpadded(self) -> "TextEncoder":
        """The same text encoder, except that each batch is only as wide as its longest text."""
        unpadded = copy.copy(self)
        unpadded.pad_to = None
        return unpadded

    def rows_by_length(
        self, lengths: Sequence[int] | np.ndarray, tokens: int, windows: Sequence[int] | np.ndarray | None = None
    ) -> list[list[int]]:
        """Row numbers in batches of similar length, each of at most ``tokens`` tokens with padding, or of one row.

        Args:
            lengths: (N,) tokens of each row, or of its longest window.
            tokens: Maximum number of tokens in a batch.
            windows: (N,) number of windows of each row; by default 1.
        """
        batches: list[list[int]] = []
        inputs = 0  # of the last batch
        counts = np.ones(len(lengths), dtype=np.int64) if windows is None else np.asarray(windows)
        # Longest first, so that running out of memory happens early.
        for row in np.lexsort((-counts, -np.asarray(lengths))).tolist():
            width = self.pad_to or lengths[batches[-1][0]] if batches else 0
            if batches and width * (inputs + counts[row]) <= tokens:
                batches[-1].append(row)
                inputs += counts[row]
            else:
                batches.append([row])
                inputs = counts[row]
        return batches

    def settings(self) -> dict[str, Any]:
        """All settings as plain values, without the tokenizer's vocabulary; :meth:`restore` takes both."""
        windows = self.windows and asdict(self.windows)
        own = {"max_length": self.max_length, "truncation": self.truncation, "pad_to": self.pad_to, "windows": windows}
        return self.tokenizer.settings() | own

    @classmethod
    def restore(cls, settings: dict[str, Any], vocabulary: Tensor) -> "TextEncoder":
        """The text encoder with these ``settings()`` and this ``tokenizer.vocabulary()``; needs no download."""
        tokenizer = restore_tokenizer(settings, vocabulary)
        windows = settings.get("windows") and WindowsConfig(**settings["windows"])
        return cls(tokenizer, settings["max_length"], settings["truncation"], settings["pad_to"], windows)


def batch_tokens(device: str) -> int:
    """Maximum number of tokens in a batch that is computed without gradients on this kind of device.

    On a CPU, the largest activation (16 C bytes per token) then fits into the processor's cache; a GPU needs larger
    batches to be busy.
    """
    return 1024 if device == "cpu" else 16384


def _find_word_begin(text: str, place: int) -> int:
    """The last place up to ``place`` where a blank and a word begin: tokens from there on are those of the whole text.

    BPE tokens of a run without blanks depend on where it begins. One that is longer than FAR is divided all the same.
    """
    first = max(0, place - FAR)
    blank = place + 1
    while (blank := text.rfind(" ", first + 1, blank)) > 0:
        if not text[blank - 1].isspace() and not text[blank + 1 : blank + 2].isspace():
            return blank
    return first
