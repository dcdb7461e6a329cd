"""Reads the checkpoints of fits without running code in them."""

import pickle
from pathlib import Path
from typing import Any

import torch

from gpt_classifier.errors import InputError
from gpt_classifier.inference.bundle import Bundle, restore
from gpt_classifier.inference.formats import up_to_date
from gpt_classifier.models.tensor_file import check_finite, check_records, read_tensors

CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")  # of a run, the better first


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
