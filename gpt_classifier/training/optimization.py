"""Builds optimizers and learning-rate schedules from plain values, and says what Lightning leaves to choose."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.settings import check_choice, check_resumed

Schedule = Literal["constant", "cosine"]
OTHER_FIT = "it is of a fit with other rows or another network, so start a new run from its weights (--model.weights)"

# Peak learning rates of AdamW for a network of at most hidden size WIDTH; what chose them: docs/pages/measurements.md.
ALL_RATE, FEW_RATE = 1e-4, 1e-3  # of all blocks; of one or two, LoRA and biases
WIDTH = 384


def usual_learning_rate(trainable: str | int, width: int) -> float:
    """The peak learning rate for what trains of a pretrained network, in two digits.

    Beyond a hidden size of WIDTH it falls as that grows (G. Yang et al., "Tensor Programs V", 2022, table 3, for Adam).
    """
    few = ("head", "last_block", "last_two_blocks", "lora", "biases", *range(3), *map(str, range(3)))
    rate = FEW_RATE if trainable in few else ALL_RATE
    return float(f"{rate * min(1.0, WIDTH / width):.1e}")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, and the learning rate over time and over the blocks.

    Args:
        name: Name of a class in torch.optim.
        arguments: Further arguments of that class, such as ``{betas: [0.9, 0.98]}``.
        weight_decay: Weight decay of matrices.
        decay_norms_and_biases: Whether vectors (norms and biases) have weight decay too, as in the article.
        layer_decay: Factor of the learning rate from each block to the block below it; 1 for the same everywhere.
        warmup: Fraction of all steps in which the learning rate rises from 0.
        schedule: The learning rate after the warm-up: ``constant``, or ``cosine`` down to 0.
        unfreeze_every: Epochs after which the next block from the top starts to train; 0 for all from the start.
    """

    name: str = "AdamW"
    arguments: dict[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.1
    decay_norms_and_biases: bool = False
    layer_decay: float = 1.0
    warmup: float = 0.0
    schedule: Schedule = "constant"
    unfreeze_every: int = 0

    def __post_init__(self) -> None:
        self.optimizer_class()
        check_choice("schedule", self.schedule, Schedule)
        if self.weight_decay < 0:
            raise InputError(f"weight_decay is {self.weight_decay}, expected 0 or more")
        if not 0 < self.layer_decay <= 1 or self.unfreeze_every < 0:
            raise InputError(
                f"layer_decay {self.layer_decay} must lie in (0, 1], unfreeze_every {self.unfreeze_every} be 0 or more"
            )
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup is {self.warmup}, expected a fraction of the steps between 0 and 1")

    def optimizer_class(self) -> type[Optimizer]:
        cls = getattr(torch.optim, self.name, None)
        if not (isinstance(cls, type) and issubclass(cls, Optimizer)) or cls is Optimizer:
            close = did_you_mean(self.name, torch.optim.__all__)
            raise InputError(
                f"optimizer is {self.name!r}, expected a class of torch.optim, such as AdamW or SGD{close}"
            )
        return cls

    @property
    def depends_on_steps(self) -> bool:
        """Whether the learning rate of a step depends on how many there are."""
        return self.warmup > 0 or self.schedule != "constant"

    @property
    def is_constant(self) -> bool:
        """Whether every learning rate is the same in all steps."""
        return not self.depends_on_steps and self.unfreeze_every == 0


def build_scheduled_optimizer(
    model: SequenceClassifier, learning_rate: float, config: OptimizerConfig, trainer: Trainer
) -> Optimizer | OptimizerLRSchedulerConfig:
    """The optimizer of a fit, with a schedule unless all learning rates are constant.

    Raises ``InputError`` if the schedule depends on a number of steps or epochs that ``trainer`` does not have.
    """
    # Where one kernel updates all parameters in mixed precision, Lightning refuses to clip.
    fused = not (trainer.gradient_clip_val and isinstance(trainer.precision_plugin, MixedPrecision))
    optimizer = build_optimizer(model, learning_rate, config, fused)
    if config.is_constant:
        return optimizer
    steps = trainer.estimated_stepping_batches
    if steps == float("inf"):
        raise InputError("warmup, schedule and unfreeze_every need a number of steps: give --trainer.max_epochs")
    unfreeze_steps = 0
    if config.unfreeze_every:
        if trainer.max_epochs in (None, -1):
            raise InputError("unfreeze_every counts epochs: give --trainer.max_epochs")
        # Steps of a whole epoch, whatever max_steps is, so that a longer resumed run unfreezes at the same steps.
        epoch_steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        unfreeze_steps = config.unfreeze_every * epoch_steps
    schedule = learning_rate_schedule(optimizer, int(steps), config, unfreeze_steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build_optimizer(
    model: SequenceClassifier, learning_rate: float, config: OptimizerConfig, fused: bool = True
) -> Optimizer:
    """An optimizer of ``torch.optim`` for the trained parameters; weight decay applies to vectors only if configured.

    Each level below the head (1 is the last block, the highest number the embeddings) has ``layer_decay`` times the
    learning rate of the level above (J. Howard and S. Ruder, "ULMFiT", 2018). With that, or ``unfreeze_every``, each
    parameter group has a ``level``; otherwise all have level 0. With ``fused``, Adam and AdamW update all parameters
    with one kernel.
    """
    by_block = config.layer_decay < 1 or config.unfreeze_every > 0
    grouped: dict[tuple[int, bool], list[nn.Parameter]] = defaultdict(list)
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # Distance from the head: 0 for the head and the final norm, 1 for the last block.
            n_layer = model.backbone.config.n_layer
            level = n_layer - model.block_of(parameter_name) if by_block else 0
            grouped[level, parameter.ndim >= 2 or config.decay_norms_and_biases].append(parameter)
    groups = [
        {
            "params": parameters,
            "lr": learning_rate * config.layer_decay**level,
            "weight_decay": config.weight_decay if decays else 0.0,
            "level": level,
        }
        for (level, decays), parameters in sorted(grouped.items(), key=lambda item: (item[0][0], not item[0][1]))
    ]
    kernel = {"fused": True} if fused and config.name in ("Adam", "AdamW") else {}
    try:
        optimizer = cast(Any, config.optimizer_class())(groups, lr=learning_rate, **kernel | config.arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer {config.name} does not take these arguments: {error}") from error
    optimizer.register_load_state_dict_pre_hook(_check_state)
    return optimizer


FACTORED = ("row_var", "col_var")  # Adafactor's, of rows and columns, which have another shape than their parameter


def _check_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Raises ``InputError`` unless each tensor of a loaded state has its parameter's shape.

    PyTorch checks the number of parameters only, and a fused kernel then reads behind the end of a smaller tensor.
    """
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if (saved := [len(group["params"]) for group in state["param_groups"]]) != sizes:
        raise InputError(f"the checkpoint's optimizer has groups of {saved} parameters, expected {sizes}: {OTHER_FIT}")
    numbers = (number for group in state["param_groups"] for number in group["params"])
    for number, parameter in zip(numbers, (p for g in optimizer.param_groups for p in g["params"]), strict=True):
        for name, value in state["state"].get(number, {}).items():
            if not isinstance(value, Tensor) or value.ndim == 0 or name in FACTORED:
                continue
            if value.shape != parameter.shape:
                raise InputError(
                    f"{name} in the checkpoint's optimizer is {tuple(value.shape)}, but its parameter "
                    f"{tuple(parameter.shape)}: {OTHER_FIT}"
                )


def learning_rate_schedule(
    optimizer: Optimizer, steps: int, config: OptimizerConfig, unfreeze_steps: int = 0
) -> LambdaLR:
    """Linear warm-up over the first part of ``steps``, then ``constant`` or half a ``cosine`` down to 0.

    A group of level n starts to train after n times ``unfreeze_steps``. Until then its learning rate is 0; its
    parameters are not frozen, because unfreezing in the middle of a run makes them differ between the processes of DDP.
    """
    rising = round(config.warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if config.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    def start_at(begin: int) -> Callable[[int], float]:
        return lambda step: factor(step) if step >= begin else 0.0

    factors = [start_at(group.get("level", 0) * unfreeze_steps) for group in optimizer.param_groups]
    return ResumableLR(optimizer, factors, steps if config.depends_on_steps else None)


class ResumableLR(LambdaLR):
    """A schedule that refuses the state of one over another number of ``steps``, None if it does not depend on them."""

    def __init__(self, optimizer: Optimizer, factors: list[Callable[[int], float]], steps: int | None) -> None:
        self.steps = steps
        super().__init__(optimizer, factors)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "steps" in state_dict:  # an earlier version of the package did not keep it
            number = "the number of steps, on which warmup and schedule depend (--trainer.max_epochs),"
            check_resumed({number: self.steps}, {number: state_dict["steps"]})
        super().load_state_dict(state_dict)
