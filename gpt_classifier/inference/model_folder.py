"""Stores a trained classifier so that it needs nothing else: as a folder, or inside a Lightning checkpoint.

A folder holds ``model.safetensors`` (weights, the tokenizer's vocabulary and fingerprints of the training texts),
``config.json`` (everything else) and ``README.md`` (a model card). A checkpoint holds the same under the key
``gpt_classifier``, beside Lightning's own.
An adapter folder holds only what was trained, and the checksum of the weights that it was trained on top of.
"""

import hashlib
import json
import pickle
import zlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt_classifier import __version__
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import find_in_run, whole_file
from gpt_classifier.inference import hub
from gpt_classifier.models.build import Specification, build
from gpt_classifier.models.heads import BACKBONE, SequenceClassifier
from gpt_classifier.models.tensor_file import check_finite, check_records, read_tensors, write_tensors
from gpt_classifier.text.encoder import TextEncoder

FORMAT = 6
CHECKSUM = "crc32"  # of a config, among its keys
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
    version: str = __version__  # of the package that trained it

    def config(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": self.version,
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


def find_weights(path: str | Path) -> Path:
    """The model folder, or else the checkpoint, of a run or of the newest of several runs; any other path unchanged."""
    path = Path(path)
    if path.is_file() or (path / "config.json").is_file():
        return path
    found = find_in_run(path, f"model/{WEIGHTS}", *CHECKPOINTS) or path
    return found.parent if found.name == WEIGHTS else found


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
    wrong = {
        name: value
        for name, value in network.items()
        if name != "dropout" and specification.backbone.get(name) != value
    }
    vocabulary = _own_tensor(weights, VOCABULARY)
    if vocabulary is None:
        raise InputError(f"the weights in {weights} have no vocabulary of a tokenizer: fetch or train them again")
    if text_encoder is not None and not torch.equal(text_encoder.vocabulary(), vocabulary):
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
    config = _read_config(folder)
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'} is no configuration: it is {type(config).__name__}, not an object")
    if not {"format", "text_encoder", "model"} <= config.keys():
        return None
    return up_to_date(config, folder)


def _from_5(config: dict[str, Any]) -> dict[str, Any]:
    """Format 6 names the version of the package, and its files of tensors have checksums."""
    return config | {"format": 6, "version": "0.1.0"}


STEPS = {5: _from_5}  # what brings a format to the next one; tests/formats has a model of each


def up_to_date(config: Any, where: Path | str) -> dict[str, Any]:
    """``config`` in the format of this version. ``where`` only serves messages.

    Raises ``InputError`` if it is older than the oldest that can be brought up to date, or newer than this version.
    """
    found = config.get("format") if isinstance(config, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise InputError(f"{where} has format {found}, newer than {FORMAT}: install the version that wrote it")
    if not isinstance(found, int) or (found != FORMAT and found not in STEPS):
        raise InputError(
            f"{where} has format {found!r}, expected one from {min(STEPS)} to {FORMAT}: another version of the package "
            "wrote it, so install that version or train again"
        )
    while config["format"] < FORMAT:
        config = STEPS[config["format"]](config)
    return config


def restore(config: dict[str, Any], tensors: dict[str, Tensor], where: Path) -> Bundle:
    """The bundle that gave this ``config`` and these weights. ``where`` only serves messages."""
    config = up_to_date(config, where)
    if "pretrained_on" in config:
        raise InputError(
            f"{where} is a pretrained network without a classification head: fit --model.weights {where} trains one"
        )
    try:
        vocabulary, trained_on = tensors.pop(VOCABULARY), tensors.pop(TRAINED_ON, None)
        text_encoder = TextEncoder.restore(config["text_encoder"], vocabulary)
        specification, class_names = Specification.restore(config["model"]), list(config["class_names"])
        decision, data, version = Decision(**config["decision"]), dict(config["data"]), str(config["version"])
        if len(class_names) != specification.num_classes:
            raise ValueError(f"{specification.num_classes} classes, but the names {class_names}")
        model = build(specification, weights=None)
        # Copies: tensors of a file map it, and on Windows nobody can replace or remove a file that is mapped. PyTorch
        # also aligns them, without which some kernels add numbers in another order than when the model was trained.
        model.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
        trained_on = None if trained_on is None else trained_on.clone()
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"the config in {where} is not one that this package wrote ({reason(error)})") from error
    except RuntimeError as error:
        raise InputError(
            f"the weights in {where} do not fit its config: {str(error).splitlines()[-1].strip()}"
        ) from error
    contents = Bundle(model.eval(), text_encoder, class_names, data, trained_on, decision, version=version)
    try:
        check_answers(contents, where)
    except (IndexError, OverflowError, RuntimeError, TypeError) as error:
        raise InputError(f"the config in {where} does not fit its weights ({reason(error)})") from error
    return contents


def check_answers(contents: Bundle, where: Path) -> None:
    """Raises ``InputError`` if the model gives no probabilities: for want of finite weights, or of room for numbers."""
    check_finite(contents.model.state_dict(), where)
    model, batch = contents.model, contents.text_encoder.batch([contents.text_encoder.encode("a text")[0]])
    device, trains = next(model.parameters()).device, model.training
    with torch.inference_mode():
        logits = model.eval()(batch.inputs.to(device), batch.lengths.to(device)).double().cpu().numpy()
    model.train(trains)
    if not np.isfinite(contents.decision.probabilities(logits)).all():
        raise InputError(
            f"the model in {where} gives probabilities that are not finite, as after a fit that diverged: use another "
            "checkpoint of its run, or train again at a lower learning rate"
        )


def save_folder(folder: Path, bundle: Bundle, card: str) -> None:
    """Writes the three files, each whole or not at all; the weights last, so that a folder with weights is complete.

    Low-rank updates are merged into their matrices.
    """
    bundle = bundle.merged()
    check_answers(bundle, folder)
    with whole_file(folder / "README.md") as path:
        path.write_text(card, encoding="utf-8")
    save_config(folder, bundle)
    write_tensors(folder / WEIGHTS, bundle.model.state_dict() | bundle.tensors())


def save_config(folder: Path, bundle: Bundle) -> None:
    """Writes only ``config.json``, which holds everything that is not a tensor."""
    write_config(folder, bundle.config())


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Writes ``config.json`` with a checksum of what it says."""
    content = config | {CHECKSUM: _checksum_of(config)}
    with whole_file(folder / "config.json") as path:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _checksum_of(config: dict[str, Any]) -> str:
    said = json.loads(json.dumps({key: value for key, value in config.items() if key != CHECKSUM}))  # as it is read
    return f"{zlib.crc32(json.dumps(said, sort_keys=True).encode()):08x}"


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
    given = _read_config(folder)
    config = up_to_date(given, folder)
    tensors = read_tensors(folder / ADAPTER, _has_checksums(given))
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
    found = find_weights(path.parent if path.name == WEIGHTS else path)
    if found.is_file():
        return load_checkpoint(found)
    if not (found / "config.json").is_file():
        raise InputError(
            f"no model at {path}: expected a folder with config.json and {WEIGHTS}, a run's folder, or a .ckpt file"
        )
    card, config = found / "README.md", _read_config(found)
    if hub.is_classifier(config):
        contents = Bundle(*hub.read_classifier(found, config), decision=hub.decision(config))
        check_answers(contents, found)
        return contents
    contents = restore(up_to_date(config, found), read_tensors(found, _has_checksums(config)), found)
    return replace(contents, card=card.read_text(encoding="utf-8") if card.is_file() else "")


def decision_of(folder: Path) -> Decision:
    """The decision that a model folder keeps; the default one if there is no such folder."""
    if not (folder / "config.json").is_file():
        return Decision()
    try:
        return Decision(**up_to_date(_read_config(folder), folder)["decision"])
    except (KeyError, TypeError) as error:
        raise InputError(f"the decision in {folder / 'config.json'} is not one ({reason(error)})") from error


def model_folder(path: Path) -> Path:
    """The model folder that ``path`` is, or that of a run or of the newest run in a folder of runs."""
    weights = path / WEIGHTS if (path / WEIGHTS).is_file() else find_in_run(path, f"model/{WEIGHTS}")
    if weights is None:
        raise InputError(
            f"no model folder at {path}: expected one with config.json and {WEIGHTS}, or a run that has one"
        )
    return weights.parent


def _has_checksums(config: dict[str, Any]) -> bool:
    """Whether the file of tensors beside a ``config`` has checksums, so that one without is damaged."""
    return config["format"] >= 6


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"no file {path}: expected a folder with config.json and its tensors")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if isinstance(config, dict) and config.get(CHECKSUM, found := _checksum_of(config)) != found:
        raise InputError(
            f"{path} is damaged, or was edited: its checksum is {found}, not {config[CHECKSUM]}; if you mean what it "
            f"says, remove its line {CHECKSUM!r}"
        )
    return config


def load_checkpoint(path: Path) -> Bundle:
    checkpoint = read_checkpoint(path)
    tensors, ours = read_tensors(path), checkpoint["gpt_classifier"]
    return restore(ours["config"], tensors | ours["tensors"], path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ``fit``, brought up to date, without running any code in it (``weights_only``)."""
    checkpoint = open_checkpoint(path)
    if not isinstance(checkpoint.get("gpt_classifier"), dict):
        raise InputError(f"{path} was not written by gpt_classifier: expected a .ckpt file of a fit, or a model folder")
    ours = checkpoint["gpt_classifier"]
    return checkpoint | {"gpt_classifier": ours | {"config": up_to_date(ours.get("config"), path)}}


def open_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of Lightning's. Raises ``InputError`` if it is damaged; the message names one that is not."""
    try:
        check_records(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not (isinstance(checkpoint, dict) and {"state_dict", "pytorch-lightning_version"} <= checkpoint.keys()):
            raise InputError(f"{path} was not written by gpt_classifier: expected a .ckpt file of a fit")
        check_finite(checkpoint["state_dict"], path)
    except InputError as error:
        raise InputError(f"{error}{_another_than(path)}") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        message = f"{path} is not a whole checkpoint: expected a .ckpt file that a fit wrote"
        raise InputError(f"{message}{_another_than(path)}") from error
    return checkpoint


def _another_than(damaged: Path) -> str:
    """The end of a message: another checkpoint in the same folder that is whole, if there is one."""
    for name in CHECKPOINTS:
        other = damaged.with_name(Path(name).name)
        if other.name == damaged.name or not other.is_file():
            continue
        try:
            check_records(other)
            check_finite(torch.load(other, map_location="cpu", weights_only=True, mmap=True)["state_dict"], other)
        except (InputError, RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError):
            continue
        return f". {other} is whole: use that one"
    return ""


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
