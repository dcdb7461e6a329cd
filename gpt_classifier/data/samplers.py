"""Batches row numbers for training and evaluation, on any number of processes."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from gpt_classifier.errors import InputError


@dataclass(frozen=True)
class BatchingConfig:
    """Composition and width of batches.

    Args:
        pad_to: Width of batches: ``longest`` (of the batch), ``longest_train`` (of all training texts), or a number of
            tokens, for example the context length of the model. Texts beyond the width are truncated to it.
        group_by_length: Whether training batches consist of texts of similar length, which reduces padding.
        max_batch_tokens: Maximum number of tokens in an evaluation batch, padding included; the default
            depends on the device.
    """

    pad_to: int | Literal["longest", "longest_train"] = "longest"
    group_by_length: bool = False
    max_batch_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.pad_to not in ("longest", "longest_train") and not str(self.pad_to).isdigit():
            raise InputError(f"pad_to is {self.pad_to!r}, expected longest, longest_train or a number of tokens")
        if self.max_batch_tokens is not None and self.max_batch_tokens < 1:
            raise InputError(f"max_batch_tokens is {self.max_batch_tokens}, expected at least 1")


class BatchesOfRows(DistributedSampler[Any]):
    """Yields a list of row numbers per batch. As a DistributedSampler, it is not replaced by Lightning."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size

    @abstractmethod
    def batches(self) -> list[list[int]]:
        """The batches of this process."""

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches()  # computed when the first batch is requested

    def __len__(self) -> int:
        return len(self.batches())


class TrainingBatches(BatchesOfRows):
    """Every row once per epoch, in a random order that depends only on ``seed`` and the epoch.

    A resumed run therefore has the same batches as an uninterrupted one. ``epoch`` and ``done`` are called when the
    first batch is requested, because Lightning creates the iterator of a resumed run before it calls ``set_epoch``.
    Every process has the same number of batches; if the last step has fewer rows than processes, they are dropped for
    this epoch.

    Args:
        lengths: (N,) number of tokens of each row.
        batch_size: Number of rows per batch on each process.
        seed: Seed of the orders.
        epoch: Returns the current epoch, from 0.
        done: Returns the number of batches of this epoch that an earlier run completed.
        pool: Number of batches within which rows are sorted by length to reduce padding; 1 for a random order.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
        pool: int = 1,
        done: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(rank, world_size)
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.epoch_now, self.done, self.pool = epoch, done, pool
        self.round_lengths: list[int] = []  # number of rows in each step of the epoch, over all processes

    def batches(self) -> list[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch_now()])
        order = rng.permutation(len(self.lengths))
        round_size = self.batch_size * self.world_size  # rows of one step over all processes
        if self.pool > 1:
            pools = [order[i : i + self.pool * round_size] for i in range(0, len(order), self.pool * round_size)]
            order = np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in pools])
        rounds = [order[i : i + round_size] for i in range(0, len(order), round_size)]
        rounds = [r for r in rounds if len(r) >= self.world_size]
        if self.pool > 1:
            rounds = [rounds[i] for i in rng.permutation(len(rounds))]
        # Every n-th row for each of n processes, so that all processes have texts of similar length.
        own = [r[self.rank :: self.world_size].tolist() for r in rounds]
        self.round_lengths = [len(r) for r in rounds]
        return own[self.done() :]

    def __len__(self) -> int:
        full, rest = divmod(len(self.lengths), self.batch_size * self.world_size)
        return full + (rest >= self.world_size)


class EvaluationBatches(BatchesOfRows):
    """The given batches, distributed over the processes: every row exactly once."""

    def __init__(self, batches: list[list[int]], rank: int = 0, world_size: int = 1) -> None:
        super().__init__(rank, world_size)
        rows = [row for batch in batches for row in batch]
        if len(rows) < world_size:
            raise InputError(f"{len(rows)} rows cannot be evaluated on {world_size} processes: use fewer devices")
        if len(batches) < world_size:  # the other processes would wait for one without a batch
            batches = [rows[i::world_size] for i in range(world_size)]
        self._batches = batches[rank::world_size]

    def batches(self) -> list[list[int]]:
        return self._batches


def loader(rows: Dataset[Any], batches: BatchesOfRows | None = None) -> DataLoader[Any]:
    """A loader of these batches of rows, or of batches that ``rows`` make themselves.

    Without worker processes: texts are already tokenized, so only padding is left to do, and the position in a resumed
    epoch is read from the data module's own object, not from a copy, when the first batch is requested.
    """
    return DataLoader(rows, sampler=batches, batch_size=None, collate_fn=lambda batch: batch)
