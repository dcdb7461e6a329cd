"""Uses a bidirectional encoder of ``transformers`` (BERT, RoBERTa, DeBERTa, ModernBERT, ...) as the backbone.

Knows nothing about labels. Code from the hub is never run, neither with published weights nor from a model folder.
Shapes: B texts, T tokens, C channels.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from gpt_classifier.errors import InputError, reason
from gpt_classifier.model.gpt import take

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Norms after the last block, in ModernBERT and EuroBERT. BERT and similar encoders have theirs inside the blocks.
FINAL_NORMS = ("network.final_norm.", "network.norm.")
# Fields of a configuration that are dropped, like all names that begin with an underscore: its origin, the heads of
# transformers, and what could make transformers fetch code (auto_map, kernels as attn_implementation) or weights.
NOT_KEPT = {
    *("name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"),
    *("id2label", "label2id", "num_labels", "problem_type"),
    *("auto_map", "attn_implementation", "experts_implementation", "quantization_config"),
}


@dataclass(frozen=True)
class EncoderConfig:
    """Dimensions of an encoder, with the names of :class:`~gpt_classifier.model.gpt.GPTConfig`.

    Args:
        fields: The whole configuration of transformers as plain values, from which the network can be built again.
        dropout: The maximum of all dropout probabilities in it.
    """

    family: ClassVar[str] = "encoder"
    fields: dict[str, Any]
    vocab_size: int
    context_length: int
    n_embd: int
    n_layer: int
    n_head: int
    dropout: float
    causal: bool = False

    @property
    def model_type(self) -> str:
        return self.fields["model_type"]


class Encoder(nn.Module):
    """Token ids (B, T) -> hidden states (B, T, C), with the methods of :class:`~gpt_classifier.model.gpt.GPT`.

    The network cannot be split: ``embed`` returns the ids, and ``run_blocks`` computes everything.
    """

    token_embedding = None  # its place differs between the networks of transformers

    def __init__(self, network: "PreTrainedModel") -> None:
        super().__init__()
        if hasattr(network, "pooler"):
            network.pooler = nn.Identity()  # a layer that this package does not use, so it would get no gradient
        self.network = network.train()  # networks with published weights are loaded in evaluation mode
        blocks = {name: len(module) for name, module in network.named_modules() if isinstance(module, nn.ModuleList)}
        longest = max(blocks, key=blocks.__getitem__)
        self.blocks = f"network.{longest}."  # prefix of the names of their parameters
        # RoBERTa reserves the positions up to the id of its padding token for padding, which it recognises by that id.
        # Here lengths say where padding begins, so the positions are passed to it.
        tables = (module for name, module in network.named_modules() if name.endswith("position_embeddings"))
        padding = getattr(next(tables, None), "padding_idx", None)
        self.first_position = 0 if padding is None else padding + 1
        self._activation_checkpointing = False

        config, fields = network.config, _plain(network.config)
        self.config = EncoderConfig(
            fields=fields,
            vocab_size=config.vocab_size,
            context_length=config.max_position_embeddings - self.first_position,
            n_embd=config.hidden_size,
            n_layer=blocks[longest],
            n_head=config.num_attention_heads,
            dropout=max((float(p) for name, p in fields.items() if "drop" in name and _is_number(p)), default=0.0),
        )

    @property
    def output_embedding(self) -> None:
        """None, as a bidirectional encoder predicts no next token."""

    @property
    def starts_at(self) -> tuple[int, int]:
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
            raise ValueError("an encoder runs all of its blocks or none")
        if start > 0:
            return x if position is None else take(x, position)
        if lengths is None:
            raise ValueError("lengths must say where padding begins")
        positions = torch.arange(x.shape[1], device=x.device)
        counted = {"position_ids": (positions + self.first_position)[None]} if self.first_position else {}
        visible = (positions < lengths[:, None]).long()
        states = self.network(input_ids=x, attention_mask=visible, **counted).last_hidden_state
        return states if position is None else take(states, position)

    def finish(self, x: Tensor) -> Tensor:
        """Returns (B, T, C) unchanged: the network has already applied its final norm, if it has one."""
        return x

    def block_of(self, name: str) -> int:
        """Number of the block that this parameter belongs to: -1 below the blocks, n_layer for the final norm."""
        if name.startswith(self.blocks):
            return int(name.removeprefix(self.blocks).split(".")[0])
        return self.config.n_layer if name.startswith(FINAL_NORMS) else -1

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


def pretrained_encoder(name: str) -> Encoder:
    """The encoder ``name`` with published weights, from the Hugging Face hub (downloaded if needed) or from a folder.

    Raises:
        InputError: It cannot be loaded, is not a bidirectional encoder, or its weights do not fit its configuration.
    """
    transformers = _transformers()
    config = encoder_config(name)
    try:
        with _errors_only():
            network, info = transformers.AutoModel.from_pretrained(
                name, config=config, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
        encoder = Encoder(network)
    except Exception as error:  # the hub's client and transformers raise many unrelated kinds
        raise InputError(
            f"could not load the weights of the encoder {name!r} ({reason(error)}). Fetch its files elsewhere and "
            "give their folder as --model.backbone FOLDER, or train from scratch with `--model.weights random`."
        ) from error
    blocks = encoder.blocks.removeprefix("network")
    problems = [f"missing {key}" for key in sorted(info["missing_keys"]) if not key.startswith("pooler.")]
    # Other unexpected keys belong to the head that it was pretrained with.
    problems += [f"unexpected {key}" for key in sorted(info["unexpected_keys"]) if blocks in f".{key}"]
    if problems:
        raise InputError(f"the weights of the encoder {name!r} do not fit its configuration: {'; '.join(problems[:3])}")
    return encoder


def random_encoder(encoder: str | Mapping[str, Any], vocab_size: int | None = None) -> Encoder:
    """An encoder with random weights; ``encoder`` as for :func:`encoder_config`."""
    return _built(encoder_config(encoder, vocab_size))


def empty_encoder(fields: Mapping[str, Any]) -> Encoder:
    """An encoder with this configuration, whose weights are not initialized."""
    config = encoder_config(fields)
    from transformers.initialization import no_init_weights

    # On the CPU even if the caller uses the meta device: buffers such as position ids are in no file.
    with torch.device("cpu"), no_init_weights():
        return _built(config)


def encoder_config(encoder: str | Mapping[str, Any], vocab_size: int | None = None) -> "PreTrainedConfig":
    """The configuration of transformers that ``encoder`` describes.

    Args:
        encoder: Name on the Hugging Face hub, folder with a ``config.json``, or fields of the configuration:
            ``{model_type: distilbert, dim: 64, n_layers: 2, n_heads: 2}``.
        vocab_size: Number of token ids, if the fields do not give it.
    """
    transformers = _transformers()
    try:
        with _errors_only():
            if isinstance(encoder, str):
                fields = _plain(transformers.AutoConfig.from_pretrained(encoder, trust_remote_code=False))
            else:
                fields = ({} if vocab_size is None else {"vocab_size": vocab_size}) | _kept(encoder)
            config = transformers.AutoConfig.for_model(**fields)
    except Exception as error:  # the hub's client and transformers raise many unrelated kinds
        raise InputError(
            f"backbone is {_short(encoder)}, expected an encoder of transformers: its name on the Hugging Face hub, "
            f"its folder, or a mapping with a model_type and fields of that type ({reason(error)})"
        ) from error
    needed = ("vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings")
    if config.is_encoder_decoder or not all(isinstance(getattr(config, name, None), int) for name in needed):
        raise InputError(
            f"backbone is {_short(encoder)}, whose type {config.model_type} is not a bidirectional encoder like BERT: "
            f"expected {', '.join(needed)} in its configuration, and no decoder"
        )
    return config


def encoder_fields(encoder: str | Mapping[str, Any], vocab_size: int | None = None) -> dict[str, Any]:
    """The configuration that :func:`encoder_config` returns, as plain values."""
    return _plain(encoder_config(encoder, vocab_size))


def _built(config: "PreTrainedConfig") -> Encoder:
    try:
        return Encoder(_transformers().AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False))
    except Exception as error:  # each architecture raises errors of its own for a wrong configuration
        raise InputError(
            f"no {config.model_type} encoder can be built from its configuration ({reason(error)})"
        ) from error


def _plain(config: "PreTrainedConfig") -> dict[str, Any]:
    return _kept(json.loads(config.to_json_string(use_diff=False)))


def _kept(value: Any) -> Any:
    """The fields without those in NOT_KEPT, also within mappings."""
    if not isinstance(value, Mapping):
        return value
    kept = (name for name in value if name not in NOT_KEPT and not str(name).startswith("_"))
    return {name: _kept(value[name]) for name in kept}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _short(encoder: str | Mapping[str, Any]) -> str:
    return repr(encoder if isinstance(encoder, str) else dict(encoder))[:200]


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InputError('an encoder needs transformers: pip install "gpt-classifier[encoders]"') from error
    return transformers


@contextmanager
def _errors_only() -> Iterator[None]:
    """Suppresses warnings of transformers about what is intended: a head that is left out, a small vocabulary."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
