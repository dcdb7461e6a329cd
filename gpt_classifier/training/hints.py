"""Hints at the start of a fit about settings that are valid but rarely intended."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gpt_classifier.model.classification import SequenceClassifier


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
    if "16" in precision and device.type == "cpu" and not has_bf16():
        lines.append(
            f"precision is {precision}, but this processor has no bfloat16 instructions and emulates them: "
            "--trainer.precision 32-true is faster here"
        )
    return lines


def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions for bfloat16 matrix products; True if that is unknown."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not cpuinfo.is_file():
        return True
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "avx512_bf16")
    return bool({"avx512_bf16", "amx_bf16", "avx_ne_convert"} & set(flags.split()))
