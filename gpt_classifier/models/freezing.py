"""Says which parameters are trainable: a policy is a set of parameter names, a pure function of the configuration.

Of the token embeddings only those of tokens that occur in the texts are trained, as the gradient of the others is zero.
Leaving these rows out saves writing the zeros, updating them in the optimizer and sending them between processes: in
GPT-2 the token embeddings are a third of all parameters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_classifier.errors import InputError
from gpt_classifier.models.backbone import Backbone
from gpt_classifier.models.heads import SequenceClassifier

BLOCKS = {"head": 0, "last_block": 1, "last_two_blocks": 2}
# lora: models/lora.py; biases: E. Ben Zaken et al., "BitFit" (2021, arXiv:2106.10199)
EVERYWHERE = ("all", "lora", "biases")
Policy = str | int  # a key of BLOCKS, a number of blocks, or one of EVERYWHERE


def trainable_blocks(policy: Policy, n_layer: int) -> int | None:
    """Number of last blocks that are trainable, or None for a policy that does not consist of whole blocks."""
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


def count_frozen_layers(model: SequenceClassifier, policy: Policy) -> int:
    """Number of first blocks that are frozen together with the embeddings below them."""
    blocks = (model.block_of(name) for name in trainable_names(model, policy))
    return max(0, min(blocks, default=model.backbone.config.n_layer))


def trainable_names(model: SequenceClassifier, policy: Policy) -> set[str]:
    """Names of the trainable parameters: always the head, and the final norm together with any block.

    Of a head with a low-rank update, only the update is trainable, as of any other such matrix.
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
    """Makes the parameters of ``policy`` require gradients, and no others."""
    names = trainable_names(model, policy)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


class PartlyTrainedEmbedding(nn.Embedding):
    """An embedding with some trainable rows; its state dict is that of a plain ``nn.Embedding``.

    Args:
        whole: The embedding, (V, C); its other rows are frozen, without weight decay.
        tokens: Token ids of the trainable rows.
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
        self.register_state_dict_post_hook(_save_whole)
        self.register_load_state_dict_pre_hook(_load_whole)

    def forward(self, input_ids: Tensor) -> Tensor:
        row = self.row[input_ids]
        trained = F.embedding(row.clamp(min=0), self.trained)
        return torch.where((row >= 0)[..., None], trained, super().forward(input_ids))

    @torch.no_grad()
    def whole(self) -> Tensor:
        """The weights (V, C) of the plain embedding."""
        return self.weight.index_copy(0, self.tokens, self.trained)


def _save_whole(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    assert isinstance(module, PartlyTrainedEmbedding)
    del state_dict[f"{prefix}trained"]
    state_dict[f"{prefix}weight"] = module.whole()


def _load_whole(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    assert isinstance(module, PartlyTrainedEmbedding)
    if (whole := state_dict.get(f"{prefix}weight")) is not None:
        state_dict[f"{prefix}trained"] = whole[module.tokens.to(whole.device)]


def freeze_other_tokens(backbone: Backbone, tokens: Tensor) -> None:
    """Freezes all token embeddings but those of ``tokens``, if ``backbone`` has trainable ones that allow it."""
    unfreeze_other_tokens(backbone)  # left from an earlier fit that was interrupted
    name = backbone.token_embedding
    if name is not None and (embedding := getattr(backbone, name)).weight.requires_grad:
        setattr(backbone, name, PartlyTrainedEmbedding(embedding, tokens))


def unfreeze_other_tokens(backbone: Backbone) -> None:
    """Undoes :func:`freeze_other_tokens`: restores a plain embedding, with the trained rows in it."""
    embedding = getattr(backbone, backbone.token_embedding or "", None)
    if isinstance(embedding, PartlyTrainedEmbedding):
        plain = nn.Embedding(embedding.num_embeddings, embedding.embedding_dim, _weight=embedding.whole())
        setattr(backbone, backbone.token_embedding or "", plain)
