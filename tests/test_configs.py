"""Every configuration that we ship builds its model, data and trainer, without network."""

from pathlib import Path

import pytest

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.training.cli import ClassifierCLI
from gpt_classifier.training.module import GPTClassifier

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_configuration_builds(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = ClassifierCLI(["--config", str(path)], run=False)
    assert isinstance(cli.model, GPTClassifier)
    assert isinstance(cli.datamodule, TextDataModule)
    assert cli.trainer.max_epochs >= 1
    assert Path(cli.trainer.default_root_dir).parts[-2:] == ("checkpoints", path.stem)
