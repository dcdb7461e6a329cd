"""Measures of training speed: seconds per step, FLOPs per step, and the peak FLOP/s of the processor."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gpt_classifier.encoding import Batch

PEAK_SIZE = 2304


class Steps:
    """The moments at which steps ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def end(self) -> None:
        self.ends.append(time.perf_counter())

    def median(self) -> float:
        return statistics.median(np.diff(self.ends)) if len(self.ends) > 1 else float("nan")


def flops_per_step(batches: Iterable[Any], loss: Callable[[Any], Tensor], max_batches: int = 8) -> float:
    """Mean FLOPs of matrix products per step, forward and backward, padding included.

    Counted on a few batches spread over the epoch, and scaled to the epoch by the number of positions.
    """
    steps = list(batches)
    counted, sample = 0, steps[:: max(1, len(steps) // max_batches)][:max_batches]
    for batch in sample:
        with FlopCounterMode(display=False) as counter:
            loss(batch).backward()
        counted += counter.get_total_flops()
    return counted / sum(map(_positions, sample)) * sum(map(_positions, steps)) / len(steps)


def _positions(batch: Batch | Mapping[str, Tensor]) -> int:
    if isinstance(batch, Mapping):
        return batch["input_ids"].numel()
    return batch.inputs.shape[0] * (1 if batch.depth == "pooled" else batch.inputs.shape[1])


def matrix_peak(seconds: float = 1.0, n: int = PEAK_SIZE) -> float:
    """Maximum FLOP/s of repeated float32 products of square matrices."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    best = 0.0
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        began = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * n**3 / (time.perf_counter() - began))
    return best
