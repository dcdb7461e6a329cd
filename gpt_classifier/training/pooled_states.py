"""Pooled states of texts behind each block of a frozen network, from one pass over it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.text.encoder import TextEncoder, texts_of_windows
from gpt_classifier.training.text_states import Shard, TextStates

MANY_BYTES = 2**30  # of states in float32, above which they are kept in half precision


class PooledStates(TextStates):
    """(L * P, C) for each text: what each of P poolings reads behind each of the last L blocks, after the final norm.

    Read there, a network without the blocks above is a smaller member of its own family, and states fit half precision.

    Args:
        model: The network.
        text_encoder: Makes batches of token ids, padded to the longest text.
        poolings: See ``POOLINGS``; none that counts padding.
        kept: Numbers of blocks that the network may keep, in ascending order.
        limit: See :class:`TextStates`.
        precision: See :class:`TextStates`.
        context: See :class:`TextStates`.
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

    def facts(self) -> tuple[object, ...]:
        return self.poolings, self.kept

    def weights(self) -> dict[str, Tensor]:
        return self.model.backbone.state_dict()

    def numbers(self, texts: int, tokens: int) -> int:
        return texts * len(self.kept) * len(self.poolings) * self.model.backbone.config.n_embd

    @torch.no_grad()
    def states_of(self, ids: list[np.ndarray]) -> list[Tensor]:
        batch = self.text_encoder.batch(ids)
        with self.context():
            read = self.model.pooled_by_block(
                batch.inputs.to(self.device), batch.lengths.to(self.device), self.poolings, len(self.kept)
            )
        limit = torch.finfo(self.store.dtype).max
        return list(read.flatten(1, 2).clamp(-limit, limit).to("cpu", self.store.dtype))

    def of_rows(self, encoded: EncodedTexts, rows: Sequence[int], places: Sequence[int], shard: Shard) -> Tensor | None:
        """(N, len(places), C) of rows; of one with several windows, their mean. None if they would exceed the limit."""
        states = self.of_windows(encoded, encoded.windows_of(rows), shard)
        if states is None:
            return None
        chosen = torch.tensor(places)
        return mean_of_windows(torch.stack([each[chosen] for each in states]), encoded.windows[np.asarray(rows)])

    def place(self, kept: int, pooling: str) -> int:
        """Which of the L * P is that of a network of ``kept`` blocks."""
        return self.kept.index(kept) * len(self.poolings) + self.poolings.index(pooling)


def mean_of_windows(states: Tensor, windows: np.ndarray) -> Tensor:
    """States (W, ...) of windows -> (N, ...) the mean of each row's, where row i has ``windows[i]`` of them.

    A linear head gives for it the mean of the windows' logits.
    """
    if (texts := texts_of_windows(windows)) is None:
        return states
    total = torch.zeros(len(windows), *states.shape[1:]).index_add_(0, texts, states.float())
    return total / torch.from_numpy(windows).view(-1, *[1] * (states.ndim - 1))
