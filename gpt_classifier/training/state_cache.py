"""Runs the frozen blocks once for each distinct text and caches their output; knows nothing about class names.

The blocks below the first trained block do not change from epoch to epoch, so a text's hidden states at the input of
that block are the same in every epoch. They are cached without padding, in files that later runs with the same frozen
weights reuse, whatever their seed, head or learning rate.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.utils.data import Dataset

from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.errors import InputError
from gpt_classifier.models.freezing import Policy, frozen_depth, trainable_names
from gpt_classifier.models.heads import BACKBONE, PADDING_COUNTS, Depth, SequenceClassifier
from gpt_classifier.settings import check_choice
from gpt_classifier.text.encoder import Batch, TextEncoder, batch_tokens, texts_of_windows
from gpt_classifier.training.memory import physical_memory
from gpt_classifier.training.pace import Pace
from gpt_classifier.training.state_store import KEY_BYTES, StateStore, sha256

MEMORY_SHARE = 0.5  # maximum share of the machine's memory for states that are not written to a folder
FILE_BYTES = 256 * 2**20  # size of a file; an interrupted pass loses at most the states of one file


StateType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class CacheConfig:
    """The trunk cache: hidden states of the frozen blocks, which run once for each distinct text.

    Args:
        enabled: Whether epochs start from cached states if the results are the same, which requires no dropout.
        dtype: Number format of the cached states.
        gigabytes: Maximum disk space of all cached states; 0 keeps them in memory for one run.
    """

    enabled: bool = True
    dtype: StateType = "float32"
    gigabytes: float = 10.0

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, StateType)
        if not self.gigabytes >= 0:
            raise InputError(f"gigabytes is {self.gigabytes}, expected 0 or more")


@dataclass(frozen=True)
class Share:
    """The share of one process when several processes of a machine divide a pass."""

    rank: int = 0
    size: int = 1
    barrier: Callable[[], object] = lambda: None

    @classmethod
    def of(cls, trainer: Trainer) -> "Share":
        """That of this process among those of its machine."""
        return cls(trainer.local_rank, trainer.num_devices, trainer.strategy.barrier)


class TrunkCache:
    """Cache of the hidden states of texts at the end of the frozen trunk of ``model``.

    Args:
        model: The network; its parameters below the first trained block must not change any more.
        policy: Which parameters train; see model/freezing.py.
        text_encoder: Pads the texts if the pooling counts padding.
        dtype: Number format of the cached states.
        limit: Maximum number of bytes of all cached states on disk, other models' included; 0 keeps states in memory.
        precision: Name of the precision that ``context`` sets while the trunk runs.
        next_tokens: Whether next tokens are predicted too: batches then have their ids and the states of all positions.
    """

    def __init__(
        self,
        model: SequenceClassifier,
        policy: Policy,
        text_encoder: TextEncoder,
        dtype: torch.dtype = torch.float32,
        limit: int = 10 * 2**30,
        precision: str = "32-true",
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
        next_tokens: bool = False,
    ) -> None:
        self.model, self.context, self.next_tokens = model, context, next_tokens
        self.depth = frozen_depth(model, policy)
        trains_backbone = any(name.startswith(BACKBONE) for name in trainable_names(model, policy))
        self.pooled = not (trains_backbone or next_tokens)
        self.text_encoder = text_encoder if model.pooling in PADDING_COUNTS else text_encoder.unpadded()
        self.width = self.text_encoder.pad_to
        self.tokens, self.seconds = 0, 0.0  # total of all passes
        # One tensor for each text: (T, C), or (1, C) if pooled.
        self.store = StateStore(None if limit == 0 else self._fingerprint(dtype, precision), dtype, limit)

    @classmethod
    def of(
        cls,
        config: CacheConfig,
        model: SequenceClassifier,
        policy: Policy,
        text_encoder: TextEncoder,
        trainer: Trainer,
        next_tokens: bool,
    ) -> "TrunkCache":
        """As ``config`` says, in the precision of ``trainer``."""
        dtype, limit = getattr(torch, config.dtype), int(config.gigabytes * 2**30)
        context = trainer.precision_plugin.forward_context
        return cls(model, policy, text_encoder, dtype, limit, str(trainer.precision), context, next_tokens)

    @staticmethod
    def is_exact(model: SequenceClassifier, policy: Policy, text_encoder: TextEncoder) -> bool:
        """Whether training with the cache is exact: blocks are frozen, without dropout or padding that a batch decides.

        The backbone must also be able to start with the first trained block.
        """
        depth = frozen_depth(model, policy)
        padded_by_batch = model.pooling in PADDING_COUNTS and text_encoder.pad_to is None
        starts = depth > 0 and depth in model.backbone.starts_at
        return starts and model.backbone.config.dropout == 0 and not padded_by_batch

    def _fingerprint(self, dtype: torch.dtype, precision: str) -> str:
        """Hash of everything that determines the states of a text: frozen weights, architecture, depth, precision."""
        frozen = {
            name: tensor
            for name, tensor in self.model.backbone.state_dict().items()
            if self.pooled or self.model.backbone.block_of(name) < self.depth
        }
        pooling = self.model.pooling if self.pooled else None
        facts = (self.model.backbone.config, self.depth, pooling, str(dtype), precision, sorted(frozen))
        weights = sha256(frozen[name].detach().cpu().contiguous() for name in sorted(frozen))
        return hashlib.sha256(f"{facts} {weights}".encode()).hexdigest()[:32]

    def texts(self, encoded: EncodedTexts, share: Share | None = None) -> "EncodedTexts | CachedTexts":
        """The rows of ``encoded`` as hidden states after the trunk, which runs only for texts that are not cached yet.

        Returns ``encoded`` itself if the states would exceed the limit.
        """
        keys = [self._key(encoded.ids(window)) for window in range(len(encoded.window_lengths))]
        distinct = dict(zip(keys, range(len(keys)), strict=True))  # one window for each distinct text
        store = self.store
        store.load(distinct)
        missing = {key: row for key, row in distinct.items() if key not in store}
        share = (share or Share()) if store.folder else Share()  # without a folder, each process runs all texts
        share.barrier()  # all processes have read the folder before one writes, so they agree on what is missing
        if not missing:
            rank_zero_info(f"frozen trunk: the states of {len(distinct):,} distinct texts were cached")
        else:
            tokens = sum(self.width or int(encoded.window_lengths[window]) for window in missing.values())
            config = self.model.backbone.config
            size = (len(missing) if self.pooled else tokens) * config.n_embd * store.dtype.itemsize
            if size > (store.limit or MEMORY_SHARE * physical_memory()):
                rank_zero_info(
                    f"frozen trunk: the states of {len(missing):,} distinct texts would take {size / 2**30:.1f} GB, "
                    "more than --model.cache.gigabytes allows: it runs for every batch instead"
                )
                return encoded
            began = time.monotonic()
            self._run(missing, encoded, share)
            seconds = time.monotonic() - began
            self.tokens += tokens
            self.seconds += seconds
            rank_zero_info(
                f"frozen trunk: {self.depth} of {config.n_layer} blocks ran once for {len(missing):,} distinct texts "
                f"({tokens:,} tokens) in {seconds:.1f} s; epochs start behind them"
            )
        share.barrier()
        store.load(distinct)
        left = {key: row for key, row in distinct.items() if key not in store}
        self._run(left, encoded, Share())  # usually empty, unless the files of another run made the processes disagree
        depth: Depth = "pooled" if self.pooled else self.depth
        return CachedTexts(encoded, [store[key] for key in keys], depth, self.next_tokens)

    def _key(self, ids: np.ndarray) -> bytes:
        facts = f"{len(ids)} {self.width} ".encode()
        return hashlib.blake2b(facts + ids.astype(np.int32).tobytes(), digest_size=KEY_BYTES).digest()

    # ---------------------------------------------------------------- the pass

    def _run(self, missing: dict[bytes, int], encoded: EncodedTexts, share: Share) -> None:
        keys, windows = list(missing), np.array(list(missing.values()), dtype=np.int64)
        lengths = encoded.window_lengths[windows]
        batches = self.text_encoder.rows_by_length(lengths, batch_tokens(self._device().type))
        computed: dict[bytes, Tensor] = {}
        size = 0
        for batch in _progress(batches[share.rank :: share.size], "frozen trunk", share.rank == 0):
            states = self.states_of([encoded.ids(windows[i]) for i in batch])
            computed |= dict(zip((keys[i] for i in batch), states, strict=True))
            size += sum(s.nbytes for s in states)
            if size >= FILE_BYTES:
                self.store.add(computed)
                computed, size = {}, 0
        self.store.add(computed)

    def _device(self) -> torch.device:
        return next(self.model.backbone.parameters()).device

    @torch.no_grad()
    def states_of(self, ids: list[np.ndarray]) -> list[Tensor]:
        """Runs the trunk on one batch: (T, C) for each text of T tokens, or (1, C) if pooled."""
        device = self._device()
        batch = self.text_encoder.batch(ids)
        lengths = self.model.text_lengths(batch.lengths, batch.inputs.shape[1]).to(device)
        with self.context():
            x = self.model.backbone.embed(batch.inputs.to(device))
            if self.pooled:
                x = self.model.pooled(x, lengths)[:, None]  # (B, 1, C)
            else:
                x = self.model.backbone.run_blocks(x, 0, self.depth, lengths=lengths)
        x = x.to("cpu", self.store.dtype)
        if self.pooled or self.width is not None:
            return list(x)
        return [x[i, :n].clone() for i, n in enumerate(batch.lengths.tolist())]


class CachedTexts(Dataset[Batch]):
    """Replaces :class:`EncodedTexts`: the same rows as hidden states instead of token ids."""

    def __init__(self, texts: EncodedTexts, states: list[Tensor], depth: Depth, with_ids: bool = False) -> None:
        self.texts, self.depth, self.with_ids = texts, depth, with_ids
        self.states = states  # of each window

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: list[int]) -> Batch:
        texts = self.texts
        assert texts.labels is not None
        windows = texts.windows_of(rows)
        chosen = [self.states[window] for window in windows]
        pooled = self.depth == "pooled"
        states = torch.cat(chosen) if pooled else torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        lengths = torch.from_numpy(texts.window_lengths[windows])
        batch = Batch(states, lengths, texts.labels[rows], texts.rows[rows], self.depth)
        if self.with_ids:
            batch = batch._replace(ids=texts.text_encoder.batch([texts.ids(window) for window in windows]).inputs)
        if (config := texts.text_encoder.windows) is None:
            return batch
        return batch._replace(texts=texts_of_windows(texts.windows[rows]), aggregate=config.aggregate)


def _progress(batches: list[list[int]], what: str, shown: bool) -> Iterator[list[int]]:
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
