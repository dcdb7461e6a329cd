"""What weights of this package bring to a further training: their network, tokenizer and training texts."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt_classifier.errors import InputError
from gpt_classifier.inference.bundle import TRAINED_ON, VOCABULARY
from gpt_classifier.inference.checkpoint_file import read_checkpoint
from gpt_classifier.inference.formats import read_config, up_to_date
from gpt_classifier.inference.model_folder import WEIGHTS
from gpt_classifier.models.build import Specification
from gpt_classifier.models.transformers_config import with_dropout
from gpt_classifier.text.encoder import TextEncoder


def network_settings(weights: Path) -> dict[str, Any] | None:
    """The settings of ``model`` and ``data`` with which the network in a folder or checkpoint of ours is trained on.

    None for other folders and files. Settings that are not its own have precedence over these.
    """
    if (config := _own_config(weights)) is None:
        return None
    specification = Specification(config["model"]["family"], config["model"]["backbone"], 1)
    context = specification.backbone.get("context_length")
    encoder = {"tokenizer": str(weights)} | ({} if context is None else {"max_length": context})
    return {"model": specification.settings(), "data": encoder}


def check_fits(weights: str | Path, specification: Specification, text_encoder: TextEncoder | None) -> None:
    """Raises ``InputError`` if a folder or checkpoint of ours has another network, or another tokenizer."""
    weights = Path(weights)
    if (config := _own_config(weights)) is None:
        return
    network, setting = config["model"]["backbone"], next(iter(specification.settings()))
    same_family = config["model"]["family"] == specification.family
    alike = with_dropout(specification.backbone, 0.0)  # it is no part of the weights
    wrong = {name: network[name] for name, value in with_dropout(network, 0.0).items() if alike.get(name) != value}
    vocabulary = _own_tensor(weights, VOCABULARY)
    if vocabulary is None:
        raise InputError(f"the weights in {weights} have no vocabulary of a tokenizer: fetch or train them again")
    if text_encoder is not None and not torch.equal(text_encoder.tokenizer.vocabulary(), vocabulary):
        raise InputError(
            f"texts are encoded with the tokenizer {text_encoder.settings()['tokenizer']}, but {weights} was trained "
            f"with another one ({config['text_encoder']['tokenizer']}): give --data.tokenizer {weights}"
        )
    if wrong or not same_family:
        own = {name: value for name, value in network.items() if name in wrong} if same_family else network
        name = "gpt" if config["model"]["family"] == "gpt" else "backbone"
        raise InputError(
            f"the network in {weights} has {own}, other than model.{setting}: leave out --model.{setting}, or give "
            f"--model.{name} '{json.dumps(network)}'"
        )


def _own_config(folder: Path) -> dict[str, Any] | None:
    """The configuration of a folder or checkpoint that this package wrote, None if another program wrote it."""
    if folder.suffix == ".ckpt" and folder.is_file():
        return read_checkpoint(folder)["gpt_classifier"]["config"]
    if not ((folder / "config.json").is_file() and (folder / WEIGHTS).is_file()):
        return None
    config = read_config(folder)
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'} is no configuration: it is {type(config).__name__}, not an object")
    if not {"format", "text_encoder", "model"} <= config.keys():
        return None
    return up_to_date(config, folder)


def trained_on_before(weights: Path) -> Tensor | None:
    """The fingerprints of training texts in this file or folder, for further training; None if unknown."""
    return _own_tensor(weights, TRAINED_ON)


def _own_tensor(weights: Path, name: str) -> Tensor | None:
    """A tensor besides the weights, of a model file, folder or checkpoint; None if there is none."""
    path = weights / WEIGHTS if weights.is_dir() else weights
    if not path.is_file():
        return None
    if path.suffix == ".ckpt":
        return read_checkpoint(path)["gpt_classifier"]["tensors"].get(name)
    try:
        with safe_open(path, framework="pt") as stream:
            # A copy, which does not map the file.
            return stream.get_tensor(name).clone() if name in stream.keys() else None  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise InputError(f"{path} is not a whole safetensors file ({error})") from error
