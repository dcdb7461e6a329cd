"""The interface of the network below the head.

GPT (models/gpt.py), and networks of transformers (models/split_network.py, models/whole_network.py) implement it.
Another family is one file:

- a dataclass of its dimensions that implements :class:`BackboneConfig`, with ``family = "mine"``,
- a network that implements :class:`Backbone`,
- ``FAMILIES["mine"] = Family(...)``, which says how such networks are built.

Once that file is imported, ``GPTClassifier(backbone={"model_type": "mine", ...}, weights="random")`` trains such a
network, and its model folders can be loaded; tests/models/test_build.py has an example.

Shapes: B texts, T tokens, C hidden size.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class BackboneConfig(Protocol):
    """Dimensions of a backbone, with the names of :class:`~gpt_classifier.models.gpt.GPTConfig`."""

    @property
    def family(self) -> str:
        """Its key in ``FAMILIES``."""

    @property
    def model_type(self) -> str:
        """Name of the architecture, such as ``GPT`` or ``bert``."""

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

    ``finish(run_blocks(embed(input_ids), lengths=lengths))`` are the hidden states that a pooling reads. Padding is on
    the right, and ``lengths`` (B,) say where it begins.
    """

    activation_checkpointing: bool  # whether to recompute a block's activations in the backward pass

    @property
    def config(self) -> BackboneConfig: ...

    @property
    def token_embedding(self) -> str | None:
        """Name of the ``nn.Embedding`` of token ids if its unused rows can be frozen, else None."""

    @property
    def output_embedding(self) -> Tensor | None:
        """(V, C) the token embeddings if they are the output layer of the language model too ("tied"), else None."""

    @property
    def starts_at(self) -> Collection[int]:
        """Numbers of the blocks that ``run_blocks`` can start with, 0 among them; ``n_layer`` runs none."""

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, T) ids -> the input of the first block."""

    def run_blocks(
        self,
        x: Tensor,
        start: int = 0,
        stop: int | None = None,
        *,
        lengths: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Tensor:
        """Input of block ``start`` -> output (B, T, C) of block ``stop - 1``, or (B, 1, C) at ``position`` (B,)."""

    def outputs(
        self, x: Tensor, start: int = 0, stop: int | None = None, *, lengths: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The output (B, T, C) of each of these blocks in turn; of a network that does not split, of the last only."""

    def finish(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C): the layers after the last block."""

    @property
    def can_remove_blocks(self) -> bool:
        """Whether its first blocks alone are a network of the same family."""

    def keep(self, blocks: int) -> None:
        """Removes all blocks but the first ``blocks``. Raises ``InputError`` if they cannot be removed."""

    def block_of(self, name: str) -> int:
        """Number of the block that this parameter belongs to: -1 below the blocks, n_layer above them."""

    # ---------------------------------------------------------------- methods of nn.Module

    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def to(self, dtype: torch.dtype) -> Any: ...


@dataclass(frozen=True)
class Family:
    """How the networks of one family are built from their fields, the plain values of :class:`BackboneConfig`.

    Args:
        fields: Returns all fields, given the user's setting (a name or a mapping) and the tokenizer's number of token
            ids, if known. Raises ``InputError`` for an invalid setting.
        random: Returns a network with random weights, given its fields.
        published: Returns a network with published weights, given its fields and their name. By default, the name is
            that of a file or folder.
        empty: Returns a network whose weights will be loaded from a file, given its fields. By default ``random``, with
            all tensors on PyTorch's meta device.
    """

    fields: Callable[[Any, int | None], dict[str, Any]]
    random: Callable[[Mapping[str, Any]], Backbone]
    published: Callable[[Mapping[str, Any], str], Backbone] | None = None
    empty: Callable[[Mapping[str, Any]], Backbone] | None = None


FAMILIES: dict[str, Family] = {}  # by name; models/build.py adds those of the package
