"""Every built-in configuration builds its model, data and trainer, without network."""

from pathlib import Path

import pytest
import yaml

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.pretraining.build_run import PretrainingCLI
from gpt_classifier.training.build_run import ClassifierCLI
from gpt_classifier.training.module import GPTClassifier

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
PRETRAINING = {"pretrain": "scratch", "sms-pretrain": "sms"}  # for another command than fit; those of the fits after
NOT_YET = ["--model.weights=random", "--data.tokenizer=bytes"]  # what another command makes that was not run here


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem not in PRETRAINING], ids=lambda path: path.name)
def test_a_shipped_configuration_builds(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = ClassifierCLI(["--config", str(path), *(NOT_YET if path.stem == "sms" else [])], run=False)
    assert isinstance(cli.model, GPTClassifier)
    assert isinstance(cli.datamodule, TextDataModule)
    assert cli.trainer.max_epochs >= 1
    assert Path(cli.trainer.default_root_dir).parts[-2:] == ("checkpoints", path.stem)


@pytest.mark.parametrize(("name", "fit"), PRETRAINING.items())
def test_a_shipped_configuration_of_pretraining_builds(name, fit, tmp_path, monkeypatch):
    (path,) = (path for path in CONFIGS if path.stem == name)
    monkeypatch.chdir(tmp_path)
    cli = PretrainingCLI(["--config", str(path)])
    assert cli.trainer.max_epochs >= 1
    assert Path(cli.trainer.default_root_dir).parts[-2:] == ("checkpoints", path.stem)
    settings = yaml.safe_load(path.with_name(f"{fit}.yaml").read_text(encoding="utf-8"))
    assert settings["model"]["gpt"] | {"dropout": 0} == cli.model.hparams["gpt"] | {"dropout": 0}  # no weights
    assert settings["data"]["tokenizer"] in (cli.datamodule.tokenizer, cli.trainer.default_root_dir)
