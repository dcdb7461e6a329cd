"""Says which parameters train: a policy is a set of parameter names, a pure function of the configuration."""

from gpt_classifier.errors import InputError
from gpt_classifier.model.classification import SequenceClassifier

BLOCKS = {"head": 0, "last_block": 1, "last_two_blocks": 2}
Policy = str | int  # a key of BLOCKS, a number of blocks, or "all"


def trainable_blocks(policy: Policy, n_layer: int) -> int | None:
    """How many of the last blocks train, or None when everything does, embeddings included."""
    if policy == "all":
        return None
    blocks = BLOCKS.get(str(policy), policy)
    if isinstance(blocks, bool) or not str(blocks).isdigit():
        raise InputError(f"trainable is {policy!r}, expected {', '.join(BLOCKS)}, all, or a number of blocks")
    blocks = int(blocks)
    if not 0 <= blocks <= n_layer:
        raise InputError(f"trainable is {policy!r}, but the model has {n_layer} blocks")
    return blocks


def frozen_depth(policy: Policy, n_layer: int) -> int:
    """How many leading blocks, embeddings below them included, cannot change."""
    blocks = trainable_blocks(policy, n_layer)
    return 0 if blocks is None else n_layer - blocks


def trainable_names(model: SequenceClassifier, policy: Policy) -> set[str]:
    """Names of the parameters that train: always the head, the final norm with any block."""
    names = [name for name, _ in model.named_parameters()]
    blocks = trainable_blocks(policy, n_layer := model.gpt.config.n_layer)
    if blocks is None:
        return set(names)
    prefixes = ["head.", *(f"gpt.h.{n}." for n in range(n_layer - blocks, n_layer))]
    if blocks:
        prefixes.append("gpt.ln_f.")
    return {name for name in names if name.startswith(tuple(prefixes))}


def freeze(model: SequenceClassifier, policy: Policy) -> None:
    """Has exactly the parameters of ``policy`` require gradients."""
    names = trainable_names(model, policy)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
