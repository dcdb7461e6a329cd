"""Measures of training speed: seconds per step, FLOPs per step, and the peak FLOP/s of a device."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.runner import Precision
from gpt_classifier.text.encoder import Batch

PEAK_SIZE = {"cpu": 2304, "cuda": 8192}


class Steps:
    """The moments at which steps ended; on a GPU those of its own clock, as it runs behind the program."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ends: list[Any] = []

    def end(self) -> None:
        if self.device == "cuda":
            self.ends.append(torch.cuda.Event(enable_timing=True))
            self.ends[-1].record()
        else:
            self.ends.append(time.perf_counter())

    def median(self) -> float:
        if len(self.ends) < 2:
            return float("nan")
        if self.device == "cuda":
            torch.cuda.synchronize()
            return statistics.median(a.elapsed_time(b) / 1000 for a, b in pairwise(self.ends))
        return statistics.median(b - a for a, b in pairwise(self.ends))


def now(device: str) -> float:
    """Seconds of a clock, when everything that was asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def computing(device: str, precision: Precision) -> AbstractContextManager[object]:
    """The context in which every system computes with this precision."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed")


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
    return batch.inputs.shape[0] * (1 if batch.start_layer == "pooled" else batch.inputs.shape[1])


def matrix_peak(device: str, precision: Precision, seconds: float = 1.0, n: int | None = None) -> float:
    """Maximum FLOP/s of repeated products of square matrices."""
    n = n or PEAK_SIZE[device]
    a, b = torch.randn(2, n, n, device=device, dtype=torch.bfloat16 if precision == "bf16-mixed" else torch.float32)
    best = 0.0
    stop = now(device) + seconds
    while (began := now(device)) < stop:
        torch.mm(a, b)
        best = max(best, 2 * n**3 / (now(device) - began))
    return best
