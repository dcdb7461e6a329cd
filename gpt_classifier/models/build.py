"""Builds a classifier from one serialisable specification."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gpt_classifier.errors import InputError
from gpt_classifier.models.backbone import FAMILIES, Backbone, Family
from gpt_classifier.models.gpt import GPT, SIZES, GPTConfig
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.models.transformers_config import (
    is_causal,
    network_config,
    network_fields,
    sentence_pooling,
    with_dropout,
)
from gpt_classifier.models.transformers_network import build_empty_network, pretrained_network, random_network
from gpt_classifier.models.weights import fetch_pretrained, load_weights, without_weights
from gpt_classifier.settings import grouped


@dataclass(frozen=True)
class Specification:
    """Everything that determines a classifier's tensors; ``dataclasses.asdict`` turns it into plain values.

    Args:
        family: Key of the backbone's family in ``FAMILIES``: ``gpt``, ``encoder`` or ``decoder``.
        backbone: All fields of the backbone's configuration.
        num_classes: Number of classes K.
        pooling: See :class:`SequenceClassifier`.
        head: See :class:`SequenceClassifier`.
        lora: Configuration of LoRA, if there is any.
    """

    family: str
    backbone: dict[str, Any]
    num_classes: int
    pooling: str = "last_token"
    head: str | Mapping[str, Any] = "linear"
    lora: LoRAConfig | None = None

    @classmethod
    def of(cls, model: SequenceClassifier) -> "Specification":
        """The specification from which ``model`` can be built again."""
        config = model.backbone.config
        return cls(config.family, config.fields, model.num_classes, model.pooling, model.head_settings, model.lora)

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> "Specification":
        """The specification that ``dataclasses.asdict`` turned into these values."""
        lora = values["lora"]
        return cls(**{**values, "lora": None if lora is None else LoRAConfig(**lora)})

    @classmethod
    def from_settings(
        cls, settings: Mapping[str, Any], num_classes: int, vocab_size: int | None = None
    ) -> "Specification":
        """The specification that a user's settings describe.

        Args:
            settings: ``gpt``, or ``backbone`` if there is one, and ``dropout``, ``pooling``, ``head`` and ``lora``, as
                :class:`~gpt_classifier.training.module.GPTClassifier` explains them.
            num_classes: Number of classes K.
            vocab_size: Number of token ids, if the settings do not give it.

        Raises:
            InputError: The settings do not describe a network.
        """
        backbone = settings.get("backbone")
        if backbone is None:
            family = "gpt"
        elif isinstance(backbone, Mapping) and str(backbone.get("model_type")) in FAMILIES.keys() - OF_THE_PACKAGE:
            backbone = dict(backbone)
            family = backbone.pop("model_type")
        else:
            family = "decoder" if is_causal(network_config(backbone, vocab_size)) else "encoder"
        dimensions = FAMILIES[family].fields(settings["gpt"] if backbone is None else backbone, vocab_size)
        if (probability := settings.get("dropout")) is not None:
            dimensions = with_dropout(dimensions, probability)
        lora = None if settings.get("lora") is None else grouped(LoRAConfig, "lora", settings["lora"])
        pooling = settings.get("pooling") or find_default_pooling(family, backbone)
        return cls(family, dimensions, num_classes, pooling, settings.get("head", "linear"), lora)

    def settings(self) -> dict[str, Any]:
        """The setting, ``gpt`` or ``backbone``, that describes the backbone in full."""
        if self.family == "gpt":
            return {"gpt": self.backbone}
        return {"backbone": {"model_type": self.family} | self.backbone}  # fields of transformers override it


def find_default_pooling(family: str, backbone: str | Mapping[str, Any] | None) -> str:
    """The pooling of a folder of sentence-transformers, else mean for bidirectional encoders, else last token."""
    if isinstance(backbone, str) and (found := sentence_pooling(backbone)) is not None:
        return found
    return "mean" if family == "encoder" else "last_token"


def build(
    specification: Specification, weights: str | Path | None = "random", published: str = ""
) -> SequenceClassifier:
    """The classifier that ``specification`` describes; its head and its low-rank updates get their initial values.

    Args:
        specification: What to build.
        weights: Weights of the backbone: ``random``; ``pretrained``, which means ``published``; or a .safetensors file
            or its folder. With None, all parameters have shapes but no values, for
            ``load_state_dict(..., assign=True)``.
        published: A size of GPT-2, the name or folder of a network of transformers, or a .safetensors file or its
            folder.
    """
    with without_weights() if weights is None else nullcontext():
        backbone = _build_backbone(specification, weights, published)
        model = SequenceClassifier(backbone, specification.num_classes, specification.pooling, specification.head)
        if specification.lora is not None:
            model.add_lora(specification.lora)
    return model


def _build_backbone(specification: Specification, weights: str | Path | None, published: str) -> Backbone:
    family, dimensions = FAMILIES.get(specification.family), specification.backbone
    if family is None:
        raise InputError(
            f"the model is of the family {specification.family!r}, which is not imported ({', '.join(FAMILIES)} are): "
            "import the module that defines it first"
        )
    if weights is None:
        return (family.empty or family.random)(dimensions)
    if weights == "pretrained" and family.published is not None:
        return family.published(dimensions, published)
    backbone = family.random(dimensions)
    if weights != "random":
        load_weights(backbone, published if weights == "pretrained" else weights)
    return backbone


def gpt_config(gpt: str | Mapping[str, Any], vocab_size: int | None = None) -> GPTConfig:
    """The configuration that ``gpt`` describes; without a size, ``vocab_size`` is the default of that field."""
    values: dict[str, Any] = {"size": gpt} if isinstance(gpt, str) else dict(gpt)
    size = values.pop("size", None)
    if size is not None and size not in SIZES:
        fields_ = "fields of GPTConfig" + (", and a space after each colon" if str(size).startswith("{") else "")
        raise InputError(f"gpt is {gpt!r}, expected one of {', '.join(SIZES)}, or a mapping with {fields_}")
    if size is None and vocab_size is not None:
        values.setdefault("vocab_size", vocab_size)
    known = [field.name for field in fields(GPTConfig)]
    if unknown := values.keys() - set(known):
        raise InputError(f"gpt has no field {', '.join(sorted(unknown))}, expected size, {', '.join(known)}")
    try:
        return replace(SIZES[size or "gpt2"], **values)
    except (TypeError, ValueError) as error:
        raise InputError(f"gpt is {gpt}: {error}") from error


def _build_random_gpt(dimensions: Mapping[str, Any]) -> GPT:
    return GPT(GPTConfig(**dimensions))


def _load_published_gpt(dimensions: Mapping[str, Any], name: str) -> GPT:
    gpt = _build_random_gpt(dimensions)
    load_weights(gpt, fetch_pretrained(name) if name in SIZES else name)
    return gpt


FAMILIES["gpt"] = Family(
    lambda gpt, vocab_size: gpt_config(gpt, vocab_size).fields, _build_random_gpt, _load_published_gpt
)
FAMILIES["encoder"] = FAMILIES["decoder"] = Family(
    network_fields, random_network, lambda fields, name: pretrained_network(name, fields), build_empty_network
)
OF_THE_PACKAGE = frozenset(FAMILIES)
