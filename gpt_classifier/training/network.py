"""Checks the settings of a network against each other and the tokenizer, and builds it with its initial weights.

Settings are the hyper-parameters of :class:`~gpt_classifier.training.module.GPTClassifier`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gpt_classifier.errors import InputError
from gpt_classifier.inference.initial_weights import check_fits, trained_on_before
from gpt_classifier.inference.model_folder import find_weights
from gpt_classifier.models.backbone import BackboneConfig
from gpt_classifier.models.build import Specification, build, gpt_config
from gpt_classifier.models.freezing import trainable_blocks
from gpt_classifier.models.gpt import SIZES
from gpt_classifier.models.heads import Pooling, SequenceClassifier
from gpt_classifier.models.transformers_config import network_config
from gpt_classifier.models.transformers_network import pretrained_network
from gpt_classifier.models.weights import fetch_pretrained
from gpt_classifier.settings import check_choice
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.text.tokenizers import tokenizer_named

Precision = Literal["highest", "high", "medium"]


@dataclass(frozen=True)
class ComputeConfig:
    """How the network is computed, for speed and memory.

    Args:
        compile: Whether to compile the network with torch.compile, for batches of any width (``dynamic``).
        activation_checkpointing: Whether to recompute activations in the backward pass: less memory, a third more
            time.
        matmul_precision: Precision of float32 products on GPUs: ``highest``, or ``high`` and ``medium`` for TF32 and
            less.
    """

    compile: bool = False
    activation_checkpointing: bool = False
    matmul_precision: Precision = "highest"

    def __post_init__(self) -> None:
        check_choice("matmul_precision", self.matmul_precision, Precision)

    def apply(self, model: SequenceClassifier) -> None:
        """Applies these settings to ``model``; the precision applies to the whole process."""
        model.backbone.activation_checkpointing = self.activation_checkpointing
        torch.set_float32_matmul_precision(self.matmul_precision)
        if self.compile:
            model.compile(dynamic=True)  # in place: the parameter names in checkpoints stay the same


def check_network(settings: Mapping[str, Any]) -> None:
    """Raises ``InputError`` for invalid ``settings``, before anything is downloaded."""
    gpt, backbone, trainable, lora = (settings[name] for name in ("gpt", "backbone", "trainable", "lora"))
    if settings["pooling"] is not None:
        check_choice("pooling", settings["pooling"], Pooling)
    if lora is not None and trainable != "lora":
        raise InputError(f"lora is {lora}, but trainable is {trainable!r}: set trainable to lora, or leave lora out")
    config = gpt_config(gpt)
    trainable_blocks(trainable, config.n_layer if backbone is None else sys.maxsize)
    if trainable == "lora" and backbone is None:
        build(
            Specification.from_settings(settings, num_classes=2), weights=None
        )  # raises InputError for a pattern that matches no layer
    if settings["weights"] != "pretrained":
        return
    if backbone is None and not isinstance(gpt, str) and "size" not in gpt:
        raise InputError(
            f"weights are pretrained, but gpt is {gpt}: name a size ({', '.join(SIZES)}), or use weights random"
        )
    if isinstance(backbone, Mapping):
        raise InputError(f"weights are pretrained, but backbone is {backbone}: name one, or use weights random")


def download(settings: Mapping[str, Any]) -> None:
    """Downloads the files that :func:`build_network` will need."""
    backbone, pretrained = settings["backbone"], settings["weights"] == "pretrained"
    if pretrained and backbone is None:
        fetch_pretrained(_name_published(settings))
    elif pretrained and not Path(backbone).exists():
        pretrained_network(backbone)
    elif isinstance(backbone, str):
        network_config(backbone)


def build_network(
    settings: Mapping[str, Any], weights: str, num_classes: int, text_encoder: TextEncoder | None
) -> SequenceClassifier:
    """The network that ``settings`` describe, in float32: so a seed gives the same weights in every precision.

    Args:
        settings: See :meth:`~gpt_classifier.models.build.Specification.from_settings`.
        weights: ``random``, ``pretrained``, or a file or folder.
        num_classes: Number of classes K.
        text_encoder: Encodes the texts; the network must accept all its token ids and lengths.
    """
    if text_encoder is not None:
        tokenizer = text_encoder.settings()
        if tokenizer.get("library") is None:
            check_published({**settings, "weights": weights}, tokenizer["tokenizer"])
        elif weights == "pretrained" and isinstance(settings["backbone"], str):
            _check_own(settings["backbone"], text_encoder)
    vocab_size = None if text_encoder is None else text_encoder.vocab_size
    specification = Specification.from_settings(settings, num_classes, vocab_size)
    default = torch.get_default_dtype()  # bfloat16 while Lightning builds with precision bf16-true
    torch.set_default_dtype(torch.float32)
    try:
        model = build(specification, weights, _name_published(settings) if weights == "pretrained" else "")
    finally:
        torch.set_default_dtype(default)
    if text_encoder is not None:
        check_room(model.backbone.config, text_encoder)
    return model


def build_initial_network(
    settings: Mapping[str, Any], weights: str, num_classes: int, text_encoder: TextEncoder | None
) -> tuple[SequenceClassifier, Tensor | None]:
    """The network of a fit, and fingerprints of the texts that its ``weights`` were trained on, None if unknown.

    Weights may also be those of a model folder, run or checkpoint of this package. Raises ``InputError`` if they are of
    another network, or were trained with another tokenizer.
    """
    if weights in ("random", "pretrained"):
        return build_network(settings, weights, num_classes, text_encoder), None
    weights = str(find_weights(weights))
    vocab_size = None if text_encoder is None else text_encoder.vocab_size
    check_fits(weights, Specification.from_settings(settings, num_classes, vocab_size), text_encoder)
    model = build_network(settings, weights, num_classes, text_encoder)
    return model, trained_on_before(Path(weights))


def keep(model: SequenceClassifier, blocks: int) -> None:
    """Removes all blocks but the first ``blocks``. Raises ``InputError`` if there are fewer."""
    layers = model.backbone.config.n_layer
    if not 1 <= blocks <= layers:
        raise InputError(f"blocks is {blocks}, expected 1 to {layers}, which the network has")
    if blocks < layers:
        model.backbone.keep(blocks)


def _check_own(network: str, text_encoder: TextEncoder) -> None:
    """Raises ``InputError`` unless the tokens are those that a published network was trained with, if it has any."""
    if (given := text_encoder.settings()["tokenizer"]) == network:
        return
    try:
        own = tokenizer_named(network).vocabulary()
    except InputError:  # a folder without a tokenizer
        return
    if not torch.equal(own, text_encoder.tokenizer.vocabulary()):
        raise InputError(
            f"the tokens are those of {given}, which mean others to the weights of {network}: give --data.tokenizer "
            f"{network}"
        )


def check_published(settings: Mapping[str, Any], tokenizer: str) -> None:
    """Raises ``InputError`` if published weights do not know the tokenizer of this name."""
    backbone = settings.get("backbone")
    if settings["weights"] != "pretrained" or (backbone is None and tokenizer == "gpt2"):
        return
    if backbone is None:
        raise InputError(
            f"tokenizer is {tokenizer}, but weights pretrained need tokenizer gpt2: set it, or --model.weights random"
        )
    raise InputError(f"tokenizer is {tokenizer}, which {backbone} does not know: set --data.tokenizer {backbone}")


def _name_published(settings: Mapping[str, Any]) -> str:
    """The name of the published weights."""
    setting = settings.get("backbone") or settings["gpt"]
    return setting if isinstance(setting, str) else setting["size"]


def check_room(config: BackboneConfig, text_encoder: TextEncoder) -> None:
    """Raises ``InputError`` if ``text_encoder`` has more token ids or longer texts than a model of these dimensions."""
    if text_encoder.vocab_size > config.vocab_size:
        raise InputError(
            f"the tokenizer has {text_encoder.vocab_size} tokens, the model {config.vocab_size}: raise its vocab_size"
        )
    width = text_encoder.pad_to or text_encoder.max_length
    if width > config.context_length:
        raise InputError(
            f"texts may have {width} tokens, but the model's context has {config.context_length}: "
            f"set --data.max_length (or --data.batching.pad_to) to {config.context_length}"
        )
