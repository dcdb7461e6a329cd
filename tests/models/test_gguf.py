"""A .gguf file, in which llama.cpp keeps a network, is a backbone: it brings configuration, weights and tokenizer."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from torch.testing import assert_close

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.errors import InputError
from gpt_classifier.models.transformers_config import sentence_pooling, usual_length
from gpt_classifier.models.transformers_network import context_length, pretrained_network, random_network
from gpt_classifier.text.encoder import TextEncoder

gguf = pytest.importorskip("gguf", reason="reads and writes .gguf files")
Q8 = gguf.GGMLQuantizationType.Q8_0
SPECIAL = ["<|endoftext|>", "<|im_start|>"]
TOKENS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "se", "ca"]
LLAMA = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
LLAMA |= {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}
NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(scope="module")
def network():
    network = random_network(LLAMA, len(TOKENS)).network.eval()
    for layer in network.layers:  # what 8 bits can hold
        for matrix in layer.mlp.parameters():
            matrix.data = torch.from_numpy(gguf.dequantize(gguf.quantize(matrix.detach().numpy(), Q8), Q8))
    return network


@pytest.fixture
def rows(tmp_path) -> Path:
    """A file of labelled texts."""
    path, words = tmp_path / "rows.csv", ["five", "six", "home", "noon", "the car", "two", "my place", "work"]
    lines = [f"see you at {word} {end},ham\nWIN {word} {end} now,spam\n" for word in words for end in "abcd"]
    path.write_text("text,label\n" + "".join(lines))
    return path


@pytest.fixture(scope="module")
def file(network, tmp_path_factory) -> Path:
    """A Llama as llama.cpp's converter writes it, with the matrices of its MLPs in 8 bits."""
    path = tmp_path_factory.mktemp("gguf") / "tiny-llama.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    c = network.config
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(TOKENS) - 2))
    writer.add_token_merges(["s e", "c a"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, tensor in network.state_dict().items():
        name, matrix = as_llama_cpp(name, tensor.numpy(), c)
        if "ffn" in name and "norm" not in name:
            writer.add_tensor(name, gguf.quantize(matrix, Q8), raw_dtype=Q8)
        else:
            writer.add_tensor(name, matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def as_llama_cpp(name: str, matrix: np.ndarray, config) -> tuple[str, np.ndarray]:
    """The name and the order of rows of a tensor there."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    if number := next((heads[key] for key in heads if key in name), None):
        matrix = matrix.reshape(number, 2, -1, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)
    part = name.removesuffix(".weight")
    if part.startswith("layers."):
        _, block, part = part.split(".", 2)
        return f"blk.{block}.{NAMES[part]}.weight", np.ascontiguousarray(matrix)
    return f"{NAMES[part]}.weight", np.ascontiguousarray(matrix)


def test_it_brings_the_network(file, network):
    ours = pretrained_network(str(file)).eval()
    ids = torch.randint(len(TOKENS), (2, 9))
    with torch.no_grad():
        states = ours.finish(ours.run_blocks(ours.embed(ids), lengths=torch.tensor([9, 9])))
        assert_close(states, network(ids).last_hidden_state)
    assert context_length(str(file)) == 64
    assert sentence_pooling(str(file)) is None
    assert usual_length(str(file)) == 512


def test_it_brings_the_tokenizer(file):
    text_encoder = TextEncoder(str(file), 20)
    assert text_encoder.encode("see a car")[0] == [
        TOKENS.index(token) for token in ["se", "e", "Ġ", "a", "Ġ", "ca", "r"]
    ]
    assert text_encoder.padding_id == 0
    assert 0 not in text_encoder.encode("<|endoftext|>")[0]
    assert text_encoder.settings()["tokenizer"] == "tiny-llama.gguf"  # without its folder, which is private


def test_what_was_trained_on_it_loads_without_the_file_and_the_library(file, rows, tmp_path, capsys):
    (moved := tmp_path / "moved.gguf").write_bytes(file.read_bytes())
    words = ["--data.source", str(rows), "--model.backbone", str(moved)]
    words += ["--trainer.default_root_dir", str(tmp_path / "runs"), "--trainer.accelerator", "cpu"]
    assert main(["fit", "--config", "decoder", *words]) == 0
    capsys.readouterr()
    moved.unlink()
    model = tmp_path / "runs" / "version_0" / "model"
    code = "import sys; sys.modules['gguf'] = None\nfrom gpt_classifier import TextClassifier\n"
    code += f"print(TextClassifier.load({str(model)!r}, 'cpu').predict('WIN a car now').label)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{TextClassifier.load(model, 'cpu').predict('WIN a car now').label}\n"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _: None, "cannot be read"),
        (lambda content: b"PK\3\4" + content[4:], r"is no GGUF file, as it begins with b'PK"),
        (lambda content: content[: len(content) // 2], "expected a network of transformers"),
        (lambda content: content.replace(b"llama", b"lambda"[:5]), "expected a network of transformers"),
        (lambda content: content[:4] + b"\xff" * 20, "expected a network of transformers"),
    ],
    ids=["missing", "another kind", "half", "another architecture", "no header"],
)
def test_a_file_that_cannot_be_read_is_one_line(damage, said, file, rows, tmp_path, capsys):
    path = tmp_path / "other.gguf"
    if (content := damage(file.read_bytes())) is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        pretrained_network(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    words = ["--data.source", str(rows), "--trainer.default_root_dir", str(tmp_path / "runs")]
    assert main(["fit", "--config", "decoder", "--model.backbone", str(path), *words]) == 2
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert re.search(f"{said}|tokenizer is ", last)  # which is read first
    assert str(path) in last


def test_without_the_library_one_line_says_so(file, monkeypatch):
    monkeypatch.setattr("gpt_classifier.files.find_spec", lambda _: None)
    for read in (pretrained_network, TextEncoder):
        with pytest.raises(InputError, match=r"pip install .gpt-classifier\[gguf\]"):
            read(str(file))
