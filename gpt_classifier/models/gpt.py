"""GPT-2 from scratch: turns token ids into hidden states.

The architecture is that of Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), with the
parameter names of the released model. Shapes: B texts, T tokens, C hidden size, H heads.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gpt_classifier.records import check


@dataclass(frozen=True)
class GPTConfig:
    """Dimensions of a GPT.

    Args:
        vocab_size: Number of token ids.
        context_length: Maximum number of tokens of one text.
        n_embd: Hidden size, the width of a hidden state.
        n_layer: Number of transformer blocks.
        n_head: Number of attention heads per block; divides n_embd.
        dropout: Dropout probability of the embeddings and of the outputs of attention and MLP. There is no
            dropout of attention weights: PyTorch's CPU kernel for fused attention does not have it, and steps would
            take twice as long.
        causal: Whether a token attends only to itself and earlier tokens, as in GPT-2.
    """

    family: ClassVar[str] = "gpt"
    model_type: ClassVar[str] = "GPT"
    vocab_size: int = 50257
    context_length: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    dropout: float = 0.0
    causal: bool = True

    def __post_init__(self) -> None:
        check(GPTConfig, asdict(self))
        sizes = (self.vocab_size, self.context_length, self.n_embd, self.n_layer, self.n_head)
        if min(sizes) < 1 or self.n_embd % self.n_head or not 0 <= self.dropout < 1:
            raise ValueError(f"{self}: sizes must be positive, n_head must divide n_embd and dropout lie in [0, 1)")

    @property
    def fields(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


# The four sizes that OpenAI released, under their names on the Hugging Face hub.
SIZES = {
    "gpt2": GPTConfig(n_embd=768, n_layer=12, n_head=12),  # 124M parameters
    "gpt2-medium": GPTConfig(n_embd=1024, n_layer=24, n_head=16),  # 355M
    "gpt2-large": GPTConfig(n_embd=1280, n_layer=36, n_head=20),  # 774M
    "gpt2-xl": GPTConfig(n_embd=1600, n_layer=48, n_head=25),  # 1558M
}


class GPT(nn.Module):
    """Token ids (B, T) -> hidden states (B, T, C), in three steps that can be called separately.

    ``forward`` is ``finish(run_blocks(embed(input_ids)))``. Padding is on the right. With causal attention no real
    token attends to it, so no mask is needed; without, ``lengths`` must say where it begins.
    """

    token_embedding = "wte"

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.context_length, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=1e-5)
        self.activation_checkpointing = False  # whether to recompute a block's activations in the backward pass
        self.initialize()

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.finish(self.run_blocks(self.embed(input_ids), lengths=lengths))

    @property
    def output_embedding(self) -> Tensor | None:
        """(V, C) the token embeddings, which are also GPT-2's output layer; None without causal attention."""
        return self.wte.weight if self.config.causal else None

    @property
    def starts_at(self) -> range:
        """Numbers of the blocks that ``run_blocks`` can start with; n_layer runs none."""
        return range(self.config.n_layer + 1)

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, T) ids -> (B, T, C), the hidden states that enter the first block."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        return self.drop(self.wte(input_ids) + self.wpe(positions))

    def run_blocks(
        self,
        x: Tensor,
        start: int = 0,
        stop: int | None = None,
        *,
        lengths: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C) through ``h[start:stop]``.

        With ``position`` (B,), one for each text, the result is (B, 1, C), and the last of these blocks computes only
        that position.
        """
        last = None if position is None else range(self.config.n_layer)[start:stop][-1:]
        for output in self.outputs(x, start, last[0] if last else stop, lengths=lengths):
            x = output
        if position is None:
            return x
        if not last:
            return take(x, position)
        visible = self._visible(lengths, x.shape[1])
        block = cast(Block, self.h[last[0]])
        return block.at(x, position, _keys_before(position + 1, x.shape[1]) if visible is None else visible)

    def outputs(
        self, x: Tensor, start: int = 0, stop: int | None = None, *, lengths: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The output (B, T, C) of each of ``h[start:stop]``, one after the other, for the input of the first."""
        visible = self._visible(lengths, x.shape[1])
        for block in self.h[start:stop]:
            if self.activation_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, visible, use_reentrant=False)
            else:
                x = block(x, visible)
            yield x

    def _visible(self, lengths: Tensor | None, width: int) -> Tensor | None:
        """(B, 1, 1, T) the keys to attend to; None with causal attention."""
        if self.config.causal:
            return None
        if lengths is None:
            raise ValueError("without causal attention, lengths must say where padding begins")
        return _keys_before(lengths, width)

    def finish(self, x: Tensor) -> Tensor:
        """The final norm: (B, T, C) -> (B, T, C)."""
        return self.ln_f(x)

    can_remove_blocks = True

    def keep(self, blocks: int) -> None:
        """Removes all blocks but the first ``blocks``."""
        del self.h[blocks:]
        self.config = replace(self.config, n_layer=blocks)

    def block_of(self, name: str) -> int:
        """Number of the block that this parameter belongs to: -1 for the embeddings, n_layer for the final norm."""
        if name.startswith("h."):
            return int(name.split(".")[1])
        return self.config.n_layer if name.startswith("ln_f.") else -1

    @torch.no_grad()
    def initialize(self) -> None:
        """GPT-2's initial weights: N(0, 0.02), with a smaller deviation in projections to the residual stream."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:  # norms
                parameter.fill_(1.0)
            else:
                # Each block adds twice to the stream; with this scale its variance does not grow with depth.
                residual = name.endswith("c_proj.weight")
                parameter.normal_(0.0, 0.02 / math.sqrt(2 * self.config.n_layer) if residual else 0.02)


class Block(nn.Module):
    """A pre-norm transformer block: attention and an MLP, each with a residual connection."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=1e-5)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=1e-5)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), visible)
        return x + self.mlp(self.ln_2(x))

    def at(self, x: Tensor, position: Tensor, visible: Tensor) -> Tensor:
        """``forward`` at one position of each text: (B, T, C), (B,) -> (B, 1, C)."""
        x = take(x, position) + self.attn.at(self.ln_1(x), position, visible)
        return x + self.mlp(self.ln_2(x))


class Attention(nn.Module):
    """Multi-head self-attention. ``visible`` (B, 1, 1, T) marks the keys to attend to; None means causal."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)  # queries, keys and values in one matrix
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        query, key, value = self.c_attn(x).chunk(3, dim=-1)
        return self._attend(query, key, value, visible)

    def at(self, x: Tensor, position: Tensor, visible: Tensor) -> Tensor:
        """``forward`` at one position of each text: (B, T, C), (B,) -> (B, 1, C).

        With one query q per head, neither keys nor values need to be computed: q·(Wx) = (Wᵀq)·x, and the weighted sum
        of values Wx is W applied to the weighted sum of x. This is O(TCH) instead of O(TC²). The keys' bias adds the
        same number to all scores of a head, which softmax ignores; the values' bias is unchanged, as weights sum to 1.
        """
        if type(self.c_attn) is not nn.Linear:  # an adapted or quantized layer computes more than its weight says
            query, key, value = self.c_attn(x).chunk(3, dim=-1)
            return self._attend(take(query, position), key, value, visible)
        c = x.shape[-1]
        w_query, w_key, w_value = self.c_attn.weight.view(3, self.n_head, -1, c).unbind()  # (H, C/H, C)
        b_query, _, b_value = self.c_attn.bias.view(3, self.n_head, -1).unbind()  # (H, C/H)
        query = torch.einsum("bc,hdc->bhd", take(x, position)[:, 0], w_query) + b_query
        scores = torch.einsum("bhc,btc->bht", torch.einsum("bhd,hdc->bhc", query, w_key), x)
        scores = (scores / math.sqrt(query.shape[-1])).masked_fill(~visible[:, 0], -torch.inf)
        mixed = torch.einsum("bht,btc->bhc", scores.softmax(-1), x)
        y = (torch.einsum("bhc,hdc->bhd", mixed, w_value) + b_value).flatten(1)[:, None]
        return self.resid_dropout(self.c_proj(y))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
        """(B, Q, C), (B, T, C), (B, T, C) -> (B, Q, C)."""
        query, key, value = (x.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for x in (query, key, value))
        y = F.scaled_dot_product_attention(query, key, value, visible, is_causal=visible is None)  # (B, H, Q, C/H)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.act = nn.GELU(approximate="tanh")  # the approximation that the released weights were trained with
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


def take(x: Tensor, position: Tensor) -> Tensor:
    """The hidden state at one position of each text: (B, T, C), (B,) -> (B, 1, C)."""
    return x.gather(1, position.view(-1, 1, 1).expand(-1, 1, x.shape[-1]))


def _keys_before(end: Tensor, width: int) -> Tensor:
    return (torch.arange(width, device=end.device) < end[:, None])[:, None, None, :]  # (B, 1, 1, T)
