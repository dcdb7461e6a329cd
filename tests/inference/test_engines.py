"""Predictions of a Ray cluster are those of one process, in the same order, also where one of its own is killed."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from gpt_classifier.cli.main import main
from gpt_classifier.inference import engines

pytestmark = [pytest.mark.filterwarnings("ignore")]  # Ray's own, of the libraries that it uses


def written(path, rows, first=0):
    """A file of ``rows`` texts, of which every tenth is missing."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "message"])
        for row in range(first, first + rows):
            writer.writerow([f"n{row}", "" if row % 10 == 3 else f'message {row} of "{row % 7}"\n' + "x" * (row % 50)])
    return str(path)


def command(model, source, output, *more):
    names = ["--data.text_column=message", f"--data.source={source}", f"--output={output}"]
    return ["predict", str(model), *names, "--keep", "id", *more]


@pytest.mark.nightly
@pytest.mark.ci
@pytest.mark.slow
def test_the_file_is_that_of_one_process(trained, tmp_path, capsys):
    source = f"[{written(tmp_path / 'a.csv', 2500)}, {written(tmp_path / 'b.csv', 700, 2500)}]"
    files = [tmp_path / "one.parquet", tmp_path / "cluster.parquet"]
    assert main(command(trained, source, files[0])) == 0
    assert main(command(trained, source, files[1], "--ray=2")) == 0
    one, many = map(pd.read_parquet, files)
    assert one["id"].tolist() == [f"n{row}" for row in range(3200)]
    exact = ["row", "id", "predicted"]
    pd.testing.assert_frame_equal(one[exact], many[exact])
    pd.testing.assert_frame_equal(one, many, check_exact=False, rtol=0, atol=2e-6)

    missing = f"[{tmp_path / 'a.csv'}, {tmp_path / 'c.csv'}]"
    (tmp_path / "c.csv").write_text("id,text\n1,hello\n")
    capsys.readouterr()
    assert main([*command(trained, missing, tmp_path / "none.csv")[:-2], "--ray=1"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "no column 'message'" in said[-1]
    assert not list(tmp_path.glob("*none.csv*"))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the cluster's processes in /proc")
def test_a_killed_process_loses_nothing(trained, tmp_path):
    rows, output = 60_000, tmp_path / "out.csv"
    source = written(tmp_path / "many.csv", rows)
    words = command(trained, source, output, "--ray=2")
    with subprocess.Popen(
        [sys.executable, "-m", "gpt_classifier", *words], stderr=subprocess.PIPE, text=True
    ) as running:
        killed = None
        while killed is None and running.poll() is None:
            time.sleep(0.2)
            if read_output(tmp_path):  # predictions are arriving
                killed = next(iter(busy_workers()), None)
        assert killed is not None, running.stderr.read()
        os.kill(killed, signal.SIGKILL)
        said = running.stderr.read()
    assert running.returncode == 0, said
    table = pd.read_csv(output)
    assert table["row"].tolist() == list(range(rows))
    assert table["id"].tolist() == [f"n{row}" for row in range(rows)]
    assert table["predicted"].isin(["ham", "spam"]).all()


def read_output(folder):
    """Whether the file of predictions has begun, under the name that it has until it is complete."""
    return any(path.stat().st_size for path in folder.glob("*out.csv*"))


def busy_workers():
    """Numbers of the processes that hold the model."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if re.match(r"ray::.*Worker", name):
            yield int(path.parent.name)


def test_without_ray_one_line_says_what_is_missing(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    source = written(tmp_path / "a.csv", 3)
    assert main(command(trained, source, tmp_path / "out.csv", "--ray=2")) == 2
    assert "pip install 'gpt-classifier[ray]'" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data.source=sample", "--ray=2"], "--ray is for files, and the source is sample"),
        (["--ray=0"], "--ray is 0, expected a number of processes"),
    ],
)
def test_what_a_cluster_cannot_do_is_one_line(words, said, trained, capsys):
    assert main(["predict", str(trained), *words]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
