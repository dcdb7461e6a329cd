"""What a machine's processor can do at most, to see beside it what a job does."""

import time

import torch

PEAK_SIZE = 2304


def matrix_peak(seconds: float = 1.0, n: int = PEAK_SIZE) -> float:
    """FLOP/s of the best of repeated float32 products of square matrices."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    best = 0.0
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        began = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * n**3 / (time.perf_counter() - began))
    return best
