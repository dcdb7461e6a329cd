"""Builds optimizers and learning-rate schedules from plain values; knows nothing about Lightning."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.model.classification import SequenceClassifier


def check_optimization(settings: Mapping[str, Any]) -> None:
    """Raises ``InputError`` for values that no optimizer or schedule can use, before anything is built."""
    rate, weight_decay, warmup = (settings[name] for name in ("learning_rate", "weight_decay", "warmup"))
    layer_decay, unfreeze_every = settings["layer_decay"], settings["unfreeze_every"]
    monitor, patience = settings["monitor"], settings["patience"]
    if not str(monitor).startswith("val/"):
        raise InputError(f"monitor is {monitor!r}, expected a score of the validation rows such as val/loss")
    if patience is not None and patience < 1:
        raise InputError(f"patience is {patience}, expected at least 1 validation, or null to train for all epochs")
    if settings["schedule"] not in ("constant", "cosine"):
        raise InputError(f"schedule is {settings['schedule']!r}, expected constant or cosine")
    if weight_decay < 0 or rate <= 0:
        raise InputError(f"learning_rate {rate} must be above 0, weight_decay {weight_decay} not below")
    if not 0 <= warmup <= 1:
        raise InputError(f"warmup is {warmup}, expected a share of the steps between 0 and 1")
    if not 0 < layer_decay <= 1 or unfreeze_every < 0:
        raise InputError(f"layer_decay {layer_decay} must lie in (0, 1], unfreeze_every {unfreeze_every} be 0 or more")


def build_optimizer(
    model: SequenceClassifier,
    name: str,
    learning_rate: float,
    weight_decay: float,
    decay_norms_and_biases: bool,
    arguments: dict[str, Any],
    layer_decay: float = 1.0,
    by_block: bool = False,
) -> Optimizer:
    """An optimizer of ``torch.optim`` over the parameters that train; matrices decay, vectors only if asked.

    Each level below the head (the last block is 1, the embeddings are lowest) learns ``layer_decay`` times as fast as
    the one above it (J. Howard and S. Ruder, "ULMFiT", 2018). With that, or ``by_block``, a parameter group keeps its
    ``level``; else there is but one.
    """
    optimizer_class = getattr(torch.optim, name, None)
    if not (isinstance(optimizer_class, type) and issubclass(optimizer_class, Optimizer)):
        close = did_you_mean(name, torch.optim.__all__)
        raise InputError(f"optimizer is {name!r}, expected a class of torch.optim, such as AdamW or SGD{close}")
    grouped: dict[tuple[int, bool], list[nn.Parameter]] = defaultdict(list)
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # How far below the head it stands: 0 for the head and the final norm, 1 for the last block.
            n_layer = model.backbone.config.n_layer
            level = n_layer - model.block_of(parameter_name) if by_block or layer_decay < 1 else 0
            grouped[level, parameter.ndim >= 2 or decay_norms_and_biases].append(parameter)
    groups = [
        {
            "params": parameters,
            "lr": learning_rate * layer_decay**level,
            "weight_decay": weight_decay if decays else 0.0,
            "level": level,
        }
        for (level, decays), parameters in sorted(grouped.items(), key=lambda item: (item[0][0], not item[0][1]))
    ]
    if name in ("Adam", "AdamW"):
        arguments = {"fused": True} | arguments  # one kernel for all parameters
    try:
        return cast(Any, optimizer_class)(groups, lr=learning_rate, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer {name} does not take these arguments: {error}") from error


def learning_rate_schedule(
    optimizer: Optimizer, steps: int, warmup: float, schedule: str, unfreeze_steps: int = 0
) -> LambdaLR:
    """Linear warm-up over the first ``warmup`` share of ``steps``, then ``constant`` or half a ``cosine`` down to 0.

    A group of level n rests for n times ``unfreeze_steps``. Its learning rate is 0 until then, and not its parameters
    frozen: those that change their mind in the middle of a run end up different on the processes of DDP.
    """
    rising = round(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    def of_level(level: int) -> Callable[[int], float]:
        return lambda step: factor(step) if step >= level * unfreeze_steps else 0.0

    return LambdaLR(optimizer, [of_level(group.get("level", 0)) for group in optimizer.param_groups])
