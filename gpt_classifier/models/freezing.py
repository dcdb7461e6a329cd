"""Says which parameters are trainable: a policy is a set of parameter names, a pure function of the configuration."""

from gpt_classifier.errors import InputError
from gpt_classifier.models.heads import SequenceClassifier

BLOCKS = {"head": 0, "last_block": 1, "last_two_blocks": 2}
# lora: the low-rank updates of model/lora.py; biases: E. Ben Zaken et al., "BitFit" (2021, arXiv:2106.10199)
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
