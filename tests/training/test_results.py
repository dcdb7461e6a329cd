"""What a test leaves in the run of its model, and what it leaves alone."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from gpt_classifier import TextClassifier, TextDataModule
from gpt_classifier.__main__ import main


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "version_0"))


def scores(run: Path, name: str = "scores.json") -> dict:
    return json.loads((run / name).read_text(encoding="utf-8"))


def test_a_test_leaves_its_scores_and_predictions_in_the_run(run, caplog):
    assert main(["test", f"--model={run}"]) == 0
    data = TextDataModule("sample", tokenizer="bytes")
    data.setup("test")
    table = data.tables["test"].sort_values("row")
    predictions = TextClassifier.load(run).predict(table["text"].tolist())
    with open(run / "predictions.csv", newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["row", "label", "predicted", "probability_ham", "probability_spam"]
    assert [row[:3] for row in rows] == [
        [str(row), label, prediction.label]
        for row, label, prediction in zip(table["row"], table["label"], predictions, strict=True)
    ]
    for row, prediction in zip(rows, predictions, strict=True):
        assert [float(value) for value in row[3:]] == pytest.approx(list(prediction.probabilities.values()), abs=1e-4)

    result = scores(run)
    right = [row[1] == row[2] for row in rows]
    assert result["accuracy"] == pytest.approx(sum(right) / len(right))
    assert (result["rows"], result["rows_trained_on"], result["data"]["source"]) == (len(rows), 0, "sample")
    assert result["trained_steps"] == torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"]
    told = caplog.text
    assert f"test accuracy {100 * result['accuracy']:.2f} %" in told
    assert "macro" in told
    assert "DataLoader 0" not in told


def test_the_model_card_has_the_scores_of_the_last_test_once(run):
    before = (run / "model" / "README.md").read_text()
    for _ in range(2):
        assert main(["test", f"--model={run}"]) == 0
    card = (run / "model" / "README.md").read_text()
    assert card.count("## Test") == 1
    assert f"test accuracy {100 * scores(run)['accuracy']:.2f} %" in card
    assert card.index("## Test") < card.index("## Data")
    start, end = card.index("<!-- test -->"), card.index("## Data")
    assert card[:start] + card[end:] == before


def test_the_hparams_tab_shows_the_scores_of_the_test(run):
    assert main(["test", f"--model={run}"]) == 0
    log = EventAccumulator(str(run), {"scalars": 0, "tensors": 0}).Reload()
    announced = HParamsPluginData.FromString(
        log.summary_metadata["_hparams_/experiment"].plugin_data.content
    ).experiment
    columns = {metric.name.tag for metric in announced.metric_infos}
    assert columns >= {"final/val_accuracy", "final/test_accuracy", "final/test_f1_macro"}
    for name in ("accuracy", "f1_macro", "loss"):
        assert log.Scalars(f"final/test_{name}")[-1].value == pytest.approx(scores(run)[name])
    assert columns <= set(log.Tags()["scalars"])


def test_other_rows_and_other_weights_leave_the_runs_own_results_alone(run, tmp_path):
    assert main(["test", f"--model={run}"]) == 0
    kept = {name: (run / name).read_bytes() for name in ("scores.json", "predictions.csv", "model/README.md")}
    new = tmp_path / "new.csv"
    new.write_text("text,label\nsee you,ham\nWIN a prize,spam\n")
    steps = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    last = f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"
    assert main(["test", f"--model={run}", f"--data.test_source={new}"]) == 0
    assert main(["test", f"--model={run}", "--data.splitting.seed=5"]) == 0
    assert (
        main(["test", f"--model={run}", "--trainer.limit_test_batches=1", "--data.batching.max_batch_tokens=100"]) == 0
    )
    changed = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    changed["state_dict"]["model.head.bias"] += 1
    torch.save(changed, run / "checkpoints" / "last.ckpt")
    assert main(["test", last]) == 0
    assert {name: (run / name).read_bytes() for name in kept} == kept
    others = {path.name for path in run.glob("scores-*.json")}
    assert {"scores-new.json", "scores-sample.json", f"scores-step-{steps}.json"} < others
    assert any(name.endswith("-rows.json") for name in others)
    assert scores(run, "scores-new.json")["rows"] == 2
    assert (run / "predictions-new.csv").is_file()


def test_batches_of_another_size_are_no_other_rows(run):
    assert main(["test", f"--model={run}", "--data.batching.max_batch_tokens=200", "--data.batch_size=2"]) == 0
    assert (run / "scores.json").is_file()


def test_without_a_run_nothing_is_written_and_that_is_said(run, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    assert main(["test", f"--model={run}", "--trainer.logger=false"]) == 0
    assert "no scores.json and predictions.csv: this trainer keeps no files" in caplog.text
    assert not list(tmp_path.rglob("scores*.json"))


def test_epoch_lines_show_macro_f1(fit, tmp_path, caplog):
    assert fit(tmp_path, "--trainer.max_epochs=1") == 0
    assert "val macro-F1 0." in caplog.text
