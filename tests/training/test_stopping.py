"""What a fit that is stopped, or fails, leaves: all that continues it, or nothing."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.data.pace import Pace
from gpt_classifier.training.callbacks import progress

CONFIG = Path(__file__).parents[2] / "configs" / "toy.yaml"
TINY = "{n_layer: 1, n_head: 2, n_embd: 16, context_length: 64}"


def command(root, *arguments):
    short = ["--data.max_length=64", f"--model.gpt={TINY}", "--trainer.max_epochs=60", "--data.batch_size=4"]
    short += ["--data.splitting.train_fraction=0.3"]
    # Others would depend on the number of epochs.
    short += ["--model.optimizer.schedule=constant", "--model.optimizer.warmup=0"]
    return [sys.executable, "-m", "gpt_classifier", "fit", f"--config={CONFIG}", *short,
            f"--trainer.default_root_dir={root}", *arguments]  # fmt: skip


def weights_of(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=[pytest.mark.nightly, pytest.mark.ci]),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.nightly),
    ],
)
def test_a_stopped_fit_is_usable_and_the_command_it_prints_ends_where_an_uninterrupted_one_does(sent, code, tmp_path):
    stopped, whole = tmp_path / "stopped runs", tmp_path / "whole"
    with subprocess.Popen(command(stopped), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while "epoch 2:" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.05)
        process.send_signal(sent)
        said = process.stdout.read()
    assert process.returncode == code, said
    assert "Traceback" not in said
    run = stopped / "version_0"
    assert TextClassifier.load(run).predict("hello").label in ("ham", "spam")

    again = shlex.split(re.search(r"to continue: gpt-classifier (.*)", said)[1])
    assert main([*again, "--trainer.max_epochs=8"]) == 0
    assert main(command(whole, "--trainer.max_epochs=8")[3:]) == 0
    resumed, uninterrupted = weights_of(run), weights_of(whole / "version_0")
    assert all(tensor.equal(uninterrupted[name]) for name, tensor in resumed.items())


@pytest.mark.nightly
@pytest.mark.ci
@pytest.mark.slow
def test_two_processes_stop_together_when_one_is_asked_to_and_go_on_together(tmp_path):
    devices = ["--trainer.strategy=ddp", "--trainer.devices=2", "--trainer.accelerator=cpu"]
    arguments = [*command(tmp_path), *devices]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while "epoch 2:" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)  # its child gets none
        said = process.stdout.read()
    assert process.returncode == 143, said
    assert "Traceback" not in said
    run = tmp_path / "version_0"
    assert TextClassifier.load(run).predict("hello").label in ("ham", "spam")
    steps = int(re.search(r"after (\d+) steps", said)[1])
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps

    again = [*arguments, f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", "--trainer.max_epochs=8"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 8 * 36
    assert [path.name for path in tmp_path.iterdir()] == ["version_0"]


@pytest.mark.parametrize(
    "wrong", ["--model.optimizer.arguments={nonsense: 1}", "--model.head={class_path: torch.nn.Tanh}"]
)
def test_a_fit_that_fails_at_its_start_leaves_no_run(wrong, tmp_path, capsys):
    assert main(command(tmp_path / "runs", wrong)[3:]) == 2
    assert not list((tmp_path / "runs").glob("version_*"))


def test_a_fit_that_cannot_be_continued_leaves_the_run_that_it_would_have_continued(fit, tmp_path, trained):
    import shutil

    run = shutil.copytree(trained, tmp_path / "version_0")
    before = sorted(run.rglob("*"))
    assert fit(tmp_path, "--ckpt_path=last", "--model.learning_rate=3") == 2
    assert sorted(path for path in run.rglob("*") if "tfevents" not in path.name and "config." not in path.name) == [
        path for path in before if "tfevents" not in path.name and "config." not in path.name
    ]


def test_lines_say_how_far_a_long_epoch_is_where_no_bar_moves(fit, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Pace, "SECONDS", 0.0)
    assert fit(tmp_path, "--trainer.max_epochs=1") == 0
    assert re.search(r"epoch 1: 3 of \d+ batches, \d+ s", caplog.text)
    assert re.search(r"validation: 1 of \d+ batches, 0 s", caplog.text)


def test_a_short_epoch_says_no_more_than_its_own_line(trained, caplog):
    assert main(["test", str(trained)]) == 0
    assert "batches" not in caplog.text


def test_a_pace_is_due_once_in_its_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("gpt_classifier.data.pace.time.monotonic", lambda: now[0])
    pace = Pace()
    due = []
    for now[0] in (129.0, 130.0, 131.0, 161.0):
        due.append(pace.due())
    assert due == [False, True, False, True]
    assert pace.elapsed() == 61.0
    assert progress.BatchLines().pace.SECONDS == 30


def test_a_fit_that_fails_leaves_what_was_in_its_folder_before(tmp_path, capsys):
    """A logger may write into a folder that the user has had for long."""
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    kept = [tmp_path / "mine" / "sub" / "thesis.txt", tmp_path / "mine" / "config.yaml"]
    for path in kept:
        path.write_text("years of work")
        os.utime(path, (1e9, 1e9))
    arguments = f"init_args: {{save_dir: {tmp_path / 'mine'}, name: '', version: ''}}"
    for wrong in ("--data.max_length=4096", "--model.learning_rate=1e30"):
        for logger in ("TensorBoardLogger", "CSVLogger"):
            words = [wrong, f"--trainer.logger={{class_path: {logger}, {arguments}}}"]
            assert main(command(tmp_path / "runs", *words)[3:]) == 2
            assert [path.read_text() for path in kept] == ["years of work"] * 2
    assert capsys.readouterr().err.count("gpt-classifier: error: ") == 4


def test_a_refused_resume_leaves_nothing_in_the_run(fit, tmp_path, trained):
    run = shutil.copytree(trained, tmp_path / "version_0")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert fit(tmp_path, "--ckpt_path=last", "--data.batch_size=3") == 2
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
