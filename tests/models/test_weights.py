"""Weights that do not fit are refused by name, and nothing is downloaded behind anyone's back."""

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt_classifier import TextClassifier
from gpt_classifier.errors import InputError
from gpt_classifier.models import weights
from gpt_classifier.models.gpt import GPT, SIZES
from gpt_classifier.models.weights import fetch_pretrained, load_weights


@pytest.fixture
def saved(tiny_config, tmp_path):
    """Weights in the published layout, in a file."""
    state = GPT(tiny_config).state_dict()
    turned = {name: t.T if name.endswith(weights.TRANSPOSED) else t for name, t in state.items()}
    save_file({name: tensor.contiguous() for name, tensor in turned.items()}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_weights_survive_the_published_layout(saved, tiny_config):
    gpt = GPT(tiny_config)
    load_weights(gpt, saved)
    assert all(torch.equal(tensor, load_file(saved)[name]) for name, tensor in gpt.state_dict().items() if "ln" in name)
    assert torch.equal(gpt.h[1].attn.c_attn.weight, load_file(saved)["h.1.attn.c_attn.weight"].T)


def test_weights_in_half_precision_are_loaded_in_full(saved, tiny_config):
    save_file({name: tensor.bfloat16() for name, tensor in load_file(saved).items()}, saved)
    gpt = GPT(tiny_config)
    load_weights(gpt, saved)
    assert {parameter.dtype for parameter in gpt.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("h.1.attn.c_attn.bias"), r"missing h\.1\.attn\.c_attn\.bias$"),
        (lambda t: t.update({"h.2.ln_1.bias": torch.zeros(32)}), r"unexpected h\.2\.ln_1\.bias$"),
        (lambda t: t.update({"score.weight": torch.zeros(2, 32)}), r"unexpected score\.weight$"),
        (lambda t: t.update({"wpe.weight": torch.zeros(8, 32)}), r"wpe\.weight is \(8, 32\), expected \(64, 32\)$"),
        (
            lambda t: t.update({"h.0.mlp.c_fc.weight": t["h.0.mlp.c_fc.weight"].T.contiguous()}),
            r"h\.0\.mlp\.c_fc\.weight is \(32, 128\), expected \(128, 32\)$",
        ),
        (lambda t: [t.pop(f"h.0.ln_{n}.{kind}") for n in (1, 2) for kind in ("weight", "bias")], r"and 1 more$"),
    ],
    ids=["missing", "left over", "left-over head", "misshapen", "already turned", "many"],
)
def test_a_tensor_that_does_not_fit_is_named_with_its_file(change, message, saved, tiny_config):
    tensors = load_file(saved)
    change(tensors)
    save_file(tensors, saved)
    gpt = GPT(tiny_config)
    before = {name: tensor.clone() for name, tensor in gpt.state_dict().items()}
    with pytest.raises(InputError, match=rf"weights in {saved} .*{message}"):
        load_weights(gpt, saved)
    assert all(torch.equal(tensor, before[name]) for name, tensor in gpt.state_dict().items())


@pytest.mark.parametrize("path", ["no-such-file.safetensors", "no-such-folder", ""])
def test_a_missing_file_is_named(path, tiny_config, tmp_path):
    with pytest.raises(InputError, match=f"no weights at {tmp_path / path}"):
        load_weights(GPT(tiny_config), tmp_path / path)


def test_a_missing_shard_is_named(saved, tiny_config):
    saved.with_name("model.safetensors.index.json").write_text(
        '{"weight_map": {"wte.weight": "model-00001.safetensors"}}'
    )
    with pytest.raises(InputError, match=r"no weights at .*model-00001\.safetensors"):
        load_weights(GPT(tiny_config), saved.parent)


@pytest.mark.parametrize("index", ["", "{", "[]", '{"weight_map": 3}'])
def test_a_damaged_index_of_shards_is_named(index, saved, tiny_config):
    saved.with_name("model.safetensors.index.json").write_text(index)
    with pytest.raises(InputError, match=r"model\.safetensors\.index\.json"):
        load_weights(GPT(tiny_config), saved.parent)


@pytest.mark.parametrize("left", [0, 4, 1000, -1])
def test_a_truncated_file_is_named(left, saved, tiny_config):
    saved.write_bytes(saved.read_bytes()[:left])
    with pytest.raises(InputError, match=rf"{saved} .*safetensors"):
        load_weights(GPT(tiny_config), saved)


def test_a_model_folder_gives_its_network(trained):
    model = TextClassifier.load(trained / "model", device="cpu").model
    gpt = GPT(model.backbone.config)
    load_weights(gpt, trained / "model")
    assert all(torch.equal(tensor, model.backbone.state_dict()[name]) for name, tensor in gpt.state_dict().items())


@pytest.mark.parametrize("size", SIZES)
def test_offline_without_weights_the_message_says_what_was_wanted_and_what_to_do(size, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError) as caught:
        fetch_pretrained(size)
    for part in (f"openai-community/{size} ", weights.REVISIONS[size], "weights FOLDER", "random"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", weights.SHA256)
def test_a_file_with_another_checksum_is_refused(size, saved, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(saved))
    with pytest.raises(InputError, match=rf"{saved} has SHA-256 .*, expected"):
        fetch_pretrained(size)
