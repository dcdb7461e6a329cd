"""Optimizers and schedules from plain values."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback

from gpt_classifier.errors import InputError
from gpt_classifier.models.freezing import freeze
from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.training.optimization import (
    OptimizerConfig,
    build_optimizer,
    learning_rate_schedule,
    usual_learning_rate,
)


@pytest.fixture
def model(tiny_config) -> SequenceClassifier:
    return SequenceClassifier(GPT(tiny_config), 2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("SGD", {"momentum": 0.5}), ("AdamW", {"betas": (0.8, 0.9)}), ("Adam", {"fused": False}), ("RMSprop", {})],
)
def test_an_optimizer_is_chosen_by_its_name_in_torch(name, arguments, model):
    optimizer = build_optimizer(model, 0.25, OptimizerConfig(name, arguments))
    assert type(optimizer) is getattr(torch.optim, name)
    assert {"lr": 0.25, **arguments}.items() <= optimizer.param_groups[0].items()


@pytest.mark.parametrize("name", ["AdamX", "lr_scheduler", "Optimizer", "__name__", ""])
def test_what_is_no_optimizer_is_refused_by_name(name, model):
    with pytest.raises(InputError, match=rf"optimizer .*{name}"):
        build_optimizer(model, 0.1, OptimizerConfig(name))


@pytest.mark.parametrize(("name", "arguments"), [("SGD", {"betas": (0.9, 0.99)}), ("SGD", {"momentum": -1.0})])
def test_arguments_that_an_optimizer_does_not_take_are_refused(name, arguments, model):
    with pytest.raises(InputError, match="optimizer SGD does not take these arguments"):
        build_optimizer(model, 0.1, OptimizerConfig(name, arguments))


@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize("policy", ["head", "last_block", "all"])
def test_matrices_decay_and_biases_and_norms_only_if_asked(decay_all, policy, model):
    freeze(model, policy)
    groups = build_optimizer(
        model, 0.1, OptimizerConfig(weight_decay=0.3, decay_norms_and_biases=decay_all)
    ).param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    for parameter in model.parameters():
        expected = (0.3 if parameter.ndim == 2 or decay_all else 0.0) if parameter.requires_grad else None
        assert decay.get(id(parameter)) == expected


# How far below the head each part of a network of two blocks stands.
LEVELS = {
    "head.": 0,
    "backbone.ln_f.": 0,
    "backbone.h.1.": 1,
    "backbone.h.0.": 2,
    "backbone.wte.": 3,
    "backbone.wpe.": 3,
}


@pytest.mark.parametrize("policy", ["all", "last_block", "lora", "biases"])
def test_each_level_below_the_head_learns_by_a_factor_slower(policy, model):
    if policy == "lora":
        model.add_lora(LoRAConfig())
    freeze(model, policy)
    groups = build_optimizer(model, 0.1, OptimizerConfig(weight_decay=0.3, layer_decay=0.5)).param_groups
    rate = {id(parameter): (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        level = next(level for start, level in LEVELS.items() if name.startswith(start))
        expected = (0.1 * 0.5**level, 0.3 if parameter.ndim == 2 else 0.0) if parameter.requires_grad else None
        assert rate.get(id(parameter)) == expected, name


def test_without_layer_decay_there_is_one_group_for_matrices_and_one_for_vectors(model):
    freeze(model, "all")
    groups = build_optimizer(model, 0.1, OptimizerConfig(weight_decay=0.3)).param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.3), (0.1, 0.0)]


@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_a_level_rests_until_its_time_has_come_and_then_follows_the_schedule(warmup, model):
    freeze(model, "all")
    config = OptimizerConfig("SGD", layer_decay=0.5, warmup=warmup, schedule="cosine", unfreeze_every=1)
    optimizer = build_optimizer(model, 1.0, config)
    scheduler = learning_rate_schedule(optimizer, 12, config, unfreeze_steps=3)
    expected = rates(12, warmup, "cosine")
    for step in range(12):
        for group in optimizer.param_groups:
            begun = step >= 3 * group["level"]
            assert group["lr"] == pytest.approx(expected[step] * 0.5 ** group["level"] if begun else 0.0)
        optimizer.step()
        scheduler.step()


class Snapshots(Callback):
    """Keeps the weights as they were when fitting began and after every epoch."""

    def on_fit_start(self, trainer, pl_module) -> None:
        self.weights = [copy.deepcopy(pl_module.model.state_dict())]

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.weights.append(copy.deepcopy(pl_module.model.state_dict()))

    def changed(self, epoch: int) -> set[int]:
        """The levels of which every parameter changed by the end of an epoch; all others must not have changed."""
        first, now = self.weights[0], self.weights[epoch]
        by_level = {level: [] for level in LEVELS.values()}
        for name, tensor in now.items():
            level = next(level for start, level in LEVELS.items() if name.startswith(start))
            by_level[level].append(not tensor.equal(first[name]))
        assert all(len(set(changes)) == 1 for changes in by_level.values()), f"levels are of one piece: {by_level}"
        return {level for level, changes in by_level.items() if changes[0]}


@pytest.mark.parametrize(
    ("settings", "trainer_settings", "levels"),
    [
        ({"optimizer": {"unfreeze_every": 1}}, {}, [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}]),
        ({"optimizer": {"unfreeze_every": 1}}, {"accumulate_grad_batches": 3}, [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}]),
        (
            {"optimizer": {"unfreeze_every": 1}},
            {"max_epochs": 50, "max_steps": 16},
            [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}],
        ),
        ({"optimizer": {"unfreeze_every": 2}}, {}, [{0}, {0}, {0, 1}, {0, 1}]),
        ({"optimizer": {"unfreeze_every": 1, "name": "SGD"}}, {}, [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}]),
        ({"optimizer": {"unfreeze_every": 1}, "trainable": "last_block"}, {}, [{0}, {0, 1}, {0, 1}, {0, 1}]),
        ({"optimizer": {"unfreeze_every": 0}}, {}, [{0, 1, 2, 3}] * 4),
    ],
    ids=str,
)
def test_blocks_thaw_one_after_another_from_the_top_and_no_bit_before(
    settings, trainer_settings, levels, quick_trainer, tiny_data, tiny_model
):
    snapshots = Snapshots()
    module = tiny_model(gpt={"n_layer": 2, "n_head": 2, "n_embd": 16, "context_length": 64}, **settings)
    quick_trainer(**{"max_epochs": 4, "callbacks": [snapshots]} | trainer_settings).fit(module, tiny_data())
    assert [snapshots.changed(epoch) for epoch in range(1, 5)] == levels


@pytest.mark.parametrize("limit", [{"max_steps": 10}, {"max_steps": 10, "max_epochs": -1}])
def test_unfreezing_by_epochs_needs_their_number(limit, quick_trainer, tiny_data, tiny_model):
    with pytest.raises(InputError, match="unfreeze_every counts epochs"):
        quick_trainer(**{"max_epochs": None} | limit).fit(tiny_model(optimizer={"unfreeze_every": 1}), tiny_data())


@pytest.mark.parametrize("settings", [{"layer_decay": 0.0}, {"layer_decay": 1.5}, {"unfreeze_every": -1}])
def test_factors_and_numbers_that_cannot_be_are_refused(settings, tiny_model):
    with pytest.raises(InputError, match=r"layer_decay .* must lie in \(0, 1\]"):
        tiny_model(optimizer=settings)


def rates(steps: int, warmup: float, schedule: str) -> list[float]:
    """The learning rate of every step, for a peak of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = learning_rate_schedule(optimizer, steps, OptimizerConfig(warmup=warmup, schedule=schedule))
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_warm_up_rises_in_equal_steps_to_the_constant_rate():
    assert rates(10, 0.4, "constant") == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1])


def test_cosine_falls_along_half_a_wave():
    assert rates(5, 0.2, "cosine") == pytest.approx(
        [0.5, 1, *(0.5 + 0.5 * math.cos(math.pi * n / 4) for n in (1, 2, 3))]
    )
    assert rates(100, 0.0, "cosine")[50] == pytest.approx(0.5)


@given(st.integers(1, 200), st.floats(0, 1), st.sampled_from(["constant", "cosine"]))
def test_a_schedule_rises_to_its_peak_then_never_rises_again(steps, warmup, schedule):
    values = rates(steps, warmup, schedule)
    rising = round(warmup * steps)
    assert all(0 < value <= 1 for value in values)
    assert values[: rising + 1] == sorted(values[: rising + 1])
    assert values[rising:] == sorted(values[rising:], reverse=True)
    assert rising == steps or values[rising] == 1


@pytest.mark.parametrize(
    ("trainable", "width", "rate"),
    [
        ("all", 384, 1e-4),
        ("last_block", 384, 1e-3),
        (2, 384, 1e-3),
        ("6", 384, 1e-4),
        ("lora", 384, 1e-3),
        ("biases", 16, 1e-3),
        ("all", 768, 5e-5),
        ("last_block", 576, 6.7e-4),
    ],
)
def test_a_usual_learning_rate_follows_what_trains_and_how_wide_the_network_is(trainable, width, rate):
    assert usual_learning_rate(trainable, width) == rate


def test_null_is_the_usual_learning_rate_also_for_a_fit_that_is_resumed(tiny_model, tiny_data, quick_trainer, tmp_path):
    first, resumed = (tiny_model(learning_rate=None, trainable="last_block") for _ in range(2))
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(first, tiny_data())
    assert first.hparams["learning_rate"] == trainer.optimizers[0].param_groups[0]["lr"] == 1e-3
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    quick_trainer(max_epochs=2).fit(resumed, tiny_data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert resumed.hparams["learning_rate"] == 1e-3
