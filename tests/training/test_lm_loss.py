"""The auxiliary language-modelling loss: the same with every policy, cache, batch size and number of processes.

It is PyTorch's cross entropy, in any chunks.
"""

import math

import lightning as L
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from gpt_classifier.errors import InputError
from gpt_classifier.training import lm_loss as module
from gpt_classifier.training.lm_loss import next_token_loss, weigh_by_text

TINY = {"n_layer": 2, "n_head": 4, "n_embd": 32, "context_length": 64}
POLICIES = ["head", "last_block", "last_two_blocks", "all", "lora", "biases"]


class Losses(L.Callback):
    """Collects what every step logs."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append({name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("train/")})


def fitted(tiny_model, tiny_data, quick_trainer, steps=3, data=None, trainer=None, **settings):
    losses = Losses()
    torch.manual_seed(123)
    model = tiny_model(**{"lm_loss": 0.5} | settings)
    run = quick_trainer(max_steps=steps, callbacks=[losses], log_every_n_steps=1, **(trainer or {}))
    run.fit(model, tiny_data(**(data or {})))
    return model, losses.steps, run


def test_the_loss_is_the_mean_over_texts_of_the_mean_over_their_tokens(tiny_model, tiny_data, quick_trainer):
    model, _, _ = fitted(tiny_model, tiny_data, quick_trainer, trainable="all")
    data = tiny_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    model.eval()
    model.trainer = None
    classification, lm_loss = model._losses(batch, "train")
    backbone = model.model.backbone
    states = backbone(batch.inputs)
    expected = torch.stack(
        [
            F.cross_entropy((states[i] @ backbone.wte.weight.T)[: n - 1], batch.inputs[i, 1:n])
            for i, n in enumerate(batch.lengths)
        ]
    ).mean()
    assert_close(lm_loss, expected)
    assert_close(classification, F.cross_entropy(model.logits(batch), batch.labels))
    assert_close(model.training_step(batch, 0), (classification + 0.5 * lm_loss) * batch.loss_weight)


@pytest.mark.parametrize("trainable", POLICIES)
def test_cached_states_give_the_same_run_as_uncached_ones(trainable, tiny_model, tiny_data, quick_trainer):
    settings = {"trainable": trainable, "optimizer": {"name": "SGD"}, "learning_rate": 0.1}
    runs = [
        fitted(tiny_model, tiny_data, quick_trainer, cache={"enabled": cached, "gigabytes": 0}, **settings)
        for cached in (True, False)
    ]
    assert (runs[0][0].state_cache is not None) == (trainable in ("head", "last_block"))
    assert_close(runs[0][1], runs[1][1])
    assert_close(runs[0][0].model.state_dict(), runs[1][0].model.state_dict())


@pytest.mark.parametrize("trainable", POLICIES)
def test_it_changes_what_is_trained_unless_only_the_head_is(trainable, tiny_model, tiny_data, quick_trainer, caplog):
    with_it, steps, _ = fitted(tiny_model, tiny_data, quick_trainer, trainable=trainable)
    without, others, _ = fitted(tiny_model, tiny_data, quick_trainer, trainable=trainable, lm_loss=0)
    assert all("train/lm_loss" in step for step in steps)
    assert not any("train/lm_loss" in step for step in others)
    same = [
        torch.allclose(a, b, rtol=0, atol=1e-6)
        for a, b in zip(with_it.model.parameters(), without.model.parameters(), strict=True)
    ]
    assert all(same) == (trainable == "head")
    assert ("changes nothing" in caplog.text) == (trainable == "head")


def test_accumulated_batches_train_like_a_large_one(tiny_model, tiny_data, quick_trainer):
    settings = {"trainable": "all", "optimizer": {"name": "SGD"}, "learning_rate": 0.1}
    large, _, _ = fitted(tiny_model, tiny_data, quick_trainer, data={"batch_size": 8}, **settings)
    small, _, _ = fitted(
        tiny_model, tiny_data, quick_trainer, data={"batch_size": 2}, trainer={"accumulate_grad_batches": 4}, **settings
    )
    assert_close(large.model.state_dict(), small.model.state_dict(), rtol=0, atol=1e-5)


def test_embeddings_of_tokens_that_never_occur_train_as_they_are_the_output_layer(tiny_model, tiny_data, quick_trainer):
    never, settings = 5, {"trainable": "all", "optimizer": {"weight_decay": 0.0}}
    rows = [fitted(tiny_model, tiny_data, quick_trainer, lm_loss=lm_loss, **settings)[0] for lm_loss in (0.0, 0.5)]
    kept, trained = (model.model.backbone.wte.weight[never] for model in rows)
    torch.manual_seed(123)
    fresh, _, _ = fitted(tiny_model, tiny_data, quick_trainer, lm_loss=0.0, trainable="head")
    assert torch.equal(kept, fresh.model.backbone.wte.weight[never])
    assert not torch.equal(trained, kept)


def test_epochs_log_the_loss_of_a_token_and_bits_per_byte(tiny_model, tiny_data, quick_trainer):
    model, _, trainer = fitted(
        tiny_model, tiny_data, quick_trainer, steps=-1, trainer={"max_epochs": 2}, trainable="all"
    )
    metrics = trainer.callback_metrics
    assert {"val/lm_loss", "val/bits_per_byte", "train/epoch_lm_loss", "train/bits_per_byte"} <= metrics.keys()
    assert float(metrics["val/bits_per_byte"]) == pytest.approx(float(metrics["val/lm_loss"]) / math.log(2))
    tested = trainer.test(model, tiny_data(), verbose=False)[0]
    assert 0 < tested["test/bits_per_byte"] < 8.5


@pytest.mark.parametrize("pooling", ["first_token", "mean", "last_token"])
def test_logits_are_those_without_it(pooling, tiny_model, tiny_data, quick_trainer):
    model, _, _ = fitted(tiny_model, tiny_data, quick_trainer, pooling=pooling)
    data = tiny_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    logits, _ = model.model.eval()(batch.inputs, batch.lengths, with_states=True)
    assert_close(logits, model.logits(batch))


def test_the_losses_of_windows_add_up_to_that_of_their_text(tiny_model, tiny_data, quick_trainer):
    settings = {"max_length": 12, "windows": {"stride": 6}}
    model, steps, _ = fitted(tiny_model, tiny_data, quick_trainer, data=settings, trainable="all")
    assert steps[-1]["train/lm_loss"] == pytest.approx(math.log(257), abs=1)
    assert model.state_cache is None


def test_bfloat16(tiny_model, tiny_data, quick_trainer):
    _, steps, _ = fitted(tiny_model, tiny_data, quick_trainer, trainable="all", trainer={"precision": "bf16-mixed"})
    _, exact, _ = fitted(tiny_model, tiny_data, quick_trainer, trainable="all")
    assert steps[0]["train/lm_loss"] == pytest.approx(exact[0]["train/lm_loss"], rel=0.02)


def test_a_checkpoint_loads_and_tests_alike(tiny_model, tiny_data, quick_trainer, tmp_path):
    model, _, trainer = fitted(tiny_model, tiny_data, quick_trainer, trainable="all")
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = type(model).load_from_checkpoint(tmp_path / "a.ckpt")
    scores = [trainer.test(each, tiny_data(), verbose=False)[0] for each in (model, loaded)]
    assert scores[0]["test/lm_loss"] == pytest.approx(scores[1]["test/lm_loss"])
    assert scores[0]["test/loss"] == pytest.approx(scores[1]["test/loss"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"lm_loss": -1.0}, "lm_loss is -1.0, expected a weight"), ({"lm_loss": math.nan}, "lm_loss is nan")],
)
def test_a_weight_that_is_none(settings, said, tiny_model):
    with pytest.raises(InputError, match=said):
        tiny_model(**settings)


def test_a_network_without_a_causal_mask_predicts_no_next_token(tiny_model, tiny_data, quick_trainer):
    model = tiny_model(lm_loss=0.5, gpt=TINY | {"causal": False})
    with pytest.raises(InputError, match=r"lm_loss is 0.5.*\(GPT\) .*next token"):
        quick_trainer(max_steps=1).fit(model, tiny_data())


# ---------------------------------------------------------------- without the logits in memory

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
    monkeypatch.setitem(module.CHUNK_LOGITS, "cpu", chunk)
    states, ids, output = inputs
    loss, nats = next_token_loss(states, ids, weigh_by_text(LENGTHS, T), output)
    expected, all_nats = reference(states, ids, output)
    assert_close(loss, expected)
    real = torch.arange(1, T) < LENGTHS[:, None]
    assert_close(nats, torch.where(real, all_nats, 0.0).detach())
    assert_close(torch.autograd.grad(3 * loss, inputs[::2]), torch.autograd.grad(3 * expected, inputs[::2]))


def test_padding_has_neither_loss_nor_gradient(inputs):
    states, ids, output = inputs
    loss, _ = next_token_loss(states, ids, weigh_by_text(LENGTHS, T), output)
    (gradient,) = torch.autograd.grad(loss, states)
    predicts = torch.arange(T) < LENGTHS[:, None] - 1
    assert (gradient[~predicts] == 0).all()
    assert (gradient[predicts] != 0).all()
    changed = torch.where(torch.arange(T) < LENGTHS[:, None], ids, 0)
    assert_close(next_token_loss(states, changed, weigh_by_text(LENGTHS, T), output)[0], loss)


def test_a_frozen_output_layer_gets_no_gradient(inputs):
    states, ids, output = inputs
    loss, _ = next_token_loss(states, ids, weigh_by_text(LENGTHS, T), output.detach())
    loss.backward()
    assert output.grad is None
    assert states.grad is not None


def test_the_weights_of_windows_add_up_to_that_of_their_text():
    lengths, texts = torch.tensor([5, 3, 4]), torch.tensor([0, 0, 1])
    weights = weigh_by_text(lengths, 5, texts, 2)
    assert_close(weights[:2].sum(), torch.tensor(0.5))
    assert_close(weights[2].sum(), torch.tensor(0.5))
    assert_close(weights[0, 0], weights[1, 0])


def test_texts_of_a_single_token_have_no_loss(inputs):
    states, ids, output = inputs
    loss, nats = next_token_loss(states[:, :1], ids[:, :1], weigh_by_text(torch.ones(B, dtype=torch.long), 1), output)
    assert loss == 0
    assert nats.shape == (B, 0)


def test_bfloat16_comes_close_and_keeps_the_gradients_type(inputs):
    states, ids, output = inputs
    expected, _ = reference(states, ids, output)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = next_token_loss(states, ids, weigh_by_text(LENGTHS, T), output)
    loss.backward()
    assert loss.dtype == states.grad.dtype == output.grad.dtype == torch.float32
    assert_close(loss, expected, rtol=0.05, atol=0.05)
