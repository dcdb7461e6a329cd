"""What all backbones have in common."""

import pytest
import torch
from torch.testing import assert_close

from gpt_classifier.models.gpt import GPT, GPTConfig
from gpt_classifier.models.heads import POOLINGS, SequenceClassifier
from gpt_classifier.models.transformers_network import random_network

IDS, LENGTHS = torch.arange(15).view(3, 5), torch.tensor([5, 1, 3])
BERT = {"model_type": "bert", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
BERT |= {"num_attention_heads": 2, "vocab_size": 300, "max_position_embeddings": 64}
LLAMA = BERT | {"model_type": "llama"}


@pytest.fixture(params=["gpt", "gpt without a causal mask", "encoder", "decoder"])
def backbone(request):
    if request.param in ("encoder", "decoder"):
        pytest.importorskip("transformers")
        return random_network({"encoder": BERT, "decoder": LLAMA}[request.param]).eval()
    return GPT(GPTConfig(300, 64, 32, 3, 4, causal=request.param == "gpt")).eval()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_logits_are_the_same_from_every_block_that_a_backbone_can_start_before(backbone, pooling):
    model = SequenceClassifier(backbone, 2, pooling).eval()
    lengths = model.text_lengths(LENGTHS, IDS.shape[1])
    assert {0, backbone.config.n_layer} <= set(backbone.starts_at)
    for start_layer in backbone.starts_at:
        states = backbone.embed(IDS)
        if start_layer > 0:
            states = backbone.run_blocks(states, 0, start_layer, lengths=lengths)
        assert_close(model(states, LENGTHS, start_layer), model(IDS, LENGTHS), rtol=0, atol=1e-5)


def test_parameters_stand_below_in_or_above_the_blocks_in_this_order(backbone):
    blocks = {backbone.block_of(name) for name, _ in backbone.named_parameters()}
    assert blocks - {backbone.config.n_layer} == {-1, 0, 1, 2}
