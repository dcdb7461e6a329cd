"""Builds the network that settings describe, with its first weights; knows nothing about training.

Settings are the hyper-parameters of :class:`~gpt_classifier.training.module.GPTClassifier`.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from gpt_classifier.encoding import TextEncoder
from gpt_classifier.errors import InputError
from gpt_classifier.model.classification import POOLINGS, SequenceClassifier
from gpt_classifier.model.encoders import Encoder, EncoderConfig, encoder_config, pretrained_encoder, random_encoder
from gpt_classifier.model.freezing import trainable_blocks
from gpt_classifier.model.gpt import GPT, SIZES, GPTConfig
from gpt_classifier.model.lora import LoRAConfig
from gpt_classifier.model.pretrained import fetch_pretrained, load_weights, without_weights
from gpt_classifier.tokenizer import OWN


def check_network(settings: Mapping[str, Any]) -> None:
    """Raises ``InputError`` for what is wrong in ``settings``, before anything is downloaded."""
    gpt, encoder, trainable, lora = (settings[name] for name in ("gpt", "encoder", "trainable", "lora"))
    if settings["pooling"] not in POOLINGS:
        raise InputError(f"pooling is {settings['pooling']!r}, expected one of {', '.join(POOLINGS)}")
    if lora is not None and trainable != "lora":
        raise InputError(f"lora is {lora}, but trainable is {trainable!r}: set trainable to lora, or leave lora out")
    config = gpt_config(gpt)
    trainable_blocks(trainable, config.n_layer if encoder is None else sys.maxsize)
    if trainable == "lora" and encoder is None:
        with without_weights():
            model = SequenceClassifier(GPT(config), 2, settings["pooling"], settings["head"])
            model.add_lora(lora_config(lora))  # refuses a pattern that is found in no layer
    if settings["weights"] != "pretrained":
        return
    if encoder is None and not isinstance(gpt, str) and "size" not in gpt:
        raise InputError(
            f"weights are pretrained, but gpt is {gpt}: name a size ({', '.join(SIZES)}), or use weights random"
        )
    if isinstance(encoder, Mapping):
        raise InputError(f"weights are pretrained, but encoder is {encoder}: name one, or use weights random")


def download(settings: Mapping[str, Any]) -> None:
    """Fetches what :func:`build_network` will need."""
    encoder, pretrained = settings["encoder"], settings["weights"] == "pretrained"
    if pretrained and encoder is None:
        fetch_pretrained(_size(settings))
    elif pretrained:
        pretrained_encoder(encoder)
    elif isinstance(encoder, str):
        encoder_config(encoder)


def build_network(
    settings: Mapping[str, Any], weights: str, encoder: TextEncoder | None
) -> tuple[GPT | Encoder, dict[str, Any]]:
    """The network below the head, and the settings that describe it in full.

    Args:
        settings: Their ``gpt``, or their ``encoder``, if there is one, says what it is.
        weights: ``random``, ``pretrained``, or a file or folder.
        encoder: Gives the token ids; the network must have room for them.
    """
    if settings["encoder"] is not None:
        network = _encoder(settings["encoder"], weights, encoder)
        return network, {"encoder": network.config.fields}
    config = gpt_config(settings["gpt"], encoder)
    gpt = GPT(config)
    if weights != "random":
        load_weights(gpt, fetch_pretrained(_size(settings)) if weights == "pretrained" else weights)
    return gpt, {"gpt": asdict(config)}


def _encoder(wanted: Any, weights: str, encoder: TextEncoder | None) -> Encoder:
    if weights == "pretrained":
        if encoder is not None and (tokenizer := encoder.settings()["tokenizer"]) in OWN:
            raise InputError(f"tokenizer is {tokenizer}, which {wanted} does not know: set --data.tokenizer {wanted}")
        network = pretrained_encoder(wanted)
    else:
        network = random_encoder(wanted, None if encoder is None else encoder.vocab_size)
        if weights != "random":
            load_weights(network, weights)
    if encoder is not None:
        check_room(network.config, encoder)
    return network


def _size(settings: Mapping[str, Any]) -> str:
    gpt = settings["gpt"]
    return gpt if isinstance(gpt, str) else gpt["size"]


def lora_config(settings: Mapping[str, Any] | None) -> LoRAConfig:
    """The adaptation that ``settings`` describe."""
    try:
        return LoRAConfig(**(settings or {}))
    except (TypeError, ValueError) as error:
        known = ", ".join(field.name for field in fields(LoRAConfig))
        raise InputError(f"lora is {dict(settings or {})}, expected fields {known}: {error}") from error


def gpt_config(gpt: str | Mapping[str, Any], encoder: TextEncoder | None = None) -> GPTConfig:
    """The dimensions that ``gpt`` describes; without a size, the vocabulary is that of ``encoder`` unless given."""
    values: dict[str, Any] = {"size": gpt} if isinstance(gpt, str) else dict(gpt)
    size = values.pop("size", None)
    if size is not None and size not in SIZES:
        fields_ = "fields of GPTConfig" + (", and a space behind each colon" if str(size).startswith("{") else "")
        raise InputError(f"gpt is {gpt!r}, expected one of {', '.join(SIZES)}, or a mapping with {fields_}")
    if size is None and encoder is not None:
        values.setdefault("vocab_size", encoder.vocab_size)
    known = [field.name for field in fields(GPTConfig)]
    if unknown := values.keys() - set(known):
        raise InputError(f"gpt has no field {', '.join(sorted(unknown))}, expected size, {', '.join(known)}")
    try:
        config = replace(SIZES[size or "gpt2"], **values)
    except (TypeError, ValueError) as error:
        raise InputError(f"gpt is {gpt}: {error}") from error
    if encoder is not None:
        check_room(config, encoder)
    return config


def check_room(config: GPTConfig | EncoderConfig, encoder: TextEncoder) -> None:
    """Raises ``InputError`` where a model of these dimensions has no room for what ``encoder`` gives."""
    if encoder.vocab_size > config.vocab_size:
        raise InputError(
            f"the tokenizer has {encoder.vocab_size} tokens, the model {config.vocab_size}: raise its vocab_size"
        )
    width = encoder.pad_to or encoder.max_length
    if width > config.context_length:
        raise InputError(
            f"texts may have {width} tokens, but the model's context has {config.context_length}: "
            f"set --data.max_length (or --data.pad_to) to {config.context_length}"
        )
