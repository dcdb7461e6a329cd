"""Computes a block of a decoder of ``transformers`` at one position of each text.

Of all other positions only keys and values are needed, so queries, the output of attention and the MLP are
computed once a text. The block's own code runs, twice: up to its keys and values, which its attention hands to a cache,
and then at the position, where that cache returns the keys and values of the whole text.

Shapes: B texts, T tokens, C hidden size.
"""

import inspect
from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from gpt_classifier.models.gpt import take

ATTENTION = ("self_attn", "attention", "attn", "self_attention")  # what blocks call it
CACHE = ("past_key_values", "layer_past", "past_key_value")  # what it calls the cache
TOLERANCE = 1e-4  # to which the position must be that of the whole block


class CannotRead(Exception):
    """A block's output at a position cannot be computed alone."""


class _Found(Exception):
    """Carries keys and values out of an attention."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values


class _Catching:
    """Stands for a cache, and ends the computation with what it is handed."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> None:
        raise _Found(keys, values)


class _Holding:
    """Stands for a cache that has the keys and values of the whole text already."""

    def __init__(self, found: _Found) -> None:
        self.found = found

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self.found.keys, self.found.values


class _NoQueries(nn.Module):
    """In place of the layer of the queries, where only keys and values are wanted."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.width = int(layer.out_features)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], self.width)


@torch.compiler.disable  # torch.compile cannot trace copies of modules
def at_position(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, position: Tensor) -> Tensor:
    """The output (B, 1, C) of ``block`` at ``position`` (B,), for its input ``x`` (B, T, C) and other arguments.

    Raises ``CannotRead`` if the block is not made as expected.
    """
    name = next((name for name in ATTENTION if isinstance(getattr(block, name, None), nn.Module)), None)
    if name is None or args:
        raise CannotRead
    attention = getattr(block, name)
    cache = next((word for word in CACHE if word in inspect.signature(attention.forward).parameters), None)
    if cache is None:
        raise CannotRead
    without_queries = copy(attention)
    if hasattr(attention, "q_proj"):
        without_queries._modules = attention._modules | {"q_proj": _NoQueries(attention.q_proj)}
    try:
        _with_attention(block, name, _calls(without_queries, cache, _Catching()))(x, **kwargs)
    except _Found as caught:
        holding = _calls(attention, cache, _Holding(caught))
        at = {key: _at(key, value, x, position) for key, value in kwargs.items()}
        if at.get("attention_mask") is None and "attention_mask" in kwargs:
            keys = torch.arange(x.shape[1], device=x.device) <= position[:, None]
            at["attention_mask"] = torch.zeros_like(keys, dtype=x.dtype).masked_fill(~keys, -torch.inf)[:, None, None]
        return _with_attention(block, name, holding)(take(x, position), **at)
    raise CannotRead


def _with_attention(block: nn.Module, name: str, call: Callable[..., Any]) -> nn.Module:
    """A copy of ``block`` that shares all with it, and calls ``call`` for its attention."""
    stand_in = nn.Module()
    stand_in.forward = call
    shared = copy(block)
    shared._modules = block._modules | {name: stand_in}
    return shared


def _calls(attention: nn.Module, cache: str, stand_in: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: attention(*args, **kwargs | {cache: stand_in})


def _at(name: str, value: Any, x: Tensor, position: Tensor) -> Any:
    """An argument of a block for the whole text -> the one for a position of each."""
    if isinstance(value, tuple):
        return tuple(_at(name, part, x, position) for part in value)
    if not isinstance(value, Tensor) or value.ndim < 2:
        return value
    batch, width = x.shape[:2]
    if value.ndim == 4 and value.shape[-2:] == (width, width):  # a mask (b, h, T, T)
        whole = value.expand(batch, -1, -1, -1)
        return whole.gather(2, position.view(-1, 1, 1, 1).expand(-1, whole.shape[1], 1, width))
    if value.shape[1] == width:  # numbers of the positions (b, T), or what is computed of them (b, T, D)
        whole = value.expand(batch, *value.shape[1:])
        index = position.view(-1, *[1] * (whole.ndim - 1)).expand(-1, 1, *whole.shape[2:])
        return whole.gather(1, index)
    raise CannotRead
