"""The next-token loss is that of PyTorch's cross entropy, in any chunks."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from gpt_classifier.training import lm_loss
from gpt_classifier.training.lm_loss import next_token_loss, weights_by_text

B, T, C, V = 3, 7, 8, 50
LENGTHS = torch.tensor([7, 1, 4])


@pytest.fixture
def inputs():
    states, output = torch.randn(B, T, C, requires_grad=True), torch.randn(V, C, requires_grad=True)
    return states, torch.randint(V, (B, T)), output


def reference(states, ids, output):
    """The mean over texts of the mean over tokens, from all logits at once."""
    nats = F.cross_entropy((states @ output.T)[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    nats = nats.view(B, T - 1)
    return sum(nats[i, : n - 1].mean() for i, n in enumerate(LENGTHS.tolist()) if n > 1) / B, nats


@pytest.mark.parametrize("chunk", [1, 150, 10**6])
def test_loss_and_gradients_are_those_of_all_logits_at_once(inputs, chunk, monkeypatch):
    monkeypatch.setitem(lm_loss.CHUNK_LOGITS, "cpu", chunk)
    states, ids, output = inputs
    loss, nats = next_token_loss(states, ids, weights_by_text(LENGTHS, T), output)
    expected, all_nats = reference(states, ids, output)
    assert_close(loss, expected)
    real = torch.arange(1, T) < LENGTHS[:, None]
    assert_close(nats, torch.where(real, all_nats, 0.0).detach())
    assert_close(torch.autograd.grad(3 * loss, inputs[::2]), torch.autograd.grad(3 * expected, inputs[::2]))


def test_padding_has_neither_loss_nor_gradient(inputs):
    states, ids, output = inputs
    loss, _ = next_token_loss(states, ids, weights_by_text(LENGTHS, T), output)
    (gradient,) = torch.autograd.grad(loss, states)
    predicts = torch.arange(T) < LENGTHS[:, None] - 1
    assert (gradient[~predicts] == 0).all()
    assert (gradient[predicts] != 0).all()
    changed = torch.where(torch.arange(T) < LENGTHS[:, None], ids, 0)
    assert_close(next_token_loss(states, changed, weights_by_text(LENGTHS, T), output)[0], loss)


def test_a_frozen_output_layer_gets_no_gradient(inputs):
    states, ids, output = inputs
    loss, _ = next_token_loss(states, ids, weights_by_text(LENGTHS, T), output.detach())
    loss.backward()
    assert output.grad is None
    assert states.grad is not None


def test_windows_of_a_text_share_its_weight():
    lengths, texts = torch.tensor([5, 3, 4]), torch.tensor([0, 0, 1])
    weights = weights_by_text(lengths, 5, texts, 2)
    assert_close(weights[:2].sum(), torch.tensor(0.5))
    assert_close(weights[2].sum(), torch.tensor(0.5))
    assert_close(weights[0, 0], weights[1, 0])


def test_texts_of_a_single_token_have_no_loss(inputs):
    states, ids, output = inputs
    loss, nats = next_token_loss(states[:, :1], ids[:, :1], weights_by_text(torch.ones(B, dtype=torch.long), 1), output)
    assert loss == 0
    assert nats.shape == (B, 0)


def test_bfloat16_comes_close_and_keeps_the_gradients_type(inputs):
    states, ids, output = inputs
    expected, _ = reference(states, ids, output)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = next_token_loss(states, ids, weights_by_text(LENGTHS, T), output)
    loss.backward()
    assert loss.dtype == states.grad.dtype == output.grad.dtype == torch.float32
    assert_close(loss, expected, rtol=0.05, atol=0.05)
