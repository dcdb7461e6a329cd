"""Writes and reads files of tensors, each with a checksum."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpt_classifier.errors import InputError
from gpt_classifier.files import whole_file

CHECKSUMS = "crc32"  # name in the file's metadata of a JSON mapping from names of tensors to checksums
BROKEN_ZIP = (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
CHUNK = 2**20
MODULE = "model."  # prefix of the network's tensors in a checkpoint of training


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a .safetensors file, whole or not at all, with a CRC-32 of each tensor in its metadata.

    Raises:
        InputError: A tensor has a value that is NaN or infinite.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    check_finite(kept, path)
    checksums = json.dumps({name: checksum(name, tensor) for name, tensor in kept.items()})
    with whole_file(path) as scratch:
        save_file(kept, scratch, metadata={CHECKSUMS: checksums})  # a second entry might come before or after it


def read_tensors(path: Path, checked: bool = False) -> dict[str, Tensor]:
    """All tensors of a ``.safetensors`` file, or of a folder with ``model.safetensors`` in one file or in shards.

    Or those of the network in a checkpoint of training.

    Args:
        path: The file or folder.
        checked: Whether the file must have checksums, as those of this package do. If it has, they are verified.
    """
    if path.suffix == ".ckpt" and path.is_file():
        check_records(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
        return {name.removeprefix(MODULE): t for name, t in state.items() if name.startswith(MODULE)}
    if path.is_dir():
        index = path / "model.safetensors.index.json"
        try:
            names = sorted(set(json.loads(index.read_bytes())["weight_map"].values())) if index.exists() else []
            elsewhere = [name for name in names if name != Path(name).name]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{index} is not an index of weights: fetch the folder again") from error
        if elsewhere:
            raise InputError(f"{index} names {elsewhere[0]!r}, which is no file of that folder: fetch the folder again")
        files = [path / name for name in names or ["model.safetensors"]]
    else:
        files = [path]
    tensors: dict[str, Tensor] = {}
    for file in files:
        if not file.is_file():
            raise InputError(
                f"no weights at {file}: expected pretrained, random, a run, model folder, .ckpt or .safetensors file"
            )
        try:
            with safe_open(file, framework="pt") as stream:
                found = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
                metadata = stream.metadata() or {}
        except SafetensorError as error:
            raise InputError(f"{file} is not a whole safetensors file ({error})") from error
        if checked or CHECKSUMS in metadata:
            _verify(file, found, metadata.get(CHECKSUMS, ""))
        tensors |= found
    return tensors


def _verify(file: Path, tensors: Mapping[str, Tensor], checksums: str) -> None:
    try:
        expected = dict(json.loads(checksums))
    except (ValueError, TypeError) as error:
        raise InputError(f"{file} is damaged: it has lost its checksums; fetch or train it again") from error
    if lost := sorted(expected.keys() ^ tensors.keys()):
        raise InputError(f"{file} is damaged: {lost[0]} is not among both its tensors and its checksums")
    for name, tensor in tensors.items():
        if (found := checksum(name, tensor)) != expected[name]:
            raise InputError(
                f"{file} is damaged: {name} has the checksum {found}, expected {expected[name]}; fetch it again, or "
                "use another checkpoint of its run"
            )


def checksum(name: str, tensor: Tensor) -> str:
    """The CRC-32 of a tensor on the CPU with its name, type and shape: it finds damage, not forgery."""
    crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{zlib.crc32(content.data, crc):08x}"


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    # A sum is a fifth of the work of looking at each value, and is finite only if all values are; it may overflow.
    return not tensor.is_floating_point() or bool(tensor.sum(dtype=torch.float32).isfinite() or tensor.isfinite().all())


def check_finite(tensors: Mapping[str, Tensor], where: Path | str) -> None:
    """Raises ``InputError`` for a tensor with a value that is NaN or infinite. ``where`` only serves the message."""
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise InputError(
                f"{name} in {where} has values that are not finite, as of a fit that diverged: use another checkpoint "
                "of its run, or train again at a lower learning rate"
            )


def check_records(path: Path) -> None:
    """Raises ``InputError`` if a file that ``torch.save`` wrote is not whole.

    It is a ZIP archive with a CRC-32 of each record, which ``torch.load`` does not check.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a .ckpt file")
    try:
        stat = path.stat()
        _check_records(path, stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError as error:
        raise InputError(f"no checkpoint at {path}") from error
    except BROKEN_ZIP as error:
        damage = str(error) if "CRC-32" in str(error) else "it is not whole"
        raise InputError(f"{path} is damaged, or no checkpoint: {damage}") from error


@lru_cache(maxsize=8)  # a command opens its checkpoint more than once
def _check_records(path: Path, size: int, changed: int) -> None:
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            with archive.open(record) as stream:
                while stream.read(CHUNK):  # the last reading compares the checksum
                    pass
