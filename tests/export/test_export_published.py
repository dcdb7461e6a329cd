"""Networks of transformers leave as other programs read them, and predict there as they do here."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.export import onnx
from gpt_classifier.export.formats import export
from gpt_classifier.export.verify import AWKWARD
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.model_folder import save_folder
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.models.transformers_config import sentence_pooling, usual_length
from gpt_classifier.models.transformers_network import pretrained_network, random_network
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
MANY = Decision(multi_label=True, temperature=2.0)
CALIBRATED = Decision(temperature=0.5, log_priors=[0.3, -0.7, 0.0])
SPECIAL = ["[CLS] a [SEP]", "a<s>b</s><pad>", "[MASK][PAD] b"]  # their names, written in a text
TEXTS = [*AWKWARD, *SPECIAL, "half a pair \ud83d", "see you at five", "CALL now!"]


@pytest.fixture
def model_of(published, tmp_path) -> Callable[..., Path]:
    """Makes the folder of an untrained model whose predictions differ much from text to text."""

    def make(
        network: str,
        tokenizer: str | Path,
        pooling: str = "mean",
        head: str = "linear",
        cut: int | None = None,
        lora: LoRAConfig | None = None,
        decision: Decision = CALIBRATED,
        bias: bool = True,
        wide: bool = False,
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
            spread(model.eval(), encoder, bias)
            if wide:  # as a probe's is for a channel that hardly varies
                backbone.network.encoder.layer[-1].output.LayerNorm.weight[0] = 0
                backbone.network.encoder.layer[-1].output.LayerNorm.bias[0] = 0
                model.head.weight[:, 0] = 30_000
        bundle = Bundle(model, encoder, ["ham", "spam", "café 🎉"], decision=decision)
        save_folder(tmp_path / "model", bundle, "a card\n")
        return tmp_path / "model"

    return make


def spread(model: SequenceClassifier, encoder: TextEncoder, bias: bool) -> None:
    """Makes the last layer one on standardized inputs, as a probe is, so that predictions differ from text to text."""
    last, inputs = [layer for layer in model.head.modules() if isinstance(layer, torch.nn.Linear)][-1], []
    hook = last.register_forward_hook(lambda _, given, __: inputs.append(given[0]))
    batch = encoder.batch([encoder.encode_windows(text)[0][0] for text in TEXTS])
    model(batch.inputs, batch.lengths)
    hook.remove()
    last.weight.copy_(torch.randn_like(last.weight) / inputs[0].std(0).clamp_min(0.1) / 3)
    last.bias.copy_(-last.weight @ inputs[0].mean(0) if bias else torch.zeros(3))


def elsewhere(code: str, folder: Path, texts: list[str]) -> np.ndarray:
    """(N, K) what ``code`` leaves in ``found`` for ``texts``, run in ``folder`` by a process without our package."""
    program = f"import json, sys\ntexts = json.loads({json.dumps(json.dumps(texts))})\n{code}\n"
    program += "assert 'gpt_classifier' not in sys.modules\n"
    program += "print(json.dumps([[float(p) for p in row] for row in found]))"
    command = [sys.executable, "-"]
    done = subprocess.run(command, input=program, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.array(json.loads(done.stdout.splitlines()[-1]))


CLASSIFY = """
sys.path.insert(0, ".")
from classify import ExportedClassifier
found = ExportedClassifier(".").predict_proba(texts)
assert "torch" not in sys.modules
"""
ALL_CLASSES = """
names = classify.model.config.id2label
scores = classify(texts, top_k=None, batch_size=8)
rows = [{each["label"]: each["score"] for each in text_scores} for text_scores in scores]
probabilities = torch.tensor([[row[names[number]] for number in sorted(names)] for row in rows])
"""


def as_its_readme_says(folder: Path, settings: dict[str, Any]) -> str:
    """The lines of Python in a folder's README, for ``texts``, whose probabilities are added to ``found``."""
    code = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    code = code.replace("path/to/this/folder", folder.name).replace('["your text"]', "texts")
    if "pipeline" in code:
        code = f"import torch\n{code}{ALL_CLASSES}"
    else:
        assert (".sigmoid()" in code) == (settings.get("decision") is MANY)
    return f"{code}found += probabilities.tolist()"


@pytest.mark.parametrize(
    ("network", "tokenizer", "settings"),
    [
        ("bert", "wordpiece", {"cut": 2, "truncation": "head+tail"}),
        ("roberta", "bpe", {"pooling": "first_token", "head": "mlp", "truncation": "tail"}),
        pytest.param("deberta-v2", "unigram", {"decision": MANY}, marks=pytest.mark.slow),
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


def test_int8_of_a_published_network_says_nearly_the_same(model_of, tmp_path):
    model = model_of("bert", "wordpiece", wide=True)
    export(model, "int8", tmp_path / "int8")
    report = json.loads((tmp_path / "int8" / "export.json").read_text())
    assert 0 < report["largest_difference"] < 0.3
    assert report["equal_labels"] > 0.8
    expected = TextClassifier.load(model, "cpu").predict_proba(TEXTS)
    assert np.abs(elsewhere(CLASSIFY, tmp_path / "int8", TEXTS) - expected).max() < 0.3


@pytest.mark.parametrize(
    ("to", "settings", "said"),
    [
        ("onnx", {}, "a file of ONNX at most 2: use --to hf or merged"),
        ("onnx", {"windows": WindowsConfig(stride=8)}, "in windows, which --to onnx cannot express"),
        ("int8", {"windows": WindowsConfig(stride=8)}, "in windows, which --to int8 cannot express"),
        ("hf", {"windows": WindowsConfig(stride=8)}, "in windows, which --to hf cannot express"),
        ("hf", {}, r"sentence-transformers is not installed: pip install .*\[export\]"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(to, settings, said, model_of, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "LARGEST", 1000)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=said):
        export(model_of("bert", "wordpiece", **settings), to, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# ---------------------------------------------------------------- transformers, sentence-transformers


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> Path:
    """A folder with a tokenizer like that of GPT-2, SmolLM and Qwen, which adds no special tokens to a text."""
    special = ["<|endoftext|>", "<|im_start|>"]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(special)
    folder = tmp_path_factory.mktemp("bare")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


Case = tuple[str, str | None, dict[str, Any], str]  # network, tokenizer (None: bare), settings, part of what is said
TRANSFORMERS: list[Case] = [
    ("bert", "wordpiece", {"pooling": "first_token", "head": "mlp"}, "BertForSequenceClassification"),
    ("roberta", "bpe", {"pooling": "first_token", "head": "mlp", "truncation": "tail"}, "RobertaForSequenceClassif"),
    ("gpt_neox", "unigram", {"pooling": "last_token", "cut": 2}, "GPTNeoXForSequenceClassification"),
    ("gpt_neox", None, {"pooling": "last_token", "lora": LoRAConfig(rank=2)}, "GPTNeoXForSequenceClassification"),
    ("llama", None, {"pooling": "last_token", "decision": MANY, "bias": False}, "LlamaForSequenceClassification"),
]
SENTENCES: list[Case] = [
    ("bert", "wordpiece", {"cut": 1, "truncation": "tail"}, "a layer of its own, and this model the mean over all"),
    ("bert", "wordpiece", {"pooling": "first_token"}, "through a layer of its own, and this model's head is linear"),
    ("deberta-v2", "unigram", {"head": "mlp", "decision": MANY}, "a layer of its own, and this model the mean over"),
    ("llama", "bpe", {"pooling": "last_token", "lora": LoRAConfig(rank=2)}, "no bias, and this model's head has one"),
    ("llama", None, {"pooling": "last_token", "cut": 2}, "no bias, and this model's head has one"),
    ("llama", None, {"pooling": "mean", "head": "mlp"}, "and this model the mean over all"),
    ("llama", None, {"pooling": "first_token", "truncation": "tail"}, "and this model the first one"),
]


@pytest.mark.parametrize(
    ("cases", "library"),
    [
        (TRANSFORMERS, "A folder of transformers: "),
        pytest.param(SENTENCES, "A folder of sentence-transformers, as ", marks=pytest.mark.slow),
    ],
    ids=["transformers", "sentence-transformers"],
)
def test_the_libraries_say_without_this_package_what_the_classifier_says(cases, library, model_of, bare, tmp_path):
    pytest.importorskip(library.split()[3].strip(":,").replace("-", "_"))
    code, expected = "found = []\n", []
    for number, (network, tokenizer, settings, why) in enumerate(cases):
        model, folder = model_of(network, tokenizer or bare, **settings), tmp_path / f"{number}"
        said = export(model, "hf", folder)
        assert said[1].startswith(library), said
        assert why in said[1]
        assert not [path for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pickle", ".py")]
        config = json.loads((folder / "config.json").read_text())
        assert config["id2label"] == {"0": "ham", "1": "spam", "2": "café 🎉"}
        assert config["num_hidden_layers"] == settings.get("cut", 3)
        texts = [text for text in TEXTS if "half" not in text]  # which the libraries refuse
        if tokenizer == "unigram":  # in texts, it finds special tokens
            assert "a special token's name that is written in a text is read as that token" in said[2]
            texts = [text for text in texts if "[CLS]" not in text and "[MASK]" not in text]
        code += f"texts = json.loads({json.dumps(json.dumps(texts))})\n{as_its_readme_says(folder, settings)}\n"
        expected.append(TextClassifier.load(model, "cpu").predict_proba(texts))
        assert np.ptp(expected[-1], axis=0).max() > 0.1  # a difference would be seen
    assert elsewhere(code, tmp_path, []) == pytest.approx(np.concatenate(expected), abs=1e-5)


@pytest.mark.parametrize(
    ("network", "tokenizer", "settings", "said"),
    [
        ("bert", "wordpiece", {"truncation": "head+tail"}, r"truncation is head\+tail.*use --to onnx"),
        ("bert", None, {}, "its attention is bidirectional.*use --to onnx"),
        ("llama", None, {"pooling": "last_token", "head": "mlp"}, "has a linear head.*use --to onnx"),
        ("llama", None, {"pooling": "last_token", "max_length": 64}, "needs room for one more.*data.max_length 63"),
    ],
)
def test_what_neither_library_can_do_is_one_line(network, tokenizer, settings, said, model_of, bare, tmp_path, capsys):
    model = model_of(network, tokenizer or bare, **settings)
    assert main(["export", str(model), "--to", "hf", "--output", str(tmp_path / "hf")]) == 2
    line = capsys.readouterr().err
    assert re.search(said, line)
    assert line.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]  # nothing half-written


def test_a_folder_of_another_library_is_not_loaded_and_one_line_says_why(model_of, tmp_path):
    export(model_of("bert", "wordpiece", "first_token", "mlp"), "hf", tmp_path / "hf")
    with pytest.raises(InputError, match=r"is a BertForSequenceClassification .* load it with those libraries"):
        TextClassifier.load(tmp_path / "hf")


def test_a_backbone_is_read_from_a_folder_of_sentence_transformers(model_of, tmp_path):
    pytest.importorskip("sentence_transformers")
    export(model_of("bert", "wordpiece", "first_token"), "hf", tmp_path / "hf")
    assert (sentence_pooling(str(tmp_path / "hf")), usual_length(str(tmp_path / "hf"))) == ("first_token", 40)
    pooling = tmp_path / "hf" / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"embedding_dimension": 32, "pooling_mode": "lasttoken"}))  # as newer versions write
    assert sentence_pooling(str(tmp_path / "hf")) == "last_token"


# ---------------------------------------------------------------- real networks

FOLDER = Path(os.environ.get("GPT_CLASSIFIER_MODELS", "none"))  # see tests/models/test_real.py
REAL = {"minilm-l6": "mean", "smollm2-135m": "last_token"}


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(
    not all((FOLDER / name).is_dir() for name in REAL),
    reason="the published networks are not in the folder GPT_CLASSIFIER_MODELS",
)
@pytest.mark.parametrize("name", REAL)
def test_the_first_blocks_of_a_real_network_say_the_same_in_other_programs(name, tmp_path):
    pytest.importorskip("sentence_transformers")
    encoder, backbone = TextEncoder(str(FOLDER / name), 64), pretrained_network(str(FOLDER / name))
    backbone.keep(2)
    classifier = SequenceClassifier(backbone, 3, REAL[name]).eval()
    with torch.no_grad():
        spread(classifier, encoder, bias=True)
    save_folder(tmp_path / "model", Bundle(classifier, encoder, ["a", "b", "c"], decision=CALIBRATED), "a card\n")
    expected = TextClassifier.load(tmp_path / "model", "cpu").predict_proba(AWKWARD)
    assert np.ptp(expected, axis=0).max() > 0.1  # a difference would be seen
    export(tmp_path / "model", "onnx", tmp_path / "onnx")
    assert elsewhere(CLASSIFY, tmp_path / "onnx", AWKWARD) == pytest.approx(expected, abs=1e-5)
    assert "A folder of sentence-transformers, as " in export(tmp_path / "model", "hf", tmp_path / "hf")[1]
    code = f"found = []\n{as_its_readme_says(tmp_path / 'hf', {})}"
    assert elsewhere(code, tmp_path, AWKWARD) == pytest.approx(expected, abs=1e-5)
