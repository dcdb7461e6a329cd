"""The files of a run lie in its folder whatever logger there is, and loaders of any split can be predicted."""

import json
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger

from gpt_classifier import GPTClassifier, TextClassifier, TextDataModule, default_callbacks
from gpt_classifier.cli.main import main


class Server(Logger):
    """As the loggers of Weights & Biases and MLflow: it has a name and a version, and no folder."""

    name, version = "server", "7f3a"

    def __init__(self):
        super().__init__()
        self.logged = set()

    def log_metrics(self, metrics, step=None):
        self.logged |= metrics.keys()

    def log_hyperparams(self, params, *args, **kwargs):
        pass


FILES = {"model/model.safetensors", "model/config.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}


def fitted(folder, logger):
    data = TextDataModule("sample", tokenizer="bytes", max_length=32)
    model = GPTClassifier(gpt={"n_layer": 1, "n_head": 2, "n_embd": 16, "context_length": 32}, weights="random")
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=2,
        accelerator="cpu",
        default_root_dir=folder,
        logger=logger,
        callbacks=default_callbacks(),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return trainer, model, data


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("beside", [[], ["csv"], ["tensorboard"], ["server"]])
def test_the_files_of_a_run_are_in_one_folder_whatever_loggers_there_are(beside, tmp_path):
    made = {
        "csv": lambda: CSVLogger(tmp_path, name="", version="version_0"),
        "tensorboard": lambda: TensorBoardLogger(tmp_path, name="", version="version_0"),
        "server": Server,
    }
    server = Server()
    trainer, model, data = fitted(tmp_path, [server, *(made[name]() for name in beside)])
    run = tmp_path / "version_0"
    assert files(run) >= FILES
    trainer.test(model, data, ckpt_path="best", verbose=False)
    assert files(run) >= {"scores.json", "predictions.csv", "report.html"}
    assert {path.parts[0] for path in map(Path, files(tmp_path))} == {"version_0"}
    assert "val/f1_macro" in server.logged
    assert TextClassifier.load(tmp_path).predict("a text").label in ("ham", "spam")


def test_runs_of_such_a_logger_are_numbered_and_a_resumed_one_goes_on_in_its_folder(fit, tmp_path, monkeypatch):
    for _ in range(2):
        fitted(tmp_path, Server())
    assert files(tmp_path / "version_1") >= FILES
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    logged = "--trainer.logger={class_path: test_loggers.Server}"
    constant = ["--model.optimizer.warmup=0", "--model.optimizer.schedule=constant"]
    assert fit(tmp_path, logged, *constant, "--trainer.max_epochs=1") == 0
    last = tmp_path / "version_2" / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns
    assert fit(tmp_path, logged, *constant, "--trainer.max_epochs=2", f"--ckpt_path={last}") == 0
    assert last.stat().st_mtime_ns > before
    assert not (tmp_path / "version_3").exists()


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_loader_of_a_split_can_be_predicted(split, tmp_path):
    trainer, model, data = fitted(tmp_path, Server())
    predicted = trainer.predict(model, dataloaders=data.evaluation_dataloader(split))
    rows, probabilities = (torch.cat(parts) for parts in zip(*predicted, strict=True))
    assert sorted(rows.tolist()) == sorted(data.tables[split]["row"])
    expected = TextClassifier.load(tmp_path).predict_proba(
        data.tables[split].set_index("row")["text"][rows.tolist()].tolist()
    )
    assert probabilities.numpy() == pytest.approx(expected, abs=1e-4)


def test_a_custom_head_is_trained_tested_and_used_from_the_command_line(fit, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_heads.py").write_text(
        "from torch import nn\n\n\nclass Wide(nn.Sequential):\n    def __init__(self, channels, classes, width=8):\n"
        "        super().__init__(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    head = json.dumps({"class_path": "my_heads.Wide", "init_args": {"width": 4}})
    assert fit(tmp_path / "runs", f"--model.head={head}") == 0
    monkeypatch.delitem(__import__("sys").modules, "my_heads")
    words = ["runs/version_0", "--baselines=none", "--report=none"]
    assert main(["test", *words]) == 2
    assert "on a command line --import my_heads, if you trust that module" in capsys.readouterr().err
    assert main(["test", *words, "--import", "my_heads"]) == 0
    monkeypatch.delitem(__import__("sys").modules, "my_heads")
    capsys.readouterr()
    assert main(["classify", "runs/version_0", "--import=my_heads", "a text"]) == 0
    assert capsys.readouterr().out.split("\t")[0] in ("ham", "spam")
    assert main(["classify", "--import", "no_such_heads", "a text"]) == 2
    assert "--import no_such_heads cannot be imported" in capsys.readouterr().err
