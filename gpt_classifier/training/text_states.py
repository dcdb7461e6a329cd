"""Runs a part of a network that does not change once for each distinct text, and keeps its output.

Outputs are kept without padding, in files that later runs with the same frozen weights reuse, whatever their seed, head
or learning rate.
"""

import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.data.pace import Pace
from gpt_classifier.errors import InputError
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.settings import check_choice
from gpt_classifier.text.encoder import TextEncoder, batch_tokens
from gpt_classifier.training.memory import physical_memory
from gpt_classifier.training.state_store import KEY_BYTES, StateStore, sha256

MEMORY_SHARE = 0.5  # maximum fraction of the machine's memory for states that are not written to a folder
FILE_BYTES = 256 * 2**20  # size of a file; an interrupted pass loses at most the states of one file


StateType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class CacheConfig:
    """The hidden-state cache: the output of the frozen layers, which run once for each distinct text.

    Args:
        enabled: Whether epochs start from cached states, where the results are the same.
        dtype: Number format of the cached states.
        gigabytes: Maximum disk space of all cached states; 0 keeps them in memory for one run.
    """

    enabled: bool = True
    dtype: StateType = "float32"
    gigabytes: float = 10.0

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, StateType)
        if not 0 <= self.gigabytes < math.inf:
            raise InputError(f"gigabytes is {self.gigabytes}, expected a number of 0 or more")

    @property
    def bytes_on_disk(self) -> int:
        """Their maximum; 0 keeps states in memory, as those are kept that a probe needs where there is no cache."""
        return int(self.gigabytes * 2**30) if self.enabled else 0


@dataclass(frozen=True)
class Shard:
    """The shard of one process when several processes of a machine divide a pass."""

    rank: int = 0
    world_size: int = 1
    barrier: Callable[[], object] = lambda: None

    @classmethod
    def from_trainer(cls, trainer: Trainer) -> "Shard":
        """The shard of this process among the processes of its machine."""
        return cls(trainer.local_rank, trainer.num_devices, trainer.strategy.barrier)


class TextStates(ABC):
    """The output of a part of ``model`` for texts: a tensor (S, C) for each distinct window of theirs.

    Args:
        model: The network; that part of it must not change any more.
        text_encoder: Makes batches of token ids.
        dtype: Number format of the kept states.
        limit: Maximum number of bytes of all kept states on disk, other models' included; 0 keeps states in memory.
        precision: Name of the precision that ``context`` sets while the network runs.
        context: See ``precision``.
    """

    part: str  # what runs, for messages

    def __init__(
        self,
        model: SequenceClassifier,
        text_encoder: TextEncoder,
        dtype: torch.dtype,
        limit: int,
        precision: str,
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.model, self.text_encoder, self.context = model, text_encoder, context
        self.tokens, self.seconds = 0, 0.0  # total of all passes
        self.store = StateStore(None if limit == 0 else self._fingerprint(dtype, precision), dtype, limit)

    @abstractmethod
    def run_batch(self, ids: list[np.ndarray]) -> list[Tensor]:
        """Runs the network on one batch of token ids: (S, C) for each text."""

    @abstractmethod
    def count_numbers(self, texts: int, tokens: int) -> int:
        """How many numbers the states of so many texts and tokens have."""

    @abstractmethod
    def identify(self) -> tuple[object, ...]:
        """What determines the states, besides weights, precision and number format."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The weights that determine the states, by name."""

    def _fingerprint(self, dtype: torch.dtype, precision: str) -> str:
        """A hash of everything that determines the states: weights, architecture, what is kept, precision."""
        frozen = self.weights()
        identity = (self.model.backbone.config, *self.identify(), str(dtype), precision, sorted(frozen))
        weights = sha256(frozen[name].detach().cpu().contiguous() for name in sorted(frozen))
        return hashlib.sha256(f"{identity} {weights}".encode()).hexdigest()[:32]

    def compute_states(self, encoded: EncodedTexts, windows: Sequence[int], shard: Shard) -> list[Tensor] | None:
        """The states of these windows of texts; the network runs only for those that are not kept yet.

        None, and a line that says so, if the states would exceed the limit.
        """
        keys = [self._key(encoded.ids(window)) for window in windows]
        distinct = dict(zip(keys, windows, strict=True))  # one window for each distinct text
        store = self.store
        store.load(distinct)
        missing = {key: window for key, window in distinct.items() if key not in store}
        shard = shard if store.folder else Shard()  # without a folder, each process runs all texts
        shard.barrier()  # all processes have read the folder before one writes, so they agree on what is missing
        if not missing:
            rank_zero_info(f"{self.part}: the states of {len(distinct):,} distinct texts were cached")
        else:
            width = self.text_encoder.pad_to
            tokens = sum(width or int(encoded.window_lengths[window]) for window in missing.values())
            size = self.count_numbers(len(missing), tokens) * store.dtype.itemsize
            if size > (store.limit or MEMORY_SHARE * physical_memory()):
                rank_zero_info(
                    f"{self.part}: the states of {len(missing):,} distinct texts would take {size / 2**30:.1f} GB, "
                    "more than --model.cache.gigabytes allows"
                )
                return None
            began = time.monotonic()
            self._run(missing, encoded, shard)
            seconds = time.monotonic() - began
            self.tokens += tokens
            self.seconds += seconds
            rank_zero_info(
                f"{self.part} ran once for {len(missing):,} distinct texts ({tokens:,} tokens): {seconds:.1f} s"
            )
        shard.barrier()
        store.load(distinct)
        left = {key: window for key, window in distinct.items() if key not in store}
        self._run(left, encoded, Shard())  # usually empty, unless the files of another run made the processes disagree
        return [store[key] for key in keys]

    def _key(self, ids: np.ndarray) -> bytes:
        prefix = f"{len(ids)} {self.text_encoder.pad_to} ".encode()
        return hashlib.blake2b(prefix + ids.astype(np.int32).tobytes(), digest_size=KEY_BYTES).digest()

    def _run(self, missing: dict[bytes, int], encoded: EncodedTexts, shard: Shard) -> None:
        keys, windows = list(missing), np.array(list(missing.values()), dtype=np.int64)
        lengths = encoded.window_lengths[windows]
        batches = self.text_encoder.rows_by_length(lengths, batch_tokens(self.device.type))
        computed: dict[bytes, Tensor] = {}
        size = 0
        for batch in _show_progress(batches[shard.rank :: shard.world_size], self.part, shard.rank == 0):
            states = self.run_batch([encoded.ids(windows[i]) for i in batch])
            computed |= dict(zip((keys[i] for i in batch), states, strict=True))
            size += sum(s.nbytes for s in states)
            if size >= FILE_BYTES:
                self.store.add(computed)
                computed, size = {}, 0
        self.store.add(computed)

    @property
    def device(self) -> torch.device:
        return next(self.model.backbone.parameters()).device


def _show_progress(batches: list[list[int]], what: str, shown: bool) -> Iterator[list[int]]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if shown and console.is_terminal:
        yield from track(batches, what, console=console, transient=True)
        return
    pace = Pace()
    for number, batch in enumerate(batches):
        if shown and pace.due():
            rank_zero_info(f"{what}: {number:,} of {len(batches):,} batches, {pace.elapsed():.0f} s")
        yield batch
