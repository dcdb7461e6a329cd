"""The part ``start``: seconds of commands from a cold start, measured as whole processes."""

import statistics
import subprocess
import sys
import time
from collections import defaultdict

from benchmarks.runner import Runner, say


def measure(runner: Runner) -> None:
    """Starts each command ``--repeats`` + 1 times and drops the first time."""
    commands = {
        "python -c pass": ["-c", "pass"],
        "import torch": ["-c", "import torch"],
        "--help": ["-m", "gpt_classifier", "--help"],
        "classify one message": ["-m", "gpt_classifier", "classify", runner.model_folder, "hello"],
    }
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(runner.options.repeats + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - began)
    say(f"\nCold start with {runner.options.gpt}: seconds of the whole process\n\n| command | s |\n|---|---|")
    for name, times in seconds.items():
        say(f"| {name} | {statistics.median(times[1:]):.2f} |")
        runner.keep({"job": ["start", name], "seconds": times[1:]})
