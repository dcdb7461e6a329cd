"""Runs the jobs of a benchmark in turn, each in a process of its own."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

from gpt_classifier.errors import InputError
from gpt_classifier.files import whole_file

Result = dict[str, Any]  # measurements of a job, by name
Precision = Literal["32-true", "bf16-mixed"]  # of Lightning's precisions, those that every system has
Key = tuple[str, ...]  # the name of a job, in parts
say = partial(print, flush=True)  # a line of the report; progress goes to standard error


@dataclass(frozen=True)
class Job(ABC):
    """One measurement. Its fields are passed as JSON to the process that runs it."""

    system: str
    device: str  # cpu or cuda
    precision: Precision
    beside_peak: ClassVar[bool] = True  # whether the peak speed of matrix products is measured before and after it

    @abstractmethod
    def run(self) -> Result:
        """Returns at least ``seconds``."""


class Runner:
    """Runs jobs and stores their results; jobs share its options, one set of weights and a model folder.

    Args:
        options: Options of the command.
        scratch: Folder of temporary files.
    """

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.options, self.scratch = options, scratch
        try:
            self.gpt = json.loads(options.gpt) if options.gpt.startswith("{") else options.gpt
        except ValueError as error:
            raise InputError(f"--gpt is {options.gpt}, expected the name of a size or a mapping in JSON") from error
        self.device = usable_device(options.device)
        self.weights = self._weights()
        self.results: list[Result] = []

    def run(self, job: Job) -> Result:
        """Runs ``job`` in a new process and returns its result with the seconds of the whole process."""
        path = self.scratch / "job.json"
        path.write_text(json.dumps({"kind": type(job).__name__} | asdict(job)), encoding="utf-8")
        environment = os.environ | {"GPT_CLASSIFIER_COMPUTED": str(self.scratch / "computed")}
        environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"  # of what is read below
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.jobs", str(path)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode:
            raise InputError(f"job {job.system} failed: {done.stderr.strip().splitlines()[-1][:300]}")
        return json.loads(path.read_text(encoding="utf-8")) | {"process_seconds": time.perf_counter() - began}

    def run_in_turn(self, jobs: Mapping[Key, Job]) -> dict[Key, list[Result]]:
        """Runs every job once, then every job again, so that a slow phase of the machine slows them all."""
        results = defaultdict(list)
        for repeat in range(self.options.repeats):
            shutil.rmtree(self.scratch / "computed", ignore_errors=True)  # only a second run may find a first one's
            for key, job in jobs.items():
                print(f"... {' '.join(key)}, run {repeat + 1} of {self.options.repeats}", file=sys.stderr, flush=True)
                result = self.run(job)
                results[key].append(result)
                self.keep({"job": key, "repeat": repeat} | result)
        return results

    def keep(self, result: Result) -> None:
        """Adds a result to the file ``--output``, which is complete even if the benchmark is stopped."""
        self.results.append({name: value for name, value in result.items() if name != "predictions"})
        with whole_file(self.options.output) as path:
            report = {"machine": machine(self.device), "options": vars(self.options), "results": self.results}
            path.write_text(json.dumps(report, indent=1), encoding="utf-8")

    def _weights(self) -> str:
        """File or folder of the weights that all jobs start from."""
        if self.options.weights not in ("random", "pretrained"):
            return self.options.weights
        import torch
        from safetensors.torch import save_file

        from gpt_classifier.models.build import gpt_config
        from gpt_classifier.models.weights import fetch_pretrained
        from gpt_classifier.text.encoder import TextEncoder
        from gpt_classifier.training.network import build_network

        gpt_config(self.gpt)  # refuses an unknown size
        if self.options.weights == "pretrained":
            if not isinstance(self.gpt, str):
                raise InputError(f"weights are pretrained, but --gpt is {self.gpt}: name a size, or use random weights")
            return str(fetch_pretrained(self.gpt))

        torch.manual_seed(0)
        text_encoder = TextEncoder(self.options.tokenizer, self.options.max_length)
        model = build_network({"gpt": self.gpt}, "random", 2, text_encoder)
        path = self.scratch / "weights.safetensors"
        save_file(model.state_dict(), path)
        return str(path)

    @cached_property
    def model_folder(self) -> str:
        """The given model, or an untrained one of the benchmarked size, which is as fast as a trained one."""
        if self.options.model:
            return self.options.model
        from gpt_classifier.inference.bundle import Bundle
        from gpt_classifier.inference.model_folder import save_folder
        from gpt_classifier.text.encoder import TextEncoder
        from gpt_classifier.training.network import build_network

        text_encoder = TextEncoder(self.options.tokenizer, self.options.max_length)
        model = build_network({"gpt": self.gpt}, self.weights, 2, text_encoder)
        folder = self.scratch / "model"
        save_folder(folder, Bundle(model, text_encoder, ["ham", "spam"]), "made by the benchmarks\n")
        return str(folder)


def check_options(options: argparse.Namespace) -> None:
    """Raises ``InputError`` for numbers of the command line that are too small."""
    if options.repeats < 1:
        raise InputError(f"--repeats is {options.repeats}, expected at least 1")
    if min(options.clients) < 1 or not 0 < options.seconds < 3600:
        expected = "clients of at least 1 and seconds above 0"
        raise InputError(f"--clients is {options.clients} and --seconds {options.seconds}, expected {expected}")


def run_parts(options: argparse.Namespace) -> None:
    """Runs the parts that are named, each a module beside this one."""
    with TemporaryDirectory() as scratch:
        runner = Runner(options, Path(scratch))
        say(f"{machine(runner.device)}; {options.precision}; {options.repeats} runs of each job in turn, medians")
        for part in options.parts:
            import_module(f"benchmarks.{part}").measure(runner)


def usable_device(device: str) -> str:
    """``device``, or for ``auto`` the GPU if there is one. Raises ``InputError`` for a GPU that is not there."""
    import torch

    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise InputError("--device is cuda, which PyTorch does not find here: expected cpu, or auto")
    return ("cuda" if there else "cpu") if device == "auto" else device


def installed(system: str, *packages: str) -> bool:
    """Whether the ``packages`` that a system needs are installed; says so if not."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        say(f"{system} is left out: it needs `pip install {' '.join(missing)}`")
    return not missing


def median(runs: Sequence[Result], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def machine(device: str) -> str:
    """The names of the device and of the processor, and its number of usable cores."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        known = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in known if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    if device == "cuda":
        import torch

        name = f"{torch.cuda.get_device_name()}; {name}"
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
