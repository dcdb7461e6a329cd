"""Ctrl-C and SIGTERM end a command at once, wherever they find it, with one line and nothing half-written."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gpt_classifier.cli.main import main
from gpt_classifier.data import readers
from gpt_classifier.evaluation import baselines
from gpt_classifier.evaluation.interruptible import interruptibly

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals that one process sends to another")
SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


def slow(number, then=None):
    """A function that is interrupted while a library computes: it sends the signal and does not return for long."""

    def work(*arguments, **settings):
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
        time.sleep(30) if then is None else then()

    return work


def stopped(words, number, capsys):
    began = time.monotonic()
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end:
        main(words)
    assert time.monotonic() - began < 15  # most of it before the signal
    assert end.value.code == 128 + number
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert f"stopped by {SIGNALS[number]}" in told.splitlines()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("place", ["reading", "baselines"])
def test_a_test_is_stopped_in_reading_and_in_baselines(number, place, trained, tmp_path, monkeypatch, capsys):
    import shutil

    run = Path(shutil.copytree(trained, tmp_path / "version_0"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    if place == "reading":
        (tmp_path / "a.csv").write_text("text,label\na,ham\n", encoding="utf-8")
        monkeypatch.setitem(readers.FORMATS, ".csv", slow(number))
    else:
        monkeypatch.setattr(baselines, "_fit", slow(number))
    began = time.monotonic()
    stopped(["test", str(run), f"--data.test_source={tmp_path / 'a.csv'}"] if place == "reading"
            else ["test", str(run), "--report=none"], number, capsys)  # fmt: skip
    assert time.monotonic() - began < 15
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in run.rglob("*") if ".part" in path.name or path.name == "scores.json"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_fit_is_stopped_before_its_first_step_and_leaves_nothing(number, fit, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gpt_classifier.training.module.connect", slow(number))  # where frozen layers are computed
    with pytest.raises(SystemExit) as end:
        fit(tmp_path)
    assert end.value.code == 128 + number
    assert f"stopped by {SIGNALS[number]}" in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_command_is_stopped_while_it_imports(tmp_path):
    words = [sys.executable, "-m", "gpt_classifier", "fit", "--config=toy", "--trainer.default_root_dir=runs"]
    for seconds in (0.2, 1.0, 2.0):
        with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[2])
        }) as process:  # fmt: skip
            time.sleep(seconds)
            process.terminate()
            told = process.communicate(timeout=20)[1]
        assert process.returncode in (143, -signal.SIGTERM)  # before Python has begun, the system ends it
        assert "Traceback" not in told
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_work_in_a_thread_returns_and_raises_as_it_does_here():
    assert interruptibly(lambda: threading.current_thread() is threading.main_thread(), "work") is False
    with pytest.raises(ZeroDivisionError):
        interruptibly(lambda: 1 / 0, "work")
