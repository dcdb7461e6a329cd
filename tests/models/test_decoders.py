"""Decoders of transformers compute what they compute there, from any block on, and are trained and kept as a GPT is."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from gpt_classifier import TextClassifier
from gpt_classifier.errors import InputError
from gpt_classifier.inference import model_folder
from gpt_classifier.inference.classifier import quantized
from gpt_classifier.models.freezing import count_frozen_layers, trainable_names
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.models.split_network import SplitNetwork
from gpt_classifier.models.transformers_config import is_causal, network_config
from gpt_classifier.models.transformers_network import build_empty_network, pretrained_network, random_network
from gpt_classifier.training.lm_loss import next_token_loss
from gpt_classifier.training.module import GPTClassifier

COMMON = {"vocab_size": 300, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
SIZES = COMMON | {
    **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 80},
}
WINDOWS = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
NEOX = {name: SIZES[name] for name in SIZES if name not in ("num_key_value_heads", "head_dim")}
OPT = {name: NEOX[name] for name in NEOX if name != "intermediate_size"} | {"ffn_dim": 24, "dropout": 0.0}
GPT2 = COMMON | {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 80}
DECODERS = {
    "llama": SIZES | {"model_type": "llama"},
    "qwen2": SIZES | WINDOWS | {"model_type": "qwen2", "use_sliding_window": True},
    "qwen3": SIZES | {"model_type": "qwen3"},
    "smollm3": SIZES | {"model_type": "smollm3"},
    "gemma": SIZES | {"model_type": "gemma"},
    "gemma2": SIZES | WINDOWS | {"model_type": "gemma2"},
    "gemma3": SIZES | WINDOWS | {"model_type": "gemma3_text"},
    "neox": NEOX | {"model_type": "gpt_neox"},
    "opt": OPT | {"model_type": "opt"},
    "opt with projections": OPT | {"model_type": "opt", "word_embed_proj_dim": 8, "do_layer_norm_before": False},
    "gpt2": GPT2 | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0) | {"model_type": "gpt2"},
}
WHOLE = {"bloom": SIZES | {"model_type": "bloom"}}  # a block gets ALiBi's tensor, and hidden states as they are read
IDS = torch.randint(3, 300, (3, 20), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([20, 3, 11])


@pytest.fixture(params=DECODERS)
def kind(request) -> str:
    return request.param


def disturb(model: torch.nn.Module) -> None:
    """Norms and biases begin as ones and zeros, which would hide that one of them is not used."""
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))


def classifier(kind: str, pooling: str = "last_token") -> SequenceClassifier:
    model = SequenceClassifier(random_network((DECODERS | WHOLE)[kind]), 2, pooling).eval()
    disturb(model)
    return model


def settings(kind: str, **others: object) -> dict[str, object]:
    """Settings of a module that trains a tiny random decoder on bytes."""
    return {"backbone": DECODERS[kind], "weights": "random", "learning_rate": 1e-3} | others


def padded(left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (B, T) and the mask of real tokens."""
    ids, mask = torch.full_like(IDS, 1), torch.zeros_like(IDS)
    for row, length in enumerate(LENGTHS):
        place = slice(-int(length), None) if left else slice(int(length))
        ids[row, place], mask[row, place] = IDS[row, : int(length)], 1
    return ids, mask


# ---------------------------------------------------------------- what it computes


@pytest.mark.parametrize("left", [False, True])
def test_logits_are_those_of_transformers_own_classifier_padded_on_either_side(left, kind):
    config = AutoConfig.for_model(num_labels=2, **DECODERS[kind])
    reference = AutoModelForSequenceClassification.from_config(config).eval()
    disturb(reference)
    ours = classifier(kind)
    assert isinstance(ours.backbone, SplitNetwork)
    config = ours.backbone.config
    assert (config.family, config.causal, config.n_layer) == ("decoder", True, 3)
    ours.backbone.network.load_state_dict(reference.base_model.state_dict())
    ours.head.load_state_dict({"weight": reference.score.weight, "bias": torch.zeros(2)})
    ids, mask = padded(left)
    positions = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)} if "position_ids" in _accepted(reference) else {}
    expected = reference(input_ids=ids, attention_mask=mask, **positions).logits
    assert_close(ours(padded(False)[0], LENGTHS), expected, rtol=0, atol=1e-5)


def _accepted(model: torch.nn.Module) -> tuple[str, ...]:
    return () if model.config.model_type == "opt" else ("position_ids",)  # OPT computes them from the mask


@pytest.mark.parametrize("pooling", ["first_token", "last_token", "mean"])
def test_logits_are_the_same_from_every_block(pooling, kind):
    model = classifier(kind, pooling)
    expected = model(IDS, LENGTHS)
    assert list(model.backbone.starts_at) == [0, 1, 2, 3]
    for start_layer in model.backbone.starts_at:
        states = model.backbone.run_blocks(model.backbone.embed(IDS), 0, start_layer)
        assert_close(model(states, LENGTHS, start_layer), expected, rtol=0, atol=1e-6)


def test_the_last_block_computes_only_what_is_read_and_gives_the_same_states_and_gradients(kind):
    backbone = random_network(DECODERS[kind]).eval()
    disturb(backbone)
    x, rows = backbone.embed(IDS).detach(), torch.arange(3)
    whole, alone = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = backbone.run_blocks(whole, 1, lengths=LENGTHS)[rows, LENGTHS - 1]
    states = backbone.run_blocks(alone, 1, lengths=LENGTHS, position=LENGTHS - 1)[:, 0]
    assert backbone.reads_positions == (kind != "gpt2")  # its attention has queries, keys and values in one layer
    assert_close(states, expected, atol=1e-5, rtol=1e-5)
    gradients = []
    for result in (expected, states):
        backbone.zero_grad()
        result.square().sum().backward()
        gradients.append({n: p.grad.clone() for n, p in backbone.named_parameters() if p.grad is not None})
    assert_close(alone.grad, whole.grad, atol=1e-5, rtol=1e-4)
    for name, gradient in gradients[0].items():
        other = gradients[1].get(name, torch.zeros_like(gradient))
        assert_close(other, gradient, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("kind", [*DECODERS, *WHOLE])
@pytest.mark.parametrize("pooling", ["first_token", "last_token", "mean"])
def test_neither_padding_nor_the_batch_changes_a_logit(pooling, kind):
    model = classifier(kind, pooling)
    alone = torch.cat([model(ids[None, :n], n[None]) for ids, n in zip(IDS, LENGTHS, strict=True)])
    wide = torch.cat([padded(False)[0], torch.ones(3, 9, dtype=torch.long)], 1)
    assert_close(model(wide, LENGTHS), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["qwen2", "gemma2", "gemma3"])
def test_a_window_of_attention_counts_in_its_blocks_only(kind):
    narrow = classifier(kind)
    wide = SequenceClassifier(random_network(DECODERS[kind] | {"sliding_window": 40}), 2).eval()
    wide.load_state_dict(narrow.state_dict())
    states = torch.randn(3, 20, 16)
    same = [
        torch.allclose(*(m.backbone.run_blocks(states, block, block + 1) for m in (narrow, wide)), atol=1e-6)
        for block in range(3)
    ]
    assert same == [False, True, False]


def test_a_network_whose_blocks_cannot_be_run_alone_runs_as_a_whole():
    model = classifier("bloom")
    assert not isinstance(model.backbone, SplitNetwork)
    assert (model.backbone.config.family, model.backbone.starts_at) == ("decoder", (0, 3))
    states = model.backbone.network(input_ids=IDS).last_hidden_state
    assert_close(model(IDS, LENGTHS), model.head(states[torch.arange(3), LENGTHS - 1]), rtol=0, atol=1e-5)


def test_checkpointed_blocks_give_the_gradients_of_transformers(kind):
    model = classifier(kind, "mean").train()
    gradients = []
    for model.backbone.activation_checkpointing in (False, True):
        model.zero_grad()
        model(IDS, torch.full((3,), 20)).square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.backbone.network.named_parameters()})
    model.zero_grad()
    states = model.backbone.network.eval()(input_ids=IDS, use_cache=False).last_hidden_state
    model.head(states.mean(1)).square().sum().backward()
    expected = {name: p.grad for name, p in model.backbone.network.named_parameters()}
    for found in gradients:
        assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["smollm3", "gemma", "opt with projections", "gpt2"])
def test_the_next_token_loss_of_tied_embeddings_is_that_of_transformers(kind):
    fields = DECODERS[kind] | {"tie_word_embeddings": True}
    reference = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields)).eval()
    ours = random_network(fields).eval()
    ours.network.load_state_dict(reference.base_model.state_dict())
    states = ours.finish(ours.run_blocks(ours.embed(IDS)))
    loss, _ = next_token_loss(states, IDS, torch.full((3, 19), 1 / 57), ours.output_embedding)
    assert_close(loss, reference(input_ids=IDS, labels=IDS).loss, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        DECODERS["llama"],  # not tied
        DECODERS["gemma2"] | {"final_logit_softcapping": 30.0},
        DECODERS["llama"] | {"model_type": "bert", "is_decoder": True},  # which has a layer before the embeddings
    ],
    ids=["untied", "capped", "transformed"],
)
def test_what_stands_between_states_and_logits_leaves_no_output_embedding(fields):
    assert random_network(fields).output_embedding is None


# ---------------------------------------------------------------- what trains


ABOVE = {"gpt2": "ln_f.", "neox": "final_layer_norm.", "opt": "decoder.final_layer_norm."}
ABOVE |= {"opt with projections": "decoder.project_out."}
BLOCKS = {"gpt2": "h", "opt": "decoder.layers", "opt with projections": "decoder.layers"}


@pytest.mark.parametrize("policy", ["head", "last_block", 2, "all"])
def test_a_policy_names_whole_blocks_and_what_is_above_them(policy, kind):
    model = classifier(kind)
    names = {name for name, _ in model.named_parameters()}
    count = {"head": 0, "last_block": 1, "all": 3}.get(policy, policy)
    network = "backbone.network."
    parts = ["head.", *(f"{network}{BLOCKS.get(kind, 'layers')}.{n}." for n in range(3 - count, 3))]
    parts += [network + ABOVE.get(kind, "norm.")] * (count > 0)
    expected = names if policy == "all" else {name for name in names if name.startswith(tuple(parts))}
    assert trainable_names(model, policy) == expected
    assert count_frozen_layers(model, policy) == (0 if policy == "all" else 3 - count)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_a_hidden_state_cache_trains_the_same(kind, quick_trainer, tiny_data):
    scores = []
    for cached in (True, False):
        torch.manual_seed(1)
        options = {"trainable": "last_block", "cache": {"enabled": cached}, "optimizer": {"name": "SGD"}}
        module = GPTClassifier(**settings(kind, **options, learning_rate=0.1))
        trainer = quick_trainer(max_epochs=2)
        trainer.fit(module, tiny_data())
        assert (module.state_cache is not None) == cached
        scores.append({name: float(value) for name, value in trainer.callback_metrics.items()})
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_lora_merges(quick_trainer, tiny_data):
    module = GPTClassifier(**settings("llama", trainable="lora", lora={"rank": 2, "targets": r"\.(q_proj|v_proj)$"}))
    quick_trainer().fit(module, tiny_data())
    whole, merged = module.bundle(), module.bundle().merged()
    assert_close(merged.model.eval()(IDS % 257, LENGTHS), whole.model.eval()(IDS % 257, LENGTHS), rtol=0, atol=1e-5)


def test_a_pattern_for_gpt_is_refused_with_names_of_this_network():
    named = r"match no linear layer .* such as backbone\.network\.layers\.0\.self_attn\.q_proj"
    with pytest.raises(InputError, match=named):
        classifier("llama").add_lora(LoRAConfig(targets="c_attn"))


def test_the_auxiliary_loss_trains_a_tied_decoder_and_is_refused_for_another(quick_trainer, tiny_data):
    trainer = quick_trainer()
    trainer.fit(GPTClassifier(**settings("gemma3", trainable="last_block", lm_loss=0.5)), tiny_data())
    assert trainer.callback_metrics["val/loss"] > 0
    with pytest.raises(InputError, match=r"\(llama\) .*next token"):
        quick_trainer().fit(GPTClassifier(**settings("llama", lm_loss=0.5)), tiny_data())


# ---------------------------------------------------------------- keeping and loading


TEXTS = ["WIN a car, call now!", "See you", "</s>", ""]


@pytest.fixture
def saved(kind, published) -> Path:
    """A folder as on the hub: a tokenizer that adds a BOS token, and random weights of a language model."""
    folder = published("bpe")
    reference = AutoModelForCausalLM.from_config(AutoConfig.for_model(**DECODERS[kind]))
    disturb(reference)
    reference.save_pretrained(folder)
    return folder


def test_published_weights_are_those_of_the_language_model_or_its_base(saved, tmp_path):
    reference = AutoModel.from_pretrained(saved).eval()
    reference.save_pretrained(tmp_path / "base")
    for folder in (saved, tmp_path / "base"):
        ours = pretrained_network(str(folder))
        assert ours.training
        assert {p.dtype for p in ours.parameters()} == {torch.float32}
        ours.eval()
        states = ours.finish(ours.run_blocks(ours.embed(IDS)))
        assert_close(states, reference(input_ids=IDS).last_hidden_state, rtol=0, atol=1e-5)


def test_published_weights_that_do_not_fit_are_named(saved):
    file = saved / "model.safetensors"
    tensors = load_file(file)
    block = next(name for name in tensors if ".2." in name and name.endswith("weight"))
    for change, named in (
        ({name: t for name, t in tensors.items() if name != block}, "missing"),
        (tensors | {block.replace(".2.", ".3."): tensors[block].clone()}, "unexpected"),
        (tensors | {block: tensors[block][:-1].contiguous()}, "could not load the weights"),
    ):
        save_file(change, file, metadata={"format": "pt"})
        with pytest.raises(InputError, match=named):
            pretrained_network(str(saved))


def test_a_folder_and_a_checkpoint_come_back_the_same_without_what_they_began_with(
    saved, quick_trainer, tiny_data, tmp_path
):
    module = GPTClassifier(backbone=str(saved), trainable="last_block")
    trainer = quick_trainer()
    trainer.fit(module, tiny_data(tokenizer=str(saved)))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    model_folder.save_folder(tmp_path / "model", module.bundle(), "")
    saved.rename(tmp_path / "elsewhere")
    expected = TextClassifier(module.bundle()).predict_proba(TEXTS)
    for path in (tmp_path / "model", tmp_path / "last.ckpt"):
        assert TextClassifier.load(path).predict_proba(TEXTS) == pytest.approx(expected, abs=1e-6)


def test_an_empty_network_is_split_alike(kind):
    first = random_network(DECODERS[kind])
    again = build_empty_network(first.config.fields)
    assert isinstance(again, SplitNetwork)
    assert again.config == first.config
    assert again.above == first.above


@pytest.mark.skipif("x86" not in torch.backends.quantized.supported_engines, reason="needs an x86 CPU")
def test_int8_is_close(kind):
    model = classifier(kind)
    exact = model(IDS, LENGTHS).softmax(-1)
    model.backbone = quantized(model.backbone)
    assert_close(model(IDS, LENGTHS).softmax(-1), exact, rtol=0, atol=0.05)


# ---------------------------------------------------------------- what is a decoder


@pytest.mark.parametrize(
    ("fields", "causal"),
    [
        (DECODERS["gemma3"], True),
        (DECODERS["gemma3"] | {"use_bidirectional_attention": True}, False),  # EmbeddingGemma
        ({"model_type": "bert"}, False),
        ({"model_type": "bert", "is_decoder": True}, True),
        ({"model_type": "modernbert"}, False),
        ({"model_type": "xlnet"}, False),
    ],
)
def test_transformers_says_what_is_causal(fields, causal):
    assert is_causal(AutoConfig.for_model(**fields)) == causal


def test_blocks_that_are_skipped_at_random_are_refused():
    with pytest.raises(InputError, match=r"layerdrop 0\.1.*set layerdrop to 0"):
        network_config(DECODERS["opt"] | {"layerdrop": 0.1})
