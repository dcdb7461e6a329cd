"""The part ``service``: predictions per second and latencies of the service under load, with and without batches."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import ClassVar

import numpy as np

from benchmarks.runner import Job, Result, Runner, installed, median, say
from gpt_classifier.data import datasets
from gpt_classifier.errors import InputError

NAMES = {"batches": "app", "single": "app, one text a call (`--batch 1`)"}
STARTED = 120.0  # seconds that a server may take to load its model


def measure(runner: Runner) -> None:
    """Serves the model with all systems in turn, each asked by few and by many clients, and prints their table."""
    o = runner.options
    if not installed("the service", "starlette", "uvicorn", "prometheus_client"):
        return
    texts = datasets.load(o.source)["train"].sample(frac=1, random_state=0)[: o.messages or None]["text"].tolist()
    jobs: dict[tuple[str, ...], Job] = {
        (system,): Serving(system, runner.device, "32-true", texts, runner.model_folder, o.clients, o.seconds)
        for system in NAMES
    }
    results = runner.run_in_turn(jobs)
    say(f"\nServing {o.model or o.gpt} to clients that send one message of {o.source} after the other\n")
    say("| system | clients | predictions/s | p50, ms | p99, ms |\n|---|---|---|---|---|")
    for clients in o.clients:
        for (system,), runs in results.items():
            rate, p50, p99 = (median(runs, f"{name} {clients}") for name in ("answers_per_second", "p50", "p99"))
            say(f"| {NAMES[system]} | {clients} | {rate:.0f} | {1000 * p50:.0f} | {1000 * p99:.0f} |")


@dataclass(frozen=True)
class Serving(Job):
    """Answers per second and latencies, for each number of clients that ask at once."""

    texts: list[str]
    model: str  # its folder
    clients: list[int]
    duration: float  # seconds of load, for each number of clients
    beside_peak: ClassVar[bool] = False

    def run(self) -> Result:
        result: Result = {"seconds": self.duration * len(self.clients)}
        with self._server() as port:
            asked(port, self.texts, max(self.clients), self.duration / 4)  # warm up
            for clients in self.clients:
                began = time.perf_counter()
                latencies = asked(port, self.texts, clients, self.duration)
                result[f"answers_per_second {clients}"] = len(latencies) / (time.perf_counter() - began)
                result[f"p50 {clients}"], result[f"p99 {clients}"] = np.quantile(latencies, [0.5, 0.99]).tolist()
        return result

    @contextmanager
    def _server(self) -> Iterator[int]:
        """A server in a process of its own, and its port."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        batch = "1" if self.system == "single" else "64"
        options = ["--batch", batch, "--rate", "1e9", "--device", self.device, "--port", str(port)]
        command = [sys.executable, "-m", "gpt_classifier", "app", self.model, *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                deadline = time.monotonic() + STARTED
                while not healthy(port):
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise InputError(f"the server of {self.system} does not start: its messages say why")
                    time.sleep(0.05)
                yield port
            finally:
                process.kill()


def healthy(port: int) -> bool:
    """Whether a server on this machine is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def asked(port: int, texts: list[str], clients: int, duration: float) -> list[float]:
    """The seconds that each response took, of clients that ask at once, each as soon as it has its last response."""
    end = time.monotonic() + duration
    with ThreadPoolExecutor(clients) as pool:
        shifted = (texts[number % len(texts) :] + texts[: number % len(texts)] for number in range(clients))
        return [seconds for each in pool.map(partial(_client, port, end), shifted) for seconds in each]


def _client(port: int, end: float, texts: list[str]) -> list[float]:
    connection, latencies = http.client.HTTPConnection("127.0.0.1", port, timeout=60), []
    for text in cycle(texts):
        began = time.perf_counter()
        connection.request("POST", "/predict", json.dumps({"texts": [text]}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise InputError(f"a request failed with status {response.status}: {content.decode()[:200]}")
        latencies.append(time.perf_counter() - began)
        if time.monotonic() > end:
            break
    connection.close()
    return latencies
