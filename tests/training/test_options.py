"""Options that change how fast or in what memory something is computed do not change what is computed."""

from functools import partial

import lightning as L
import pytest
import torch

from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.training.module import GPTClassifier

TINY = {"n_layer": 2, "n_head": 2, "n_embd": 32, "context_length": 64}


def fitted(quick_trainer, tiny_data, precision="32-true", **settings):
    torch.manual_seed(1)
    base = {"gpt": TINY, "weights": "random", "trainable": "all", "optimizer": {"name": "SGD"}, "learning_rate": 0.1}
    model = GPTClassifier(**base | settings)
    trainer = quick_trainer(max_epochs=2, precision=precision)
    trainer.fit(model, tiny_data())
    return model, {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_checkpointed_blocks_give_the_same_gradients(tiny_config):
    torch.manual_seed(0)
    model = SequenceClassifier(GPT(tiny_config), 2, "mean")
    batch = TextEncoder("bytes", 64).batch([[1, 2, 3], [4, 5]])
    gradients = []
    for model.backbone.activation_checkpointing in (False, True):
        model.zero_grad()
        model(batch.inputs, batch.lengths).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=[pytest.mark.slow, pytest.mark.nightly])])
def test_a_compiled_network_learns_the_same(backend, quick_trainer, tiny_data, monkeypatch):
    """The default, inductor, takes minutes; the other one differs in no more than what the graphs are made into."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compiled, scores = fitted(quick_trainer, tiny_data, compute={"compile": True})
    plain, expected = fitted(quick_trainer, tiny_data)
    assert scores == pytest.approx(expected, abs=1e-4)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()  # no names of the compiler's


def test_compilation_is_bounded_where_widths_differ(tiny_config):
    graphs = []
    torch._dynamo.reset()
    model = SequenceClassifier(GPT(tiny_config), 2)
    model.compile(dynamic=True, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    text_encoder = TextEncoder("bytes", 64)
    for width in range(2, 60):
        batch = text_encoder.batch([[1] * width, [2]] + [[3]] * (width % 5))
        model(batch.inputs, batch.lengths)
    assert len(graphs) <= 4


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("policy", ["last_block", "all", "lora"])
def test_lower_precision_trains_and_its_head_stays_exact(quick_trainer, tiny_data, precision, policy):
    # Small steps: rounding must show as rounding, and not as another path of learning.
    model, scores = fitted(quick_trainer, tiny_data, precision, trainable=policy, learning_rate=1e-3)
    _, expected = fitted(quick_trainer, tiny_data, trainable=policy, learning_rate=1e-3)
    assert scores["val/loss"] == pytest.approx(expected["val/loss"], abs=0.02)
    batch = model.text_encoder.batch([[1, 2, 3]])
    assert model.model(batch.inputs, batch.lengths).dtype == torch.float32


@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", False)])
def test_gradients_are_clipped_in_every_precision(quick_trainer, tiny_data, precision, fused):
    norms = []

    class Norms(L.Callback):
        def on_before_zero_grad(self, trainer, module, optimizer):
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            norms.extend([torch.cat([g.flatten() for g in gradients]).norm().item()] if gradients else [])

    model = GPTClassifier(gpt=TINY, weights="random", trainable="all")
    trainer = quick_trainer(precision=precision, gradient_clip_val=0.01, callbacks=[Norms()])
    trainer.fit(model, tiny_data())
    assert max(norms) == pytest.approx(0.01, rel=0.01)
    assert bool(trainer.optimizers[0].defaults.get("fused")) == fused  # Lightning would not clip


@pytest.mark.parametrize("policy", ["last_block", "all"])
def test_grouping_by_length_learns_too(quick_trainer, tiny_data, policy):
    torch.manual_seed(1)
    model = GPTClassifier(gpt=TINY, weights="random", trainable=policy, learning_rate=1e-3)
    trainer = quick_trainer(max_epochs=3)
    trainer.fit(model, tiny_data(batching={"group_by_length": True}))
    assert trainer.callback_metrics["train/epoch_loss"] < 0.7


def test_the_matrix_precision_is_passed_on(quick_trainer, tiny_data):
    before = torch.get_float32_matmul_precision()
    try:
        fitted(quick_trainer, tiny_data, compute={"matmul_precision": "high"})
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
