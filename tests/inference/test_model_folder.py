"""What a run of few trained parameters leaves: a plain model folder, and an adapter that fits its base alone."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gpt_classifier import GPTClassifier, TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.errors import InputError
from gpt_classifier.inference.checkpoint_file import load_checkpoint, read_checkpoint
from gpt_classifier.inference.model_card import escaped, fenced, with_section
from gpt_classifier.models.gpt import GPT, GPTConfig
from gpt_classifier.models.tensor_file import write_tensors
from gpt_classifier.models.weights import load_weights

TEXTS = ["WIN a car, call now!", "See you at five", "", "ünïcödé " * 20]
KINDS = {
    "lora": ["--model.trainable=lora", "--model.lora={rank: 4}"],
    "dora": [
        "--model.trainable=lora",
        "--model.lora={rank: 4, dora: true, scale: alpha/sqrt(rank), targets: 'c_attn$|^head$'}",
    ],
    "biases": ["--model.trainable=biases"],
}


def weights(folder: Path, seed: int, config: GPTConfig) -> Path:
    """A file of random weights, as a published file would be."""
    torch.manual_seed(seed)
    tensors = {f"backbone.{name}": tensor for name, tensor in GPT(config).state_dict().items()}
    save_file(tensors, folder / f"{seed}.safetensors")
    return folder / f"{seed}.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_config: GPTConfig) -> Path:
    return weights(tmp_path_factory.mktemp("base"), 1, tiny_config)


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory, fit: Callable[..., int], base: Path) -> Callable[[str], Path]:
    """The folder of a run of a kind on top of ``base``; each is made once. Tests that write into it work on a copy."""
    runs: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in runs:
            root = tmp_path_factory.mktemp(kind)
            assert fit(root, f"--model.weights={base}", "--model.learning_rate=1e-2", *KINDS[kind]) == 0
            runs[kind] = root / "version_0"
        return runs[kind]

    return run


kinds = pytest.mark.parametrize("kind", KINDS)


# ---------------------------------------------------------------- the model folder


@kinds
def test_the_model_folder_is_that_of_any_model(kind, run_of, trained):
    folder = run_of(kind) / "model"
    assert load_file(folder / "model.safetensors").keys() == load_file(trained / "model" / "model.safetensors").keys()
    config = json.loads((folder / "config.json").read_text())
    assert config.keys() == json.loads((trained / "model" / "config.json").read_text()).keys()
    assert config["model"]["lora"] is None


@kinds
def test_model_folder_checkpoint_and_adapter_give_the_same_probabilities(kind, run_of, base):
    run = run_of(kind)
    folder = TextClassifier.load(run / "model").predict_proba(TEXTS)
    assert TextClassifier.load(run).predict_proba(TEXTS) == pytest.approx(folder, abs=1e-6)
    assert TextClassifier.load(run / "checkpoints" / "best.ckpt").predict_proba(TEXTS) == pytest.approx(
        folder, abs=1e-6
    )
    assert TextClassifier.load(run / "adapter", base=base).predict_proba(TEXTS) == pytest.approx(folder, abs=1e-6)
    assert np.ptp(folder[:, 0]) > 0.001  # or there would be nothing to compare


@kinds
def test_a_checkpoint_keeps_lora_apart_and_the_base_as_it_was(kind, run_of, base):
    model = load_checkpoint(run_of(kind) / "checkpoints" / "last.ckpt").model
    before, after = load_file(base), model.state_dict()
    changed = {name for name, tensor in before.items() if not tensor.equal(after[name])}
    assert changed == ({name for name in before if name.endswith("bias")} if kind == "biases" else set())
    assert any(".lora_" in name for name in after) == (kind != "biases")


@pytest.mark.nightly
@pytest.mark.slow
def test_a_run_continues_from_its_checkpoint_and_ends_where_one_run_would_have_ended(fit, base, tmp_path):
    constant = [
        "--model.optimizer.warmup=0",
        "--model.optimizer.schedule=constant",
        *KINDS["dora"],
        f"--model.weights={base}",
    ]
    assert fit(tmp_path / "whole", "--trainer.max_epochs=2", *constant) == 0
    assert fit(tmp_path / "parts", "--trainer.max_epochs=1", *constant) == 0
    assert fit(tmp_path / "parts", "--trainer.max_epochs=2", "--ckpt_path=last", *constant) == 0
    whole, parts = (load_file(tmp_path / name / "version_0/model/model.safetensors") for name in ("whole", "parts"))
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)


@kinds
def test_a_loaded_module_classifies_as_the_folder_does(kind, run_of):
    module = GPTClassifier.load_from_checkpoint(run_of(kind) / "checkpoints" / "best.ckpt")
    folder = TextClassifier.load(run_of(kind) / "model")
    assert TextClassifier(module.bundle()).predict_proba(TEXTS) == pytest.approx(folder.predict_proba(TEXTS), abs=1e-6)
    assert module.model.lora is None or any(".lora_" in name for name in module.model.state_dict())  # not merged itself


def test_a_merged_model_is_a_base_for_another_run(run_of, fit, tmp_path):
    folder = run_of("lora") / "model"
    assert fit(tmp_path, f"--model.weights={folder}", "--model.trainable=last_block", "--trainer.max_epochs=1") == 0


# ---------------------------------------------------------------- the adapter folder


@kinds
def test_an_adapter_holds_what_was_trained_and_no_more(kind, run_of):
    folder = run_of(kind) / "adapter"
    assert {path.name for path in folder.iterdir()} == {"adapter.safetensors", "config.json"}
    names = set(load_file(folder / "adapter.safetensors"))
    trained = (lambda name: name.endswith("bias")) if kind == "biases" else (lambda name: ".lora_" in name)
    assert all(trained(name) or name.startswith("head.") or name in ("tokenizer", "trained_on") for name in names)
    assert {"head.weight", "head.bias", "tokenizer", "trained_on"} < names
    assert (folder / "adapter.safetensors").stat().st_size < 0.6 * (
        run_of(kind) / "model" / "model.safetensors"
    ).stat().st_size


def test_only_runs_of_few_parameters_leave_an_adapter(trained):
    assert not (trained / "adapter").exists()


IN_A_FRESH_PROCESS = """
import json, sys
from gpt_classifier import TextClassifier
classifier = TextClassifier.load(sys.argv[1], base=sys.argv[2])
print(json.dumps(classifier.predict_proba(json.loads(sys.argv[3])).tolist()))
loaded = {"lightning", "pandas", "pytorch_lightning", "sklearn"} & sys.modules.keys()
assert not loaded, loaded
"""


@pytest.mark.slow
def test_an_adapter_and_its_base_copied_elsewhere_need_nothing_else(run_of, base, tmp_path):
    folder = shutil.copytree(run_of("lora") / "adapter", tmp_path / "elsewhere")
    weights = shutil.copy(base, tmp_path / "weights.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, folder, weights, json.dumps(TEXTS)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    here = TextClassifier.load(run_of("lora")).predict_proba(TEXTS)
    assert np.array(json.loads(done.stdout)) == pytest.approx(here, abs=1e-6)


def test_classify_takes_an_adapter_with_its_base(run_of, base, capsys):
    assert main(["classify", str(run_of("lora") / "model"), *TEXTS]) == 0
    expected = capsys.readouterr().out
    assert main(["classify", str(run_of("lora") / "adapter"), "--base", str(base), *TEXTS]) == 0
    assert capsys.readouterr().out == expected


@kinds
def test_another_base_is_refused_with_both_checksums(kind, run_of, tiny_config, tmp_path):
    other = weights(tmp_path, 2, tiny_config)
    folder = run_of(kind) / "adapter"
    expected = json.loads((folder / "config.json").read_text())["base_sha256"]
    with pytest.raises(InputError) as caught:
        TextClassifier.load(folder, base=other)
    checksums = re.findall(r"\b[0-9a-f]{64}\b", str(caught.value))
    assert len(set(checksums)) == 2
    assert checksums[0] == expected
    assert str(other) in str(caught.value)


def test_one_changed_number_of_the_base_is_noticed(run_of, base, tmp_path):
    tensors = load_file(base)
    tensors["backbone.h.1.mlp.c_fc.weight"][3, 3] += 1e-6
    save_file(tensors, tmp_path / "touched.safetensors")
    with pytest.raises(InputError, match=r"trained on .*SHA-256"):
        TextClassifier.load(run_of("lora") / "adapter", base=tmp_path / "touched.safetensors")


def test_a_base_of_other_dimensions_is_refused(run_of, tmp_path):
    other = weights(tmp_path, 3, GPTConfig(257, 64, 16, 2, 4))
    with pytest.raises(InputError, match="do not fit this model"):
        TextClassifier.load(run_of("lora") / "adapter", base=other)


def test_an_adapter_without_base_says_what_is_missing(run_of):
    with pytest.raises(InputError, match=r"adapter.*--base"):
        TextClassifier.load(run_of("lora") / "adapter")


def test_a_base_that_is_not_there_is_named(run_of, tmp_path):
    with pytest.raises(InputError, match=f"no weights at {tmp_path / 'no.safetensors'}"):
        TextClassifier.load(run_of("lora") / "adapter", base=tmp_path / "no.safetensors")


@pytest.mark.parametrize("where", ["", "model", "checkpoints/best.ckpt"])
def test_a_base_for_whole_weights_is_refused(where, trained, base):
    with pytest.raises(InputError, match=r"not an adapter .*base"):
        TextClassifier.load(trained / where, base=base)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"format": 1}'),
        ("adapter.safetensors", b"torn"),
    ],
)
def test_a_damaged_adapter_folder_is_refused_by_name(name, content, run_of, base, tmp_path):
    folder = shutil.copytree(run_of("lora") / "adapter", tmp_path / "adapter")
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=str(folder)):
        TextClassifier.load(folder, base=base)


@pytest.mark.parametrize("lost", ["tokenizer", "head.weight", "backbone.h.0.attn.c_attn.lora_A"])
def test_an_adapter_that_lacks_a_tensor_is_refused_by_name(lost, run_of, base, tmp_path):
    folder = shutil.copytree(run_of("lora") / "adapter", tmp_path / "adapter")
    tensors = load_file(folder / "adapter.safetensors")
    del tensors[lost]
    write_tensors(folder / "adapter.safetensors", tensors)
    with pytest.raises(InputError, match=lost.rpartition(".")[2]):
        TextClassifier.load(folder, base=base)


def test_an_adapter_trained_in_half_precision_fits_its_base_too(fit, base, tmp_path):
    settings = [f"--model.weights={base}", "--trainer.precision=bf16-true", "--trainer.max_epochs=1", *KINDS["lora"]]
    assert fit(tmp_path, *settings) == 0
    run = tmp_path / "version_0"
    with safe_open(run / "adapter" / "adapter.safetensors", framework="pt") as stream:
        assert stream.get_tensor("backbone.h.0.attn.c_attn.lora_A").dtype == torch.bfloat16
    adapter = TextClassifier.load(run / "adapter", base=base).predict_proba(TEXTS)
    assert adapter == pytest.approx(TextClassifier.load(run / "model").predict_proba(TEXTS), abs=1e-6)


# ---------------------------------------------------------------- of an earlier version


@pytest.fixture
def earlier(trained, tmp_path) -> Path:
    """A model folder as an earlier format had it: the tensors of the backbone were called ``gpt.``."""
    folder = shutil.copytree(trained / "model", tmp_path / "earlier")
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace("backbone.", "gpt.", 1): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    del config["crc32"]
    (folder / "config.json").write_text(json.dumps(config | {"format": 4}))
    return folder


def test_a_folder_of_an_earlier_version_is_refused_in_one_line(earlier):
    with pytest.raises(InputError, match=rf"{earlier} .*format 4.* 5 to 6"):
        TextClassifier.load(earlier)


def test_weights_of_an_earlier_version_are_refused_in_one_line(earlier, tiny_config):
    with pytest.raises(InputError, match=rf"{earlier} .*earlier version"):
        load_weights(GPT(tiny_config), earlier)


def test_an_adapter_of_an_earlier_version_is_refused_before_its_base_is_read(run_of, tmp_path):
    folder = shutil.copytree(run_of("lora") / "adapter", tmp_path / "adapter")
    config = json.loads((folder / "config.json").read_text())
    del config["crc32"]
    (folder / "config.json").write_text(json.dumps(config | {"format": 4}))
    with pytest.raises(InputError, match=f"{folder} has format 4, expected"):
        TextClassifier.load(folder, base="nowhere.safetensors")


@pytest.mark.parametrize("load", [GPTClassifier.load_from_checkpoint, TextClassifier.load])
def test_a_checkpoint_of_an_earlier_version_is_refused_in_one_line(load, trained, tmp_path):
    checkpoint = read_checkpoint(trained / "checkpoints" / "last.ckpt")
    checkpoint["gpt_classifier"]["config"]["format"] = 4
    checkpoint["hyper_parameters"] |= {"optimizer": "AdamW", "labels": ["ham", "spam"]}  # as format 4 had them
    torch.save(checkpoint, tmp_path / "earlier.ckpt")
    with pytest.raises(InputError, match=r"has format 4, expected.*: another version"):
        load(tmp_path / "earlier.ckpt")


def test_a_card_shows_names_as_they_are_and_holds_whatever_text():
    assert escaped("a|b *c* <d>\n[e](f) `g`") == r"a\|b \*c\* \<d\> \[e\]\(f\) \`g\`"
    assert fenced("a\n````\nb") == "`````\na\n````\nb\n`````"
    card = with_section("# A card\n\n## Data\n\nabout", "Test", "class ``` x")
    assert "````\nclass ``` x\n````\n" in card
