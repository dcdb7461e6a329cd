"""The command ``benchmark``: plans jobs, runs them in turn in fresh processes, prints a table and writes JSON."""

import argparse
import csv
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.files import whole_file

Job = dict[str, Any]
say = partial(print, flush=True)  # a line of the report; what is going on is told on standard error
NAMES = {
    "cached": "gpt_classifier",
    "again": "gpt_classifier, second run",
    "uncached": "gpt_classifier, no trunk cache",
    "plain": "plain loop, as in the article",
    "transformers": "transformers Trainer, grouped",
    "predict": "gpt_classifier",
    "int8": "gpt_classifier, int8",
    "pipeline": "transformers pipeline",
}


def main(arguments: list[str]) -> None:
    """Parses the options of ``benchmark`` and runs it."""
    parser = CommandParser(
        "gpt-classifier benchmark",
        description="Time training and classifying beside the alternatives on this machine: each job in a process of "
        "its own, one after the other in turn. Prints tables of medians, writes all figures as JSON.",
    )
    add = parser.add_argument
    parts = ["train", "inference", "start", "growth"]
    about = "train; inference (messages a second); start (cold starts); growth (time and memory of files that grow)"
    add("--parts", nargs="+", default=parts, choices=parts, metavar="PART", help=about)
    add("--policies", nargs="+", default=["head", "last_block", "all"], help="what trains: head, last_block, all, ...")
    systems = ["cached", "again", "uncached", "plain", "transformers"]
    about = (
        "cached; again (a second run on the same trunk); uncached; plain (the article's loop); transformers (Trainer)"
    )
    add("--systems", nargs="+", default=systems, choices=systems, metavar="SYSTEM", help=about)
    add("--repeats", type=int, default=3, help="runs of each job, one after the other in turn; medians are shown")
    add("--epochs", type=int, default=5)
    add(
        "--max_steps",
        type=int,
        default=0,
        help="time so many steps, without accuracies; less than an epoch is unfair to who begins with long texts",
    )
    add("--batch_size", type=int, default=8)
    add("--source", default="sms_spam", help="data to train on and to classify, as data.source")
    add("--split", default="article_table", help="as data.split")
    add("--tokenizer", default="gpt2", help="as data.tokenizer")
    add("--max_length", type=int, default=1024, help="as data.max_length")
    add("--gpt", default="gpt2", help="as model.gpt; a mapping in JSON for a free-form one")
    add("--weights", default="random", help="random (one set, drawn once), pretrained, or a folder or file")
    add("--model", help="a trained model to classify with, whose accuracy then shows; else an untrained one of --gpt")
    add("--messages", type=int, default=0, help="messages to classify; 0 for all of the source")
    add("--rows", type=int, default=1_000_000, help="rows of the file whose memory is measured")
    add("--output", default="benchmark.json", help="file for all figures")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        raise InputError(f"--repeats is {options.repeats}, expected at least 1")
    Benchmark(options).run()


class Benchmark:
    """Holds what the jobs share: settings, scratch folders, one set of weights."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        try:
            self.gpt = json.loads(options.gpt) if options.gpt.startswith("{") else options.gpt
        except ValueError as error:
            raise InputError(f"--gpt is {options.gpt}, expected the name of a size or a mapping in JSON") from error
        self.results: list[Job] = []

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            self.scratch = Path(scratch)
            self.weights = self._weights()
            say(f"{machine()}; {self.options.repeats} runs of each job in turn, medians")
            for part in self.options.parts:
                getattr(self, f"_{part}")()
        print(f"\nall figures: {self.options.output}")

    def _keep(self, result: Job) -> None:
        """Adds to the file of all figures; what was measured outlives a benchmark that is stopped."""
        self.results.append({name: value for name, value in result.items() if name != "answers"})
        with whole_file(self.options.output) as path:
            report = {"machine": machine(), "options": vars(self.options), "results": self.results}
            path.write_text(json.dumps(report, indent=1))

    def _can(self, system: str, *packages: str) -> bool:
        """Whether the ``packages`` that a system needs are installed; says so if not."""
        missing = [name for name in packages if find_spec(name) is None]
        if missing:
            say(f"{NAMES[system]} is left out: `pip install {' '.join(missing)}` brings what it needs")
        return not missing

    def _weights(self) -> str:
        """The file or folder of the weights that all jobs begin with."""
        if self.options.weights not in ("random", "pretrained"):
            return self.options.weights
        import torch
        from safetensors.torch import save_file

        from gpt_classifier.encoding import TextEncoder
        from gpt_classifier.files import keep_tokenizer_files
        from gpt_classifier.model.build import gpt_config
        from gpt_classifier.model.pretrained import fetch_pretrained
        from gpt_classifier.training.network import build_network

        gpt_config(self.gpt)  # refuses an unknown size
        if self.options.weights == "pretrained":
            if not isinstance(self.gpt, str):
                raise InputError(f"weights are pretrained, but --gpt is {self.gpt}: name a size, or use random weights")
            return str(fetch_pretrained(self.gpt))

        keep_tokenizer_files()
        torch.manual_seed(0)
        text_encoder = TextEncoder(self.options.tokenizer, self.options.max_length)
        model = build_network({"gpt": self.gpt}, "random", 2, text_encoder)
        path = self.scratch / "weights.safetensors"
        save_file(model.state_dict(), path)
        return str(path)

    def _job(self, system: str, **settings: Any) -> Job:
        """Runs one job in a new process and returns its figures with the seconds of the whole process."""
        path = self.scratch / "job.json"
        path.write_text(json.dumps({"system": system} | settings))
        environment = os.environ | {"GPT_CLASSIFIER_COMPUTED": str(self.scratch / "computed")}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "gpt_classifier.benchmark.jobs", str(path)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise InputError(f"benchmark job {system} failed: {done.stderr.strip().splitlines()[-1][:300]}")
        return json.loads(path.read_text()) | {"process_seconds": time.perf_counter() - began}

    def _in_turn(self, jobs: dict[tuple[str, ...], Job]) -> dict[tuple[str, ...], list[Job]]:
        """Every job once, then every job again: what slows the machine for a while slows them all."""
        results = defaultdict(list)
        for repeat in range(self.options.repeats):
            shutil.rmtree(self.scratch / "computed", ignore_errors=True)  # only a second run may find a first one's
            for key, settings in jobs.items():
                print(f"... {' '.join(key)}, run {repeat + 1} of {self.options.repeats}", file=sys.stderr, flush=True)
                result = self._job(**settings)
                results[key].append(result)
                self._keep({"job": key, "repeat": repeat} | result)
        return results

    # ---------------------------------------------------------------- parts

    def _train(self) -> None:
        o = self.options
        jobs: dict[tuple[str, ...], Job] = {}
        systems = [s for s in o.systems if s != "transformers" or self._can(s, "transformers", "accelerate")]
        for policy in o.policies:
            for system in systems:
                if policy == "all" and system in ("cached", "again"):
                    continue  # nothing is frozen
                jobs[policy, system] = {
                    "system": "cached" if system == "again" else system,
                    "policy": policy,
                    "peak": True,
                    "seed": 124 if system == "again" else 123,
                    **{k: getattr(o, k) for k in ("epochs", "max_steps", "batch_size", "source", "split")},
                    **{k: getattr(o, k) for k in ("tokenizer", "max_length")},
                    "gpt": self.gpt,
                    "weights": self.weights,
                }
        results = self._in_turn(jobs)
        job = "steps only" if o.max_steps else f"{o.epochs} epochs, accuracy of train, val and test"
        say(f"\nTraining on {o.source} ({o.split}), {o.gpt}, batch {o.batch_size}: {job}\n")
        say("| trains | system | job s | x | s/step | tokens/s | GFLOP/s (of peak) | peak GB | test accuracy |")
        say("|---|---|---|---|---|---|---|---|---|")
        for (policy, system), runs in results.items():
            compared = "step_seconds" if o.max_steps else "seconds"
            first = next(others for (other, _), others in results.items() if other == policy)
            ratio = _median(runs, compared) / _median(first, compared)
            flops, peak = _median(runs, "flops_per_second"), max(run["matrix_peak"] for run in runs)
            cells = [
                policy,
                NAMES[system],
                f"{_median(runs, 'seconds'):.1f}",
                f"{ratio:.2f}",
                f"{_median(runs, 'step_seconds'):.4f}",
                f"{_median(runs, 'tokens_per_second'):,.0f}",
                f"{flops / 1e9:.0f} ({flops / peak:.0%})",
                f"{_median(runs, 'peak_memory') / 2**30:.1f}",
                runs[0]["accuracy"].get("test", "-"),
            ]
            say(f"| {' | '.join(cells)} |")
        for (policy, system), runs in results.items():
            if runs[0].get("bare_step_seconds"):
                bare, step = _median(runs, "bare_step_seconds"), _median(runs, "step_seconds")
                say(f"\n{policy}, {NAMES[system]}: a step takes {step:.4f} s, without trainer and metrics {bare:.4f} s")
            if trunk := [run["trunk"] for run in runs if run.get("trunk")]:
                seconds, rate, peak = (
                    statistics.median(t[key] for t in trunk)
                    for key in ("seconds", "flops_per_second", "peak_flops_per_second")
                )
                say(
                    f"\n{policy}, {NAMES[system]}: trunk pass {seconds:.1f} s; batches reach {rate / 1e9:.0f} GFLOP/s, "
                    f"{rate / peak:.0%} of a matrix product in turn with them ({peak / 1e9:.0f} GFLOP/s)"
                )

    def _inference(self) -> None:
        o = self.options
        from gpt_classifier.data import sources
        from gpt_classifier.evaluation.statistics import wilson

        table = sources.load(o.source)["train"].sample(frac=1, random_state=0)[: o.messages or None]
        texts, labels = table["text"].tolist(), table["label"].tolist()
        settings = {"texts": texts, "model": str(self._model_folder()), "peak": True}
        systems = ["predict", "int8"]
        if o.tokenizer == "gpt2" and self._can("pipeline", "transformers"):
            systems.append("pipeline")
        results = self._in_turn({(system,): {"system": system} | settings for system in systems})
        say(f"\nClassifying {len(texts):,} messages of {o.source} with {o.model or o.gpt}\n")
        say("| system | messages/s | x | one message, ms | peak GB | |")
        say("|---|---|---|---|---|---|")
        base = _median(results["predict",], "messages_per_second")
        for (system,), runs in results.items():
            rate = _median(runs, "messages_per_second")
            say(
                f"| {NAMES[system]} | {rate:.0f} | {rate / base:.2f} | {1000 * _median(runs, 'latency_seconds'):.1f} | "
                f"{_median(runs, 'peak_memory') / 2**30:.1f} | {runs[0]['note']} |"
            )
        exact, rounded = results["predict",][0]["answers"], results["int8",][0]["answers"]
        same = sum(a["label"] == b["label"] for a, b in zip(exact, rounded, strict=True))
        shifts = [
            abs(probability - b["probabilities"][name])
            for a, b in zip(exact, rounded, strict=True)
            for name, probability in a["probabilities"].items()
        ]
        say(
            f"\nint8 gives the same class for {same / len(exact):.2%}; "
            f"probabilities shift by {statistics.mean(shifts):.4f} on average, {max(shifts):.3f} at most"
        )
        if o.model:
            for name, answers in (("float32", exact), ("int8", rounded)):
                correct = sum(a["label"] == label for a, label in zip(answers, labels, strict=True))
                say(f"accuracy of all these messages, {name}: {wilson(correct, len(labels))}")

    def _model_folder(self) -> Path:
        """The given model, or an untrained one of the benchmarked size: speed does not depend on what was learnt."""
        if self.options.model:
            return Path(self.options.model)
        from gpt_classifier.bundle import Bundle, save_folder
        from gpt_classifier.encoding import TextEncoder
        from gpt_classifier.training.network import build_network

        encoder = TextEncoder(self.options.tokenizer, self.options.max_length)
        model = build_network({"gpt": self.gpt}, self.weights, 2, encoder)
        folder = self.scratch / "model"
        save_folder(folder, Bundle(model, encoder, ["ham", "spam"]), "made by benchmark\n")
        return folder

    def _start(self) -> None:
        commands = {
            "python -c pass": ["-c", "pass"],
            "import torch": ["-c", "import torch"],
            "--help": ["-m", "gpt_classifier", "--help"],
            "classify one message": ["-m", "gpt_classifier", "classify", "--model", str(self._model_folder()), "hello"],
        }
        seconds: dict[str, list[float]] = defaultdict(list)
        for _ in range(self.options.repeats + 1):
            for name, command in commands.items():
                began = time.perf_counter()
                subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
                seconds[name].append(time.perf_counter() - began)
        say(f"\nCold start with {self.options.gpt}: seconds of the whole process\n\n| command | s |\n|---|---|")
        for name, times in seconds.items():
            say(f"| {name} | {statistics.median(times[1:]):.2f} |")
            self._keep({"job": ["start", name], "seconds": times[1:]})

    def _growth(self) -> None:
        rows = self.options.rows
        short, long = (3, 12), (100, 360)  # words of a message, and of a film review
        kinds = {f"{rows // 100:,} messages": (rows // 100, short), f"{rows:,} messages": (rows, short)}
        kinds[f"{rows // 40:,} reviews"] = (rows // 40, long)
        files = {name: str(self._rows_file(count, words)) for name, (count, words) in kinds.items()}
        files[self.options.source] = self.options.source
        checkpoint = self._tiny_checkpoint()
        tokenizer = self.options.tokenizer
        say(f"\nMemory as data grows ({tokenizer} tokenizer, 256 tokens at most; a tiny model predicts)\n")
        say("| job | rows | s | peak GB |\n|---|---|---|---|")
        for system in ("load rows", "predict rows"):
            for name, path in files.items():
                output = str(self.scratch / "out.csv")
                paths = {"file": path, "checkpoint": str(checkpoint), "output": output}
                result = self._job(system, tokenizer=tokenizer, **paths)
                self._keep({"job": [system, name]} | result)
                say(f"| {system} | {name} | {result['seconds']:.1f} | {result['peak_memory'] / 2**30:.2f} |")

    def _rows_file(self, rows: int, length: tuple[int, int]) -> Path:
        chance = random.Random(0)
        words = ["call", "me", "later", "win", "free", "prize", "dinner", "train", "home", "now", "see", "you", "soon"]
        path = self.scratch / f"{rows}-{length[1]}.csv"
        with open(path, "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            for row in range(rows):
                text = " ".join(chance.choices(words, k=chance.randint(*length)))
                writer.writerow([f"{text} {row}", "spam" if row % 2 else "ham"])
        return path

    def _tiny_checkpoint(self) -> Path:
        root = self.scratch / "tiny"
        gpt = '{"n_layer": 1, "n_head": 1, "n_embd": 16, "context_length": 256}'
        fit = ["fit", "--data.tokenizer", self.options.tokenizer, "--data.max_length", "256", "--model.gpt", gpt]
        fit += ["--model.weights", "random", "--trainer.max_epochs", "1", "--trainer.default_root_dir", str(root)]
        subprocess.run([sys.executable, "-m", "gpt_classifier", *fit], check=True, capture_output=True)
        return root / "version_0" / "checkpoints" / "best.ckpt"


def _median(runs: list[Job], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def machine() -> str:
    """The processor's name and its number of usable cores."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
