"""Stores tensors by key in files that later runs reuse, with checksums and a size limit."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, KeysView
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpt_classifier.errors import InputError
from gpt_classifier.files import computed_folder, whole_file

KEY_BYTES = 16  # length of a key, the digest of a tensor's inputs


class StateStore:
    """Tensors (T, C) of one number format, in memory and, with a ``name``, in the files of a folder of that name.

    Args:
        name: Identifies how all of these tensors were computed. Without it, nothing is written.
        dtype: Number format of all tensors.
        limit: Maximum number of bytes of all folders together; the least recently used files are removed first.
    """

    def __init__(self, name: str | None, dtype: torch.dtype, limit: int) -> None:
        self.folder = None if name is None else folder() / name
        self.dtype, self.limit = dtype, limit
        self._states: dict[bytes, Tensor] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._states

    def __getitem__(self, key: bytes) -> Tensor:
        return self._states[key]

    def keys(self) -> KeysView[bytes]:
        """Returns the keys of all tensors in memory."""
        return self._states.keys()

    def add(self, tensors: dict[bytes, Tensor]) -> None:
        """Keeps tensors in memory and, if there is a folder, writes them to a new file in it."""
        if not tensors:
            return
        joined = torch.cat(list(tensors.values()))
        ends = torch.tensor([len(s) for s in tensors.values()]).cumsum(0)
        keys = torch.tensor(np.frombuffer(b"".join(tensors), dtype=np.uint8).reshape(-1, KEY_BYTES).copy())
        self._register(keys, ends, joined)
        if self.folder is None:
            return
        checksum = sha256((keys, ends, joined))
        try:
            # The file name is unique, so that concurrent processes never touch each other's files.
            with whole_file(self.folder / f"{uuid.uuid4().hex}.safetensors") as path:
                save_file({"keys": keys, "ends": ends, "states": joined}, path, metadata={"sha256": checksum})
        except (InputError, OSError, SafetensorError) as error:
            rank_zero_info(f"cached states stay in memory, {self.folder} cannot be written: {error}")
            self.folder = None
            return
        trim(self.limit, keep=self.folder)

    def load(self, keys: Collection[bytes]) -> None:
        """Maps the folder's files into memory, unless all ``keys`` are in memory already."""
        if self.folder is None or all(key in self._states for key in keys):
            return
        for path in sorted(self.folder.glob("*.safetensors")):
            # Removed only here, where nothing maps it any more: Windows would refuse.
            if (damage := self._map(path)) is not None:
                rank_zero_info(f"cached states in {path} are damaged ({damage}) and will be computed again")
                path.unlink(missing_ok=True)

    def _map(self, path: Path) -> str | None:
        """Maps a file into memory. Returns what is wrong with it, or None."""
        try:
            with safe_open(path, framework="pt") as stream:
                stored, ends, states = (stream.get_tensor(name) for name in ("keys", "ends", "states"))
                intact = sha256((stored, ends, states)) == (stream.metadata() or {}).get("sha256")
            if not intact or states.dtype != self.dtype or len(stored) != len(ends) or ends[-1] != len(states):
                return "contents and checksum differ"
            self._register(stored, ends, states)
            os.utime(path)  # mark as recently used: trim removes other files first
        except (SafetensorError, ValueError, KeyError, IndexError, OSError) as error:
            return str(error)
        return None

    def _register(self, keys: Tensor, ends: Tensor, states: Tensor) -> None:
        start = 0
        for key, end in zip(keys.numpy(), ends.tolist(), strict=True):
            self._states[key.tobytes()] = states[start:end]
            start = end


def folder() -> Path:
    """Folder of all cached states, with one subfolder for each ``name``."""
    return computed_folder() / "trunk"


def size() -> int:
    """Number of bytes of all cached states on disk."""
    return sum(path.stat().st_size for path in folder().rglob("*.safetensors"))


def clear() -> None:
    """Removes all cached states."""
    shutil.rmtree(folder(), ignore_errors=True)


def trim(limit: int, keep: Path) -> None:
    """Removes the least recently used files, except those in ``keep``, until all files fit into ``limit`` bytes."""
    files = []
    for path in folder().rglob("*.safetensors"):
        try:
            files.append((path.stat().st_mtime, path.stat().st_size, path))
        except FileNotFoundError:
            continue  # another process has removed it
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            break
        if path.parent != keep:
            try:
                path.unlink(missing_ok=True)
            except PermissionError:
                continue  # on Windows, where a process maps it: it stays until a later call
            total -= size


def sha256(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of the tensors' bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()
