"""The auxiliary language-modelling loss of a batch, without its logits in memory, and its scores.

A. Radford et al., "Improving Language Understanding by Generative Pre-Training" (2018), section 3.2: the loss of
fine-tuning is that of the classification plus lambda times that of the next tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.language_model import LanguageModelScores
from gpt_classifier.models.backbone import Backbone
from gpt_classifier.text.encoder import Batch, TextEncoder

STAGES = ("train", "val", "test")


class LanguageModelLoss(nn.Module):
    """The mean over texts of the mean loss of their tokens after the first, and the scores of each stage's tokens.

    Args:
        byte_lengths: (V,) number of bytes that each token id stands for; without them there are no bits per byte.
    """

    def __init__(self, byte_lengths: Tensor) -> None:
        super().__init__()
        self.of_stages = nn.ModuleList(LanguageModelScores(byte_lengths) for _ in STAGES)

    @classmethod
    def of(cls, backbone: Backbone, weight: float, text_encoder: TextEncoder | None) -> "LanguageModelLoss":
        """For a network and its tokens; ``InputError`` if it predicts none, see :func:`find_output_layer`."""
        output = find_output_layer(backbone, weight)
        known = None if text_encoder is None else text_encoder.tokenizer.byte_lengths()
        return cls(known if known is not None else torch.zeros(len(output)).long())

    def forward(self, states: Tensor, batch: Batch, output: Tensor, stage: str) -> Tensor:
        """The loss of hidden states (W, T, C) after the final norm, with the output layer (V, C)."""
        ids = batch.inputs if batch.start_layer == "ids" else batch.ids
        assert ids is not None, "cached hidden states bring the ids of their tokens"
        number = None if batch.rows is None else len(batch.rows)
        weights = weigh_by_text(batch.lengths, ids.shape[1], batch.texts, number)
        loss, nats = next_token_loss(states, ids, weights, output)
        self.scores(stage).update(nats, ids[:, 1:], weights > 0)
        return loss

    def end_epoch(self, stage: str) -> dict[str, float]:
        """The scores of the epoch's tokens, over all processes; the next epoch begins with nothing."""
        scores = self.scores(stage)
        values = scores.compute()
        scores.reset()
        return values

    def scores(self, stage: str) -> LanguageModelScores:
        """What collects the scores of ``stage``."""
        scores = self.of_stages[STAGES.index(stage)]
        assert isinstance(scores, LanguageModelScores)
        return scores


def find_output_layer(backbone: Backbone, weight: float) -> Tensor:
    """The output layer (V, C) of ``backbone``. Raises ``InputError`` if it has none; ``weight`` serves the message."""
    if (output := backbone.output_embedding) is None:
        raise InputError(
            f"lm_loss is {weight}, but this network ({backbone.config.model_type}) predicts no next token: expected "
            "causal attention and an output layer that is tied to the token embeddings; leave lm_loss at 0"
        )
    return output


CHUNK_LOGITS = {"cpu": 2**22, "cuda": 2**27}  # maximum number of logits at a time: 16 MB on a CPU fit into its cache


def next_token_loss(states: Tensor, ids: Tensor, weights: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted sum of all tokens' losses, with gradients, and the loss of each, without.

    Args:
        states: (B, T, C) hidden states after the final norm; that at position t predicts the token at t + 1.
        ids: (B, T) token ids.
        weights: (B, T - 1) weight of the loss of each token after the first one; those of weight 0 are not computed.
        output: (V, C) the output layer, usually the token embeddings ("tied").

    Returns:
        A number, and (B, T - 1) negative log-likelihoods in nats, in float32; 0 where the weight is 0.
    """
    real = weights > 0
    nats = torch.zeros_like(weights, dtype=torch.float32)
    loss, nats[real] = _WeightedSum.apply(states[:, :-1][real], ids[:, 1:][real], weights[real].float(), output)
    return loss, nats


def weigh_by_text(lengths: Tensor, width: int, texts: Tensor | None = None, number: int | None = None) -> Tensor:
    """(W, T - 1) the weights with which :func:`next_token_loss` is the mean over texts of the mean over their tokens.

    As the classification loss is a mean over texts too, the gradient of a batch is the mean of its texts' gradients,
    however they are divided into smaller batches. A text of a single token predicts none and counts as 0.

    Args:
        lengths: (W,) number of real tokens of each input.
        width: T.
        texts: (W,) which text each input is a window of; by default each is a text.
        number: Number of texts, if ``texts`` is given.
    """
    counts = lengths - 1
    by_text = counts if texts is None else counts.new_zeros(number or 0).index_add(0, texts, counts)
    weights = 1 / (len(by_text) * by_text.clamp(min=1).float())
    weights = weights if texts is None else weights[texts]
    return weights[:, None] * (torch.arange(1, width, device=lengths.device) < lengths[:, None])


class _WeightedSum(torch.autograd.Function):
    """Gradients are computed together with the loss, chunk by chunk: logits neither stay nor are computed twice."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, targets: Tensor, weights: Tensor, output: Tensor
    ) -> tuple[Tensor, Tensor]:  # (N, C), (N,), (N,), (V, C) -> (), (N,)
        device = states.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
        matrix = output.to(dtype)
        nats = torch.empty_like(weights)
        grad_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        grad_output = torch.zeros_like(output, dtype=torch.float32) if ctx.needs_input_grad[3] else None
        size = max(1, CHUNK_LOGITS.get(device, CHUNK_LOGITS["cuda"]) // len(output))
        with torch.autocast(device, enabled=False):
            for start in range(0, len(states), size):
                chunk = slice(start, start + size)
                x, target = states[chunk].to(dtype), targets[chunk, None]
                logits = (x @ matrix.T).float()
                normalizer = logits.logsumexp(-1, keepdim=True)
                nats[chunk] = (normalizer - logits.gather(-1, target))[:, 0]
                if grad_states is None and grad_output is None:
                    continue
                error = logits.sub_(normalizer).exp_()  # softmax - 1 at the target: the gradient of the logits
                error.scatter_add_(-1, target, torch.full_like(normalizer, -1.0))
                error = error.mul_(weights[chunk, None]).to(dtype)
                if grad_states is not None:
                    grad_states[chunk] = (error @ matrix).to(states.dtype)
                if grad_output is not None:
                    grad_output += (error.T @ x).float()
        ctx.save_for_backward(grad_states, None if grad_output is None else grad_output.to(output.dtype))
        ctx.mark_non_differentiable(nats)
        return (weights * nats).sum(), nats

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, None, None, Tensor | None]:
        states, output = (None if each is None else each * scale.to(each.dtype) for each in ctx.saved_tensors)
        return states, None, None, output
