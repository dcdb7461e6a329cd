"""Logits: equal to the reference, indifferent to padding and company, from every pooling and any head."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from transformers import GPT2Config, GPT2ForSequenceClassification

from gpt_classifier.errors import InputError
from gpt_classifier.models.gpt import GPT, GPTConfig
from gpt_classifier.models.heads import PADDING_COUNTS, POOLINGS, SequenceClassifier, build_head
from gpt_classifier.models.weights import load_weights

CONFIG = GPTConfig(vocab_size=257, context_length=32, n_embd=32, n_layer=2, n_head=4)
IDS = torch.randint(256, (4, 9), generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([9, 1, 4, 7])


@cache
def classifier(pooling: str = "last_token", causal: bool = True, head: str = "linear") -> SequenceClassifier:
    model = SequenceClassifier(GPT(replace(CONFIG, causal=causal)), 3, pooling, head)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(parameter.numel()))
    return model.eval()


def test_logits_equal_the_reference(tmp_path):
    sizes = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "num_labels": 3, "pad_token_id": 256}
    reference = GPT2ForSequenceClassification(GPT2Config(vocab_size=257, **sizes)).eval()
    reference.transformer.save_pretrained(tmp_path)
    ours = SequenceClassifier(GPT(CONFIG), 3).eval()
    load_weights(ours.backbone, tmp_path)
    with torch.no_grad():
        ours.head.weight.copy_(reference.score.weight)
        ours.head.bias.zero_()  # the reference's head has none
    ids = IDS.where(torch.arange(9) < LENGTHS[:, None], 256)
    assert_close(ours(ids, LENGTHS), reference(ids).logits, rtol=0, atol=1e-5)


texts = st.lists(st.lists(st.integers(0, 256), min_size=1, max_size=10), min_size=1, max_size=5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", ["last_token", "first_token", "mean"])
@given(texts, st.integers(0, 12), st.integers(0, 256), st.randoms())
def test_padding_and_the_batch_never_change_a_logit(pooling, causal, texts, more, filler, rng):
    model = classifier(pooling, causal)
    alone = torch.cat([model(torch.tensor([text]), torch.tensor([len(text)])) for text in texts])
    order = rng.sample(range(len(texts)), len(texts))
    width = max(map(len, texts)) + more
    batch = torch.tensor([texts[i] + [filler] * (width - len(texts[i])) for i in order])
    together = model(batch, torch.tensor([len(texts[i]) for i in order]))
    assert_close(together, alone[order], rtol=0, atol=1e-5)


DEFINITIONS = {
    "last_token": lambda x: torch.stack([row[length - 1] for row, length in zip(x, LENGTHS, strict=True)]),
    "first_token": lambda x: x[:, 0],
    "mean": lambda x: torch.stack([row[:length].mean(0) for row, length in zip(x, LENGTHS, strict=True)]),
    "last_position": lambda x: x[:, -1],
    "mean_positions": lambda x: x.mean(1),
}


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_is_what_it_says_of_the_hidden_states(pooling, causal):
    model = classifier(pooling, causal)
    seen = torch.full_like(LENGTHS, 9) if pooling in PADDING_COUNTS else LENGTHS
    pooled = DEFINITIONS[pooling](model.backbone(IDS, seen))
    assert_close(model(IDS, LENGTHS), model.head(pooled), rtol=0, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", PADDING_COUNTS)
@pytest.mark.parametrize("position", range(3, 9))
def test_the_poolings_of_the_article_take_padding_for_text(position, pooling, causal):
    """Each padding token is seen, without a causal mask by all positions, and nothing says where padding begins."""
    model = classifier(pooling, causal)
    length, other = torch.tensor([3]), IDS[:1].clone()
    other[0, position] += 1
    assert torch.equal(model(IDS[:1], length), model(IDS[:1], torch.tensor([9])))
    assert (model(other, length) - model(IDS[:1], length)).abs().max() > 1e-3


@pytest.mark.parametrize("start_layer", range(3))
@pytest.mark.parametrize("pooling", POOLINGS)
def test_logits_from_hidden_states_of_any_start_layer_equal_those_from_ids(pooling, start_layer):
    model = classifier(pooling)
    x = model.backbone.run_blocks(model.backbone.embed(IDS), 0, start_layer)
    assert_close(model(x, LENGTHS, start_layer), model(IDS, LENGTHS), rtol=0, atol=1e-5)


def test_an_unknown_pooling_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="'max', expected one of last_token"):
        SequenceClassifier(GPT(CONFIG), 3, "max")


def test_the_mlp_head_is_two_layers_over_the_pooled_state():
    model = classifier(head="mlp")
    first, _, second = model.head
    pooled = DEFINITIONS["last_token"](model.backbone(IDS))
    assert_close(model(IDS, LENGTHS), second(first(pooled).tanh()), rtol=0, atol=1e-5)
    assert (first.in_features, second.out_features) == (CONFIG.n_embd, 3)


class ScaledHead(nn.Module):
    """A head of the user's own."""

    def __init__(self, channels: int, num_classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(channels, num_classes, bias=False), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.linear(x)


def test_any_module_can_be_the_head():
    head = {"class_path": f"{__name__}.ScaledHead", "init_args": {"scale": 3.0}}
    model = SequenceClassifier(GPT(CONFIG), 5, head=head).eval()
    assert type(model.head) is ScaledHead
    pooled = DEFINITIONS["last_token"](model.backbone(IDS))
    assert_close(model(IDS, LENGTHS), 3 * pooled @ model.head.linear.weight.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"class_path": "antigravity.Head"}, "`import antigravity`"),
        ({"class_path": f"{__name__}.NoSuchHead"}, "NoSuchHead is not imported"),
        ({"class_path": "json.JSONDecoder"}, "not a torch.nn.Module"),
        ({"class_path": "torch.nn.functional.linear"}, "not a torch.nn.Module"),
        ({"class_path": "Head"}, "Head is not imported"),
        ({"init_args": {}}, "expected linear, mlp"),
        ("bilinear", "'bilinear', expected linear, mlp"),
    ],
)
def test_what_is_no_head_is_refused_by_name(head, message):
    with pytest.raises(InputError, match=message):
        build_head(head, 32, 3)


def test_pooling_and_head_stay_in_full_precision_under_autocast():
    model = classifier("mean")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(IDS, LENGTHS)
    assert logits.dtype == torch.float32
    assert_close(logits, model(IDS, LENGTHS), rtol=0, atol=0.3)
    assert not torch.equal(logits, logits.bfloat16().float())
