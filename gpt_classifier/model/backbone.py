"""What a network must offer to stand below the head; knows no family of such networks.

GPT (model/gpt.py) and the encoders of transformers (model/encoders.py) meet it. Another family is one file:

- a dataclass of its dimensions that meets :class:`BackboneConfig`, with ``family = "mine"``,
- a network that meets :class:`Backbone`,
- ``FAMILIES["mine"] = Family(...)``, which says how such networks are made.

Whoever has imported that file can train one, with ``GPTClassifier(encoder={"model_type": "mine", ...},
weights="random")``, and load the model folders that this leaves; tests/model/test_build.py has an example.

Shapes: B texts, T tokens, C channels.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class BackboneConfig(Protocol):
    """Dimensions of a backbone, in the words of :class:`~gpt_classifier.model.gpt.GPTConfig`."""

    @property
    def family(self) -> str:
        """Its key in ``FAMILIES``."""

    @property
    def model_type(self) -> str:
        """What it is called, such as ``GPT`` or ``bert``."""

    @property
    def fields(self) -> dict[str, Any]:
        """Plain values from which the same network can be built again."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def n_layer(self) -> int: ...
    @property
    def n_head(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def causal(self) -> bool: ...


class Backbone(Protocol):
    """An ``nn.Module`` that turns token ids (B, T) into hidden states (B, T, C), in three steps.

    ``finish(run_blocks(embed(input_ids), lengths=lengths))`` are the hidden states that a pooling reads. Padding stands
    on the right, and ``lengths`` (B,) say where it begins.
    """

    activation_checkpointing: (
        bool  # whether a block's activations are computed again in the backward pass, instead of kept
    )

    @property
    def config(self) -> BackboneConfig: ...

    @property
    def token_embedding(self) -> str | None:
        """Name of the ``nn.Embedding`` of token ids, whose unused rows need not train; None where all must."""

    @property
    def starts_at(self) -> Collection[int]:
        """The blocks that ``run_blocks`` can start before: 0, and ``n_layer`` to run none at all."""

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, T) ids -> what enters the first block."""

    def run_blocks(
        self,
        x: Tensor,
        start: int = 0,
        stop: int | None = None,
        *,
        lengths: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Tensor:
        """What enters block ``start`` -> (B, T, C) behind block ``stop - 1``, or (B, 1, C), of a ``position`` each."""

    def finish(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C): what follows the last block."""

    def block_of(self, name: str) -> int:
        """The block that a parameter of this name belongs to: -1 below the blocks, n_layer above them."""

    # ---------------------------------------------------------------- of nn.Module

    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def to(self, dtype: torch.dtype) -> Any: ...


@dataclass(frozen=True)
class Family:
    """How the networks of one family are made; their fields are plain values, those of :class:`BackboneConfig`.

    Args:
        fields: From what a user's setting says, a name or a mapping, and the tokenizer's number of token ids, if it is
            known: all fields. Raises ``InputError`` for what makes no sense.
        random: From its fields a network with random weights.
        published: From its fields and a name a network with the weights that are published under that name. Without
            it, the name is that of a file or folder.
        empty: As ``random``, for a network whose weights are yet to come from a file. Without it, ``random`` itself,
            with all tensors on PyTorch's meta device.
    """

    fields: Callable[[Any, int | None], dict[str, Any]]
    random: Callable[[Mapping[str, Any]], Backbone]
    published: Callable[[Mapping[str, Any], str], Backbone] | None = None
    empty: Callable[[Mapping[str, Any]], Backbone] | None = None


FAMILIES: dict[str, Family] = {}  # by name; model/build.py adds those of the package
