"""Every configuration that we ship builds its model, data and trainer, without network."""

from pathlib import Path

import pytest

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.pretraining.command import PretrainingCLI
from gpt_classifier.training.cli import ClassifierCLI
from gpt_classifier.training.module import GPTClassifier

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
PRETRAINING = {"pretrain"}  # names of those for another command than fit


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem not in PRETRAINING], ids=lambda path: path.name)
def test_a_shipped_configuration_builds(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = ClassifierCLI(["--config", str(path)], run=False)
    assert isinstance(cli.model, GPTClassifier)
    assert isinstance(cli.datamodule, TextDataModule)
    assert cli.trainer.max_epochs >= 1
    assert Path(cli.trainer.default_root_dir).parts[-2:] == ("checkpoints", path.stem)


@pytest.mark.parametrize("name", sorted(PRETRAINING))
def test_a_shipped_configuration_of_pretraining_builds(name, tmp_path, monkeypatch):
    (path,) = (path for path in CONFIGS if path.stem == name)
    monkeypatch.chdir(tmp_path)
    cli = PretrainingCLI(["--config", str(path)])
    assert cli.trainer.max_epochs >= 1
    assert Path(cli.trainer.default_root_dir).parts[-2:] == ("checkpoints", path.stem)
    scratch = ClassifierCLI(["--config", str(path.with_name("scratch.yaml"))], run=False)  # the network that it is for
    assert cli.model.hparams["gpt"] == scratch.model.hparams["gpt"]
    assert cli.datamodule.tokenizer == scratch.datamodule.tokenizer
