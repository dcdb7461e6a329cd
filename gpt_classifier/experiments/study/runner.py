"""Performs the runs of a study, each in its own process, and appends their results to a file."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import pandas as pd

from gpt_classifier.experiments.study.plan import Result, Run
from gpt_classifier.files import writable_folder
from gpt_classifier.statistics.intervals import wilson

RESULTS = "results.jsonl"
UTF8 = {"PYTHONIOENCODING": "utf-8:backslashreplace"}  # what a child writes into its log


def read_results(folder: Path) -> list[Result]:
    """All results so far, without incomplete lines that a killed study left."""
    path = folder / RESULTS
    results = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            results.append(json.loads(line))
        except ValueError:
            continue
    return results


class Runner:
    """Performs the runs that have no result yet, one at a time, or one at a time on each GPU."""

    def __init__(self, folder: Path) -> None:
        self.folder = writable_folder(folder)
        self.logs = writable_folder(folder / "logs")
        self.writing = Lock()
        self.children: set[subprocess.Popen[str]] = set()

    def perform(self, runs: list[Run]) -> None:
        done = {result["key"] for result in read_results(self.folder) if "error" not in result}
        remaining = [run for run in runs if run.key not in done]
        if len(remaining) < len(runs):
            print(f"{len(runs) - len(remaining)} of {len(runs)} runs were done before", flush=True)
        gpus = _list_gpus()
        free: SimpleQueue[str] = SimpleQueue()
        for gpu in gpus or [""]:
            free.put(gpu)

        def one(numbered: tuple[int, Run]) -> None:
            gpu = free.get()
            try:
                self._perform(*numbered, len(remaining), gpu)
            finally:
                free.put(gpu)

        with ThreadPoolExecutor(max(1, len(gpus))) as pool:
            try:
                list(pool.map(one, enumerate(remaining, 1)))
            except BaseException:  # Ctrl-C: finished runs are kept, running ones are killed
                pool.shutdown(wait=False, cancel_futures=True)
                for child in self.children:
                    child.kill()
                raise

    def _perform(self, number: int, run: Run, total: int, gpu: str) -> None:
        began = time.monotonic()
        log_path = self.logs / f"{run.file_name}.txt"
        with tempfile.TemporaryDirectory() as scratch, open(log_path, "w", encoding="utf-8") as log:
            path = Path(scratch) / "run.json"
            path.write_text(json.dumps(asdict(run)), encoding="utf-8")
            command = [
                sys.executable,
                "-m",
                "gpt_classifier.experiments.study.job",
                str(path),
                str(self.folder / "tensorboard"),
            ]
            environment = os.environ | UTF8 | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
            # The child exits when its standard input closes, which happens whenever this process ends.
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment, encoding="utf-8"
            )
            self.children.add(child)
            try:
                code = child.wait()
            finally:
                self.children.discard(child)
                child.kill()
                assert child.stdin is not None
                child.stdin.close()
            result: Result = {"error": self._reason(run, code)} if code else json.loads(path.read_bytes())
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        outcome = f"failed: {result['error']}" if code else f"test {wilson(*result['accuracy']['test'])}"
        print(f"[{number}/{total}] {run}: {outcome} ({minutes} min {seconds} s)", flush=True)
        self._keep({"key": run.key, "row": run.row, "seed": run.seed, "fold": run.fold} | result)

    def _reason(self, run: Run, code: int) -> str:
        lines = (self.logs / f"{run.file_name}.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        killed = f"killed by signal {-code}, " if code < 0 else ""
        return killed + (last if len(last) <= 300 else f"...{last[-300:].partition(' ')[2]}")  # the end says what to do

    def _keep(self, result: Result) -> None:
        path = self.folder / RESULTS
        with self.writing:
            broken = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
            with open(path, "a", encoding="utf-8") as stream:
                stream.write(("\n" if broken else "") + json.dumps(result) + "\n")
                stream.flush()
                os.fsync(stream.fileno())


def _list_gpus() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]


def collect_results(runs: Sequence[Run], folder: Path) -> pd.DataFrame:
    """A row for each of ``runs`` with its newest result: ``done`` tells whether there is one, ``error`` why it failed.

    Counts of a split are in two columns, such as ``test_hits``, texts classified correctly, and ``test_texts``.
    """
    return combine_results(runs, {result["key"]: result for result in read_results(folder)})


def combine_results(runs: Sequence[Run], results: Mapping[str, Result]) -> pd.DataFrame:
    rows = []
    for run in runs:
        result = results.get(run.key, {"error": ""})
        counts: Result = {}
        for split, (hits, texts) in result.get("accuracy", {}).items():
            counts |= {f"{split}_hits": hits, f"{split}_texts": texts}
        planned = vars(run) | {"asked": run.settings, "done": "error" not in result, "error": ""}
        rows.append(planned | result | counts)
    frame = pd.DataFrame(rows, dtype=object)  # whole numbers stay whole beside missing ones
    return frame.astype({"done": bool})
