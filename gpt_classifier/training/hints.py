"""What a fit says at its start: the size of the network, and settings that are valid but rarely intended."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gpt_classifier.models.freezing import trainable_names
from gpt_classifier.models.heads import BACKBONE, SequenceClassifier

CPUINFO = Path("/proc/cpuinfo")
LARGE = 10**7  # parameters, from which on arithmetic is most of a step


def size(model: SequenceClassifier, trainable: str | int) -> str:
    """How many parameters there are, and how many are trained."""
    total = sum(tensor.numel() for tensor in model.state_dict().values())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{total:,} parameters, {trained:,} of them trainable ({trainable})"


def hints(settings: Mapping[str, Any], model: SequenceClassifier, precision: str, device: torch.device) -> list[str]:
    """One line for each such setting.

    Args:
        settings: The hyper-parameters of the GPTClassifier.
        model: The network with its initial weights, frozen according to the settings.
        precision: Precision of the trainer, such as ``32-true``.
        device: Device of the training.
    """
    lines = []
    if settings["weights"] == "random" and settings["trainable"] != "all":
        sizes = [(p.numel(), p.requires_grad) for p in model.backbone.parameters()]
        frozen = sum(size for size, trains in sizes if not trains) / sum(size for size, _ in sizes)
        lines.append(
            f"weights are random and trainable is {settings['trainable']}: {frozen:.0%} of the network, its embeddings "
            "included, keep their random values. To train all from scratch: --model.trainable all, or --config scratch"
        )
    trained = trainable_names(model, settings["trainable"])
    if settings["lm_loss"] > 0 and not any(name.startswith(BACKBONE) for name in trained):
        lines.append(
            f"lm_loss is {settings['lm_loss']:g}, but no parameter of the network below the head trains, so this loss "
            "is measured and changes nothing"
        )
    if "16" in precision and device.type == "cpu" and not has_bf16():
        lines.append(
            f"precision is {precision}, but this processor has no bfloat16 instructions and emulates them: "
            "--trainer.precision 32-true is faster here"
        )
    large = sum(p.numel() for p in model.backbone.parameters()) >= LARGE
    if precision == "32-true" and device.type == "cpu" and large and has_bf16_units():
        lines.append(
            "this processor has matrix units for bfloat16: --trainer.precision bf16-mixed is likely faster here"
        )
    return lines


def has_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor has instructions for bfloat16 matrix products; True if that is unknown."""
    flags = _flags(cpuinfo)
    return flags is None or bool({"avx512_bf16", "amx_bf16", "avx_ne_convert"} & flags)


def has_bf16_units(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor is known to have units for bfloat16 matrix products (AMX)."""
    return "amx_bf16" in (_flags(cpuinfo) or ())


def _flags(cpuinfo: Path) -> set[str] | None:
    """What the processor can do; None if that is unknown."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not cpuinfo.is_file():
        return None
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((set(line.split()) for line in lines if line.startswith("flags")), None)
