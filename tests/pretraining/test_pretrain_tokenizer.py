"""A tokenizer that is trained on the texts of the pretraining, and a study's rows that pretrain."""

import json

import pandas as pd
import pytest

from gpt_classifier.cli.main import main
from gpt_classifier.experiments.study import job
from gpt_classifier.experiments.study.plan import Row, Study
from gpt_classifier.inference.bundle import VOCABULARY
from gpt_classifier.models.weights import read_tensors
from gpt_classifier.pretraining.build_run import pretrain
from gpt_classifier.pretraining.datamodule import PretrainingData
from gpt_classifier.text.tokenizers import load_stored_tokenizer

GPT = {"n_layer": 1, "n_head": 2, "n_embd": 16, "context_length": 32}
SETTINGS = {
    "data": {"source": "sample", "tokenizer": {"train": 300}, "max_length": 32},
    "model": {"gpt": GPT, "samples": 0},
    "trainer": {"accelerator": "cpu", "max_steps": 3},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pretrain(tmp_path_factory.mktemp("own"), SETTINGS)


def test_it_is_trained_once_and_kept_with_the_network(folder):
    trained = load_stored_tokenizer(folder)
    assert trained.vocab_size == 301
    data = PretrainingData(source="sample", tokenizer={"train": 300}, max_length=32)
    data.prepare_data()
    data.setup("fit")
    assert data.text_encoder.tokenizer.vocabulary().equal(read_tensors(folder)[VOCABULARY])


def test_it_is_trained_on_training_texts_only(tmp_path):
    texts = [f"message number {n}" for n in range(60)] + ["zzzzqqqq zzzzqqqq"]
    split = ["train"] * 50 + ["val"] * 10 + ["test"]
    labels = ["a", "b"] * 30 + ["a"]
    path = tmp_path / "texts.csv"
    pd.DataFrame({"text": texts, "label": labels, "part": split}).to_csv(path, index=False)
    settings = {"max_length": 8, "splitting": {"split_column": "part"}}
    data = PretrainingData(source=str(path), tokenizer={"train": 280}, **settings)
    data.prepare_data()
    data.setup("fit")
    assert len(data.text_encoder.encode("zzqq")[0]) == 4
    assert len(data.text_encoder.encode("message")[0]) < 4


def test_a_split_column_without_labels_is_refused_as_its_test_rows_would_be_read(tmp_path, capsys):
    path = tmp_path / "texts.csv"
    pd.DataFrame({"text": ["one two", "three"], "part": ["train", "test"]}).to_csv(path, index=False)
    options = [f"--data.source={path}", "--data.splitting.split_column=part", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["pretrain", *options, "--data.tokenizer=bytes", "--trainer.accelerator=cpu"]) == 2
    assert "split_column is part" in capsys.readouterr().err


def test_fit_takes_network_and_tokenizer(folder, tmp_path):
    options = ["--data.source=sample", "--trainer.max_steps=2", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["fit", f"--model.weights={folder}", "--trainer.accelerator=cpu", *options]) == 0
    model = tmp_path / "version_0" / "model"
    assert read_tensors(model)[VOCABULARY].equal(read_tensors(folder)[VOCABULARY])
    assert json.loads((model / "config.json").read_text())["model"]["backbone"]["n_embd"] == 16


@pytest.mark.nightly
@pytest.mark.slow
def test_a_row_of_a_study_pretrains_on_its_training_rows(tmp_path, capsys):
    settings = {"data.source": "sample", "data.tokenizer": "bytes", "data.max_length": 32, "model.gpt": GPT}
    settings |= {"model.weights": "random", "model.trainable": "all", "trainer.max_epochs": 1}
    settings |= {"trainer.accelerator": "cpu"}
    rows = [{"name": "alone"}, {"name": "first", "question": "q", "pretrain": {"trainer.max_epochs": 1}}]
    questions = {"q": {"ask": "Does it help?", "about": "pretrain"}}
    (tmp_path / "base.yaml").write_text("{}")
    study = {"base": "base.yaml", "settings": settings, "questions": questions, "rows": rows}
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    assert main(["study", f"--config={tmp_path / 'study.yaml'}", f"--output={tmp_path / 'out'}"]) == 0
    shown = capsys.readouterr().out
    assert "pretrained on the training texts" in shown
    assert "Does it help? " in shown
    results = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert results[0]["test_rows"] == results[1]["test_rows"]
    assert results[1]["seconds"] > results[0]["seconds"]


def test_in_a_learning_curve_a_row_pretrains_on_all_training_texts_and_learns_some_labels(tmp_path, monkeypatch):
    texts = []

    def counted(*arguments):
        folder = pretrain(*arguments)
        texts.append(json.loads((folder / "config.json").read_text())["pretrained_on"]["texts"])
        return folder

    monkeypatch.setattr(job, "pretrain", counted)
    settings = {"data.source": "sample", "data.tokenizer": "bytes", "data.max_length": 32, "model.gpt": GPT}
    settings |= {"model.weights": "random", "trainer.max_steps": 1, "trainer.accelerator": "cpu"}
    row = Row("first", settings=settings, pretrain={"trainer.max_steps": 1})
    labels = []
    for run in Study("", [row], weights="last").plan_runs([row], "{}", 1, 0, {}, False, [0.2, 1.0]):
        scratch = tmp_path / run.file_name
        scratch.mkdir()
        labels.append(job.perform(run, scratch, tmp_path)["accuracy"]["train"][1])
    assert texts == [labels[1]] * 2
    assert labels[0] == pytest.approx(0.2 * labels[1], abs=1)
