"""Stores a trained classifier so that it needs nothing else: as a folder, or inside a Lightning checkpoint.

A folder holds ``model.safetensors`` (weights, the tokenizer's vocabulary and fingerprints of the training texts),
``config.json`` (everything else) and ``README.md`` (a model card). A checkpoint holds the same under the key
``gpt_classifier``, beside Lightning's own.
An adapter folder holds only what was trained, and the checksum of the weights that it was trained on top of.
"""

import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpt_classifier import huggingface
from gpt_classifier.decision import Decision
from gpt_classifier.encoding import TextEncoder
from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import find_in_run, whole_file
from gpt_classifier.model.build import Specification, build
from gpt_classifier.model.classification import BACKBONE, SequenceClassifier
from gpt_classifier.model.pretrained import read_tensors

FORMAT = 5
VOCABULARY = "tokenizer"  # name of the vocabulary's tensor
TRAINED_ON = "trained_on"  # name of the tensor of fingerprints
ADAPTER = "adapter.safetensors"
WEIGHTS = "model.safetensors"
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")  # of a run, the better first


@dataclass
class Bundle:
    """A classifier with everything that is needed to turn a text into a class name."""

    model: SequenceClassifier
    text_encoder: TextEncoder
    class_names: list[str]  # in the order of the logits
    data: dict[str, Any] = field(default_factory=dict)  # settings of the TextDataModule that it was trained with
    trained_on: Tensor | None = None  # (M,) int64 of data/fingerprints.py, or None if unknown
    decision: Decision = field(default_factory=Decision)  # how its logits become answers
    card: str = ""  # the model card in Markdown, if it has one already

    def config(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": asdict(Specification.of(self.model)),
            "class_names": self.class_names,
            "text_encoder": self.text_encoder.settings(),
            "data": self.data,
            "decision": asdict(self.decision),
        }

    def tensors(self) -> dict[str, Tensor]:
        """The tensors besides the weights: the tokenizer's vocabulary and the fingerprints of the training texts."""
        kept = {} if self.trained_on is None else {TRAINED_ON: self.trained_on}
        return {VOCABULARY: self.text_encoder.vocabulary()} | kept

    def merged(self) -> "Bundle":
        """Itself, or, with low-rank updates, a copy in which they are merged into their matrices."""
        if self.model.lora is None:
            return self
        model = deepcopy(self.model)
        model.merge_lora()
        return replace(self, model=model)


def network_settings(weights: Path) -> dict[str, Any] | None:
    """The settings of ``model`` and ``data`` with which the network in a folder of ours is trained further.

    None for other folders and files. Settings that are not its own have precedence over these.
    """
    if not (weights / WEIGHTS).is_file() or (config := _own_config(weights)) is None:
        return None
    specification = Specification(config["model"]["family"], config["model"]["backbone"], 1)
    context = specification.backbone.get("context_length")
    encoder = {"tokenizer": str(weights)} | ({} if context is None else {"max_length": context})
    return {"model": specification.settings(), "data": encoder}


def check_fits(weights: str | Path, specification: Specification, text_encoder: TextEncoder | None) -> None:
    """Raises ``InputError`` if a folder of ours has a network of other dimensions, or another tokenizer."""
    weights = Path(weights)
    if not (weights / WEIGHTS).is_file() or (config := _own_config(weights)) is None:
        return
    network, setting = config["model"]["backbone"], next(iter(specification.settings()))
    same_family = config["model"]["family"] == specification.family
    wrong = {
        name: value
        for name, value in network.items()
        if name != "dropout" and specification.backbone.get(name) != value
    }
    with safe_open(weights / WEIGHTS, framework="pt") as stream:
        vocabulary = stream.get_tensor(VOCABULARY)
    other = text_encoder is not None and not torch.equal(text_encoder.vocabulary(), vocabulary)
    if text_encoder is not None and other:
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
    """The configuration of a folder that this package wrote, None if another program wrote it."""
    if not (folder / "config.json").is_file():
        return None
    config = _read_config(folder)
    if not {"format", "text_encoder", "model"} <= config.keys():
        return None
    check_format(config, folder)
    return config


def check_format(config: Any, where: Path | str) -> None:
    """Raises ``InputError`` unless this version of the package wrote ``config``. ``where`` only serves the message."""
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise InputError(
            f"{where} has format {found!r}, expected {FORMAT}: another version of the package wrote it, so install "
            "that version or train again"
        )


def restore(config: dict[str, Any], tensors: dict[str, Tensor], where: Path) -> Bundle:
    """The bundle that gave this ``config`` and these weights. ``where`` only serves messages."""
    check_format(config, where)
    if "pretrained_on" in config:
        raise InputError(
            f"{where} is a pretrained network without a classification head: fit --model.weights {where} trains one"
        )
    try:
        vocabulary, trained_on = tensors.pop(VOCABULARY), tensors.pop(TRAINED_ON, None)
        text_encoder = TextEncoder.restore(config["text_encoder"], vocabulary)
        specification, class_names = Specification.restore(config["model"]), list(config["class_names"])
        decision = Decision(**config["decision"])
        if len(class_names) != specification.num_classes:
            raise ValueError(f"{specification.num_classes} classes, but the names {class_names}")
        model = build(specification, weights=None)
        if os.name == "nt":  # tensors of a file map it, and Windows neither replaces nor removes a file that is mapped
            tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        model.load_state_dict(tensors, assign=True)
        trained_on = None if trained_on is None else trained_on.clone()
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the config in {where} is not one that this package wrote ({reason(error)})") from error
    except RuntimeError as error:
        raise InputError(
            f"the weights in {where} do not fit its config: {str(error).splitlines()[-1].strip()}"
        ) from error
    return Bundle(model.eval(), text_encoder, class_names, config["data"], trained_on, decision)


def save_folder(folder: Path, bundle: Bundle, card: str) -> None:
    """Writes the three files, each whole or not at all; the weights last, so that a folder with weights is complete.

    Low-rank updates are merged into their matrices.
    """
    bundle = bundle.merged()
    with whole_file(folder / "README.md") as path:
        path.write_text(card, encoding="utf-8")
    save_config(folder, bundle)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.model.state_dict().items()}
    with whole_file(folder / WEIGHTS) as path:
        save_file(tensors | bundle.tensors(), path, metadata={"format": "pt"})


def save_config(folder: Path, bundle: Bundle) -> None:
    """Writes only ``config.json``, which holds everything that is not a tensor."""
    with whole_file(folder / "config.json") as path:
        path.write_text(json.dumps(bundle.config(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_adapter(folder: Path, bundle: Bundle, trained: set[str]) -> None:
    """Writes the parameters named ``trained``, the whole head, and the checksum of the weights that they belong to."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.model.state_dict().items()}
    kept = {name: tensor for name, tensor in tensors.items() if name in trained or name.startswith("head.")}
    base = _checksum({name: tensor for name, tensor in tensors.items() if name not in kept})
    with whole_file(folder / "config.json") as path:
        config = bundle.config() | {"base_sha256": base}
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with whole_file(folder / ADAPTER) as path:
        save_file(kept | bundle.tensors(), path, metadata={"format": "pt"})


def load_adapter(folder: Path, base: str | Path) -> Bundle:
    """An adapter on top of the weights ``base``: a published size (``gpt2``), or a .safetensors file or its folder.

    For a network of transformers, ``base`` is its name on the Hugging Face hub or its folder.

    Raises ``InputError`` if the adapter was trained on other weights.
    """
    config = _read_config(folder)
    check_format(config, folder)
    tensors = read_tensors(folder / ADAPTER)
    try:
        expected = config["base_sha256"]
        # In the number format of training (bf16-true), as the weights were when their checksum was taken.
        dtype = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
        below = base_tensors(Specification.restore(config["model"]), base, dtype)
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


def base_tensors(specification: Specification, base: str | Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights ``base`` under the names that they have in the classifier; see :func:`load_adapter`."""
    backbone = build(replace(specification, lora=None), "pretrained", published=str(base)).backbone
    backbone.to(dtype)
    return {f"{BACKBONE}{name}": tensor for name, tensor in backbone.state_dict().items()}


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load(path: str | Path, base: str | Path | None = None) -> Bundle:
    """From a model folder, a ``.ckpt`` file, a run (``version_N``) or a folder of runs (the newest finished one).

    Of a run that was stopped before it wrote its model folder, the best checkpoint, else the last. An adapter folder
    needs its ``base``, see :func:`load_adapter`. A folder of GPT2ForSequenceClassification is one, too.
    """
    path = Path(path)
    if (path / ADAPTER).is_file():
        if base is None:
            raise InputError(f"{path} is an adapter: name the weights below it (--base gpt2, or their file)")
        return load_adapter(path, base)
    if base is not None:
        raise InputError(f"{path} is not an adapter folder and needs no base: leave out {base}")
    found = path
    if not (path.is_file() or (path / "config.json").is_file()):
        found = find_in_run(path, f"model/{WEIGHTS}", *CHECKPOINTS) or path
    if found.name == WEIGHTS:
        found = found.parent
    if found.is_file():
        return load_checkpoint(found)
    if not (found / "config.json").is_file():
        raise InputError(
            f"no model at {path}: expected a folder with config.json and {WEIGHTS}, a run's folder, or a .ckpt file"
        )
    card, config = found / "README.md", _read_config(found)
    if huggingface.is_classifier(config):
        return Bundle(*huggingface.read_classifier(found, config), decision=huggingface.decision(config))
    contents = restore(config, read_tensors(found), found)
    return replace(contents, card=card.read_text(encoding="utf-8") if card.is_file() else "")


def decision_of(folder: Path) -> Decision:
    """The decision that a model folder keeps; the default one if there is no such folder."""
    return Decision(**_read_config(folder)["decision"]) if (folder / "config.json").is_file() else Decision()


def model_folder(path: Path) -> Path:
    """The model folder that ``path`` is, or that of a run or of the newest run in a folder of runs."""
    weights = path / WEIGHTS if (path / WEIGHTS).is_file() else find_in_run(path, f"model/{WEIGHTS}")
    if weights is None:
        raise InputError(
            f"no model folder at {path}: expected one with config.json and {WEIGHTS}, or a run that has one"
        )
    return weights.parent


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'config.json'} is not valid JSON: {error}") from error


def load_checkpoint(path: Path) -> Bundle:
    checkpoint = read_checkpoint(path)
    prefix = "model."
    tensors = {name.removeprefix(prefix): t for name, t in checkpoint["state_dict"].items() if name.startswith(prefix)}
    ours = checkpoint["gpt_classifier"]
    return restore(ours["config"], tensors | ours["tensors"], path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint that this package wrote, without running any code in it (``weights_only``)."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise InputError(f"no checkpoint at {path}") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a whole checkpoint: expected a .ckpt file that a fit wrote") from error
    parts = checkpoint if isinstance(checkpoint, dict) else {}
    if not (parts.get("gpt_classifier") and {"state_dict", "pytorch-lightning_version"} <= parts.keys()):
        raise InputError(f"{path} was not written by gpt_classifier: expected a .ckpt file of a fit, or a model folder")
    check_format(checkpoint["gpt_classifier"].get("config"), path)
    return checkpoint


def trained_on_before(weights: Path) -> Tensor | None:
    """The fingerprints of training texts in this model file or folder, for further training; None if unknown."""
    path = weights / WEIGHTS if weights.is_dir() else weights
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as stream:
        known = TRAINED_ON in stream.keys()  # noqa: SIM118 - not a dict
        return stream.get_tensor(TRAINED_ON).clone() if known else None  # a copy does not map the file
