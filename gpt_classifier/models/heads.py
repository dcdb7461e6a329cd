"""Turns hidden states into class logits: pools one vector for each text and applies a replaceable head.

Shapes: B texts, T tokens, C hidden size, K classes.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from gpt_classifier.errors import InputError
from gpt_classifier.models.backbone import Backbone
from gpt_classifier.models.gpt import take
from gpt_classifier.models.lora import LoRAConfig, add_lora, merge_lora

Pooling = Literal["last_token", "first_token", "mean", "last_position", "mean_positions"]
POOLINGS: dict[Pooling, str] = {
    "last_token": "the last real token, the only one that attends to the whole text",
    "first_token": "the first token, which with causal attention attends only to itself",
    "mean": "the mean over real tokens",
    "last_position": "the last position, padding or not (to reproduce the article)",
    "mean_positions": "the mean over all positions, padding included (to reproduce the article)",
}

PADDING_COUNTS = ("last_position", "mean_positions")
# Where inputs enter the network: token ids at the embeddings, hidden states at a block, pooled ones at the head.
StartLayer = int | Literal["ids", "pooled"]
BACKBONE = "backbone."  # prefix of the names of all parameters below the head


class SequenceClassifier(nn.Module):
    """Token ids (B, T) and lengths (B,) -> logits (B, K) in float32: a plain module for any training loop.

    :class:`~gpt_classifier.training.module.GPTClassifier` trains it with Lightning, and
    :class:`~gpt_classifier.inference.classifier.TextClassifier` classifies texts with it.

    Args:
        backbone: The network below the head, a GPT, or an encoder or decoder of transformers.
        num_classes: Number of classes K.
        pooling: Which hidden states the head gets, one of ``POOLINGS``.
        head: ``linear``, ``mlp``, or ``{"class_path": "package.Class", "init_args": {...}}`` for any ``nn.Module``
            that is constructed as ``Class(C, K, **init_args)`` and maps (B, C) to (B, K).
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        pooling: str = "last_token",
        head: str | Mapping[str, Any] = "linear",
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise InputError(f"pooling is {pooling!r}, expected one of {', '.join(POOLINGS)}")
        self.backbone = backbone
        self.num_classes = num_classes
        self.pooling: str = pooling
        self.head = build_head(head, backbone.config.n_embd, num_classes)
        self.head_settings = head if isinstance(head, str) else dict(head)
        self.lora: LoRAConfig | None = None

    def add_lora(self, config: LoRAConfig) -> None:
        """Adds low-rank updates to the matrices that ``config`` selects."""
        try:
            add_lora(self, config, lambda name: 0 <= self.block_of(f"{name}.weight") < self.backbone.config.n_layer)
        except ValueError as error:
            raise InputError(f"lora: {error}") from error
        self.lora = config

    def merge_lora(self) -> None:
        """Merges the low-rank updates into their matrices, with the same results."""
        merge_lora(self)
        self.lora = None

    def use_head(self, head: str, module: nn.Module) -> None:
        """Replaces the head by ``module``, which :func:`build_head` would build for ``head``."""
        self.head, self.head_settings = module, head

    def plain_head(self) -> nn.Module:
        """The head, or, of a standardized one, one linear layer with the same results."""
        return self.head.merged() if isinstance(self.head, StandardizedLinear) else self.head

    def fold_head(self) -> None:
        """Makes one linear layer of a standardized head, with the same results."""
        if isinstance(self.head, StandardizedLinear):
            self.use_head("linear", self.plain_head())

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for the blocks below the first trained one: they compute the same in every epoch."""
        super().train(mode)
        blocks = (self.block_of(name) for name, parameter in self.named_parameters() if parameter.requires_grad)
        frozen = min(blocks, default=self.backbone.config.n_layer)
        if mode and frozen > 0:
            for name, module in self.named_modules():
                is_list = isinstance(module, nn.ModuleList)  # of all blocks, which is in none
                if name.startswith(BACKBONE) and not is_list and self.block_of(f"{name}.") < frozen:
                    module.training = False
        return self

    def block_of(self, name: str) -> int:
        """Number of the block that this parameter belongs to: -1 below the blocks, n_layer above them."""
        if name.startswith(BACKBONE):
            return self.backbone.block_of(name.removeprefix(BACKBONE))
        return self.backbone.config.n_layer

    def forward(
        self, inputs: Tensor, lengths: Tensor, start_layer: StartLayer = "ids", with_states: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Computes the network from ``start_layer`` on: for ids (B, T), hidden states (B, T, C), or pooled ones (B, C).

        ``with_states``, also returns the hidden states (B, T, C) of all positions after the final norm, which a
        language model needs. The last block then computes every position, also if the pooling reads a single one.
        """
        if start_layer == "pooled":
            return self.classify(inputs)
        if start_layer == "ids":
            x, start_layer = self.backbone.embed(inputs), 0
        else:  # cached hidden states may have another dtype
            x = inputs.to(next(self.backbone.parameters()).dtype) if inputs.is_floating_point() else inputs
        if not with_states:
            return self.classify(self.pooled(x, lengths, start_layer))
        lengths = self.text_lengths(lengths, x.shape[1])
        states = self.backbone.finish(self.backbone.run_blocks(x, start_layer, lengths=lengths))
        return self.classify(pool(states, lengths, self.pooling)), states

    def pooled_by_block(self, input_ids: Tensor, lengths: Tensor, poolings: Sequence[str], blocks: int) -> Tensor:
        """(B, T) ids -> (B, L, P, C) in float32: what each of P poolings reads behind each of the last L blocks.

        It is read after the final norm, as if the network ended with that block.
        """
        read = []
        for x in self.backbone.outputs(self.backbone.embed(input_ids), lengths=lengths):
            states = self.backbone.finish(x).float()
            read.append(torch.stack([pool(states, lengths, pooling) for pooling in poolings], 1))
        return torch.stack(read[-blocks:], 1)

    def pooled(self, x: Tensor, lengths: Tensor, start_layer: int = 0) -> Tensor:
        """Hidden states (B, T, C) that enter block ``start_layer`` -> pooled ones for the head, (B, C) in float32."""
        lengths = self.text_lengths(lengths, x.shape[1])
        position = read_position(self.pooling, lengths)
        x = self.backbone.finish(self.backbone.run_blocks(x, start_layer, lengths=lengths, position=position)).float()
        return mean(x, lengths) if position is None else x[:, 0]

    def text_lengths(self, lengths: Tensor, width: int) -> Tensor:
        """``lengths``, or the width of the batch for poolings that include padding, as in the article."""
        return torch.full_like(lengths, width) if self.pooling in PADDING_COUNTS else lengths

    def classify(self, pooled: Tensor) -> Tensor:
        """(B, C) -> (B, K), always in float32, as the head takes very little time."""
        pooled, state = pooled.float(), dict(self.head.state_dict(keep_vars=True))
        with torch.autocast(pooled.device.type, enabled=False):
            if all(tensor.dtype == torch.float32 for tensor in state.values() if tensor.is_floating_point()):
                return self.head(pooled)
            whole = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
            return torch.func.functional_call(self.head, whole, (pooled,))


class StandardizedLinear(nn.Module):
    """A linear layer on standardised inputs, (B, C) -> (B, K), that trains as a difference to where it began.

    What trains is ``weight`` and ``bias`` in (weight + start_weight)(x - mean) / deviation + (bias + start_bias), so
    that weight decay pulls towards the start instead of 0 ("L2-SP", X. Li et al., "Explicit Inductive Bias for Transfer
    Learning with Convolutional Networks", 2018, arXiv:1802.01483).
    """

    mean: Tensor  # (C,) of the inputs
    deviation: Tensor  # (C,)
    start_weight: Tensor  # (K, C)
    start_bias: Tensor  # (K,)

    def __init__(self, hidden_size: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, hidden_size))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        self.register_buffer("mean", torch.zeros(hidden_size))
        self.register_buffer("deviation", torch.ones(hidden_size))
        self.register_buffer("start_weight", torch.zeros(num_classes, hidden_size))
        self.register_buffer("start_bias", torch.zeros(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.deviation
        return nn.functional.linear(x, self.weight + self.start_weight, self.bias + self.start_bias)

    def merged(self) -> nn.Linear:
        """One linear layer that computes the same."""
        weight = (self.weight + self.start_weight).detach().double() / self.deviation.double()
        bias = (self.bias + self.start_bias).detach().double() - weight @ self.mean.double()
        layer = nn.Linear(weight.shape[1], len(bias), device=weight.device)
        layer.weight.data, layer.bias.data = weight.float(), bias.float()
        return layer


def read_position(pooling: str, lengths: Tensor) -> Tensor | None:
    """The position (B,) of each text that ``pooling`` reads, or None if it reads all positions."""
    match pooling:
        case "last_token" | "last_position":
            return lengths - 1
        case "first_token":
            return torch.zeros_like(lengths)
    return None


def pool(states: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """Hidden states (B, T, C) after the final norm -> what ``pooling`` reads of them, (B, C)."""
    position = read_position(pooling, lengths)
    return mean(states.float(), lengths) if position is None else take(states, position)[:, 0]


def mean(x: Tensor, lengths: Tensor) -> Tensor:
    """The mean over the first ``lengths`` positions: (B, T, C), (B,) -> (B, C)."""
    real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]  # (B, T)
    return (x * real[..., None]).sum(1) / lengths[:, None]


def build_head(head: str | Mapping[str, Any], hidden_size: int, num_classes: int) -> nn.Module:
    """The head that ``head`` describes; see :class:`SequenceClassifier`.

    A class must belong to a module that is already imported: a model file of unknown origin must not choose which code
    is run.
    """
    if head == "linear":
        return nn.Linear(hidden_size, num_classes)
    if head == "standardized":
        return StandardizedLinear(hidden_size, num_classes)
    if head == "mlp":
        return nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, num_classes))
    if not isinstance(head, Mapping) or "class_path" not in head:
        raise InputError(f"head is {head!r}, expected linear, mlp or a mapping with a class_path")
    module, _, name = head["class_path"].rpartition(".")
    head_class = getattr(sys.modules.get(module), name, None)
    if head_class is None:
        raise InputError(
            f"the head {head['class_path']} is not imported: `import {module}` before loading the model, or on a "
            f"command line --import {module}, if you trust that module"
        )
    if not (isinstance(head_class, type) and issubclass(head_class, nn.Module)):
        raise InputError(f"the head {head['class_path']} is not a torch.nn.Module class")
    try:
        return head_class(hidden_size, num_classes, **head.get("init_args", {}))
    except TypeError as error:
        raise InputError(f"the head {head['class_path']} does not take {head.get('init_args')}: {error}") from error
