"""The part ``growth``: time and memory for files of growing size."""

import itertools
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks.runner import Job, Result, Runner, say
from gpt_classifier.data import writers
from gpt_classifier.data.datamodule import TextDataModule

WORDS = ["call", "me", "later", "win", "free", "prize", "dinner", "train", "home", "now", "see", "you", "soon"]


def measure(runner: Runner) -> None:
    """Loads and classifies files with more rows and with longer texts, and prints a line for each."""
    rows, tokenizer = runner.options.rows, runner.options.tokenizer
    short, long = (3, 12), (100, 360)  # words of a message, and of a film review
    kinds = {f"{rows // 100:,} messages": (rows // 100, short), f"{rows:,} messages": (rows, short)}
    kinds[f"{rows // 40:,} reviews"] = (rows // 40, long)
    files = {name: _rows_file(runner.scratch, count, words) for name, (count, words) in kinds.items()}
    files[runner.options.source] = runner.options.source
    checkpoint, output = _tiny_checkpoint(runner), str(runner.scratch / "out.csv")
    jobs: list[tuple[str, Job]] = [
        (name, LoadRows("load rows", "cpu", "32-true", file, tokenizer)) for name, file in files.items()
    ]
    jobs += [
        (name, PredictRows("predict rows", runner.device, "32-true", file, checkpoint, output))
        for name, file in files.items()
    ]
    say(f"\nMemory as data grows ({tokenizer} tokenizer, 256 tokens at most; a tiny model predicts)\n")
    say("| job | rows | s | peak GB |\n|---|---|---|---|")
    for name, job in jobs:
        result = runner.run(job)
        runner.keep({"job": [job.system, name]} | result)
        say(f"| {job.system} | {name} | {result['seconds']:.1f} | {result['peak_memory'] / 2**30:.2f} |")


@dataclass(frozen=True)
class LoadRows(Job):
    """Reads and tokenizes a file as for training."""

    file: str
    tokenizer: str
    beside_peak: ClassVar[bool] = False

    def run(self) -> Result:
        began = time.perf_counter()
        data = TextDataModule(self.file, tokenizer=self.tokenizer, max_length=256)
        data.setup("fit")
        return {"seconds": time.perf_counter() - began, "rows": sum(len(e) for e in data.encoded.values())}


@dataclass(frozen=True)
class PredictRows(Job):
    """Classifies a file with the command that users call."""

    file: str
    checkpoint: str
    output: str
    beside_peak: ClassVar[bool] = False

    def run(self) -> Result:
        from gpt_classifier.training.build_run import run

        began = time.perf_counter()
        device = f"--trainer.accelerator={self.device}"
        run(["predict", device, "--ckpt_path", self.checkpoint, "--data.source", self.file, "--output", self.output])
        return {"seconds": time.perf_counter() - began}


def _rows_file(folder: Path, rows: int, length: tuple[int, int]) -> str:
    """A CSV file of made-up texts, whose minimum and maximum number of words are ``length``."""
    rng = random.Random(0)
    path = folder / f"{rows}-{length[1]}.csv"
    texts = (" ".join(rng.choices(WORDS, k=rng.randint(*length))) for _ in range(rows))
    lines = ([f"{text} {row}", "spam" if row % 2 else "ham"] for row, text in enumerate(texts))
    writers.write(path, itertools.chain([["text", "label"]], lines))
    return str(path)


def _tiny_checkpoint(runner: Runner) -> str:
    root = runner.scratch / "tiny"
    gpt = '{"n_layer": 1, "n_head": 1, "n_embd": 16, "context_length": 256}'
    fit = ["fit", "--data.tokenizer", runner.options.tokenizer, "--data.max_length", "256", "--model.gpt", gpt]
    fit += ["--model.weights", "random", "--trainer.max_epochs", "1", "--trainer.default_root_dir", str(root)]
    subprocess.run([sys.executable, "-m", "gpt_classifier", *fit], check=True, capture_output=True)
    return str(root / "version_0" / "checkpoints" / "best.ckpt")
