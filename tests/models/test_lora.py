"""A low-rank update of frozen matrices changes nothing before training, and equals the merged matrices after it."""

import copy
from dataclasses import fields

import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import nn
from torch.testing import assert_close

from gpt_classifier.errors import InputError
from gpt_classifier.models.freezing import count_frozen_layers, freeze, trainable_names
from gpt_classifier.models.gpt import GPT, GPTConfig
from gpt_classifier.models.heads import POOLINGS, SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig, LoRALinear
from gpt_classifier.training.module import GPTClassifier

CONFIG = GPTConfig(vocab_size=257, context_length=32, n_embd=32, n_layer=2, n_head=4)
IDS = torch.randint(256, (4, 9), generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([9, 1, 4, 7])
KINDS = {
    "alpha/rank": {"rank": 4, "alpha": 8.0},
    "alpha/sqrt(rank)": {"rank": 4, "alpha": 8.0, "scale": "alpha/sqrt(rank)"},
    "alpha": {"rank": 4, "alpha": 2.0, "scale": "alpha"},
    "DoRA": {"rank": 4, "alpha": 8.0, "dora": True},
    "DoRA, alpha/sqrt(rank)": {"rank": 4, "alpha": 8.0, "dora": True, "scale": "alpha/sqrt(rank)"},
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def plain(pooling: str = "last_token", **settings) -> SequenceClassifier:
    torch.manual_seed(0)
    return SequenceClassifier(GPT(CONFIG), 3, pooling, **settings).eval()


@torch.no_grad()
def move(model: nn.Module) -> None:
    """Makes every update different from zero, as training would."""
    for name, parameter in model.named_parameters():
        if name.endswith("lora_B"):
            parameter.normal_(std=0.05)
        elif name.endswith("lora_m"):
            parameter.mul_(torch.rand_like(parameter) + 0.5)


def adapted(pooling: str = "last_token", **kind) -> SequenceClassifier:
    """:func:`plain` with updates that are not zero."""
    model = plain(pooling)
    model.add_lora(LoRAConfig(**kind))
    move(model)
    return model


# ---------------------------------------------------------------- one layer


@pytest.mark.parametrize(("scale", "factor"), [("alpha/rank", 2), ("alpha/sqrt(rank)", 4), ("alpha", 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_its_matrix_plus_the_scaled_product_of_the_small_ones(scale, factor, bias):
    base = nn.Linear(6, 5, bias).double()
    layer = LoRALinear(base, LoRAConfig(rank=4, alpha=8, scale=scale))
    move(layer)
    x = torch.randn(7, 6, dtype=torch.float64)
    assert_close(layer(x), base(x) + factor * x @ layer.lora_A.T @ layer.lora_B.T)


def test_with_dora_the_rows_of_the_matrix_have_the_trained_magnitudes():
    base = nn.Linear(6, 5).double()
    layer = LoRALinear(base, LoRAConfig(rank=4, alpha=8, dora=True))
    assert_close(layer.lora_m, base.weight.norm(dim=1))
    move(layer)
    direction = base.weight + 2 * layer.lora_B @ layer.lora_A
    merged = layer.merged().weight
    assert_close(merged.norm(dim=1), layer.lora_m)
    assert_close(nn.functional.cosine_similarity(merged, direction), torch.ones(5).double())


@kinds
@pytest.mark.parametrize("bias", [True, False])
def test_a_merged_layer_computes_the_same(kind, bias):
    layer = LoRALinear(nn.Linear(6, 5, bias).double(), LoRAConfig(**kind))
    move(layer)
    x = torch.randn(7, 6, dtype=torch.float64)
    assert type(layer.merged()) is nn.Linear
    assert_close(layer.merged()(x), layer(x))


@kinds
def test_dropout_falls_on_the_input_of_the_update_alone(kind):
    base = nn.Linear(6, 5)
    layer = LoRALinear(base, LoRAConfig(**kind, dropout=0.5))
    x = torch.randn(7, 6)
    assert_close(layer.train()(x), base(x))  # as the update is zero before training
    move(layer)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


# ---------------------------------------------------------------- a whole classifier


@kinds
@pytest.mark.parametrize("pooling", ["last_token", "mean"])
def test_an_adapted_classifier_is_the_base_before_training(kind, pooling):
    base, model = plain(pooling), plain(pooling)
    model.add_lora(LoRAConfig(**kind))
    assert_close(model(IDS, LENGTHS), base(IDS, LENGTHS), rtol=0, atol=1e-6)


@kinds
@pytest.mark.parametrize("pooling", POOLINGS)  # of which some read one position of the last block, and some all
def test_merged_logits_equal_unmerged_ones(kind, pooling):
    model = adapted(pooling, **kind)
    merged = copy.deepcopy(model)
    merged.merge_lora()
    assert not any(isinstance(layer, LoRALinear) for layer in merged.modules())
    assert (model(IDS, LENGTHS) - plain(pooling)(IDS, LENGTHS)).abs().max() > 0.01
    assert_close(merged(IDS, LENGTHS), model(IDS, LENGTHS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_padding_never_changes_a_logit_of_an_adapted_classifier(causal):
    torch.manual_seed(0)
    model = SequenceClassifier(GPT(GPTConfig(257, 32, 32, 2, 4, causal=causal)), 3).eval()
    model.add_lora(LoRAConfig(rank=4))
    move(model)
    alone = torch.cat([model(row[None, :n], torch.tensor([n])) for row, n in zip(IDS, LENGTHS.tolist(), strict=True)])
    assert_close(model(nn.functional.pad(IDS, (0, 5), value=7), LENGTHS), alone, rtol=0, atol=1e-5)


@kinds
def test_the_base_keeps_its_names_and_tensors_and_merging_leaves_no_others(kind):
    base, model = plain().state_dict(), adapted(**kind)
    names = set(model.state_dict())
    assert base.keys() < names
    suffixes = {".lora_A", ".lora_B"} | ({".lora_m"} if kind.get("dora") else set())
    assert {name[name.rindex(".") :] for name in names - base.keys()} == suffixes
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in base.items())
    model.merge_lora()
    assert model.lora is None
    plain().load_state_dict(model.state_dict())


def test_by_default_the_four_matrices_of_each_block_are_adapted():
    model = plain()
    model.add_lora(LoRAConfig())
    layers = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    found = {name for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}
    assert found == {f"backbone.h.{n}.{layer}" for n in range(2) for layer in layers}


# ---------------------------------------------------------------- what trains


def test_updates_and_head_train_and_nothing_else():
    model = adapted()
    names = trainable_names(model, "lora")
    assert names == {name for name, _ in model.named_parameters() if ".lora_" in name or name.startswith("head.")}
    freeze(model, "lora")
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == names


def test_of_an_adapted_head_the_update_alone_trains():
    model = adapted(targets=r"c_attn$|^head$")
    head = {name for name in trainable_names(model, "lora") if name.startswith("head.")}
    assert head == {"head.lora_A", "head.lora_B"}


@pytest.mark.parametrize(
    ("targets", "frozen"),
    [("c_attn$", 0), (r"\.h\.1\.", 1), (r"h\.1\.mlp\.c_proj|^head$", 1), ("^head$", 2)],
)
def test_blocks_below_the_first_update_are_frozen(targets, frozen):
    assert count_frozen_layers(adapted(targets=targets), "lora") == frozen


@kinds
def test_training_changes_every_update_and_the_head_and_no_bit_of_the_base(kind, quick_trainer, tiny_data, tiny_model):
    before: dict[str, torch.Tensor] = {}

    def remember(trainer, module) -> None:
        before.update({name: tensor.clone() for name, tensor in module.model.state_dict().items()})

    module = tiny_model(trainable="lora", lora=kind, learning_rate=1e-2)
    quick_trainer(callbacks=[LambdaCallback(on_fit_start=remember)]).fit(module, tiny_data())
    changed = {name for name, tensor in module.model.state_dict().items() if not tensor.equal(before[name])}
    assert changed == trainable_names(module.model, "lora")


@pytest.mark.parametrize("kind", [{}, {"dora": True}, {"targets": r"c_attn$|^head$"}], ids=["LoRA", "DoRA", "head too"])
def test_a_few_updates_learn_what_there_is_to_learn(kind, quick_trainer, tiny_data, tiny_model):
    module, data = tiny_model(trainable="lora", lora=kind, pooling="mean", learning_rate=2e-2), tiny_data()
    trainer = quick_trainer(max_epochs=10)
    trainer.fit(module, data)
    assert trainer.validate(module, data)[0]["val/accuracy"] == 1


# ---------------------------------------------------------------- the reference


@pytest.mark.parametrize("scale", ["alpha/rank", "alpha/sqrt(rank)"])
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("pooling", ["last_token", "mean"])
def test_logits_and_gradients_equal_those_of_peft(scale, dora, pooling):
    peft = pytest.importorskip("peft", reason="the reference for LoRA comes with the dev extra")
    ours, theirs = adapted(pooling, rank=4, alpha=8.0, scale=scale, dora=dora), plain(pooling)
    settings = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=r".*\.(c_attn|c_proj|c_fc)",
        use_rslora=scale == "alpha/sqrt(rank)",
        use_dora=dora,
    )
    theirs = peft.inject_adapter_in_model(settings, theirs).eval()
    names = {".lora_A": ".lora_A.default.weight", ".lora_B": ".lora_B.default.weight"}
    names |= {".lora_m": ".lora_magnitude_vector.default.weight"}
    reference = dict(theirs.named_parameters())
    pairs = {
        name: (parameter, reference[stem + names[f".{suffix}"]])
        for name, parameter in ours.named_parameters()
        for stem, _, suffix in [name.rpartition(".")]
        if suffix.startswith("lora_")
    }
    assert len(pairs) == len([name for name in reference if "lora_" in name])
    with torch.no_grad():
        for parameter, other in pairs.values():
            other.copy_(parameter)
    freeze(ours, "lora")
    logits, expected = ours(IDS, LENGTHS), theirs(IDS, LENGTHS)
    assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for name, (parameter, other) in pairs.items():
        assert parameter.grad is not None, name
        assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


# ---------------------------------------------------------------- at the door


def test_without_a_pattern_all_matrices_of_the_blocks_are_adapted():
    model = plain()
    model.add_lora(LoRAConfig())
    adapted = {name for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}
    layers = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    numbers = range(model.backbone.config.n_layer)
    assert adapted == {f"backbone.h.{number}.{layer}" for number in numbers for layer in layers}


def test_a_pattern_that_is_found_in_no_layer_is_refused_with_the_names_there_are():
    model = plain()
    with pytest.raises(InputError, match=r"lora: targets 'q_proj' .*backbone\.h\.0\.attn\.c_attn, backbone"):
        model.add_lora(LoRAConfig(targets="q_proj"))
    assert model.lora is None


def test_a_layer_is_not_adapted_twice():
    model = adapted()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="match no linear layer"):
        model.add_lora(LoRAConfig())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"r": 8}, "expected fields " + ", ".join(field.name for field in fields(LoRAConfig))),
        ({"rank": 0}, "rank must be a whole number from 1"),
        ({"rank": 2.5}, "lora.rank is 2.5, expected a whole number"),
        ({"rank": "many"}, "lora.rank is 'many', expected a whole number"),
        ({"alpha": -1}, "alpha positive"),
        ({"alpha": "big"}, "lora.alpha is 'big', expected a finite number"),
        ({"dropout": 1.0}, r"dropout lie in \[0, 1\)"),
        ({"scale": "rank"}, "scale is 'rank', expected one of alpha/rank"),
        ({"targets": "("}, r"targets '\(' is not a regular expression"),
        ({"targets": 3}, "lora.targets is 3, expected a text or null"),
        (
            {"targets": "q_proj"},
            r"lora: targets 'q_proj' match no linear layer .* such as backbone\.h\.0\.attn",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_by_name(lora, message):
    with pytest.raises(InputError, match=message):
        GPTClassifier(gpt={"n_layer": 2}, weights="random", trainable="lora", lora=lora)


@pytest.mark.parametrize("trainable", ["all", "last_block", "biases"])
def test_settings_of_lora_without_lora_are_refused(trainable):
    with pytest.raises(InputError, match=rf"lora is .*, but trainable is '{trainable}'"):
        GPTClassifier(gpt={"n_layer": 2}, weights="random", trainable=trainable, lora={"rank": 4})
