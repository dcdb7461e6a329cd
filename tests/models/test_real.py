"""Published networks, where they are: what they compute, with fewer blocks, probed, trained, kept and loaded.

GPT_CLASSIFIER_MODELS names a folder with ``minilm-l6`` (all-MiniLM-L6-v2, an encoder) and ``smollm2-135m``
(SmolLM2-135M-Instruct, a decoder), each as transformers saves it.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from gpt_classifier import TextClassifier, TextDataModule
from gpt_classifier.cli.main import main
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.split_network import SplitNetwork
from gpt_classifier.models.transformers_network import pretrained_network
from gpt_classifier.text.encoder import TextEncoder

FOLDER = os.environ.get("GPT_CLASSIFIER_MODELS", "")
MIDDLE = {"minilm-l6": 4, "smollm2-135m": 15}
TEXTS = ["You have won a prize, call now", "see you at five", "", "ünïcödé \N{GRINNING FACE} " * 9]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not all((Path(FOLDER or "none") / name).is_dir() for name in MIDDLE),
        reason="the published networks are not in the folder GPT_CLASSIFIER_MODELS",
    ),
]


@pytest.fixture(scope="module", params=MIDDLE)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name) -> str:
    return str(Path(FOLDER) / name)


@pytest.fixture(scope="module")
def reference(folder):
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def batch(folder):
    encoder = TextEncoder(folder, 128)
    return encoder.batch([encoder.encode(text)[0] for text in TEXTS])


def states_of(reference, batch) -> tuple[torch.Tensor, ...]:
    mask = (torch.arange(batch.inputs.shape[1]) < batch.lengths[:, None]).long()
    with torch.no_grad():
        return reference(input_ids=batch.inputs, attention_mask=mask, output_hidden_states=True).hidden_states


def mean(states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The pooling of sentence-transformers: the mean over the tokens of the mask."""
    mask = (torch.arange(states.shape[1]) < lengths[:, None])[..., None].float()
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)


def test_its_blocks_run_one_by_one_and_give_what_transformers_computes(folder, reference, batch):
    backbone = pretrained_network(folder).eval()
    assert isinstance(backbone, SplitNetwork)
    with torch.no_grad():
        x = backbone.embed(batch.inputs)
        ours = backbone.finish(backbone.run_blocks(x, lengths=batch.lengths))
    for row, length in enumerate(batch.lengths):
        expected = states_of(reference, batch)[-1]
        assert_close(ours[row, :length], expected[row, :length], atol=2e-4, rtol=1e-3)


def test_the_first_blocks_of_a_network_compute_its_middle_hidden_states(name, folder, reference, batch):
    model = SequenceClassifier(pretrained_network(folder), 2, "mean").eval()
    blocks = MIDDLE[name]
    model.backbone.keep(blocks)
    inner = states_of(reference, batch)[blocks]
    normed = reference.norm(inner) if hasattr(reference, "norm") else inner
    with torch.no_grad():
        pooled = model.pooled(model.backbone.embed(batch.inputs), batch.lengths)
    assert_close(pooled, mean(normed, batch.lengths), atol=2e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> str:
    """A file of 160 messages of the sample."""
    table = TextDataModule(source="sample").read_tables()["train"]
    some = table.groupby("label").head(80)[["text", "label"]]
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    some.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("trainable", ["head", "last_block"])
def test_it_is_fitted_tested_used_and_loaded(trainable, name, folder, rows, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    fit = ["fit", "--config", "encoder", f"--model.backbone={folder}", f"--data.source={rows}"]
    few = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    if name == "smollm2-135m":
        few.append("--model.blocks=3")  # of 30, for time
    assert main([*fit, *few, f"--model.trainable={trainable}", "--trainer.default_root_dir=runs"]) == 0
    assert "probe: " in caplog.text
    assert main(["test", "runs", "--report=none", "--baselines=none"]) == 0
    texts = ["You have won a prize, call now to claim it", "See you at five, love"]
    loaded = TextClassifier.load("runs/version_0/model")
    assert [prediction.label for prediction in loaded.predict(texts)] == ["spam", "ham"]
    probabilities = loaded.predict_proba(texts)
    loaded.save("again")
    assert np.array_equal(TextClassifier.load("again").predict_proba(texts), probabilities)
    (tmp_path / "new.csv").write_text("text\n" + "\n".join(f'"{text}"' for text in texts), encoding="utf-8")
    assert main(["predict", "runs", "--data.source=new.csv", "--output=predictions.csv"]) == 0
    assert (tmp_path / "predictions.csv").read_text(encoding="utf-8").count("\n") == 3


def test_epochs_behind_cached_states_are_those_without(folder, rows, tmp_path, monkeypatch):
    if "minilm" not in folder:
        pytest.skip("one of them shows it")
    monkeypatch.chdir(tmp_path)
    probabilities = []
    for enabled in ("true", "false"):
        fit = ["fit", "--config", "encoder", f"--model.backbone={folder}", f"--data.source={rows}"]
        few = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
        more = ["--model.trainable=last_block", f"--model.cache.enabled={enabled}"]
        assert main([*fit, *few, *more, f"--trainer.default_root_dir={enabled}"]) == 0
        probabilities.append(TextClassifier.load(f"{enabled}/version_0/model").predict_proba(TEXTS))
    assert probabilities[0] == pytest.approx(probabilities[1], abs=2e-3)
