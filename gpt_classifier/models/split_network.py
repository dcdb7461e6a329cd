"""Runs the blocks of a network of ``transformers`` one by one: decoders (Llama, Qwen, ...) and encoders (BERT, ...).

Knows no architecture. What a network computes before and after its blocks, and what it tells each block besides hidden
states (positions, masks), is taken from its own ``forward``, run on a copy whose blocks only record their arguments.

A decoder's last block is computed at one position of each text: of all others only keys and values are needed. Its own
code runs, twice: up to its keys and values, which its attention hands to a cache, and then at the position, where that
cache returns the keys and values of the whole text.

Shapes: B texts, T tokens, C hidden size.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from gpt_classifier.models.gpt import take
from gpt_classifier.models.whole_network import WholeNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = ("self_attn", "attention", "attn", "self_attention")  # what blocks call it
CACHE = ("past_key_values", "layer_past", "past_key_value")  # what it calls the cache
TOLERANCE = 1e-4  # to which the position must be that of the whole block


class CannotSplit(Exception):
    """The blocks of a network cannot be run one by one."""


class Call(NamedTuple):
    """The arguments of a block: its hidden states (B, T, C), and others."""

    x: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class SplitNetwork(WholeNetwork):
    """Token ids (B, T) -> hidden states (B, T, C), with the methods of :class:`~gpt_classifier.models.gpt.GPT`.

    Padding is on the right. With causal attention no real token sees it; the blocks of an encoder get the network's own
    mask for it.

    Raises:
        CannotSplit: The network does not hand hidden states unchanged from block to block, or a block depends on
            anything else that the ids determine.
    """

    def __init__(self, network: "PreTrainedModel") -> None:
        super().__init__(network)
        self.reads_positions: bool | None = None  # whether a block can be computed at a position alone; not known yet
        states = self._check_split()
        self.config = replace(self.config, n_embd=states.shape[-1])  # OPT 350M has a projection after its blocks
        ours = {name: parameter for name, parameter in self.named_parameters() if not name.startswith(self.blocks)}
        used = torch.autograd.grad(states.sum(), list(ours.values()), allow_unused=True) if states.requires_grad else ()
        self.above = tuple(name for name, gradient in zip(ours, used, strict=False) if gradient is not None)

    @property
    def starts_at(self) -> Collection[int]:
        """Numbers of the blocks that ``run_blocks`` can start with; n_layer runs none."""
        return range(self.config.n_layer + 1)

    def whole(self) -> WholeNetwork:
        """The same network, whose modules it shares, run in one pass: exporters cannot trace the copies made here."""
        whole = WholeNetwork(self.network)
        whole.config = self.config
        return whole.train(self.training)

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, T) ids -> (B, T, C), the input of the first block."""
        return self._without_blocks(self._inputs(input_ids, None))[1][0].x

    def run_blocks(
        self,
        x: Tensor,
        start: int = 0,
        stop: int | None = None,
        *,
        lengths: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Tensor:
        """Input (B, T, C) of block ``start`` -> output of block ``stop - 1``, or (B, 1, C) at ``position`` (B,)."""
        last = range(self.config.n_layer)[start:stop][-1:] if position is not None and self.config.causal else range(0)
        for output in self.outputs(x, start, last[0] if last else stop, lengths=lengths):
            x = output
        if position is None:
            return x
        return self._at(last[0], x, position) if last else take(x, position)

    def _at(self, number: int, x: Tensor, position: Tensor) -> Tensor:
        """The output (B, 1, C) of one block at ``position`` (B,)."""
        block = self._modules_of_blocks()[number]
        with torch.no_grad():
            _, args, kwargs = self._without_blocks(self._inputs(_any_ids(x), None))[1][number]
        if self.reads_positions is None:
            self.reads_positions = _reads_positions(block, args, kwargs, x, position)
        if self.reads_positions:
            return run_at_position(block, args, kwargs, x, position)
        return take(block(x, *args, **kwargs), position)

    def outputs(
        self, x: Tensor, start: int = 0, stop: int | None = None, *, lengths: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The output (B, T, C) of each block from ``start`` on, one after the other, for its input."""
        self._check_lengths(lengths)
        with torch.no_grad():  # what they get besides x depends on the shape of x and on the lengths only
            calls = self._without_blocks(self._inputs(_any_ids(x), lengths))[1]
        for block, call in list(zip(self._modules_of_blocks(), calls, strict=True))[start:stop]:
            x = block(x, *call.args, **call.kwargs)
            yield x

    def finish(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C): the layers after the last block."""
        return x if self.ends_with_blocks else self._without_blocks(self._inputs(_any_ids(x), None), x)[0]

    def _is_above(self, name: str) -> bool:
        return name in self.above

    def _modules_of_blocks(self) -> list[nn.Module]:
        blocks = self.get_submodule(self.blocks.removesuffix("."))
        assert isinstance(blocks, nn.ModuleList)
        return list(blocks)

    @torch.compiler.disable  # torch.compile cannot trace copies of modules; it compiles the blocks
    def _without_blocks(self, inputs: dict[str, Any], output: Tensor | None = None) -> tuple[Tensor, list[Call]]:
        """Runs the network with blocks that return their input, or ``output``: its result, and the blocks' arguments.

        Copies share all parameters, buffers and other modules with the network.
        """
        calls: list[Call] = []

        def record(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            calls.append(Call(x, args, kwargs))
            return x if output is None else output

        recorders = nn.ModuleList(copy(block) for block in self._modules_of_blocks())
        for recorder in recorders:
            recorder.forward = record
        path = self.blocks.removeprefix("network.").removesuffix(".").split(".")
        states = _with(self.network, path, recorders)(**inputs).last_hidden_state
        return states, calls

    def _check_split(self) -> Tensor:
        """The states (1, T, C) after the last block, of some ids. Raises ``CannotSplit``."""
        self.network.eval()  # dropout would change the random numbers that come after it
        ids = torch.arange(4, device=next(self.parameters()).device)[None] % self.config.vocab_size
        try:
            calls = self._without_blocks(self._inputs(ids, None))[1]
            others = self._without_blocks(self._inputs(ids.flip(1), None))[1]
            # Computed from detached states, in which the embeddings have no part.
            handed = calls[0].x.detach()
            states = self._without_blocks(self._inputs(ids, None), handed)[0]
            self.ends_with_blocks = states is handed  # as BERT does; a norm above them may have no parameters
        except Exception as error:  # each architecture raises errors of its own
            raise CannotSplit from error
        finally:
            self.network.train()
        number = self.config.n_layer
        in_order = len(calls) == len(others) == number and all(call.x is calls[0].x for call in calls)
        if not in_order or not all(_alike(a[1:], b[1:]) for a, b in zip(calls, others, strict=True)):
            raise CannotSplit
        return states


@torch.no_grad()
def _reads_positions(
    block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, position: Tensor
) -> bool:
    """Whether ``run_at_position`` gives what the whole block gives there."""
    trains = block.training
    block.eval()
    try:
        alone = run_at_position(block, args, kwargs, x, position)
        whole = take(block(x, *args, **kwargs), position)
    except Exception:  # each architecture raises errors of its own for arguments that it does not expect
        return False
    finally:
        block.train(trains)
    scale = float(whole.abs().max().clamp_min(1))
    return bool((alone - whole).abs().max() <= TOLERANCE * scale)


def _any_ids(x: Tensor) -> Tensor:
    """Token ids (B, T) for hidden states (B, T, C)."""
    return torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)


def _with(module: nn.Module, path: list[str], new: nn.Module) -> nn.Module:
    """A copy of ``module`` that has ``new`` at ``path`` and shares everything else with it."""
    name, *rest = path
    shared = copy(module)
    shared._modules = module._modules | {name: _with(getattr(module, name), rest, new) if rest else new}
    return shared


def _alike(a: Any, b: Any) -> bool:
    """Whether two arguments are equal, and such that nothing but the shape of the ids determines them."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return not a.requires_grad and (a.is_meta or torch.equal(a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(_alike(*pair) for pair in zip(a, b, strict=True))
    return a is None or (isinstance(a, bool | int | float | str) and a == b)  # other objects may change


# ---------------------------------------------------------------- one position of each text


class CannotRead(Exception):
    """A block's output at a position cannot be computed alone."""


class _Cache:
    """Stands for the cache of an attention: hands it keys and values (B, h, T, d), or keeps those that it computes.

    Where it keeps them, it ends the computation with ``_Kept``.
    """

    def __init__(self, *found: Tensor) -> None:
        self.found = found

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, ...]:
        if not self.found:
            self.found = keys, values
            raise _Kept
        return self.found


class _Kept(Exception):
    """Keys and values are known, and nothing else is wanted."""


class _NoQueries(nn.Module):
    """In place of the layer of the queries, where only keys and values are wanted."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.width = int(layer.out_features)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], self.width)


@torch.compiler.disable  # torch.compile cannot trace copies of modules
def run_at_position(
    block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, position: Tensor
) -> Tensor:
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
    without_queries, found = copy(attention), _Cache()
    if hasattr(attention, "q_proj"):
        without_queries._modules = attention._modules | {"q_proj": _NoQueries(attention.q_proj)}
    try:
        _with_attention(block, name, _calls(without_queries, cache, found))(x, **kwargs)
    except _Kept:
        holding = _calls(attention, cache, found)
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
    return _with(block, [name], stand_in)


def _calls(attention: nn.Module, cache: str, stand_in: _Cache) -> Callable[..., Any]:
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
