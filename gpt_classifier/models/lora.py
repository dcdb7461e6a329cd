"""Low-rank adaptation: trainable low-rank updates of frozen matrices.

E. J. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021, arXiv:2106.09685). The frozen weights keep
their names; an adapted matrix gains ``lora_A`` (rank, in), ``lora_B`` (out, rank) and, with DoRA, ``lora_m`` (out,).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_classifier.errors import InputError
from gpt_classifier.settings import check_choice

SHOWN = 7  # number of layers that a message names: as many as a block of Llama has
Scale = Literal["alpha/rank", "alpha/sqrt(rank)", "alpha"]


@dataclass(frozen=True)
class LoRAConfig:
    """Which layers get a low-rank update, and of which kind.

    Args:
        rank: Rank of the low-rank update.
        alpha: Numerator of the scaling factor, see ``scale``.
        dropout: Probability of dropping an input of the update in training.
        targets: Regular expression that selects linear layers by name, such as ``backbone.h.0.attn.c_attn``; null for
            all of the blocks.
        scale: Scaling factor of the update: ``alpha/rank``, ``alpha/sqrt(rank)`` (D. Kalajdzievski, "rsLoRA", 2023,
            arXiv:2312.03732), or ``alpha``, as in the article.
        dora: Whether the magnitude of each output's weights is trained separately from their direction (S.-Y. Liu et
            al., "DoRA", 2024, arXiv:2402.09353).
    """

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: str | None = None
    scale: Scale = "alpha/rank"
    dora: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise InputError(
                f"rank is {self.rank!r}, alpha {self.alpha}, dropout {self.dropout}: "
                "rank must be a whole number from 1, alpha positive, and dropout lie in [0, 1)"
            )
        check_choice("scale", self.scale, Scale)
        try:
            re.compile(self.targets or "")
        except re.error as error:
            raise InputError(f"targets {self.targets!r} is not a regular expression: {error}") from error

    @property
    def factor(self) -> float:
        return self.alpha / {"alpha/rank": self.rank, "alpha/sqrt(rank)": math.sqrt(self.rank), "alpha": 1}[self.scale]


class LoRALinear(nn.Linear):
    """``base`` with a trainable low-rank update: (W + factor · B A) x + b, which equals ``base`` before training.

    With DoRA each row of W + factor · B A is scaled to the magnitude ``lora_m``, which is initially that of W's row.
    """

    def __init__(self, base: nn.Linear, config: LoRAConfig) -> None:
        nn.Module.__init__(self)  # not nn.Linear's, which would initialize a second W
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.factor, self.dropout = config.factor, nn.Dropout(config.dropout)
        self.lora_A = nn.Parameter(base.weight.new_empty(config.rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, config.rank))
        self.lora_m = nn.Parameter(base.weight.detach().norm(dim=1)) if config.dora else None
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        if self.lora_m is None:
            return self._updated(x, F.linear(x, self.weight, self.bias))
        y = self._magnitude_scale() * self._updated(x, F.linear(x, self.weight))
        return y if self.bias is None else y + self.bias

    def _updated(self, x: Tensor, y: Tensor) -> Tensor:
        """``y`` (..., out) and the low-rank update of ``x`` (..., in), scaled and added by one matrix product.

        The update's products are small: of separate steps, the passes over (..., out) would take most of the time.
        """
        reduced = F.linear(self.dropout(x), self.lora_A)
        return torch.addmm(y.flatten(0, -2), reduced.flatten(0, -2), self.lora_B.T, alpha=self.factor).view_as(y)

    def _magnitude_scale(self) -> Tensor:
        # The norm is treated as a constant: gradients through it cost memory and change little (DoRA, section 4.3).
        assert self.lora_m is not None
        return self.lora_m / (self.weight + self.factor * self.lora_B @ self.lora_A).norm(dim=1).detach()

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer with the same outputs, without dropout."""
        weight = self.weight + self.factor * self.lora_B @ self.lora_A
        if self.lora_m is not None:
            weight = self._magnitude_scale()[:, None] * weight
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain.weight, plain.bias = nn.Parameter(weight), self.bias
        return plain


def add_lora(model: nn.Module, config: LoRAConfig, in_blocks: Callable[[str], bool]) -> None:
    """Replaces linear layers of ``model`` by a :class:`LoRALinear`: those whose names match ``config.targets``.

    Without ``targets``, all for whose names ``in_blocks`` is true. Raises ``ValueError`` if there is none.
    """
    layers = {name: layer for name, layer in model.named_modules() if type(layer) is nn.Linear}
    matches = [n for n in layers if (in_blocks(n) if config.targets is None else re.search(config.targets, n))]
    if not matches:
        raise ValueError(
            f"targets {config.targets!r} match no linear layer of this network: set --model.lora.targets to a regular "
            f"expression that matches some of its names, such as {', '.join(list(layers)[:SHOWN])}"
        )
    for name in matches:
        _replace(model, name, LoRALinear(layers[name], config))


def merge_lora(model: nn.Module) -> None:
    """Replaces each :class:`LoRALinear` of ``model`` by a plain layer with the same outputs."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoRALinear):
            _replace(model, name, layer.merged())


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)
