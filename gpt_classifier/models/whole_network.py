"""Runs a network of ``transformers`` as a whole: one whose blocks cannot be run one by one, such as DeBERTa and BLOOM.

Knows nothing about labels. Shapes: B texts, T tokens, C hidden size.
"""

from collections.abc import Collection, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gpt_classifier.errors import InputError
from gpt_classifier.models.gpt import take
from gpt_classifier.models.transformers_config import (
    TransformersConfig,
    dropout,
    is_causal,
    network_config,
    plain,
    predicts_with_embeddings,
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Norms after the last block, in ModernBERT, EuroBERT and BLOOM. BERT and its like have theirs inside the blocks.
FINAL_NORMS = ("network.final_norm.", "network.norm.", "network.ln_f.")


class WholeNetwork(nn.Module):
    """Token ids (B, T) -> hidden states (B, T, C), with the methods of :class:`~gpt_classifier.models.gpt.GPT`.

    The network is not split: ``embed`` returns the ids, and ``run_blocks`` computes everything.
    """

    token_embedding = None  # its place differs between the networks of transformers

    def __init__(self, network: "PreTrainedModel") -> None:
        super().__init__()
        if hasattr(network, "pooler"):
            network.pooler = nn.Identity()  # a layer that this package does not use, so it would get no gradient
        self.network = network.train()  # networks with published weights are loaded in evaluation mode
        blocks = {name: len(module) for name, module in network.named_modules() if isinstance(module, nn.ModuleList)}
        # Lists within a block, such as experts, may be longer; ALBERT has fewer blocks than layers, as it repeats them.
        right = [name for name in blocks if blocks[name] == getattr(network.config, "num_hidden_layers", None)]
        found = right[0] if right else max(blocks, key=blocks.__getitem__)
        self.blocks = f"network.{found}."  # prefix of the names of their parameters
        # RoBERTa reserves the positions up to the id of its padding token for padding, which it recognises by that id.
        # Here lengths say where padding begins, so the positions are passed to it.
        tables = (module for name, module in network.named_modules() if name.endswith("position_embeddings"))
        padding = getattr(next(tables, None), "padding_idx", None)
        self.first_position = 0 if padding is None else padding + 1
        self._activation_checkpointing = False
        self._tied: bool | None = None  # not known yet

        config, fields = network.config, plain(network.config)
        self.config = TransformersConfig(
            fields=fields,
            vocab_size=config.vocab_size,
            context_length=config.max_position_embeddings - self.first_position,
            n_embd=config.hidden_size,
            n_layer=blocks[found],
            n_head=config.num_attention_heads,
            dropout=dropout(fields),
            causal=is_causal(config),
        )

    @property
    def output_embedding(self) -> Tensor | None:
        """(V, C) the token embeddings if they alone turn the hidden states of a decoder into logits, else None."""
        if self._tied is None:
            self._tied = self.config.causal and predicts_with_embeddings(self.network.config)
        return self.network.get_input_embeddings().weight if self._tied else None

    @property
    def starts_at(self) -> Collection[int]:
        """Numbers of the blocks that ``run_blocks`` can start with: it runs all blocks, or none."""
        return 0, self.config.n_layer

    def embed(self, input_ids: Tensor) -> Tensor:
        """Returns the ids (B, T) unchanged."""
        return input_ids

    def run_blocks(
        self,
        x: Tensor,
        start: int = 0,
        stop: int | None = None,
        *,
        lengths: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Tensor:
        """(B, T) ids -> (B, T, C), or (B, 1, C) with ``position`` (B,), one for each text.

        With ``start`` n_layer, no block is run, and ``x`` are hidden states (B, T, C).
        """
        if start not in self.starts_at or stop not in (None, self.config.n_layer):
            raise ValueError("this network runs all of its blocks or none")
        if start == 0:
            self._check_lengths(lengths)
            x = self.network(**self._inputs(x, lengths)).last_hidden_state
        return x if position is None else take(x, position)

    def outputs(
        self, x: Tensor, start: int = 0, stop: int | None = None, *, lengths: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The output of the last block only."""
        yield self.run_blocks(x, start, stop, lengths=lengths)

    def _inputs(self, input_ids: Tensor, lengths: Tensor | None) -> dict[str, Any]:
        """The arguments of the network for ids (B, T), of which those beyond ``lengths`` (B,) are padding."""
        inputs: dict[str, Any] = {"input_ids": input_ids}
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        if self.first_position:
            inputs["position_ids"] = (positions + self.first_position)[None]
        if self.config.causal:  # no token sees the padding, which is on the right
            inputs["use_cache"] = False
        elif lengths is not None:
            inputs["attention_mask"] = (positions < lengths[:, None]).long()
        return inputs

    def _check_lengths(self, lengths: Tensor | None) -> None:
        if lengths is None and not self.config.causal:
            raise ValueError("lengths must say where padding begins")

    @property
    def can_remove_blocks(self) -> bool:
        """Whether its first blocks alone are a network of the same type.

        They are not where blocks are repeated (ALBERT), have parts in further lists (XLM), or where the configuration
        of the first ones alone is refused.
        """
        kept, config = self._list_of_blocks(), deepcopy(self.network.config)
        lists = [module for name, module in self.named_modules() if not name.startswith(self.blocks)]
        parallel = [module for module in lists if isinstance(module, nn.ModuleList) and len(module) == len(kept)]
        if config.num_hidden_layers != len(kept) or len(parallel) != 1:
            return False
        _set_blocks(config, len(kept), 1)
        try:
            network_config(plain(config))
        except InputError:
            return False
        return True

    def keep(self, blocks: int) -> None:
        """Removes all blocks but the first ``blocks``. Raises ``InputError`` if they cannot be removed."""
        if not self.can_remove_blocks:
            kind = self.config.model_type
            raise InputError(f"blocks is {blocks}, but no blocks can be removed from a network of type {kind}")
        kept, config = self._list_of_blocks(), self.network.config
        _set_blocks(config, len(kept), blocks)
        del kept[blocks:]
        self.config = replace(self.config, n_layer=blocks, fields=plain(config))

    def _list_of_blocks(self) -> nn.ModuleList:
        found = self.get_submodule(self.blocks.removesuffix("."))
        assert isinstance(found, nn.ModuleList)
        return found

    def finish(self, x: Tensor) -> Tensor:
        """Returns (B, T, C) unchanged: the network has already applied its final norm, if it has one."""
        return x

    def block_of(self, name: str) -> int:
        """Number of the block that this parameter belongs to: -1 below the blocks, n_layer for the final norm."""
        if name.startswith(self.blocks):
            return int(name.removeprefix(self.blocks).split(".")[0])
        return self.config.n_layer if self._is_above(name) else -1

    def _is_above(self, name: str) -> bool:
        return name.startswith(FINAL_NORMS)

    @property
    def activation_checkpointing(self) -> bool:
        """Whether to recompute a block's activations in the backward pass."""
        return self._activation_checkpointing

    @activation_checkpointing.setter
    def activation_checkpointing(self, on: bool) -> None:
        if on != self._activation_checkpointing:
            verb = "enable" if on else "disable"
            names = (f"activation_checkpointing_{verb}", f"gradient_checkpointing_{verb}")  # the older name
            set_ = next(getattr(self.network, name) for name in names if hasattr(self.network, name))
            set_(*([{"use_reentrant": False}] if on else []))
        self._activation_checkpointing = on


def _set_blocks(config: "PreTrainedConfig", layers: int, blocks: int) -> None:
    """Makes ``config``, that of a network of so many ``layers``, that of its first ``blocks``."""
    for name, value in config.to_dict().items():  # what is listed for each layer: layer_types, no_rope_layers, ...
        if isinstance(value, list) and "layer" in name and len(value) == layers:
            setattr(config, name, value[:blocks])
    config.num_hidden_layers = blocks
