"""Scores a language model over batches and processes: loss and bits per byte."""

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class LanguageModelScores(Metric):
    """The mean loss of a token, in nats, and bits per byte.

    Bits per byte compare models with different tokenizers, as the bytes of a text do not depend on them. Special tokens
    stand for no bytes; they count in the loss but not in the bits.

    Args:
        byte_lengths: (V,) number of bytes that each token id stands for.
    """

    full_state_update = False
    byte_lengths: Tensor
    sums: Tensor  # (4,) nats, tokens, nats of tokens that stand for bytes, bytes

    def __init__(self, byte_lengths: Tensor, **settings: Any) -> None:
        super().__init__(**settings)
        self.register_buffer("byte_lengths", byte_lengths, persistent=False)
        self.add_state("sums", default=torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, nats: Tensor, targets: Tensor, counted: Tensor) -> None:
        """Adds the loss of tokens, in nats; all of one shape, where ``counted`` is true."""
        byte_counts = self.byte_lengths[targets] * counted
        nats, spoken = nats.detach().double() * counted, byte_counts > 0
        self.sums += torch.stack(
            [nats.sum(), counted.sum().double(), (nats * spoken).sum(), byte_counts.sum().double()]
        )

    def compute(self) -> dict[str, float]:
        nats, tokens, spoken, byte_counts = self.sums.tolist()
        scores = {"lm_loss": nats / tokens if tokens else math.nan}
        return scores | ({"bits_per_byte": spoken / math.log(2) / byte_counts} if byte_counts else {})

    def set_dtype(self, dst_type: Any) -> "LanguageModelScores":
        return self  # sums stay in double precision, whatever the precision of the network
