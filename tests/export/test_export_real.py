"""Published networks, where they are (see tests/models/test_real.py), answer in other programs as they do here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt_classifier import TextClassifier
from gpt_classifier.decision.rule import Decision
from gpt_classifier.export.exported_classifier import ExportedClassifier
from gpt_classifier.export.formats import export
from gpt_classifier.export.verify import AWKWARD, probe_texts
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.model_folder import save_folder
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.transformers_network import pretrained_network
from gpt_classifier.text.encoder import TextEncoder

FOLDER = os.environ.get("GPT_CLASSIFIER_MODELS", "")
POOLING = {"minilm-l6": "mean", "smollm2-135m": "last_token"}
AS_ITS_README_SAYS = """
import sys, json
from pathlib import Path
texts = json.loads(sys.argv[1])
exec(Path("README.md").read_text().split("```python")[1].split("```")[0].replace("path/to/this/folder", ".")
     .replace('["your text"]', "texts"))
assert "gpt_classifier" not in sys.modules
print(json.dumps(probabilities.tolist()))
"""

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all((Path(FOLDER or "none") / name).is_dir() for name in POOLING),
        reason="the published networks are not in the folder GPT_CLASSIFIER_MODELS",
    ),
]


@pytest.fixture(scope="module", params=POOLING)
def model(request, tmp_path_factory) -> Path:
    """The first two blocks with a probe: a head on standardized states, with a bias."""
    network = str(Path(FOLDER) / request.param)
    encoder, backbone = TextEncoder(network, 64), pretrained_network(network)
    backbone.keep(2)
    classifier = SequenceClassifier(backbone, 3, POOLING[request.param]).eval()
    batch = encoder.batch([encoder.encode(text)[0] for text in probe_texts()])
    with torch.no_grad():
        states = classifier.pooled(backbone.embed(batch.inputs), batch.lengths, 0)
        head = classifier.head
        head.weight.copy_(torch.randn_like(head.weight) / states.std(0) / states.shape[1] ** 0.5)
        head.bias.copy_(-head.weight @ states.mean(0))
    folder = tmp_path_factory.mktemp("real") / "model"
    bundle = Bundle(classifier, encoder, ["a", "b", "c"], decision=Decision(log_priors=[0.3, -0.7, 0.0]))
    save_folder(folder, bundle, "a card\n")
    return folder


@pytest.fixture(scope="module")
def expected(model) -> np.ndarray:
    probabilities = TextClassifier.load(model, "cpu").predict_proba(AWKWARD)
    assert np.ptp(probabilities, axis=0).max() > 0.1  # a difference would be seen
    return probabilities


def test_onnx_says_what_the_classifier_says(model, expected, tmp_path):
    export(model, "onnx", tmp_path / "onnx")
    assert ExportedClassifier(tmp_path / "onnx").predict_proba(AWKWARD) == pytest.approx(expected, abs=1e-5)


def test_sentence_transformers_says_what_the_classifier_says(model, expected, tmp_path):
    pytest.importorskip("sentence_transformers")
    assert "A folder of sentence-transformers, as " in export(model, "hf", tmp_path / "hf")[1]
    words = [sys.executable, "-c", AS_ITS_README_SAYS, json.dumps(AWKWARD)]
    done = subprocess.run(words, cwd=tmp_path / "hf", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(expected, abs=1e-5)
