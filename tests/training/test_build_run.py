"""The commands from a configuration to files: what a run writes, what predict writes, on one process and on two."""

import csv
import json
import shutil
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from gpt_classifier import TextClassifier, TextDataModule
from gpt_classifier.cli.main import main
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.training.parser import Parser

SAMPLE = ["--data.source=sample", "--data.tokenizer=bytes"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def events(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run), {"scalars": 0, "images": 0, "tensors": 0}).Reload()


# ---------------------------------------------------------------- fit


def test_a_run_leaves_a_model_checkpoints_its_configuration_and_a_log(trained):
    written = set(files(trained))
    model = {f"model/{name}" for name in ("README.md", "config.json", "model.safetensors")}
    assert {"config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt", *model} <= written
    others = written - {"config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "hparams.yaml", *model}
    assert others
    assert all(name.startswith("events.out.tfevents.") for name in others)


def test_a_second_fit_makes_a_second_run_and_leaves_the_first_untouched(trained, fit, tmp_path):
    first = shutil.copytree(trained, tmp_path / "version_0")
    before = files(first)
    assert fit(tmp_path, "--seed_everything=1") == 0
    assert files(first) == before
    assert set(files(tmp_path / "version_1")) >= {"model/config.json", "checkpoints/best.ckpt", "config.yaml"}
    assert files(tmp_path / "version_1")["model/model.safetensors"] != before["model/model.safetensors"]


def test_the_same_configuration_gives_the_same_model(trained, tmp_path):
    """The configuration that a run kept is all that it takes to repeat it."""
    assert main(["fit", f"--config={trained / 'config.yaml'}", f"--trainer.default_root_dir={tmp_path}"]) == 0
    assert files(tmp_path / "version_0" / "model") == files(trained / "model")


@pytest.mark.parametrize("batches", [1, 3])
def test_the_loss_is_logged_every_so_many_steps_against_steps_and_examples(batches, fit, tmp_path):
    settings = [f"--trainer.accumulate_grad_batches={batches}", "--trainer.log_every_n_steps=2"]
    assert fit(tmp_path, *settings) == 0
    log = events(tmp_path / "version_0")
    by_step = log.Scalars("train/loss")
    assert [point.step for point in by_step] == list(range(1, by_step[-1].step + 1, 2))
    assert len(by_step) > 3


def test_tensorboard_shows_scalars_figures_texts_and_settings(trained):
    log = events(trained)
    tags = log.Tags()
    scores = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "mcc", "auroc", "precision_spam", "recall_ham")
    assert {"train/loss", "train/epoch_loss", *(f"val/{name}" for name in scores)} <= set(tags["scalars"])
    assert {"val/confusion matrix"} < set(tags["images"])
    assert any(tag.startswith("val/most confident errors") for tag in tags["tensors"])

    rates = [event.value for tag in tags["scalars"] if tag.startswith("lr-") for event in log.Scalars(tag)]
    assert 0 < max(rates) <= 1e-3

    started = HParamsPluginData.FromString(
        log.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    ).session_start_info.hparams
    assert started["model/learning_rate"].number_value == 1e-3
    assert started["data/source"].string_value == "sample"
    f1, losses = ([event.value for event in log.Scalars(f"val/{name}")] for name in ("f1_macro", "loss"))
    best = losses[f1.index(max(f1))]
    assert [event.value for tag in tags["scalars"] if tag.endswith("/val_loss") for event in log.Scalars(tag)] == [best]


def test_the_model_card_names_the_classes_the_data_and_the_accuracy_of_this_very_model(trained):
    card = (trained / "model" / "README.md").read_text()
    for part in ("ham, spam", "960 rows", "95 % Wilson interval", "bytes", "2 blocks, hidden size 32"):
        assert part in card
    data = TextDataModule("sample", tokenizer="bytes")
    data.setup("fit")
    rows = data.tables["val"]
    predictions = TextClassifier.load(trained / "model").predict(rows["text"].tolist())
    right = sum(prediction.label == label for prediction, label in zip(predictions, rows["label"], strict=True))
    assert f"| validation accuracy | {wilson(right, len(rows))} |" in card


CONSTANT = ["--model.optimizer.warmup=0", "--model.optimizer.schedule=constant"]  # so that a longer fit may continue it


@pytest.fixture(scope="module")
def to_continue(fit, tmp_path_factory) -> Path:
    """The folder of a finished run that may go on. Tests that write into it work on a copy."""
    root = tmp_path_factory.mktemp("continued")
    assert fit(root, *CONSTANT) == 0
    return root / "version_0"


@pytest.mark.parametrize(
    "checkpoint", [pytest.param("last", marks=pytest.mark.nightly), "best", "checkpoints/last.ckpt"]
)
def test_a_fit_continues_from_a_checkpoint_in_the_same_run(checkpoint, to_continue, fit, tmp_path):
    run = shutil.copytree(to_continue, tmp_path / "version_0")
    path = run / checkpoint if checkpoint.endswith(".ckpt") else checkpoint
    steps = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert fit(tmp_path, f"--ckpt_path={path}", "--trainer.max_epochs=4", *CONSTANT) == 0
    continued = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert continued["global_step"] == 2 * steps
    assert [path.name for path in tmp_path.iterdir()] == ["version_0"]
    assert len(list(run.glob("config*.yaml"))) == 2


def test_a_fit_continues_from_a_best_checkpoint_that_was_written_within_an_epoch(fit, tmp_path):
    often = ["--trainer.val_check_interval=0.5", *CONSTANT]
    assert fit(tmp_path, *often) == 0
    assert fit(tmp_path, *often, "--ckpt_path=best", "--trainer.max_epochs=3") == 0


def test_a_head_of_the_user_is_fitted_saved_and_found_again(fit, tmp_path):
    assert fit(tmp_path, "--model.head={class_path: torch.nn.Linear, init_args: {bias: false}}") == 0
    assert main(["test", "--report=none", "--baselines=none", f"--trainer.default_root_dir={tmp_path}", *SAMPLE]) == 0
    assert TextClassifier.load(tmp_path).model.head.bias is None


@pytest.mark.parametrize(
    "change",
    [
        "--model.learning_rate=0.5",
        "--model.pooling=last_token",
        "--model.trainable=head",
        "--data.max_length=32",
        "--data.batch_size=19",
        "--model.optimizer.schedule=cosine",
        "--seed_everything=5",
    ],
)
def test_a_fit_is_not_continued_under_other_settings(change, to_continue, fit, tmp_path, capsys):
    run = shutil.copytree(to_continue, tmp_path / "version_0")
    weights = (run / "checkpoints" / "last.ckpt").read_bytes()
    assert fit(tmp_path, "--ckpt_path=last", "--trainer.max_epochs=4", *CONSTANT, change) == 2
    assert "the checkpoint was written with" in capsys.readouterr().err
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == weights


@pytest.mark.nightly
@pytest.mark.ci
@pytest.mark.slow
def test_a_fit_in_two_parts_ends_where_one_would_have_ended(fit, tmp_path):
    constant = [*CONSTANT, "--data.splitting.fractions=[0.2, 0.2, 0.6]"]
    assert fit(tmp_path / "whole", "--trainer.max_epochs=4", *constant) == 0
    assert fit(tmp_path / "parts", "--trainer.max_epochs=2", *constant) == 0
    assert fit(tmp_path / "parts", "--trainer.max_epochs=4", "--ckpt_path=last", *constant) == 0
    whole, parts = (
        torch.load(tmp_path / name / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


# ---------------------------------------------------------------- validate and test


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_model_is_scored_with_nothing_but_its_checkpoint_and_data(split, trained, tmp_path, monkeypatch, caplog):
    """The checkpoint has the tokenizer, so none is looked for, whatever the default of --data.tokenizer."""
    monkeypatch.setattr("tiktoken.get_encoding", lambda name: pytest.fail(f"{name} is not needed"))
    shutil.copytree(trained, tmp_path / "version_0")
    assert main(["test", f"--on={split}", f"--trainer.default_root_dir={tmp_path}", "--data.source=sample"]) == 0
    assert " accuracy " in caplog.text


@pytest.mark.pictures
def test_scores_of_a_test_are_added_to_the_run_of_the_model(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "version_0")
    assert main(["test", "--report=none", "--baselines=none", f"--trainer.default_root_dir={tmp_path}", *SAMPLE]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["version_0"]
    tags = events(run).Tags()
    assert {"test/loss", "test/accuracy"} < set(tags["scalars"])
    assert "test/confusion matrix" in tags["images"]


def test_data_of_other_classes_is_refused(trained, tmp_path, capsys):
    source = tmp_path / "other.csv"
    source.write_text(
        "text,label\n" + "".join(f"text {word},{'yes' if n % 2 else 'no'}\n" for n, word in enumerate("abcdefghij"))
    )
    checkpoint = trained / "checkpoints" / "best.ckpt"
    assert main(["test", f"--ckpt_path={checkpoint}", f"--data.source={source}", *SAMPLE[1:]]) == 2
    assert f"'no' in train row 0 of {source}" in capsys.readouterr().err


# ---------------------------------------------------------------- predict


def table(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Row numbers, labels and probabilities (N, K) of a predictions file."""
    with open(path, newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["row", "predicted", "probability_ham", "probability_spam"]
    return [row[0] for row in rows], [row[1] for row in rows], np.array([row[2:] for row in rows], dtype=float)


@pytest.fixture
def predict(trained, tmp_path):
    """Predicts a file's rows into tmp_path/out/predictions.csv and returns the exit code."""

    def run(source: Path, *arguments: str, output: Path = tmp_path / "out" / "predictions.csv") -> int:
        checkpoint = trained / "checkpoints" / "best.ckpt"
        given = [f"--ckpt_path={checkpoint}", f"--data.source={source}", f"--output={output}", *SAMPLE[1:]]
        return main(["predict", *given, *arguments])

    return run


TEXTS = list(islice(cycle(["WIN a car, call now!", 'a "quoted" text,\nof two lines', "", "hi " * 40, "ünïcödé"]), 5000))


def test_every_row_of_a_large_file_gets_its_prediction_in_order(predict, trained, tmp_path):
    source = tmp_path / "messages.csv"
    with open(source, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["number", "text"], *enumerate(TEXTS)])
    assert predict(source) == 0
    rows, labels, probabilities = table(tmp_path / "out" / "predictions.csv")
    classifier = TextClassifier.load(trained / "model")
    assert rows == [str(n) for n in range(5000)]
    assert probabilities == pytest.approx(classifier.predict_proba(TEXTS), abs=1e-5)
    assert probabilities.sum(1) == pytest.approx(1, abs=2e-6)
    assert labels == [classifier.classes_[best] for best in probabilities.argmax(1)]


@pytest.fixture
def torn(tmp_path) -> Path:
    """A file whose fault is found when thousands of its rows have been classified."""
    lines = [json.dumps({"text": text[:20]}) for text in TEXTS]
    path = tmp_path / "torn.jsonl"
    path.write_text("\n".join([*lines[:4500], '{"text": "torn', *lines[4500:]]))
    return path


def test_a_prediction_that_fails_leaves_no_file(predict, torn, tmp_path, capsys):
    assert predict(torn) == 2
    assert "torn.jsonl" in capsys.readouterr().err
    assert files(tmp_path / "out") == {}


def test_a_prediction_that_fails_keeps_an_earlier_file(predict, torn, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.csv").write_text("an earlier prediction")
    assert predict(torn) == 2
    assert files(tmp_path / "out") == {"predictions.csv": b"an earlier prediction"}


def test_a_later_prediction_takes_the_place_of_an_earlier_one(predict, tmp_path):
    source = tmp_path / "messages.tsv"
    for texts in (["one", "two", "three"], ["four"]):
        source.write_text("\n".join(["text", *texts]))
        assert predict(source) == 0
        assert len(table(tmp_path / "out" / "predictions.csv")[0]) == len(texts)


def test_a_place_that_cannot_be_written_to_is_named(predict, tmp_path, capsys):
    source = tmp_path / "messages.tsv"
    source.write_text("text\nhello")
    assert predict(source, output=source / "predictions.csv") == 2
    assert f"cannot write to the folder {source}" in capsys.readouterr().err


def test_predictions_need_nothing_but_a_checkpoint_and_a_file(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("tiktoken.get_encoding", lambda name: pytest.fail(f"{name} is not needed"))
    source = tmp_path / "messages.tsv"
    source.write_text("text\nhello")
    checkpoint = trained / "checkpoints" / "best.ckpt"
    assert (
        main(["predict", f"--ckpt_path={checkpoint}", f"--data.source={source}", f"--output={tmp_path / 'p.csv'}"]) == 0
    )
    assert table(tmp_path / "p.csv")[0] == ["0"]


# ---------------------------------------------------------------- the other commands


def test_classify_prints_a_line_for_each_text(trained, capsys):
    texts = ["WIN a car", "See you", "WIN a car"]
    assert main(["classify", str(trained / "model"), *texts]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == texts
    assert lines[0] == lines[2]
    for (label, probability, _), prediction in zip(
        lines, TextClassifier.load(trained / "model").predict(texts), strict=True
    ):
        assert (label, probability) == (prediction.label, f"{prediction.probability:.3f}")


def test_download_says_where_everything_is_and_fetches_nothing_that_is_not_needed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy = Path(__file__).parents[2] / "configs" / "toy.yaml"
    assert main(["cache", "download", f"--config={toy}"]) == 0
    assert "data sets: " in capsys.readouterr().out
    assert files(tmp_path) == {}


@pytest.mark.parametrize("arguments", [["fitt"], ["fit", "--nonsense"], ["fit", "--model.pooling=max"], ["test"]])
def test_a_wrong_command_line_is_one_line_of_error(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(error) == 1
    assert error[0].startswith("gpt-classifier: error: ")


# ---------------------------------------------------------------- two processes


def on_two_processes(*arguments: str) -> subprocess.CompletedProcess[str]:
    devices = ["--trainer.strategy=ddp", "--trainer.devices=2", "--trainer.accelerator=cpu"]
    command = [sys.executable, "-m", "gpt_classifier", *arguments, *devices]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "told"),
    [
        pytest.param("all", "of them trainable (all)", marks=pytest.mark.nightly),
        pytest.param(
            "last_block", "frozen layers (1 of 2 blocks) ran once", marks=[pytest.mark.nightly, pytest.mark.ci]
        ),
    ],
)
def test_two_processes_fit_one_model(policy, told, tmp_path):
    toy = Path(__file__).parents[2] / "configs" / "toy.yaml"
    network = "--model.gpt={n_layer: 2, n_head: 2, n_embd: 16, context_length: 32}"
    settings = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=2", network, "--data.max_length=32"]
    settings.append("--data.splitting.train_fraction=0.299")
    assert told in on_two_processes("fit", f"--config={toy}", f"--model.trainable={policy}", *settings).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["version_0"]
    run = tmp_path / "version_0"
    assert {"config.yaml", "model/model.safetensors", "checkpoints/last.ckpt"} <= files(run).keys()
    # 287 of the rows are 8 rounds of 2 x 16 and a rest of 31, of which every process gets a batch.
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2 * 9
    assert len(events(run).Scalars("val/loss")) == 2


@pytest.mark.nightly
@pytest.mark.ci
@pytest.mark.slow
def test_two_processes_measure_exactly_what_one_does(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "version_0")
    # 61 rows, which two processes cannot share evenly; each a batch of its own, so that its logits are the same.
    rows = ["--data.splitting.fractions=[0.856, 0.1, 0.044]", "--data.batching.max_batch_tokens=1"]
    command = ["test", f"--trainer.default_root_dir={tmp_path}", *SAMPLE, *rows]
    assert main(command) == 0
    assert "61 texts" in on_two_processes(*command).stderr
    log = events(run)
    tags = [tag for tag in log.Tags()["scalars"] if tag.startswith("test/")]
    assert "test/auroc" in tags
    for tag in tags:
        one, two = (event.value for event in log.Scalars(tag))
        assert one == two, tag


@pytest.mark.nightly
@pytest.mark.ci
@pytest.mark.slow
def test_two_processes_write_the_predictions_that_one_writes(predict, trained, tmp_path):
    source = tmp_path / "messages.csv"
    with open(source, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["text"], *([text] for text in TEXTS)])
    assert predict(source) == 0
    two = tmp_path / "two" / "predictions.csv"
    checkpoint = trained / "checkpoints" / "best.ckpt"
    on_two_processes("predict", f"--ckpt_path={checkpoint}", f"--data.source={source}", f"--output={two}", *SAMPLE[1:])
    assert two.read_bytes() == (tmp_path / "out" / "predictions.csv").read_bytes()
    assert list(files(two.parent)) == ["predictions.csv"]


@pytest.mark.parametrize(("given", "read"), [("1", 1), ("1.0", 1.0), ("null", None)])
def test_one_batch_is_not_all_batches(given, read):
    class Trainer(L.Trainer):
        def __init__(self, batches: float | int | None = None) -> None:  # the order that Lightning's own types may have
            super().__init__()

    parser = Parser()
    parser.add_lightning_class_args(Trainer, "trainer")
    found = parser.parse_args([f"--trainer.batches={given}"]).trainer.batches
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize("kept", ["best.ckpt and last.ckpt", pytest.param("last.ckpt", marks=pytest.mark.nightly)])
def test_a_run_that_was_moved_is_continued_where_it_lies_now(kept, to_continue, fit, tmp_path, caplog):
    run = shutil.copytree(to_continue, tmp_path / "moved" / "version_7")
    before = (run / "checkpoints" / "best.ckpt").read_bytes()
    if kept == "last.ckpt":
        (run / "checkpoints" / "best.ckpt").unlink()
    last = run / "checkpoints" / "last.ckpt"
    elsewhere = {path: path.stat().st_mtime_ns for path in to_continue.rglob("*") if path.is_file()}
    state = torch.load(last, weights_only=True)
    for name, of_callback in state["callbacks"].items():  # as if the first epochs had been perfect
        if name.startswith("BestCheckpoint"):
            of_callback["best_k_models"] = {path: torch.tensor(2.0) for path in of_callback["best_k_models"]}
    torch.save(state, last)
    assert fit(tmp_path, f"--ckpt_path={last}", "--trainer.max_epochs=3", *CONSTANT) == 0
    assert {path: path.stat().st_mtime_ns for path in elsewhere} == elsewhere
    if kept == "last.ckpt":
        assert (run / "checkpoints" / "best.ckpt").exists()
    else:
        assert (run / "checkpoints" / "best.ckpt").read_bytes() == before, "of a better epoch than the new one"
    TextClassifier.load(run)
