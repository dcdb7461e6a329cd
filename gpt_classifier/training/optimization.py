"""Builds optimizers and learning-rate schedules from plain values; knows nothing about Lightning."""

import math
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gpt_classifier.errors import InputError


def build_optimizer(
    model: nn.Module,
    name: str,
    learning_rate: float,
    weight_decay: float,
    decay_norms_and_biases: bool,
    arguments: dict[str, Any],
) -> Optimizer:
    """An optimizer of ``torch.optim`` over the parameters that train; matrices decay, vectors only if asked."""
    optimizer_class = getattr(torch.optim, name, None)
    if not (isinstance(optimizer_class, type) and issubclass(optimizer_class, Optimizer)):
        raise InputError(f"optimizer is {name!r}, expected the name of a class in torch.optim, such as AdamW or SGD")
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2 or decay_norms_and_biases]
    others = [p for p in trained if p.ndim < 2 and not decay_norms_and_biases]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    if name in ("Adam", "AdamW"):
        arguments = {"fused": True} | arguments  # one kernel for all parameters
    try:
        return cast(Any, optimizer_class)([g for g in groups if g["params"]], lr=learning_rate, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer {name} does not take these arguments: {error}") from error


def learning_rate_schedule(optimizer: Optimizer, steps: int, warmup: float, schedule: str) -> LambdaLR:
    """Linear warm-up over the first ``warmup`` share of ``steps``, then ``constant`` or half a ``cosine`` down to 0."""
    rising = round(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return LambdaLR(optimizer, factor)
