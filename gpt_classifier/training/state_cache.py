"""Texts as hidden states that do not change: after the frozen layers, where epochs start, or pooled behind each block.

The blocks below the first trained block do not change from epoch to epoch, so a text's hidden states at the input of
that block are the same in every epoch.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import Dataset

from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.models.freezing import Policy, count_frozen_layers, trainable_names
from gpt_classifier.models.heads import BACKBONE, PADDING_COUNTS, SequenceClassifier, StartLayer
from gpt_classifier.text.encoder import Batch, TextEncoder, texts_of_windows
from gpt_classifier.training.state_store import StateStore
from gpt_classifier.training.text_states import CacheConfig, Shard, TextStates

MANY_BYTES = 2**30  # of pooled states in float32, above which they are kept in half precision


class HiddenStateCache(TextStates):
    """Cache of the hidden states of texts after the frozen layers of ``model``: (T, C), or (1, C) if pooled.

    Args:
        model: See :class:`TextStates`, as for what is not named here.
        policy: Which parameters train; see models/freezing.py.
        text_encoder: Pads the texts if the pooling counts padding.
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
        self.next_tokens = next_tokens
        self.start_layer = count_frozen_layers(model, policy)
        trains_backbone = any(name.startswith(BACKBONE) for name in trainable_names(model, policy))
        self.pooled = not (trains_backbone or next_tokens)
        text_encoder = text_encoder if model.pooling in PADDING_COUNTS else text_encoder.unpadded()
        self.part = f"frozen layers ({self.start_layer} of {model.backbone.config.n_layer} blocks)"
        super().__init__(model, text_encoder, dtype, limit, precision, context)

    @classmethod
    def from_config(
        cls,
        config: CacheConfig,
        model: SequenceClassifier,
        policy: Policy,
        text_encoder: TextEncoder,
        trainer: Trainer,
        next_tokens: bool,
    ) -> "HiddenStateCache":
        """As ``config`` says, in the precision of ``trainer``."""
        dtype, context = getattr(torch, config.dtype), trainer.precision_plugin.forward_context
        return cls(
            model, policy, text_encoder, dtype, config.bytes_on_disk, str(trainer.precision), context, next_tokens
        )

    @staticmethod
    def is_exact(model: SequenceClassifier, policy: Policy, text_encoder: TextEncoder) -> bool:
        """Whether training with the cache is exact: blocks are frozen, without padding that a batch decides.

        The backbone must also be able to start with the first trained block. Frozen blocks drop nothing: see
        :meth:`SequenceClassifier.train`.
        """
        start_layer = count_frozen_layers(model, policy)
        padded_by_batch = model.pooling in PADDING_COUNTS and text_encoder.pad_to is None
        starts = start_layer > 0 and start_layer in model.backbone.starts_at
        return starts and not padded_by_batch

    def identify(self) -> tuple[object, ...]:
        return self.start_layer, self.model.pooling if self.pooled else None

    def weights(self) -> dict[str, Tensor]:
        backbone = self.model.backbone
        below = backbone.config.n_layer + 1 if self.pooled else self.start_layer
        return {name: tensor for name, tensor in backbone.state_dict().items() if backbone.block_of(name) < below}

    def count_numbers(self, texts: int, tokens: int) -> int:
        return (texts if self.pooled else tokens) * self.model.backbone.config.n_embd

    def take_over(self, other: StateStore, place: int) -> None:
        """Adds pooled states that were computed with those of other blocks and poolings: row ``place`` of each text."""
        self.store.load(other.keys())
        new = (key for key in other.keys() if key not in self.store)  # noqa: SIM118 - not a dict
        self.store.add({key: other[key][place : place + 1].clone() for key in new})

    def texts(self, encoded: EncodedTexts, shard: Shard | None = None) -> "EncodedTexts | CachedTexts":
        """The rows of ``encoded`` as hidden states after the frozen layers, which run only for new texts.

        Returns ``encoded`` itself if the states would exceed the limit: the frozen layers then run for every batch.
        """
        states = self.compute_states(encoded, range(len(encoded.window_lengths)), shard or Shard())
        return (
            encoded
            if states is None
            else CachedTexts(encoded, states, "pooled" if self.pooled else self.start_layer, self.next_tokens)
        )

    @torch.no_grad()
    def run_batch(self, ids: list[np.ndarray]) -> list[Tensor]:
        """Runs the frozen layers on one batch: (T, C) for each text of T tokens, or (1, C) if pooled."""
        device = self.device
        batch = self.text_encoder.batch(ids)
        lengths = self.model.text_lengths(batch.lengths, batch.inputs.shape[1]).to(device)
        with self.context():
            x = self.model.backbone.embed(batch.inputs.to(device))
            if self.pooled:
                x = self.model.pooled(x, lengths)[:, None]  # (B, 1, C)
            else:
                x = self.model.backbone.run_blocks(x, 0, self.start_layer, lengths=lengths)
        x = x.to("cpu", self.store.dtype)
        if self.pooled or self.text_encoder.pad_to is not None:
            return list(x)
        return [x[i, :n].clone() for i, n in enumerate(batch.lengths.tolist())]


class CachedTexts(Dataset[Batch]):
    """Replaces :class:`EncodedTexts`: the same rows as hidden states instead of token ids."""

    def __init__(
        self, texts: EncodedTexts, states: list[Tensor], start_layer: StartLayer, with_ids: bool = False
    ) -> None:
        self.texts, self.start_layer, self.with_ids = texts, start_layer, with_ids
        self.states = states  # of each window

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: list[int]) -> Batch:
        texts = self.texts
        assert texts.labels is not None
        windows = texts.windows_of(rows)
        chosen = [self.states[window] for window in windows]
        pooled = self.start_layer == "pooled"
        states = torch.cat(chosen) if pooled else torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        lengths = torch.from_numpy(texts.window_lengths[windows])
        batch = Batch(states, lengths, texts.labels[rows], texts.rows[rows], self.start_layer)
        if self.with_ids:
            batch = batch._replace(ids=texts.text_encoder.batch([texts.ids(window) for window in windows]).inputs)
        if (config := texts.text_encoder.windows) is None:
            return batch
        return batch._replace(texts=texts_of_windows(texts.windows[rows]), aggregate=config.aggregate)


class PooledStates(TextStates):
    """(L * P, C) for each text: what each of P poolings reads behind each of the last L blocks, after the final norm.

    Read there, a network without the blocks above is a smaller member of its own family, and states fit half precision.

    Args:
        model: See :class:`TextStates`, as for what is not named here.
        poolings: See ``POOLINGS``; none that counts padding.
        kept: Numbers of blocks that the network may keep, in ascending order.
        half: Whether states are kept in half precision.
    """

    def __init__(
        self,
        model: SequenceClassifier,
        text_encoder: TextEncoder,
        poolings: Sequence[str],
        kept: Sequence[int],
        limit: int = 10 * 2**30,
        precision: str = "32-true",
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
        half: bool = False,
    ) -> None:
        self.poolings, self.kept = tuple(poolings), tuple(kept)
        self.part = f"probe, the frozen network of {self.kept[-1]} blocks"
        dtype = torch.float16 if half else torch.float32
        super().__init__(model, text_encoder.unpadded(), dtype, limit, precision, context)

    def identify(self) -> tuple[object, ...]:
        return self.poolings, self.kept

    def weights(self) -> dict[str, Tensor]:
        return self.model.backbone.state_dict()

    def count_numbers(self, texts: int, tokens: int) -> int:
        return texts * len(self.kept) * len(self.poolings) * self.model.backbone.config.n_embd

    @torch.no_grad()
    def run_batch(self, ids: list[np.ndarray]) -> list[Tensor]:
        batch = self.text_encoder.batch(ids)
        with self.context():
            read = self.model.pooled_by_block(
                batch.inputs.to(self.device), batch.lengths.to(self.device), self.poolings, len(self.kept)
            )
        limit = torch.finfo(self.store.dtype).max
        return list(read.flatten(1, 2).clamp(-limit, limit).to("cpu", self.store.dtype))

    def read_rows(
        self, encoded: EncodedTexts, rows: Sequence[int], places: Sequence[int], shard: Shard
    ) -> Tensor | None:
        """(N, len(places), C) of rows; of one with several windows, their mean. None if they would exceed the limit."""
        states = self.compute_states(encoded, encoded.windows_of(rows), shard)
        if states is None:
            return None
        chosen = torch.tensor(places)
        return average_windows(torch.stack([each[chosen] for each in states]), encoded.windows[np.asarray(rows)])

    def place(self, kept: int, pooling: str) -> int:
        """Which of the L * P is that of a network of ``kept`` blocks."""
        return self.kept.index(kept) * len(self.poolings) + self.poolings.index(pooling)


def average_windows(states: Tensor, windows: np.ndarray) -> Tensor:
    """States (W, ...) of windows -> (N, ...) the mean of each row's, where row i has ``windows[i]`` of them.

    A linear head gives for it the mean of the windows' logits.
    """
    if (texts := texts_of_windows(windows)) is None:
        return states
    total = torch.zeros(len(windows), *states.shape[1:]).index_add_(0, texts, states.float())
    return total / torch.from_numpy(windows).view(-1, *[1] * (states.ndim - 1))
