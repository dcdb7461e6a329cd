"""Decides which rows form a batch, in which order and on which process; knows nothing about what a row holds."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch.utils.data import DistributedSampler

from gpt_classifier.errors import InputError


@dataclass(frozen=True)
class BatchingConfig:
    """Which texts form a batch, and how wide it is.

    Args:
        pad_to: Width of batches: ``longest`` (of the batch), ``longest_train`` (of all training texts), or a number of
            tokens, such as the model's context. Texts beyond the width are truncated to it.
        group_by_length: Whether training batches bring together texts of like length, which saves padding.
        max_batch_tokens: Maximum number of tokens in an evaluation batch, padding included; by default what suits the
            device.
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
    """Lists of row numbers, one list a batch. Being a DistributedSampler, Lightning leaves it as it is."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size

    @abstractmethod
    def batches(self) -> list[list[int]]:
        """The batches of this process."""

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches()  # when the first one is asked for, and not before

    def __len__(self) -> int:
        return len(self.batches())


class TrainingBatches(BatchesOfRows):
    """Every row once an epoch, in an order that follows from ``seed`` and the epoch alone.

    So a resumed run sees the batches that the first one would have seen. ``epoch`` and ``done`` are asked when the
    first batch is, because Lightning makes the iterator of a resumed run before it calls ``set_epoch``. Every process
    gets equally many batches; rows that are left over in a last round of fewer rows than processes wait for another
    epoch.

    Args:
        lengths: (N,) tokens of each row.
        batch_size: Rows of a batch on each process.
        seed: Decides the orders.
        epoch: Tells which epoch it is, from 0.
        done: Tells how many batches of it an earlier run has already had.
        pool: Batches among which rows of like length are brought together, to save padding; 1 leaves the order random.
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
        self.round_lengths: list[int] = []  # rows of each step of the epoch, over all processes

    def batches(self) -> list[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch_now()])
        order = rng.permutation(len(self.lengths))
        round_size = self.batch_size * self.world_size  # rows that all processes take in one step
        if self.pool > 1:
            pools = [order[i : i + self.pool * round_size] for i in range(0, len(order), self.pool * round_size)]
            order = np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in pools])
        rounds = [order[i : i + round_size] for i in range(0, len(order), round_size)]
        rounds = [r for r in rounds if len(r) >= self.world_size]
        if self.pool > 1:
            rounds = [rounds[i] for i in rng.permutation(len(rounds))]
        # Dealt out like cards, so that the processes of a grouped round get texts of like length too.
        dealt = [r[self.rank :: self.world_size].tolist() for r in rounds]
        self.round_lengths = [len(r) for r in rounds]
        return dealt[self.done() :]

    def __len__(self) -> int:
        full, rest = divmod(len(self.lengths), self.batch_size * self.world_size)
        return full + (rest >= self.world_size)


class EvaluationBatches(BatchesOfRows):
    """The given batches, dealt out to the processes: every row exactly once over all of them."""

    def __init__(self, batches: list[list[int]], rank: int = 0, world_size: int = 1) -> None:
        super().__init__(rank, world_size)
        rows = [row for batch in batches for row in batch]
        if len(rows) < world_size:
            raise InputError(f"{len(rows)} rows cannot be evaluated on {world_size} processes: use fewer devices")
        if len(batches) < world_size:  # a process without a batch would leave the others waiting
            batches = [rows[i::world_size] for i in range(world_size)]
        self._batches = batches[rank::world_size]

    def batches(self) -> list[list[int]]:
        return self._batches
