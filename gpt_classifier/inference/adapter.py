"""Adapter folders: only what was trained, and the checksum of the weights that it was trained on top of."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gpt_classifier.errors import InputError, reason
from gpt_classifier.inference.bundle import Bundle, restore
from gpt_classifier.inference.formats import has_checksums, read_config, up_to_date, write_config
from gpt_classifier.models.build import OF_THE_PACKAGE, Specification, build
from gpt_classifier.models.gpt import SIZES
from gpt_classifier.models.heads import BACKBONE
from gpt_classifier.models.tensor_file import read_tensors, write_tensors
from gpt_classifier.models.transformers_config import network_fields

ADAPTER = "adapter.safetensors"


def save_adapter(folder: Path, bundle: Bundle, trained: set[str]) -> None:
    """Writes the parameters named ``trained``, the whole head, and the checksum of the weights that they belong to."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.model.state_dict().items()}
    kept = {name: tensor for name, tensor in tensors.items() if name in trained or name.startswith("head.")}
    base = _checksum({name: tensor for name, tensor in tensors.items() if name not in kept})
    write_config(folder, bundle.config() | {"base_sha256": base})
    write_tensors(folder / ADAPTER, kept | bundle.tensors())


def load_adapter(folder: Path, base: str | Path) -> Bundle:
    """An adapter on top of the weights ``base``: a published size (``gpt2``), or a .safetensors file or its folder.

    For a network of transformers, ``base`` is its name on the Hugging Face hub or its folder.

    Raises ``InputError`` if the adapter was trained on other weights.
    """
    given = read_config(folder)
    config = up_to_date(given, folder)
    tensors = read_tensors(folder / ADAPTER, has_checksums(given))
    try:
        expected = config["base_sha256"]
        # In the number format of training (bf16-true), as the weights were when their checksum was taken.
        dtype = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
        below = _base_tensors(Specification.restore(config["model"]), base, dtype)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the config in {folder} is not that of an adapter ({reason(error)})") from error
    below = {name: tensor for name, tensor in below.items() if name not in tensors}
    if (found := _checksum(below)) != expected:
        raise InputError(
            f"the adapter {folder} was trained on weights with SHA-256 {expected}, but those of {base} have {found}: "
            "give the weights that training began with"
        )
    return restore(config, below | tensors, folder)


def _base_tensors(specification: Specification, base: str | Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights ``base`` under the names that they have in the classifier; see :func:`load_adapter`."""
    own = replace(specification, lora=None)
    layers = build(own, weights=None).backbone.config.n_layer
    backbone = build(_whole(own, str(base)), "pretrained", published=str(base)).backbone
    if layers < backbone.config.n_layer:
        backbone.keep(layers)
    backbone.to(dtype)
    return {f"{BACKBONE}{name}": tensor for name, tensor in backbone.state_dict().items()}


def _whole(specification: Specification, base: str) -> Specification:
    """That of the published network ``base``, of which the adapter's may have the first blocks only."""
    if specification.family == "gpt":
        layers = {"n_layer": SIZES[base].n_layer} if base in SIZES else {}
        return replace(specification, backbone=specification.backbone | layers)
    if specification.family not in OF_THE_PACKAGE:
        return specification
    return replace(specification, backbone=network_fields(base))


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
