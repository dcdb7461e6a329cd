"""Stores a trained classifier so that it needs nothing else: as a folder, or inside a Lightning checkpoint.

A folder holds ``model.safetensors`` (weights and the tokenizer's vocabulary), ``config.json`` (everything else) and
``README.md`` (a model card). A checkpoint holds the same under the key ``gpt_classifier``, beside Lightning's own.
"""

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from gpt_classifier.encoding import TextEncoder
from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import whole_file
from gpt_classifier.model.classification import SequenceClassifier
from gpt_classifier.model.gpt import GPT, GPTConfig
from gpt_classifier.model.pretrained import read_tensors

FORMAT = 1
VOCABULARY = "tokenizer"  # name of the vocabulary's tensor


@dataclass
class Bundle:
    """A classifier with all that stands between a text and a class name."""

    model: SequenceClassifier
    encoder: TextEncoder
    labels: list[str]  # class names in the order of the logits
    head: str | dict[str, Any] = "linear"

    def config(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "gpt": asdict(self.model.gpt.config),
            "pooling": self.model.pooling,
            "head": self.head,
            "labels": self.labels,
            "encoder": self.encoder.settings(),
        }


def restore(config: dict[str, Any], tensors: dict[str, Tensor], where: Path) -> Bundle:
    """The bundle that gave this ``config`` and these weights. ``where`` only serves messages."""
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise InputError(f"{where} has format {found!r}, expected {FORMAT}: another version of the package wrote it")
    try:
        vocabulary = tensors.pop(VOCABULARY)
        encoder = TextEncoder.restore(config["encoder"], vocabulary)
        with torch.device("meta"):  # no time is spent on initial weights
            gpt = GPT(GPTConfig(**config["gpt"]))
            model = SequenceClassifier(gpt, len(config["labels"]), config["pooling"], config["head"])
        model.load_state_dict(tensors, assign=True)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the config in {where} is not one that this package wrote ({reason(error)})") from error
    except RuntimeError as error:
        raise InputError(
            f"the weights in {where} do not fit its config: {str(error).splitlines()[-1].strip()}"
        ) from error
    return Bundle(model.eval(), encoder, list(config["labels"]), config["head"])


def save_folder(folder: Path, bundle: Bundle, card: str) -> None:
    """Writes the three files, each whole or not at all; the weights last, so that a folder with weights is complete."""
    with whole_file(folder / "README.md") as path:
        path.write_text(card, encoding="utf-8")
    with whole_file(folder / "config.json") as path:
        path.write_text(json.dumps(bundle.config(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.model.state_dict().items()}
    with whole_file(folder / "model.safetensors") as path:
        save_file(tensors | {VOCABULARY: bundle.encoder.vocabulary()}, path, metadata={"format": "pt"})


def load(path: str | Path) -> Bundle:
    """From a model folder, a run (``version_N``), a folder of runs (the newest finished one) or a ``.ckpt`` file."""
    path = Path(path)
    if path.is_file():
        return load_checkpoint(path)
    places = (path, path / "model", newest(path, "model"))
    folder = next((place for place in places if place and (place / "config.json").is_file()), None)
    if folder is None:
        raise InputError(
            f"no model at {path}: expected a folder with config.json and model.safetensors, or a .ckpt file"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder / 'config.json'} is not valid JSON: {error}") from error
    return restore(config, read_tensors(folder), folder)


def load_checkpoint(path: Path) -> Bundle:
    checkpoint = read_checkpoint(path)
    prefix = "model."
    tensors = {name.removeprefix(prefix): t for name, t in checkpoint["state_dict"].items() if name.startswith(prefix)}
    ours = checkpoint["gpt_classifier"]
    return restore(ours["config"], tensors | {VOCABULARY: ours[VOCABULARY]}, path)


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
    return checkpoint


def newest(root: Path, name: str) -> Path | None:
    """``root/version_N/name`` of the highest N that has it; runs in one folder are numbered."""
    runs = {int(run.name[8:]): run / name for run in root.glob("version_*") if run.name[8:].isdigit()}
    return next((runs[n] for n in sorted(runs, reverse=True) if runs[n].exists()), None)
