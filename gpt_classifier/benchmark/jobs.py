"""Runs one job in a process of its own; settings and results are dictionaries in a file."""

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gpt_classifier.benchmark.inference import infer, load_rows, predict_rows
from gpt_classifier.benchmark.peak import matrix_peak
from gpt_classifier.benchmark.training import train_ours, train_plain, train_transformers
from gpt_classifier.memory import peak_memory

Job = dict[str, Any]

KINDS: dict[str, Callable[[Job], Job]] = {
    "cached": train_ours,
    "uncached": train_ours,
    "plain": train_plain,
    "transformers": train_transformers,
    "predict": infer,
    "int8": infer,
    "pipeline": infer,
    "load rows": load_rows,
    "predict rows": predict_rows,
}


def main() -> None:
    """Reads a job from the named file, runs it and writes its result there."""
    path = Path(sys.argv[1])
    job = json.loads(path.read_text())
    warnings.filterwarnings("ignore")
    peaks = [matrix_peak()] if job.get("peak") else []
    result = KINDS[job["system"]](job)
    peaks += [matrix_peak()] if job.get("peak") else []
    result["matrix_peak"] = max(peaks, default=None)
    result["peak_memory"] = peak_memory()
    result["threads"] = torch.get_num_threads()
    path.write_text(json.dumps(result))
    os._exit(0)  # nothing to tidy up; some libraries' threads would take their time


if __name__ == "__main__":
    main()
