"""Files as they come, from fit to test and predict: a trained model reads further files as it read its own."""

import csv
import json

import pytest

from gpt_classifier.cli.main import main
from gpt_classifier.inference.model_folder import load
from gpt_classifier.settings import flat

LETTERS = [f"{first}{last}" for first in "abcdefgh" for last in "klmno"]
SETTINGS = {
    "file_format": {"delimiter": ";", "encoding": "cp1252", "header": True},
    "text_column": ["title", "body"],
    "label_column": "class",
    "splitting": {"split_column": "part", "group_column": "author"},
}


def row(number, word):
    part = "test" if number % 5 == 4 else "train"
    text = f"{'ring me' if number % 2 else 'à bientôt'} {word}"
    return {
        "id": f"m{number}",
        "title": "€" * (number % 3),
        "body": text,
        "class": number % 2,
        "author": word,
        "part": part,
    }


def write(path, rows, **settings):
    with open(path, "w", newline="", **settings) as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fit):
    """Two old files and a run on them."""
    root = tmp_path_factory.mktemp("files")
    rows = [row(number, word) for number, word in enumerate(LETTERS)]
    for number in range(2):
        write(root / f"part-{number}.csv", rows[number * 20 : number * 20 + 20], encoding="cp1252")
    options = [
        f"--data.{name}={json.dumps(value) if isinstance(value, list) else value}"
        for name, value in flat(SETTINGS).items()
    ]
    assert fit(root / "runs", f"--data.source={root / 'part-*.csv'}", *options, "--trainer.max_epochs=1") == 0
    return root


def test_a_model_keeps_how_its_files_were_read(folder):
    kept = load(folder / "runs" / "version_0" / "model").data
    assert {name: flat(kept)[name] for name in flat(SETTINGS)} == flat(SETTINGS)
    assert kept["source"] == str(folder / "part-*.csv")


def test_a_test_on_the_own_files_takes_the_rows_that_their_column_names(folder, caplog):
    assert main(["test", f"{folder / 'runs'}", "--report=none", "--baselines=none"]) == 0
    assert "test        8 rows (4 0, 4 1)" in caplog.text
    assert "were trained on" not in caplog.text
    with open(folder / "runs" / "version_0" / "predictions.csv") as stream:
        assert sorted(int(line["row"]) for line in csv.DictReader(stream)) == list(range(4, 40, 5))


def test_a_prediction_keeps_columns_of_all_files_and_does_not_replace_one(folder, tmp_path, capsys):
    predict = ["predict", f"{folder / 'runs'}", "--keep", "id", "author"]
    assert main([*predict, f"--output={tmp_path / 'out.csv'}"]) == 0
    with open(tmp_path / "out.csv") as stream:
        assert [line["id"] for line in csv.DictReader(stream)] == [f"m{number}" for number in range(40)]
    assert main(predict) == 0
    assert (folder / "runs" / "version_0" / "predictions" / "part.csv").is_file()
    before = (folder / "part-1.csv").read_bytes()
    assert main([*predict, f"--output={folder / 'part-1.csv'}"]) == 2
    assert "is the source itself" in capsys.readouterr().err
    assert (folder / "part-1.csv").read_bytes() == before


@pytest.mark.parametrize("option", ["source", "test_source"])
def test_another_file_needs_neither_the_column_of_splits_nor_that_of_groups(folder, tmp_path, caplog, option):
    names = ("title", "body", "class")
    rows = [{name: row(number, f"new {word}")[name] for name in names} for number, word in enumerate(LETTERS)]
    write(tmp_path / "new.csv", rows, encoding="cp1252")
    assert (
        main(
            [
                "test",
                str(folder / "runs"),
                "--report=none",
                "--baselines=none",
                f"--data.{option}={tmp_path / 'new.csv'}",
            ]
        )
        == 0
    )
    assert f"test  {40 if option == 'test_source' else 8:7} rows" in caplog.text


def test_the_file_of_another_encoding_is_noticed(folder, tmp_path, caplog):
    write(tmp_path / "new.csv", [row(number, word) for number, word in enumerate(LETTERS)], encoding="utf-8")
    predict = ["predict", f"{folder / 'runs'}", f"--data.source={tmp_path / 'new.csv'}"]
    assert main([*predict, f"--output={tmp_path / 'out.csv'}"]) == 0
    assert "new.csv: read as cp1252, but it seems to be UTF-8" in caplog.text


def test_every_line_of_a_file_of_one_column_gets_a_prediction(folder, tmp_path):
    (tmp_path / "lines.csv").write_text("text\n\nhi\n   \nyou win\n\n\n")
    predict = ["predict", f"{folder / 'runs'}", f"--data.source={tmp_path / 'lines.csv'}"]
    assert main([*predict, "--data.text_column=text", "--keep", "text", f"--output={tmp_path / 'out.csv'}"]) == 0
    with open(tmp_path / "out.csv", newline="") as stream:
        assert [line["text"] for line in csv.DictReader(stream)] == ["", "hi", "   ", "you win", "", ""]
