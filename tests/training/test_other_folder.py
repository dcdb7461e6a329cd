"""A run finds its data again from another working folder, also when it was moved with them."""

import json
import shutil

import pytest

from gpt_classifier.cli.main import main
from gpt_classifier.data.sources import find_sources


@pytest.fixture
def project(tmp_path, monkeypatch, fit):
    """A folder with a data file and a run that was trained on it by a relative path."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    kinds = {"ham": "see you soon", "spam": "win a prize"}
    rows = [f"{text} {chr(97 + n // 9)}{chr(97 + n % 9)},{name}" for n in range(40) for name, text in kinds.items()]
    (folder / "data" / "own.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def commands(run):
    return [
        ["test", str(run)],
        ["calibrate", str(run)],
    ]


@pytest.mark.parametrize("root", ["runs", "../elsewhere"])
def test_commands_from_another_folder_read_the_same_rows(root, project, fit, tmp_path, monkeypatch, capsys):
    assert fit(root, "--data.source=data/own.csv", "--data.tokenizer=bytes", "--trainer.max_epochs=1") == 0
    run = (project / root / "version_0").resolve()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    for words in commands(run):
        assert main(words) == 0, words
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert "missing" not in scores["baselines"]
    assert len(scores["baselines"]["models"]) > 2
    assert not list(run.glob("scores-*.json"))
    capsys.readouterr()
    assert main(["report", str(run), str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["texts_missing"] is None


def test_a_project_that_was_moved_with_its_runs(project, fit, tmp_path, monkeypatch):
    assert fit("runs", "--data.source=data/own.csv", "--data.tokenizer=bytes", "--trainer.max_epochs=1") == 0
    monkeypatch.chdir(tmp_path)
    moved = shutil.move(project, tmp_path / "moved")
    assert main(["test", f"{moved}/runs/version_0", "--report=none"]) == 0
    scores = json.loads((tmp_path / "moved" / "runs" / "version_0" / "scores.json").read_text(encoding="utf-8"))
    assert len(scores["baselines"]["models"]) > 2


def test_files_are_taken_from_the_first_folder_that_has_all_of_them(tmp_path, monkeypatch):
    for name in ("one/a.csv", "two/a.csv", "two/b.csv", "here/c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "here")
    folders = [tmp_path / "one", tmp_path / "two"]
    given = {"source": ["a.csv", "b.csv"], "val_source": "*.csv", "test_source": "none.csv", "tokenizer": "bytes"}
    found = find_sources(given, folders)
    assert found["source"] == [str(tmp_path / "two" / name) for name in ("a.csv", "b.csv")]
    assert found | {"source": given["source"]} == given  # which is not there
    assert find_sources({"source": "sample", "test_source": None}, folders) == {"source": "sample", "test_source": None}
