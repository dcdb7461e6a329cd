"""Keeps a table's texts as token ids in one flat array; knows nothing about where they came from."""

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from gpt_classifier.data.sources import is_multi_label
from gpt_classifier.encoding import Batch, TextEncoder


class EncodedTexts(Dataset[Batch]):
    """Every text tokenized once. Indexing with a list of row numbers gives their padded :class:`Batch`.

    A million short messages take about 60 MB: two bytes a token, without an object for each text.
    """

    def __init__(self, texts: Iterable[str], text_encoder: TextEncoder, labels: Tensor | None, numbers: Tensor) -> None:
        self.text_encoder = text_encoder
        self.labels = labels
        self.rows = numbers  # (N,) int64, of the rows in their source
        self.truncated = 0
        # Grows in place: there is never an object for each text.
        flat = array("H" if text_encoder.vocab_size <= 2**16 else "I")
        lengths = array("q")
        for text in texts:
            ids, truncated = text_encoder.encode(text)
            self.truncated += truncated
            flat.extend(ids)
            lengths.append(len(ids))
        self._ids = np.frombuffer(flat, dtype=flat.typecode)
        self.lengths = np.frombuffer(lengths, dtype=np.int64)
        self._ends = np.cumsum(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def ids(self, row: int) -> np.ndarray:
        """The token ids of one row."""
        return self._ids[self._ends[row] - self.lengths[row] : self._ends[row]]

    def tokens(self) -> Tensor:
        """Every token id that a batch of these texts can hold, once."""
        return torch.from_numpy(np.union1d(self._ids, self.text_encoder.padding_id).astype(np.int64))

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        labels = None if self.labels is None else self.labels[rows]
        return self.text_encoder.batch([self.ids(row) for row in rows], labels, self.rows[rows])


def encode_labels(labels: pd.Series, class_names: Sequence[str]) -> Tensor:
    """Class numbers (N,); where a text may have several labels, 1.0 for each that it has and else 0.0, (N, K)."""
    numbers = {name: number for number, name in enumerate(class_names)}
    if not is_multi_label(labels):
        return torch.tensor(labels.map(numbers).to_numpy(np.int64))
    result = np.zeros((len(labels), len(class_names)), dtype=np.float32)
    one_each = labels.reset_index(drop=True).explode().dropna()
    result[one_each.index, one_each.map(numbers).to_numpy(np.int64)] = 1
    return torch.from_numpy(result)


class StreamedTexts(IterableDataset[list[Batch]]):
    """Chunk after chunk of rows, each as batches of texts of like length: files of any size can be classified.

    Of ``world_size`` processes, this one takes every chunk whose number leaves ``rank``.
    """

    def __init__(
        self, chunks: Iterable[pd.DataFrame], text_encoder: TextEncoder, tokens: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.chunks, self.text_encoder, self.tokens, self.rank, self.world_size = (
            chunks,
            text_encoder,
            tokens,
            rank,
            world_size,
        )

    def __iter__(self) -> Iterator[list[Batch]]:
        for number, chunk in enumerate(self.chunks):
            if number % self.world_size == self.rank:
                numbers = torch.tensor(chunk["row"].to_numpy(np.int64))
                encoded = EncodedTexts(chunk["text"].fillna(""), self.text_encoder, None, numbers)
                yield [encoded[rows] for rows in self.text_encoder.rows_by_length(encoded.lengths, self.tokens)]
