"""Runs one job in a process of its own; reads the job from a JSON file and writes its result there."""

import json
import os
import sys
import warnings
from pathlib import Path

import torch

from benchmarks.growth import LoadRows, PredictRows
from benchmarks.inference import Inference
from benchmarks.measures import matrix_peak
from benchmarks.runner import Job, Result
from benchmarks.service import Serving
from benchmarks.train import Training
from gpt_classifier.training.memory import peak_memory

KINDS: dict[str, type[Job]] = {kind.__name__: kind for kind in (Training, Inference, Serving, LoadRows, PredictRows)}


def main() -> None:
    """Reads a job from the named file, runs it and writes its result there."""
    path = Path(sys.argv[1])
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(measured(KINDS[fields.pop("kind")](**fields))), encoding="utf-8")
    os._exit(0)  # without waiting for the threads of libraries


def measured(job: Job) -> Result:
    """The result of a job, with its peak memory and the speed of matrix products before and after it."""
    warnings.filterwarnings("ignore")
    peaks = [matrix_peak(job.device, job.precision)] if job.beside_peak else []
    if job.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    result = job.run()
    result["peak_memory"] = torch.cuda.max_memory_allocated() if job.device == "cuda" else peak_memory()
    peaks += [matrix_peak(job.device, job.precision)] if job.beside_peak else []
    return result | {"matrix_peak": max(peaks, default=None), "threads": torch.get_num_threads()}


if __name__ == "__main__":
    main()
