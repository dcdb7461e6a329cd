"""Our network is GPT-2: it computes what transformers' does, and its three steps compose."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model

from gpt_classifier.models.gpt import GPT, SIZES, GPTConfig, take
from gpt_classifier.models.weights import load_weights


def published(config: GPTConfig) -> GPT2Config:
    return GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.context_length,
        n_embd=config.n_embd,
        n_layer=config.n_layer,
        n_head=config.n_head,
    )


def random_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter random, biases and norms too, so that none can be forgotten unnoticed."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.eval()


def as_network(model: GPT2Model, folder: Path) -> None:
    model.save_pretrained(folder)


def as_language_model(model: GPT2Model, folder: Path) -> None:
    whole = GPT2LMHeadModel(model.config)
    whole.transformer.load_state_dict(model.state_dict())
    whole.save_pretrained(folder)


def as_untied_language_model(model: GPT2Model, folder: Path) -> None:
    whole = GPT2LMHeadModel(GPT2Config(**model.config.to_diff_dict() | {"tie_word_embeddings": False}))
    whole.transformer.load_state_dict(model.state_dict())
    whole.save_pretrained(folder)
    assert "lm_head.weight" in load_file(folder / "model.safetensors")


def as_shards(model: GPT2Model, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1


def as_file_with_masks(model: GPT2Model, folder: Path) -> None:
    """As the released files are: with the constants of the attention mask."""
    model.save_pretrained(folder)
    width = model.config.n_positions
    masks = {f"h.{n}.attn.bias": torch.ones(width, width).tril()[None, None] for n in range(model.config.n_layer)}
    save_file(load_file(folder / "model.safetensors") | masks, folder / "model.safetensors")


@pytest.mark.parametrize(
    "save", [as_network, as_language_model, as_untied_language_model, as_shards, as_file_with_masks]
)
def test_hidden_states_equal_the_reference_however_its_weights_were_saved(save, tiny_config, tmp_path):
    reference = random_weights(GPT2Model(published(tiny_config)))
    save(reference, tmp_path)
    ours = GPT(tiny_config).eval()
    load_weights(ours, tmp_path)
    ids = torch.randint(tiny_config.vocab_size, (3, tiny_config.context_length))
    assert_close(ours(ids), reference(ids).last_hidden_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_hidden_states_equal_the_reference_with_the_blocks_and_heads_of(size, tmp_path):
    n_layer, n_head = SIZES[size].n_layer, SIZES[size].n_head
    config = GPTConfig(vocab_size=50, context_length=12, n_layer=n_layer, n_head=n_head, n_embd=2 * n_head)
    reference = GPT2Model(published(config)).eval()
    reference.save_pretrained(tmp_path)
    ours = GPT(config).eval()
    load_weights(ours, tmp_path / "model.safetensors")
    ids = torch.randint(50, (2, 12))
    assert_close(ours(ids), reference(ids).last_hidden_state, rtol=0, atol=1e-5)


# Radford et al. (2019), table 2, with the heads and parameter counts of the released models.
@pytest.mark.parametrize(
    ("size", "n_layer", "n_embd", "n_head", "parameters"),
    [
        ("gpt2", 12, 768, 12, 124_439_808),
        ("gpt2-medium", 24, 1024, 16, 354_823_168),
        ("gpt2-large", 36, 1280, 20, 774_030_080),
        ("gpt2-xl", 48, 1600, 25, 1_557_611_200),
    ],
)
def test_the_released_sizes_are_those_published(size, n_layer, n_embd, n_head, parameters):
    config = SIZES[size]
    assert (config.n_layer, config.n_embd, config.n_head) == (n_layer, n_embd, n_head)
    assert (config.vocab_size, config.context_length, config.causal) == (50257, 1024, True)
    with torch.device("meta"):
        ours, reference = GPT(config), GPT2Model(published(config))
    assert [sum(p.numel() for p in model.parameters()) for model in (ours, reference)] == [parameters] * 2
    assert {name for name, _ in ours.named_parameters()} == {name for name, _ in reference.named_parameters()}


@pytest.fixture(params=[True, False], ids=["causal", "not causal"])
def gpt(request, tiny_config) -> GPT:
    return random_weights(GPT(replace(tiny_config, n_layer=3, causal=request.param)))


@pytest.fixture
def ids(tiny_config) -> torch.Tensor:
    return torch.randint(tiny_config.vocab_size, (4, 9))


LENGTHS = torch.tensor([9, 1, 4, 7])


def test_embed_blocks_and_finish_compose_to_forward(gpt, ids):
    steps = gpt.finish(gpt.run_blocks(gpt.embed(ids), lengths=LENGTHS))
    assert_close(steps, gpt(ids, LENGTHS), rtol=0, atol=0)


@pytest.mark.parametrize("layer", range(4))
def test_blocks_below_and_from_a_start_layer_compose_to_all_blocks(layer, gpt, ids):
    x = gpt.embed(ids)
    below = gpt.run_blocks(x, 0, layer, lengths=LENGTHS)
    assert_close(gpt.run_blocks(below, layer, lengths=LENGTHS), gpt.run_blocks(x, lengths=LENGTHS), rtol=0, atol=0)


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("position", [LENGTHS - 1, torch.zeros_like(LENGTHS), torch.tensor([3, 0, 2, 5])])
def test_reading_one_position_equals_the_full_computation_there(position, start, gpt, ids):
    x = gpt.embed(ids)
    everywhere = gpt.run_blocks(x, start, lengths=LENGTHS)
    there = gpt.run_blocks(x, start, lengths=LENGTHS, position=position)
    assert_close(there, take(everywhere, position), rtol=1e-5, atol=1e-5)


def test_a_token_of_a_causal_network_sees_nothing_that_follows(tiny_config, ids):
    gpt = random_weights(GPT(tiny_config))
    assert_close(gpt(ids[:, :4]), gpt(ids)[:, :4], rtol=1e-5, atol=1e-5)


def test_a_network_that_is_not_causal_must_know_the_lengths(tiny_config, ids):
    with pytest.raises(ValueError, match="lengths"):
        GPT(replace(tiny_config, causal=False))(ids)


@pytest.mark.parametrize("wrong", [{"n_layer": 0}, {"n_head": 3}, {"dropout": 1.0}, {"vocab_size": -1}])
def test_dimensions_that_no_network_has_are_refused(wrong, tiny_config):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GPTConfig(**asdict(tiny_config) | wrong)


def test_initial_weights_that_write_to_the_residual_stream_are_smaller_the_deeper_the_network(tiny_config):
    gpt = GPT(replace(tiny_config, n_layer=8, n_embd=64))
    assert gpt.h[0].mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert gpt.h[0].mlp.c_proj.weight.std().item() == pytest.approx(0.02 / (2 * 8) ** 0.5, rel=0.05)
