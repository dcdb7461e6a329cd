"""The auxiliary language-modelling loss of a batch, and its scores; knows nothing about labels and class logits.

A. Radford et al., "Improving Language Understanding by Generative Pre-Training" (2018), section 3.2: the loss of
fine-tuning is that of the classification plus lambda times that of the next tokens.
"""

from torch import Tensor, nn

from gpt_classifier.encoding import Batch
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.language_model import LanguageModelScores
from gpt_classifier.model.backbone import Backbone
from gpt_classifier.model.next_token import next_token_loss, weights_by_text

STAGES = ("train", "val", "test")


class LanguageModelLoss(nn.Module):
    """The mean over texts of the mean loss of their tokens after the first, and the scores of each stage's tokens.

    Args:
        byte_lengths: (V,) number of bytes that each token id stands for; without them there are no bits per byte.
    """

    def __init__(self, byte_lengths: Tensor) -> None:
        super().__init__()
        self.of_stages = nn.ModuleList(LanguageModelScores(byte_lengths) for _ in STAGES)

    def forward(self, states: Tensor, batch: Batch, output: Tensor, stage: str) -> Tensor:
        """The loss of hidden states (W, T, C) after the final norm, with the output layer (V, C)."""
        ids = batch.inputs if batch.depth == "ids" else batch.ids
        assert ids is not None, "cached hidden states bring the ids of their tokens"
        number = None if batch.rows is None else len(batch.rows)
        weights = weights_by_text(batch.lengths, ids.shape[1], batch.texts, number)
        loss, nats = next_token_loss(states, ids, weights, output)
        self.scores(stage).update(nats, ids[:, 1:], weights > 0)
        return loss

    def scores(self, stage: str) -> LanguageModelScores:
        """What collects the scores of ``stage``."""
        scores = self.of_stages[STAGES.index(stage)]
        assert isinstance(scores, LanguageModelScores)
        return scores


def output_layer(backbone: Backbone, weight: float) -> Tensor:
    """The output layer (V, C) of ``backbone``. Raises ``InputError`` if it has none; ``weight`` serves the message."""
    if (output := backbone.output_embedding) is None:
        raise InputError(
            f"lm_loss is {weight}, but this network ({backbone.config.model_type}) predicts no next token: expected "
            "causal attention and an output layer that is tied to the token embeddings; leave lm_loss at 0"
        )
    return output


def multiplications(backbone: Backbone, first_block: int, single_position: bool) -> tuple[int, int]:
    """Multiplications of matrix products for a token in one forward pass: for the classification alone, and with this.

    Args:
        backbone: The network.
        first_block: Number of blocks that are cached.
        single_position: Whether the pooling reads one position, so that the last block computes only that.
    """
    config = backbone.config
    output = output_layer(backbone, 0.0)
    block = 12 * config.n_embd**2  # 4 matrices of C x C in attention, 8 in the perceptron; those of scores are left out
    run = config.n_layer - first_block
    alone = block * max(0, run - single_position)
    return alone, block * run + output.numel()
