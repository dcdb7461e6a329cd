"""Commands that start from a trained model: with its own data settings, on any file, from a run or a copied folder."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gpt_classifier import GPTClassifier, TextClassifier, TextDataModule
from gpt_classifier.cli.main import main
from gpt_classifier.data.duplicates import training_fingerprints
from gpt_classifier.data.readers import read_columns
from gpt_classifier.errors import InputError
from gpt_classifier.inference.model_folder import load

WORDS = [f"{first}{last}" for first in "abcdefgh" for last in "klmno"]
ROWS = [(f"m{n}", f"{'call me' if n % 2 else 'see you'} {word}", ["no", "yes"][n % 2]) for n, word in enumerate(WORDS)]
OWN = ["--data.text_column=message", "--data.label_column=kind", "--data.splitting.seed=7"]


def write(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("id", "message", "kind")) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


ALONE = ["--report=none", "--baselines=none"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, fit: Callable[..., int]) -> Path:
    """A run on a file with columns and a split of its own."""
    root = tmp_path_factory.mktemp("own")
    source = write(root / "own.csv", ROWS)
    assert fit(root / "runs", f"--data.source={source}", *OWN, "--trainer.max_epochs=1") == 0
    return root / "runs" / "version_0"


@pytest.fixture
def run(own: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may write into."""
    return shutil.copytree(own, tmp_path / "runs" / "version_0")


@pytest.fixture
def folder(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its model folder, copied to another place."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(own / "model", tmp_path / "copied")


def scores_of(run: Path) -> dict[str, float]:
    log = EventAccumulator(str(run), {"scalars": 0}).Reload()
    return {tag: log.Scalars(tag)[-1].value for tag in log.Tags()["scalars"] if tag.startswith("test/")}


# ---------------------------------------------------------------- the run's own data


def test_a_test_starts_from_the_data_settings_of_the_run(run, caplog):
    assert main(["test", str(run), *ALONE]) == 0
    told = caplog.text
    assert "classes no, yes" in told
    assert "were trained on" not in told


def test_a_configuration_gives_way_to_the_run_and_an_option_does_not(run, tmp_path, caplog):
    other = tmp_path / "other.yaml"
    other.write_text("data: {source: sample, splitting: {seed: 8}}")
    assert main(["test", str(run), *ALONE, f"--config={other}"]) == 0
    told = caplog.text
    assert "data.splitting.seed is 7 as in" in told
    assert "not 8 as in the configuration" in told
    assert "classes no, yes" in told

    caplog.clear()
    assert main(["test", str(run), *ALONE, f"--config={other}", "--data.splitting.seed=9"]) == 0
    told = caplog.text
    assert "splitting.seed is" not in told
    assert "test rows, or near-duplicates of them, were trained on" in told


def test_test_rows_that_were_trained_on_are_counted_and_scored_without(run, caplog):
    model = load(run / "model")
    data = TextDataModule(**model.data | {"splitting": {"seed": 9}})
    data.setup("fit")
    test = data.tables["test"]
    known = set(model.trained_on.tolist())
    unseen = [not known & set(training_fingerprints([text]).tolist()) for text in test["text"]]
    assert 0 < sum(unseen) < len(unseen)
    predictions = TextClassifier.load(run).predict(test["text"].tolist())
    right = [p.label == label for p, label in zip(predictions, test["label"], strict=True)]

    assert main(["test", str(run), *ALONE, "--data.splitting.seed=9"]) == 0
    told = caplog.text
    accuracy = 100 * sum(r for r, u in zip(right, unseen, strict=True) if u) / sum(unseen)
    assert f"{len(unseen) - sum(unseen)} of {len(unseen)} test rows" in told
    assert f"without them {accuracy:.2f} %" in told
    assert f"of {sum(unseen)}" in told


@pytest.mark.parametrize("kept", ["model", "checkpoints/best.ckpt"])
def test_a_model_keeps_its_data_settings_and_fingerprints_of_its_training_rows(kept, own):
    model = load(own / kept)
    data = TextDataModule(**model.data)
    data.setup("fit")
    assert (data.hparams["text_column"], data.hparams["label_column"], data.splitting.seed) == ("message", "kind", 7)
    assert model.trained_on.equal(training_fingerprints(data.tables["train"]["text"]))


def test_a_model_that_is_trained_further_keeps_the_fingerprints_of_all_its_trainings(own, fit, tmp_path):
    assert fit(tmp_path, f"--model.weights={own / 'model'}", "--trainer.max_epochs=1") == 0
    before, after = (set(load(path / "model").trained_on.tolist()) for path in (own, tmp_path / "version_0"))
    data = TextDataModule("sample", tokenizer="bytes")
    data.setup("fit")
    assert after == before | set(training_fingerprints(data.tables["train"]["text"]).tolist())


@pytest.mark.parametrize(
    ("command", "option"), [("test", "test_source"), ("test --on=val", "val_source"), ("predict", "source")]
)
def test_a_model_that_was_trained_on_tables_asks_for_a_file(command, option, tiny_model, tiny_data, tmp_path, capsys):
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    model = tiny_model()
    trainer.fit(model, tiny_data())
    trainer.save_checkpoint(tmp_path / "m.ckpt")
    command, *split = command.split()
    output = [f"--output={tmp_path / 'out.csv'}"] if command == "predict" else []
    assert main([command, f"{tmp_path / 'm.ckpt'}", *split, *output]) == 2
    assert f"name one: --data.{option} FILE" in capsys.readouterr().err


# ---------------------------------------------------------------- score this file


@pytest.mark.parametrize("where", ["run", "folder"])
def test_a_file_is_scored_whole_without_the_training_file(where, request, own, tmp_path, caplog):
    model = request.getfixturevalue(where)
    rows = [("a", "call me back", "yes"), ("b", "see you there", "no"), ("c", "see you, call me", "no")]
    source = write(tmp_path / "new.csv", rows)
    moved = own.parents[1] / "own.csv"
    hidden = moved.rename(moved.with_suffix(".hidden"))
    try:
        assert main(["test", str(model), *ALONE, f"--data.test_source={source}"]) == 0
    finally:
        hidden.rename(moved)
    told = caplog.text
    predictions = TextClassifier.load(model).predict([text for _, text, _ in rows])
    right = sum(p.label == label for p, (_, _, label) in zip(predictions, rows, strict=True))
    assert f"test accuracy {100 * right / 3:.2f} %" in told
    assert "of 3 texts" in told


def test_scores_of_a_run_s_model_go_to_the_run_and_those_of_a_copied_folder_to_a_new_one(run, folder, tmp_path):
    assert main(["test", f"{run / 'model'}", *ALONE]) == 0
    assert main(["test", str(folder), *ALONE, f"--trainer.default_root_dir={tmp_path / 'others'}"]) == 0
    scores = scores_of(run)
    assert "test/accuracy" in scores
    assert scores == scores_of(tmp_path / "others" / "version_0") | {"test/step": scores.get("test/step")} or (
        {k: v for k, v in scores.items() if k != "step"} == scores_of(tmp_path / "others" / "version_0")
    )


def test_a_run_with_a_split_of_the_book_or_folds_scores_a_file(fit, tmp_path, caplog):
    assert fit(tmp_path / "runs", "--data.splitting.folds=3", "--trainer.max_epochs=1") == 0
    source = write(tmp_path / "new.csv", [("call now", "spam"), ("see you", "ham")], ("text", "label"))
    assert main(["test", f"{tmp_path / 'runs'}", *ALONE, f"--data.test_source={source}"]) == 0
    assert "of 2 texts" in caplog.text


def test_an_unknown_class_names_the_file_and_its_row(folder, tmp_path, capsys):
    source = write(tmp_path / "new.csv", [("a", "hello", "no"), ("b", "hi", "maybe")])
    assert main(["test", str(folder), *ALONE, f"--data.test_source={source}"]) == 2
    error = capsys.readouterr().err
    assert "unknown label 'maybe'" in error
    assert str(source) in error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["HERE/nowhere"], "no model at HERE/nowhere"),
        (["HERE/copied", "--ckpt_path=best"], "HERE/copied and --ckpt_path both name the model"),
        (["--model", "HERE/copied"], "the model is the first word, as in test checkpoints/spam"),
        (["--on", "train"], "--on is 'train', expected test or val"),
        (["--on"], "--on needs a value"),
    ],
)
def test_a_model_that_cannot_be_meant_is_one_line(arguments, told, folder, tmp_path, capsys):
    assert main(["test", *(word.replace("HERE", str(tmp_path)) for word in arguments)]) == 2
    assert told.replace("HERE", str(tmp_path)) in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_only_a_test_is_on_a_split(command, folder, capsys):
    words = [str(folder)] if command == "predict" else ["--config=toy"]
    assert main([command, *words, "--on", "val", "--data.source=sample"]) == 2
    assert "--on" in capsys.readouterr().err


# ---------------------------------------------------------------- predict


NEW = [("a,1", "call me", "yes"), ("b", "", ""), ("c", 'see "you",\nthen', "no")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "new.csv", NEW)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_predictions_have_kept_columns_in_every_format(suffix, folder, source, tmp_path):
    output = tmp_path / f"out{suffix}"
    keep = ["--keep", "kind", "id"]
    assert main(["predict", str(folder), f"--data.source={source}", f"--output={output}", *keep]) == 0
    readers = {".csv": pd.read_csv, ".jsonl": lambda path: pd.read_json(path, lines=True), ".parquet": pd.read_parquet}
    table = readers[suffix](output)
    assert table.columns.tolist() == ["row", "kind", "id", "predicted", "probability_no", "probability_yes"]
    assert table["row"].tolist() == [0, 1, 2]
    assert table["id"].tolist() == [row[0] for row in NEW]
    expected = TextClassifier.load(folder).predict([row[1] for row in NEW])
    assert table["predicted"].tolist() == [prediction.label for prediction in expected]
    assert table["probability_yes"].tolist() == pytest.approx([p.probabilities["yes"] for p in expected], abs=1e-5)


AWKWARD = [
    "a\rb", "=1\r+2", "x\0y", "\0", "q\u2028w\u2029v\x85u", "\ufeffb", "\ud800z", "\ud83d\ude42", "", None, "  ",
    "\t=1", 'a"b', "c,d\r\ne", "\r", "'", {"\udc00": ["\u2028", 1e-9]}, 10**18 + 1, 0.123456789, True,
]  # fmt: skip


def replaced(text: str) -> str:
    """Without lone surrogates."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_awkward_kept_cells_keep_their_rows_in_every_format(suffix, folder, tmp_path):
    source, output = tmp_path / "new.jsonl", tmp_path / f"out{suffix}"
    source.write_text("".join(json.dumps({"message": "hello", "note": cell}) + "\n" for cell in AWKWARD))
    words = ["predict", str(folder), f"--data.source={source}", f"--output={output}", "--keep", "note"]
    assert main(words) == 0
    texts = [None if cell is None else replaced(str(cell)) for cell in AWKWARD]
    if suffix == ".csv":
        texts = [text or "" for text in texts]
        with open(output, newline="", encoding="utf-8") as stream:
            assert [row["note"] for row in csv.DictReader(stream)] == texts
        table = pd.read_csv(output, keep_default_na=False, dtype={"note": str})
    elif suffix == ".jsonl":
        texts = json.loads(replaced(json.dumps(AWKWARD, ensure_ascii=False)))
        table = pd.DataFrame(map(json.loads, output.read_text(encoding="utf-8").splitlines()), dtype=object)
        assert len(pd.read_json(output, lines=True)) == len(AWKWARD)
    else:
        table = pd.read_parquet(output).astype(object)
    assert table["row"].tolist() == list(range(len(AWKWARD)))
    assert table["note"].astype(object).where(table["note"].notna(), None).tolist() == texts
    ours = pd.concat(read_columns(str(output), ["note", "predicted"]))
    assert ours["note"].tolist() == texts
    assert set(ours["predicted"]) <= {"no", "yes"}


def test_kept_columns_stay_beside_their_rows_in_a_large_file(folder, tmp_path):
    rows = [(f"id{n}", "x" * (n % 7), "") for n in range(25_000)]
    source, output = write(tmp_path / "large.csv", rows), tmp_path / "out.csv"
    command = [
        "predict",
        str(folder),
        f"--data.source={source}",
        f"--output={output}",
        "--keep",
        "id",
        "message",
    ]
    assert main(command) == 0
    table = pd.read_csv(output, keep_default_na=False)
    assert table["row"].tolist() == list(range(25_000))
    assert table["id"].tolist() == [row[0] for row in rows]
    assert table["message"].tolist() == [row[1] for row in rows]
    assert table.groupby("message")["probability_no"].nunique().max() == 1


def test_predictions_of_a_run_go_to_the_run(run, source, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["predict", str(run), f"--data.source={source}"]) == 0
    assert len(pd.read_csv(run / "predictions" / "new.csv")) == 3
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--output"),
        (["--output=out.xlsx"], ".csv, .jsonl, .parquet"),
        (["--output=new.csv"], "is the source itself"),
        (["--output=out.csv", "--keep", "who"], "id, message, kind"),
        (["--output=out.csv", "--keep", "predicted"], "keep has predicted"),
    ],
)
def test_predictions_that_cannot_be_meant_are_one_line_and_lose_nothing(
    arguments, told, folder, source, tmp_path, capsys
):
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert main(["predict", str(folder), f"--data.source={source}", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


# ---------------------------------------------------------------- nothing outside a run's own folder


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_a_fast_development_run_writes_nothing(command, folder, source, fit, tmp_path, caplog):
    before = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    (Path.cwd() / "model").mkdir()
    if command == "fit":
        assert fit(tmp_path / "runs", "--trainer.fast_dev_run=true") == 0
    else:
        fast = ["--trainer.fast_dev_run=true", f"--output={tmp_path / 'out.csv'}"]
        assert main(["predict", str(folder), f"--data.source={source}", *fast]) == 0
    told = caplog.text
    assert {"fit": "no model folder", "predict": "no predictions are written"}[command] in told
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == before | {"model"}


def test_a_fit_without_a_logger_writes_no_model_and_says_so(fit, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    quiet = ["--trainer.logger=false", "--trainer.enable_checkpointing=false", "--trainer.callbacks=[]"]
    assert fit(tmp_path / "runs", *quiet) == 0
    assert "no model folder" in caplog.text
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# ---------------------------------------------------------------- in Python


def test_a_loaded_model_is_tested_and_predicts_what_it_is_given(own, quick_trainer):
    model = GPTClassifier.from_bundle(load(own / "model"))
    texts = ["call me", "see you", "call me, see you"]
    classifier = TextClassifier.load(own)
    given = TextDataModule.from_tables(
        test=pd.DataFrame({"text": texts[:2], "label": ["yes", "no"]}), predict=pd.DataFrame({"text": texts})
    )
    trainer = quick_trainer()
    outputs = trainer.predict(model, given)
    assert torch.cat([rows for rows, _ in outputs]).tolist() == [0, 1, 2]
    assert torch.cat([probabilities for _, probabilities in outputs]).numpy() == pytest.approx(
        classifier.predict_proba(texts), abs=1e-6
    )
    right = [p.label for p in classifier.predict(texts[:2])] == ["yes", "no"]
    assert (trainer.test(model, given, verbose=False)[0]["test/accuracy"] == 1) == right


def test_data_without_training_rows_cannot_be_fitted(tiny_model, quick_trainer):
    data = TextDataModule.from_tables(predict=pd.DataFrame({"text": ["a"]}), tokenizer="bytes")
    with pytest.raises(InputError, match="no train rows"):
        quick_trainer().fit(tiny_model(), data)


def test_the_settings_that_a_model_keeps_are_plain_values(own):
    config = json.loads((own / "model" / "config.json").read_text())
    assert config["format"] == 6
    assert (
        TextDataModule(**config["data"]).hparams == TextDataModule(**load(own / "checkpoints/last.ckpt").data).hparams
    )
