"""Encodes the texts of tables once, and keeps the token ids of a table in one flat array."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from gpt_classifier.data.labels import encode_labels
from gpt_classifier.data.pace import Pace
from gpt_classifier.data.task import UNLABELLED
from gpt_classifier.text.bpe import TrainTokenizer, tokenizer_for
from gpt_classifier.text.encoder import Batch, TextEncoder, Truncation, WindowsConfig, texts_of_windows


class EncodedTexts(Dataset[Batch]):
    """Every text tokenized once. Indexing with a list of row numbers gives their padded :class:`Batch`.

    A row has one window, its whole text, unless the text encoder makes several of it; windows are numbered through in
    the order of the rows. A million short messages take about 60 MB: two bytes a token, without an object for each
    text.
    """

    def __init__(self, texts: Iterable[str], text_encoder: TextEncoder, labels: Tensor | None, numbers: Tensor) -> None:
        self.text_encoder = text_encoder
        self.labels = labels
        self.rows = numbers  # (N,) int64, of the rows in their source
        self.truncated = 0  # number of texts with tokens that are in no window
        # Grows in place: there is never an object for each text.
        flat = array("H" if text_encoder.vocab_size <= 2**16 else "I")
        lengths, counts = array("q"), array("q")
        pace = Pace()
        for number, text in enumerate(texts):
            if number % 1000 == 0:
                pace.tell(f"tokenizing: {number:,} texts")
            windows, truncated = text_encoder.encode_windows(text)
            self.truncated += truncated
            counts.append(len(windows))
            for ids in windows:
                flat.extend(ids)
                lengths.append(len(ids))
        arrays = (np.frombuffer(values, dtype=values.typecode) for values in (flat, lengths, counts))
        self._place(*arrays)

    def _place(self, ids: np.ndarray, window_lengths: np.ndarray, windows: np.ndarray) -> None:
        """Finds each row's windows among the ids of all, given W windows' tokens and N rows' windows."""
        self._ids, self.window_lengths, self.windows = ids, window_lengths, windows
        self._ends = np.cumsum(self.window_lengths)
        self._last = np.cumsum(self.windows)
        # (N,) tokens of each row's first window, which is as long as any of its others
        self.lengths = self.window_lengths[self._last - self.windows]

    def with_unlabelled(self, others: "EncodedTexts") -> "EncodedTexts":
        """These rows, and after them others without labels."""
        assert self.labels is not None
        joined = copy(self)
        no_labels = self.labels.new_full((len(others), *self.labels.shape[1:]), UNLABELLED)
        joined.labels, joined.rows = torch.cat([self.labels, no_labels]), torch.cat([self.rows, others.rows])
        joined.truncated = self.truncated + others.truncated
        parts = [(each._ids, each.window_lengths, each.windows) for each in (self, others)]
        joined._place(*(np.concatenate(pair) for pair in zip(*parts, strict=True)))
        return joined

    def __len__(self) -> int:
        return len(self.windows)

    def ids(self, window: int) -> np.ndarray:
        """The token ids of one window."""
        return self._ids[self._ends[window] - self.window_lengths[window] : self._ends[window]]

    def windows_of(self, rows: Sequence[int]) -> list[int]:
        """The numbers of these rows' windows."""
        return [w for row in rows for w in range(self._last[row] - self.windows[row], self._last[row])]

    def tokens(self) -> Tensor:
        """Every token id that a batch of these texts can hold, once."""
        return torch.from_numpy(np.union1d(self._ids, self.text_encoder.padding_id).astype(np.int64))

    def digest(self) -> bytes:
        """A hash of all tokens, labels and row numbers, in the order of the rows."""
        labels = [] if self.labels is None else [self.labels.numpy()]
        digest = blake2b(digest_size=16)
        for values in (self._ids, self.window_lengths, self.windows, self.rows.numpy(), *labels):
            digest.update(str((values.dtype, values.shape)).encode() + np.ascontiguousarray(values).tobytes())
        return digest.digest()

    def identity(self, texts: Iterable[str] = ()) -> str:
        """The number of rows and a hash of all of them, and of their ``texts`` where batches are made of these too."""
        digest = blake2b(self.digest(), digest_size=4)
        digest.update("\0".join(texts).encode("utf-8", "surrogatepass"))
        return f"{len(self):,} rows with the hash {digest.hexdigest()}"

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        labels = None if self.labels is None else self.labels[rows]
        windows = [self.ids(window) for window in self.windows_of(rows)]
        return self.text_encoder.batch(windows, labels, self.rows[rows], texts_of_windows(self.windows[rows]))


@dataclass(eq=False)
class StreamedTexts(IterableDataset[list[Batch]]):
    """Chunk after chunk of rows, each as batches of texts of like length: files of any size can be classified.

    Of ``world_size`` processes, this one takes every chunk whose number leaves ``rank``.
    """

    chunks: Iterable[pd.DataFrame]
    text_encoder: TextEncoder
    max_batch_tokens: int
    rank: int = 0
    world_size: int = 1

    def __iter__(self) -> Iterator[list[Batch]]:
        for number, chunk in enumerate(self.chunks):
            if number % self.world_size == self.rank:
                encoded = encode_table(chunk.assign(text=chunk["text"].fillna("")), self.text_encoder)
                batches = self.text_encoder.rows_by_length(encoded.lengths, self.max_batch_tokens, encoded.windows)
                yield [encoded[rows] for rows in batches]


@dataclass(frozen=True)
class Encoding:
    """How texts become token ids: the settings of a text encoder, and the making of one.

    Args:
        tokenizer: Its name, or the size of one to train on the training texts.
        max_length: Maximum number of tokens per text.
        truncation: Which part of a longer text is kept.
        windows: Windows in which longer texts are read instead.
        pad_to: Width of batches: ``longest``, ``longest_train``, or a number of tokens.
    """

    tokenizer: str | TrainTokenizer
    max_length: int
    truncation: Truncation
    windows: WindowsConfig | None
    pad_to: int | str

    def encode(
        self, tables: Mapping[str, pd.DataFrame], class_names: Sequence[str], given: TextEncoder | None
    ) -> tuple[TextEncoder, dict[str, EncodedTexts], list[str]]:
        """The text encoder, ``given`` or made for the training texts, the texts of each table as ids, and remarks."""
        notes: list[str] = []
        text_encoder = given
        if text_encoder is None:
            tokenizer = tokenizer_for(self.tokenizer, tables["train"]["text"] if "train" in tables else None)
            size, trained = getattr(self.tokenizer, "train", 0), tokenizer.vocab_size - 1
            if trained < size:
                why = "no further pair occurs twice in the training rows"
                notes.append(f"tokenizer: trained with {trained:,} tokens, not {size:,}, as {why}")
            pad_to = int(self.pad_to) if str(self.pad_to).isdigit() else None
            text_encoder = TextEncoder(tokenizer, self.max_length, self.truncation, pad_to, self.windows)
        encoded = {}
        if "train" in tables:
            encoded["train"] = encode_table(tables["train"], text_encoder, class_names)
            if given is None and self.pad_to == "longest_train":
                width = int(encoded["train"].lengths.max())
                tokenizer = text_encoder.tokenizer
                text_encoder = TextEncoder(tokenizer, self.max_length, self.truncation, width, self.windows)
                encoded["train"].text_encoder = text_encoder
        others = (name for name in tables if name != "train")
        encoded |= {name: encode_table(tables[name], text_encoder, class_names) for name in others}
        return text_encoder, encoded, notes


def encode_table(
    table: pd.DataFrame, text_encoder: TextEncoder, class_names: Sequence[str] | None = None
) -> EncodedTexts:
    """The texts and row numbers of a table, and its labels where there are ``class_names``."""
    labels = None if class_names is None else encode_labels(table["label"], class_names)
    return EncodedTexts(table["text"], text_encoder, labels, torch.tensor(table["row"].to_numpy(np.int64)))


class FittedText(NamedTuple):
    """What a model knows about texts, for data that are encoded as those were that it was trained on.

    Handed to a data module by the model that it is used with. Each is None where the model does not know it yet.
    """

    text_encoder: TextEncoder | None = None
    class_names: list[str] | None = None  # in the order of the logits
    trained_on: Tensor | None = None  # (M,) int64, fingerprints of the training texts


UNFITTED = FittedText()
