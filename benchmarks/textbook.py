"""GPT-2 as in a textbook, formula by formula: the network of the plain loop.

Attention is written out with its mask and softmax, queries, keys and values have a matrix each, the norm and GELU
follow their definitions, and the head is applied at every position. A test checks that its outputs equal those of
:class:`~gpt_classifier.models.gpt.GPT`.
"""

import math

import torch
from torch import Tensor, nn

from gpt_classifier.models.gpt import GPT, GPTConfig


class Norm(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(hidden_size)), nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = x.var(-1, keepdim=True, unbiased=False)
        return self.weight * (x - mean) / torch.sqrt(variance + 1e-5) + self.bias


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        c = config.n_embd
        self.heads = config.n_head
        self.norm_1, self.norm_2 = Norm(c), Norm(c)
        self.query, self.key, self.value, self.out = (nn.Linear(c, c) for _ in range(4))
        self.up, self.down = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)
        self.hidden: Tensor
        hidden = torch.triu(torch.ones(config.context_length, config.context_length, dtype=torch.bool), diagonal=1)
        self.register_buffer("hidden", hidden, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        y = self.norm_1(x)
        q, k, v = (f(y).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = (q @ k.transpose(2, 3) / math.sqrt(c // self.heads)).masked_fill(self.hidden[:t, :t], -torch.inf)
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))
        y = self.up(self.norm_2(x))
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        return x + self.down(y)


class TextbookClassifier(nn.Module):
    """(B, T) ids -> (B, T, K) logits, with the weights of ``gpt``."""

    def __init__(self, gpt: GPT, num_classes: int) -> None:
        super().__init__()
        config = gpt.config
        self.tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.positions = nn.Embedding(config.context_length, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = Norm(config.n_embd)
        self.head = nn.Linear(config.n_embd, num_classes)
        self.copy(gpt)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.tokens(input_ids) + self.positions(torch.arange(input_ids.shape[1], device=input_ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def copy(self, gpt: GPT) -> None:
        self.tokens.load_state_dict(gpt.wte.state_dict())
        self.positions.load_state_dict(gpt.wpe.state_dict())
        self.norm.load_state_dict(gpt.ln_f.state_dict())
        for ours, theirs in zip(self.blocks, gpt.h, strict=True):
            state = theirs.state_dict()
            parts = {"norm_1": "ln_1", "norm_2": "ln_2", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
            for kind in ("weight", "bias"):
                fused = state.pop(f"attn.c_attn.{kind}").chunk(3)
                state |= {f"{name}.{kind}": t for name, t in zip(("query", "key", "value"), fused, strict=True)}
                state |= {f"{mine}.{kind}": state.pop(f"{name}.{kind}") for mine, name in parts.items()}
            ours.load_state_dict(state)

    def train_last_blocks(self, blocks: int | None) -> None:
        """Freezes all but the head, the last ``blocks`` blocks and, with any of them, the final norm."""
        if blocks is None:
            return
        self.requires_grad_(False)
        parts = [self.head, *list(self.blocks)[len(self.blocks) - blocks :], *([self.norm] if blocks else [])]
        for part in parts:
            part.requires_grad_(True)
