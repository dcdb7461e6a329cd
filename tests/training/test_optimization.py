"""Optimizers and schedules from plain values."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier.errors import InputError
from gpt_classifier.model.classification import SequenceClassifier
from gpt_classifier.model.freezing import freeze
from gpt_classifier.model.gpt import GPT
from gpt_classifier.training.optimization import build_optimizer, learning_rate_schedule


@pytest.fixture
def model(tiny_config) -> SequenceClassifier:
    return SequenceClassifier(GPT(tiny_config), 2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("SGD", {"momentum": 0.5}), ("AdamW", {"betas": (0.8, 0.9)}), ("Adam", {"fused": False}), ("RMSprop", {})],
)
def test_an_optimizer_is_chosen_by_its_name_in_torch(name, arguments, model):
    optimizer = build_optimizer(model, name, 0.25, 0.1, False, arguments)
    assert type(optimizer) is getattr(torch.optim, name)
    assert {"lr": 0.25, **arguments}.items() <= optimizer.param_groups[0].items()


@pytest.mark.parametrize("name", ["AdamX", "lr_scheduler", "Optimizer", "__name__", ""])
def test_what_is_no_optimizer_is_refused_by_name(name, model):
    with pytest.raises(InputError, match=f"optimizer .*{name}"):
        build_optimizer(model, name, 0.1, 0.1, False, {})


@pytest.mark.parametrize(("name", "arguments"), [("SGD", {"betas": (0.9, 0.99)}), ("SGD", {"momentum": -1.0})])
def test_arguments_that_an_optimizer_does_not_take_are_refused(name, arguments, model):
    with pytest.raises(InputError, match="optimizer SGD does not take these arguments"):
        build_optimizer(model, name, 0.1, 0.1, False, arguments)


@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize("policy", ["head", "last_block", "all"])
def test_matrices_decay_and_biases_and_norms_only_if_asked(decay_all, policy, model):
    freeze(model, policy)
    groups = build_optimizer(model, "AdamW", 0.1, 0.3, decay_all, {}).param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    for parameter in model.parameters():
        expected = (0.3 if parameter.ndim == 2 or decay_all else 0.0) if parameter.requires_grad else None
        assert decay.get(id(parameter)) == expected


def rates(steps: int, warmup: float, schedule: str) -> list[float]:
    """The learning rate of every step, for a highest one of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = learning_rate_schedule(optimizer, steps, warmup, schedule)
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
