"""Networks of transformers leave as other programs read them, and answer there as they do here."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt_classifier import TextClassifier
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.export.formats import export
from gpt_classifier.export.verify import AWKWARD
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.model_folder import save_folder
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.models.transformers_network import random_network
from gpt_classifier.text.encoder import TextEncoder, WindowsConfig

pytest.importorskip("transformers", reason="networks of transformers need that library")

SMALL = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
NETWORKS = {
    "bert": SMALL | {"max_position_embeddings": 64},
    "roberta": SMALL | {"max_position_embeddings": 66, "pad_token_id": 1},
    "deberta-v2": SMALL | {"max_position_embeddings": 64, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "llama": SMALL | {"max_position_embeddings": 64, "num_key_value_heads": 2},
    "gpt_neox": SMALL | {"max_position_embeddings": 64},
}
CALIBRATED = Decision(temperature=0.5, log_priors=[0.3, -0.7, 0.0])
SPECIAL = ["[CLS] a [SEP]", "a<s>b</s><pad>", "[MASK][PAD] b"]  # their names, written in a text
TEXTS = [*AWKWARD, *SPECIAL, "half a pair \ud83d", "see you at five", "CALL now!"]


@pytest.fixture
def model_of(published, tmp_path) -> Callable[..., Path]:
    """Makes the folder of an untrained model whose answers differ much from text to text."""

    def make(
        network: str,
        tokenizer: str | Path,
        pooling: str = "mean",
        head: str = "linear",
        cut: int | None = None,
        lora: LoRAConfig | None = None,
        decision: Decision = CALIBRATED,
        **encoding,
    ) -> Path:
        folder = published(tokenizer) if isinstance(tokenizer, str) else tokenizer
        encoder = TextEncoder(str(folder), **{"max_length": 40} | encoding)
        backbone = random_network(NETWORKS[network] | {"model_type": network}, encoder.vocab_size)
        if cut is not None:
            backbone.keep(cut)
        model = SequenceClassifier(backbone, 3, pooling, head)
        if lora is not None:
            model.add_lora(lora)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        bundle = Bundle(model.eval(), encoder, ["ham", "spam", "café 🎉"], decision=decision)
        save_folder(tmp_path / "model", bundle, "a card\n")
        return tmp_path / "model"

    return make


def elsewhere(code: str, folder: Path, texts: list[str]) -> np.ndarray:
    """(N, K) what ``code``, with ``texts`` and the working folder ``folder``, leaves in ``found``, without our package."""
    program = f"import json, sys\ntexts = json.loads({json.dumps(json.dumps(texts))})\n{code}\n"
    program += (
        "assert 'gpt_classifier' not in sys.modules\nprint(json.dumps([[float(p) for p in row] for row in found]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.array(json.loads(done.stdout.splitlines()[-1]))


CLASSIFY = "sys.path.insert(0, '.')\nfrom classify import ExportedClassifier\nfound = ExportedClassifier('.').predict_proba(texts)"
CLASSIFY += "\nassert 'torch' not in sys.modules"


@pytest.mark.parametrize(
    ("network", "tokenizer", "settings"),
    [
        ("bert", "wordpiece", {"cut": 2, "truncation": "head+tail"}),
        ("roberta", "bpe", {"pooling": "first_token", "head": "mlp", "truncation": "tail"}),
        ("deberta-v2", "unigram", {"decision": Decision(multi_label=True)}),
        ("llama", "unigram", {"pooling": "last_token", "cut": 1, "lora": LoRAConfig(rank=2), "max_length": 33}),
    ],
)
def test_onnx_says_of_published_networks_what_the_classifier_says(network, tokenizer, settings, model_of, tmp_path):
    model = model_of(network, tokenizer, **settings)
    export(model, "onnx", tmp_path / "onnx")
    report = json.loads((tmp_path / "onnx" / "export.json").read_text())
    assert max(report["largest_difference"], report["largest_difference_of_shapes"]) < 1e-5
    expected = TextClassifier.load(model, "cpu").predict_proba(TEXTS)
    assert np.ptp(expected, axis=0).max() > 0.1  # a difference would be seen
    assert elsewhere(CLASSIFY, tmp_path / "onnx", TEXTS) == pytest.approx(expected, abs=1e-5)


def test_int8_of_a_published_network_is_smaller_and_says_nearly_the_same(model_of, tmp_path):
    model = model_of("bert", "wordpiece")
    export(model, "int8", tmp_path / "int8")
    report = json.loads((tmp_path / "int8" / "export.json").read_text())
    assert 0 < report["largest_difference"] < 0.1
    expected = TextClassifier.load(model, "cpu").predict_proba(TEXTS)
    assert np.abs(elsewhere(CLASSIFY, tmp_path / "int8", TEXTS) - expected).max() < 0.1


def test_a_network_too_large_for_onnx_is_refused(model_of, tmp_path, monkeypatch):
    from gpt_classifier.export import onnx

    monkeypatch.setattr(onnx, "LARGEST", 1000)
    with pytest.raises(InputError, match="a file of ONNX at most 2: use --to hf or merged"):
        export(model_of("bert", "wordpiece"), "onnx", tmp_path / "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]  # nothing half-written


@pytest.mark.parametrize("to", ["onnx", "int8", "hf"])
def test_windows_are_refused_in_every_format(to, model_of, tmp_path):
    with pytest.raises(InputError, match=f"in windows, which --to {to} cannot express"):
        export(model_of("bert", "wordpiece", windows=WindowsConfig(stride=8)), to, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
