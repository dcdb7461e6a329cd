"""Says which parameters train: a policy is a set of parameter names, a pure function of the configuration."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_classifier.errors import InputError
from gpt_classifier.model.classification import SequenceClassifier

BLOCKS = {"head": 0, "last_block": 1, "last_two_blocks": 2}
# lora: the corrections of model/lora.py; biases: E. Ben Zaken et al., "BitFit" (2021, arXiv:2106.10199)
EVERYWHERE = ("all", "lora", "biases")
Policy = str | int  # a key of BLOCKS, a number of blocks, or one of EVERYWHERE


def trainable_blocks(policy: Policy, n_layer: int) -> int | None:
    """How many of the last blocks train, or None where what trains is not whole blocks at the end."""
    if policy in EVERYWHERE:
        return None
    blocks = BLOCKS.get(str(policy), policy)
    if isinstance(blocks, bool) or not str(blocks).isdigit():
        raise InputError(
            f"trainable is {policy!r}, expected {', '.join([*BLOCKS, *EVERYWHERE])}, or a number of blocks"
        )
    blocks = int(blocks)
    if not 0 <= blocks <= n_layer:
        raise InputError(f"trainable is {policy!r}, but the model has {n_layer} blocks")
    return blocks


def frozen_depth(model: SequenceClassifier, policy: Policy) -> int:
    """How many leading blocks, embeddings below them included, cannot change."""
    blocks = (model.block_of(name) for name in trainable_names(model, policy))
    return max(0, min(blocks, default=model.backbone.config.n_layer))


def trainable_names(model: SequenceClassifier, policy: Policy) -> set[str]:
    """Names of the parameters that train: always the head, the final norm with any block.

    A head that is adapted itself trains as the other adapted matrices do: its correction alone.
    """
    names = [name for name, _ in model.named_parameters()]
    blocks = trainable_blocks(policy, n_layer := model.backbone.config.n_layer)
    if policy == "all":
        return set(names)
    if policy == "biases":
        return {name for name in names if name.startswith("head.") or name.endswith("bias")}
    if blocks is None:
        adapters = {name for name in names if ".lora_" in name}
        adapted_head = any(name.startswith("head.") for name in adapters)
        return adapters | {name for name in names if name.startswith("head.") and not adapted_head}
    return {name for name in names if name.startswith("head.") or (blocks and model.block_of(name) >= n_layer - blocks)}


def freeze(model: SequenceClassifier, policy: Policy) -> None:
    """Has exactly the parameters of ``policy`` require gradients."""
    names = trainable_names(model, policy)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


class PartlyTrainedEmbedding(nn.Embedding):
    """An embedding of which only some rows train; a state dict holds it as the plain one that it stands for.

    A row whose token never occurs gets no gradient. Left out, its share of the gradient is not written as zeros, nor
    read by the optimizer, nor sent between processes: in GPT-2 the rows are a third of all parameters.

    Args:
        whole: The embedding, (V, C); its rows that do not train stay as they are, without weight decay.
        tokens: Numbers of the rows that train.
    """

    def __init__(self, whole: nn.Embedding, tokens: Tensor) -> None:
        super().__init__(whole.num_embeddings, whole.embedding_dim, _weight=whole.weight)
        self.weight.requires_grad_(False)
        self.tokens: Tensor
        self.row: Tensor
        self.register_buffer("tokens", tokens.to(self.weight.device), persistent=False)
        self.register_buffer("row", torch.full_like(self.weight[:, 0], -1, dtype=torch.long), persistent=False)
        self.row[self.tokens] = torch.arange(len(tokens), device=self.row.device)
        self.trained = nn.Parameter(self.weight.detach()[self.tokens])  # (N, C)

    def forward(self, input_ids: Tensor) -> Tensor:
        row = self.row[input_ids]
        trained = F.embedding(row.clamp(min=0), self.trained)
        return torch.where((row >= 0)[..., None], trained, super().forward(input_ids))

    @torch.no_grad()
    def whole(self) -> Tensor:
        """The weights (V, C) of the plain embedding."""
        return self.weight.index_copy(0, self.tokens, self.trained)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.whole()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        if (whole := state_dict.get(f"{prefix}weight")) is not None:
            state_dict[f"{prefix}trained"] = whole[self.tokens.to(whole.device)]
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def freeze_other_tokens(model: SequenceClassifier, tokens: Tensor) -> None:
    """Has only the embeddings of ``tokens`` train, where the backbone can do that and its embeddings train at all."""
    if (name := model.backbone.token_embedding) is None:
        return
    embedding = getattr(model.backbone, name)
    if isinstance(embedding, PartlyTrainedEmbedding):  # of an earlier fit
        embedding = nn.Embedding(embedding.num_embeddings, embedding.embedding_dim, _weight=embedding.whole())
    elif not embedding.weight.requires_grad:
        return
    setattr(model.backbone, name, PartlyTrainedEmbedding(embedding, tokens))
