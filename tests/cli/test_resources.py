"""What the system lacks is one line, exit code 2, and nothing that was there before is lost."""

import errno
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from gpt_classifier.cli.main import main
from gpt_classifier.errors import LACKS, lack_of_resources

resource = pytest.importorskip("resource", reason="limits of a process are those of POSIX systems")


@contextmanager
def files_of_at_most(size):
    """Longer files cannot be written: as on a full disk, but for the number of the error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_line(capsys):
    told = capsys.readouterr().err
    assert "Traceback" not in told
    said = told.splitlines()[-1]
    assert said.startswith("gpt-classifier: error: ")
    return said


def test_a_fit_that_cannot_write_says_so_and_leaves_nothing(fit, tmp_path, capsys):
    with files_of_at_most(60_000):
        assert fit(tmp_path / "runs") == 2
    assert "File too large" in one_line(capsys)
    assert not list((tmp_path / "runs").rglob("*.ckpt*"))
    assert not list(tmp_path.rglob("*.part*"))


@pytest.fixture
def run(trained, tmp_path) -> Path:
    import shutil

    return Path(shutil.copytree(trained, tmp_path / "version_0"))


COMMANDS = {
    "resume": lambda run: ["fit", f"--config={run / 'config.yaml'}", f"--ckpt_path={run}/checkpoints/last.ckpt",
                           "--trainer.max_epochs=2", "--trainer.limit_train_batches=20"],
    "test": lambda run: ["test", str(run), "--baselines=none"],
    "predict": lambda run: ["predict", str(run), "--data.source=sample", "--output=predictions.jsonl"],
    "export": lambda run: ["export", str(run), "--to", "merged", "--output", "exported"],
    "calibrate": lambda run: ["calibrate", str(run), "--data.source=sample"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_cannot_write_says_so_and_loses_nothing(command, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kept = {name: content for name, content in contents(run).items() if "tfevents" not in name.name}
    with files_of_at_most(1_000):
        assert main(COMMANDS[command](run)) == 2
    said = one_line(capsys)
    assert "File too large" in said or "a file cannot be written" in said  # as PyTorch has it
    now = contents(tmp_path)
    assert {name: now[Path("version_0") / name] for name in kept} == kept
    assert not [name for name in now if ".part" in name.name]


def test_an_output_on_a_full_disk_is_one_line():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no device that is always full")
    words = [sys.executable, "-m", "gpt_classifier", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("gpt-classifier: error: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", LACKS)
def test_an_error_of_the_system_names_the_file_and_what_to_do(number):
    told = lack_of_resources(OSError(number, os.strerror(number), "a", None, "b"))
    assert told == f"{os.strerror(number)}, b: {LACKS[number]}"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "not enough memory (CUDA out"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
            "not enough memory",
        ),
        (RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), "cannot be written"),
        (Exception("I/O error: No space left on device (os error 28)"), os.strerror(errno.ENOSPC)),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), None),
        (OSError("something"), None),
    ],
)
def test_other_libraries_say_it_in_their_own_words(error, expected):
    told = lack_of_resources(error)
    assert told is expected or expected in told
