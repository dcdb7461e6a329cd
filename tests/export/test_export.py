"""An exported model predicts as the model does, in every program that reads it; what cannot be expressed is refused."""

import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.export import transformers
from gpt_classifier.export.exported_classifier import ExportedClassifier
from gpt_classifier.export.formats import export
from gpt_classifier.export.onnx import import_library
from gpt_classifier.export.verify import AWKWARD, build_probe_texts
from gpt_classifier.inference.adapter import save_adapter
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.model_folder import save_folder
from gpt_classifier.inference.upload import push
from gpt_classifier.models.gpt import GPT, GPTConfig
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.text.bpe import to_library, train_bpe
from gpt_classifier.text.encoder import TextEncoder, WindowsConfig
from gpt_classifier.text.tokenizers import BytePairs, tokenizer_named

NETWORK = {"n_embd": 32, "n_layer": 2, "n_head": 4, "context_length": 64}
CALIBRATED = Decision(temperature=0.5, log_priors=[0.3, -0.7, 0.0])
LEARNED = train_bpe([*build_probe_texts(), "claim your prize, claim your prize 🎉🎉 " * 20] * 3, 400)


def contents(
    tokenizer: str | BytePairs = "bytes",
    truncation: str = "head",
    decision: Decision = CALIBRATED,
    max_length: int = 64,
    windows: WindowsConfig | None = None,
    causal: bool = True,
    **model: str,
) -> Bundle:
    """An untrained model whose predictions differ much from text to text."""
    encoder = TextEncoder(tokenizer, max_length, truncation, windows=windows)
    network = SequenceClassifier(GPT(GPTConfig(encoder.vocab_size, causal=causal, **NETWORK)), 3, **model).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return Bundle(network, encoder, ["ham", "spam", "café 🎉"], decision=decision)


@pytest.fixture
def folder_of(tmp_path):
    def make(bundle: Bundle, name: str = "model") -> Path:
        save_folder(tmp_path / name, bundle, "a card\n")
        return tmp_path / name

    return make


@pytest.mark.parametrize("where", [".", "link", "dangling", "empty"])
def test_an_empty_folder_of_any_kind_takes_an_export(where, folder_of, tmp_path, monkeypatch):
    model = folder_of(contents())
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    monkeypatch.chdir(tmp_path / "empty")
    output = Path(where) if where == "." else tmp_path / where
    export(model, "merged", output)
    assert TextClassifier.load(output).predict("a text").label
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize(("output", "said"), [("loop", ""), ("loop/x", ""), ("model", "is not an empty folder")])
def test_an_output_that_cannot_be_is_one_line(output, said, folder_of, tmp_path, capsys):
    model = folder_of(contents())
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert main(["export", str(model), "--to", "merged", "--output", str(tmp_path / output)]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


def test_a_head_of_ones_own_that_is_a_sequence_is_no_mlp():
    bundle = contents()
    bundle.model.head, bundle.model.head_settings = torch.nn.Sequential(torch.nn.Linear(32, 3), torch.nn.Identity()), {}
    bundle.model.pooling = "first_token"
    with pytest.raises((InputError, transformers.Inexpressible)):
        transformers.sequence_classifier(bundle)


@pytest.mark.parametrize(
    ("to", "found", "said"),
    [
        (
            "int8",
            np.eye(3)[np.arange(58) % 3],
            r"gives another class on \d+% of 58 texts: nothing was .*; use --to onnx",
        ),
        ("hf", np.full((58, 3), 0.3), "differ by up to"),
    ],
)
def test_an_export_that_predicts_otherwise_leaves_nothing(to, found, said, folder_of, tmp_path, monkeypatch):
    monkeypatch.setattr(ExportedClassifier, "predict_proba", lambda *_: found)
    monkeypatch.setattr(transformers, "compute_probabilities", lambda *_, **__: found)
    with pytest.raises(InputError, match=said):
        export(folder_of(contents()), to, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# ---------------------------------------------------------------- tokenizers


@pytest.mark.hypothesis
@pytest.mark.parametrize("tokenizer", [tokenizer_named("bytes"), LEARNED], ids=["bytes", "learned"])
def test_the_library_divides_texts_as_tiktoken_does(tokenizer):
    library = to_library(tokenizer)
    library.encode_special_tokens = True

    @given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("claim your prize\n 🎉12'"))
    def same(text: str) -> None:
        assert library.encode(text).ids == tokenizer.ids(text)

    same()
    for text in AWKWARD:
        same.hypothesis.inner_test(text)


# ---------------------------------------------------------------- transformers


@pytest.mark.parametrize(
    ("tokenizer", "truncation", "max_length"),
    [
        pytest.param("bytes", "head", 64, marks=pytest.mark.nightly),
        (LEARNED, "tail", 64),
        pytest.param(LEARNED, "head", 20, marks=pytest.mark.nightly),
    ],
)
def test_the_pipeline_says_what_the_classifier_says_of_1000_messages(
    tokenizer, truncation, max_length, folder_of, tmp_path
):
    rng = np.random.default_rng(0)
    letters = [*"abcdefghij  klmnop,.!", "🎉", "é", "\n"]
    texts = ["".join(rng.choice(letters, int(n))) for n in rng.integers(0, 100, 900)] + build_probe_texts()
    texts += ["claim your prize 🎉 " * 2000] + [""] * (1000 - 1 - len(texts))
    assert len(texts) == 1000
    model = folder_of(contents(tokenizer, truncation, max_length=max_length))
    export(model, "hf", tmp_path / "hf", texts=texts[:50])
    classifier = TextClassifier.load(model, "cpu")
    found = transformers.compute_probabilities(tmp_path / "hf", texts, list(classifier.classes_))
    expected = classifier.predict_proba(texts)
    assert np.ptp(expected, axis=0).max() > 0.1  # a difference would be seen
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_batch_of_the_pipeline_is_as_its_texts_alone(folder_of, tmp_path):
    export(folder_of(contents(LEARNED)), "hf", tmp_path / "hf")
    hf_pipeline = import_library("transformers").pipeline
    texts = ["", "a", "claim your prize now", "x" * 500]
    classify = hf_pipeline("text-classification", model=str(tmp_path / "hf"), truncation=True, device="cpu")
    alone = [each["score"] for each in classify(texts)]
    assert [each["score"] for each in classify(texts, batch_size=4)] == pytest.approx(alone, abs=1e-5)


def test_a_multi_label_model_stays_multi_label_in_transformers(folder_of, tmp_path):
    model = folder_of(contents(decision=Decision(multi_label=True, thresholds=[0.2, 0.5, 0.9])))
    lines = export(model, "hf", tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {"0": "ham", "1": "spam", "2": "café 🎉"}
    assert lines[1] == "A folder of transformers: GPT2ForSequenceClassification computes the same."
    assert "Not exported: this model decides by thresholds" in lines[2]
    assert "Not exported" in (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"pooling": "first_token"}, "this model the first one: use --to onnx"),
        ({"pooling": "mean"}, "this model the mean over all: use --to onnx"),
        ({"causal": False}, "this model bidirectional: use --to onnx"),
        ({"head": "mlp"}, "has a linear head, and this model another: use --to onnx"),
        ({"truncation": "head+tail"}, r"truncation is head\+tail"),
        ({"windows": WindowsConfig(stride=8)}, "windows"),
    ],
)
def test_what_transformers_cannot_express_is_refused(settings_, said, folder_of, tmp_path):
    with pytest.raises(InputError, match=said):
        export(folder_of(contents(**settings_)), "hf", tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]  # nothing half-written


def test_a_bias_that_cannot_be_folded_is_refused(folder_of, tmp_path):
    model = contents()
    with torch.no_grad():
        model.model.head.weight[1] = model.model.head.weight[0]
    with pytest.raises(InputError, match="has no bias, and this model's head has one: use --to onnx"):
        export(folder_of(model), "hf", tmp_path / "hf")


@pytest.mark.parametrize(
    "settings_",
    [
        {"tokenizer": LEARNED, "truncation": "tail"},
        {"decision": Decision(multi_label=True), "max_length": 20},
        {"tokenizer": "bpe"},  # that of a published network
    ],
)
def test_a_folder_of_transformers_is_a_model_here_again(settings_, published, folder_of, tmp_path, capsys):
    if settings_.get("tokenizer") == "bpe":
        settings_ = {"tokenizer": str(published("bpe"))}
    model = folder_of(contents(**settings_))
    export(model, "hf", tmp_path / "hf")
    expected = TextClassifier.load(model, "cpu").predict_proba(AWKWARD)
    there = transformers.compute_probabilities(tmp_path / "hf", AWKWARD, ["ham", "spam", "café 🎉"])
    assert there == pytest.approx(expected, abs=1e-5)
    again = TextClassifier.load(tmp_path / "hf", "cpu")
    assert again.predict_proba(AWKWARD) == pytest.approx(expected, abs=1e-5)
    export(tmp_path / "hf", "merged", tmp_path / "ours")
    assert TextClassifier.load(tmp_path / "ours", "cpu").predict_proba(AWKWARD) == pytest.approx(expected, abs=1e-5)
    assert main(["classify", str(tmp_path / "hf"), "a text"]) == 0
    assert capsys.readouterr().out.endswith("a text\n")


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("config.json", "activation_function", "relu"),
        ("config.json", "n_inner", 7),
        ("config.json", "problem_type", "regression"),
        *(("tokenizer_config.json", "model_max_length", length) for length in (32.0, "32", True, None)),
    ],
)
def test_a_folder_of_transformers_that_computes_otherwise_is_refused(file, name, value, folder_of, tmp_path):
    export(folder_of(contents()), "hf", tmp_path / "hf")
    path = tmp_path / "hf" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    said = name if file == "config.json" else f"{name}|is not a whole"  # lengths that cannot be compared
    with pytest.raises(InputError, match=said):
        TextClassifier.load(tmp_path / "hf")


# ---------------------------------------------------------------- ONNX


@pytest.mark.parametrize(
    "settings_",
    [
        {"tokenizer": LEARNED, "truncation": "head+tail", "max_length": 33},
        pytest.param(
            {"pooling": "mean", "head": "mlp", "causal": False, "truncation": "tail"}, marks=pytest.mark.nightly
        ),
    ],
)
def test_onnx_says_what_the_classifier_says(settings_, folder_of, tmp_path):
    model = folder_of(contents(**settings_))
    export(model, "onnx", tmp_path / "onnx")
    report = json.loads((tmp_path / "onnx" / "export.json").read_text())
    assert max(report["largest_difference"], report["largest_difference_of_shapes"]) < 1e-5
    texts = [*AWKWARD, "half a pair \ud83d"]
    expected = TextClassifier.load(model, "cpu").predict_proba(texts)
    assert np.ptp(expected, axis=0).max() > 0.1
    assert ExportedClassifier(tmp_path / "onnx").predict_proba(texts) == pytest.approx(expected, abs=1e-5)


def test_the_folder_classifies_without_this_package(folder_of, tmp_path):
    model = folder_of(contents())
    export(model, "int8", tmp_path / "int8")
    report = json.loads((tmp_path / "int8" / "export.json").read_text())
    assert 0 < report["largest_difference"] < 0.2
    assert report["equal_labels"] > 0.8
    code = "import sys, runpy; sys.argv[1:] = ['a text', '']; runpy.run_path('classify.py', run_name='__main__'); "
    code += "assert not {'torch', 'gpt_classifier'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "int8", capture_output=True, text=True, check=True, env={}
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[2] for line in lines] == ["a text", ""]
    assert {line[0] for line in lines} <= {"ham", "spam", "café 🎉"}


# ---------------------------------------------------------------- folders of this package


def test_low_rank_updates_are_merged_into_a_folder_that_loads_anywhere(folder_of, tmp_path):
    bundle = contents()
    base, adapter = folder_of(bundle, "base"), tmp_path / "adapter"
    bundle.model.add_lora(LoRAConfig(rank=2, dora=True))
    updates = {name: parameter for name, parameter in bundle.model.named_parameters() if "lora_" in name}
    for parameter in updates.values():
        torch.nn.init.normal_(parameter, std=0.5)
    save_adapter(adapter, bundle, set(updates))
    export(adapter, "merged", tmp_path / "merged", base)
    expected = TextClassifier.load(adapter, "cpu", base=base).predict_proba(AWKWARD)
    assert TextClassifier.load(tmp_path / "merged", "cpu").predict_proba(AWKWARD) == pytest.approx(expected, abs=1e-6)


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("words", [["--to", "hf"], ["--to", "pdf", "m"]])
def test_what_is_missing_is_said_in_one_line(words, tmp_path, capsys):
    assert main(["export", *words, "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_texts_of_ones_own_are_compared(folder_of, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("one\n\nthree 🎉\n", encoding="utf-8")
    words = ["--to", "merged", "--output", str(tmp_path / "out"), "--texts", str(tmp_path / "texts.txt")]
    assert main(["export", str(folder_of(contents())), *words]) == 0
    assert "on 61 texts" in capsys.readouterr().out


class FakeHub:
    """Keeps what would be uploaded."""

    calls: tuple = ()

    def create_repo(self, name, **settings_):
        type(self).calls = ("created", name, settings_["private"])

    def upload_folder(self, repo_id, folder_path, commit_message):
        type(self).calls += (repo_id, sorted(path.name for path in Path(folder_path).iterdir()))


def test_a_folder_is_uploaded_as_a_private_repository(folder_of, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    words = ["--to", "merged", "--output", str(tmp_path / "out"), "--push", "me/mine"]
    assert main(["export", str(folder_of(contents())), *words]) == 0
    files = ["README.md", "config.json", "export.json", "model.safetensors"]
    assert FakeHub.calls == ("created", "me/mine", True, "me/mine", files)
    assert "uploaded to https://huggingface.co/me/mine" in capsys.readouterr().out


def test_the_token_is_never_shown(tmp_path, monkeypatch):
    class Refusing:
        def create_repo(self, name, **_):
            raise ValueError("401 for hf_secret")

    monkeypatch.setattr(huggingface_hub, "HfApi", Refusing)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    with pytest.raises(InputError, match="could not be uploaded as me/mine") as error:
        push(tmp_path, "me/mine")
    assert "hf_secret" not in str(error.value)
