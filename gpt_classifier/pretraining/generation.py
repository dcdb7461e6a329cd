"""Continues texts token by token with a language model."""

import torch
from torch import Tensor

from gpt_classifier.models.backbone import Backbone
from gpt_classifier.text.tokenizers import Tokenizer, end_of_text

PROMPT, SAMPLE = 8, 40  # tokens of a prompt, and of its continuation


def continue_texts(backbone: Backbone, tokenizer: Tokenizer, texts: list[str], seed: int = 0) -> list[tuple[str, str]]:
    """The first tokens of each text, and what the model writes after them; the same seed gives the same samples."""
    samples, end = [], end_of_text(tokenizer)
    for text in texts:
        ids = tokenizer.ids(text)[:PROMPT]
        more = generate(backbone, [end, *ids], SAMPLE, seed, stop=end)
        samples.append((tokenizer.decode(ids), tokenizer.decode(more)))
    return samples


@torch.no_grad()
def generate(
    backbone: Backbone,
    prompt: list[int],
    tokens: int,
    seed: int,
    temperature: float = 0.8,
    top_k: int = 50,
    stop: int | None = None,
) -> list[int]:
    """Token ids that follow ``prompt``, at most ``tokens`` of them, sampled from the ``top_k`` most probable ones.

    Args:
        backbone: A network with an output layer, in evaluation mode.
        prompt: At least one token id; only the last ones that fit into the context are read.
        tokens: Maximum number of tokens.
        seed: Seed of the sampling; the same seed gives the same tokens.
        temperature: Divides the logits: below 1, probable tokens become more so.
        top_k: Number of tokens that are sampled from.
        stop: Token id at which the text ends, which is not returned.
    """
    output = backbone.output_embedding
    assert output is not None, "checked when the network was built"
    rng = torch.Generator().manual_seed(seed)
    ids, context = list(prompt), backbone.config.context_length
    for _ in range(tokens):
        inputs = torch.tensor([ids[-context:]], device=output.device)
        lengths = torch.tensor([inputs.shape[1]], device=output.device)
        states: Tensor = backbone.finish(backbone.run_blocks(backbone.embed(inputs), lengths=lengths))
        logits = (states[0, -1].to(output.dtype) @ output.T).float().cpu() / temperature  # (V,)
        best, numbers = logits.topk(min(top_k, len(logits)))
        ids.append(int(numbers[torch.multinomial(best.softmax(-1), 1, generator=rng)]))
        if ids[-1] == stop:
            return ids[len(prompt) : -1]
    return ids[len(prompt) :]
