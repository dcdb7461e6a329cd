"""A policy is a set of parameter names: they change in training, and nothing else does."""

import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback

from gpt_classifier.errors import InputError
from gpt_classifier.models.freezing import count_frozen_layers, freeze, trainable_names
from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.heads import SequenceClassifier

# The parts that train in a network of two blocks, and how many leading blocks cannot change.
POLICIES = {
    "head": ({"head"}, 2),
    0: ({"head"}, 2),
    "last_block": ({"backbone.h.1", "backbone.ln_f", "head"}, 1),
    1: ({"backbone.h.1", "backbone.ln_f", "head"}, 1),
    "1": ({"backbone.h.1", "backbone.ln_f", "head"}, 1),
    "last_two_blocks": ({"backbone.h.0", "backbone.h.1", "backbone.ln_f", "head"}, 0),
    "all": ({"backbone.wte", "backbone.wpe", "backbone.h.0", "backbone.h.1", "backbone.ln_f", "head"}, 0),
}


def part(name: str) -> str:
    """The part of the network that a parameter belongs to: backbone.h.1.attn.c_attn.weight -> backbone.h.1."""
    pieces = name.split(".")
    return ".".join(pieces[: {"h": 3}.get(pieces[1], 2)]) if pieces[0] == "backbone" else pieces[0]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_names_whole_parts_and_the_blocks_below_them(policy, tiny_config):
    model = SequenceClassifier(GPT(tiny_config), 2)
    parts, frozen = POLICIES[policy]
    names = {name for name, _ in model.named_parameters()}
    assert trainable_names(model, policy) == {name for name in names if part(name) in parts}
    assert count_frozen_layers(model, policy) == frozen


@pytest.mark.parametrize("policy", POLICIES)
def test_the_final_norm_trains_with_any_block_but_not_with_the_head_alone(policy, tiny_config):
    names = trainable_names(SequenceClassifier(GPT(tiny_config), 2), policy)
    assert ("backbone.ln_f.weight" in names) == any(name.startswith("backbone.h.") for name in names)


def test_freezing_again_forgets_the_policy_before(tiny_config):
    model = SequenceClassifier(GPT(tiny_config), 2)
    for policy in ("head", "all", "last_block"):
        freeze(model, policy)
        assert {n for n, p in model.named_parameters() if p.requires_grad} == trainable_names(model, policy)


@pytest.mark.parametrize("policy", ["first_block", -1, 3, "3", "1.5", ""])
def test_a_wrong_policy_is_refused_by_its_value(policy, tiny_config):
    with pytest.raises(InputError, match=f"trainable is {policy!r}"):
        trainable_names(SequenceClassifier(GPT(tiny_config), 2), policy)


def test_bitfit_trains_every_bias_and_the_head(tiny_config):
    model = SequenceClassifier(GPT(tiny_config), 2)
    biases = {name for name, _ in model.named_parameters() if name.rpartition(".")[2] == "bias"}
    assert trainable_names(model, "biases") == biases | {"head.weight"}
    assert len(biases) == 2 * 6 + 1 + 1  # of each block, of the final norm, of the head
    assert count_frozen_layers(model, "biases") == 0


@pytest.mark.parametrize("policy", ["head", "last_block", "last_two_blocks", 1, "all", "biases", "lora"])
def test_training_changes_every_parameter_of_the_policy_and_no_bit_of_another(
    policy, quick_trainer, tiny_model, tiny_data
):
    before: dict[str, torch.Tensor] = {}

    def remember(trainer, module) -> None:
        before.update({name: tensor.clone() for name, tensor in module.model.state_dict().items()})

    module = tiny_model(trainable=policy)
    quick_trainer(callbacks=[LambdaCallback(on_fit_start=remember)]).fit(module, tiny_data())
    changed = {name for name, tensor in module.model.state_dict().items() if not tensor.equal(before[name])}
    assert changed == trainable_names(module.model, policy) & before.keys()
