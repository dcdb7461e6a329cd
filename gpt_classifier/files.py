"""Keeps the cache folder and writes files so that they are whole or absent; knows nothing about their contents."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gpt_classifier.errors import InputError, reason


def cache_folder() -> Path:
    """``$GPT_CLASSIFIER_CACHE``, or the user's cache folder of this operating system."""
    if folder := os.environ.get("GPT_CLASSIFIER_CACHE"):
        return Path(folder)
    import pooch

    return Path(pooch.os_cache("gpt_classifier"))


def computed_folder() -> Path:
    """For what this package computed and can compute again: ``$GPT_CLASSIFIER_COMPUTED``, or beside the user's caches.

    Not in :func:`cache_folder`, which may be a folder that many share and nobody writes to.
    """
    if folder := os.environ.get("GPT_CLASSIFIER_COMPUTED"):
        return Path(folder)
    import pooch

    return Path(pooch.os_cache("gpt_classifier")) / "computed"


def tokenizer_folder() -> Path:
    """Of GPT-2's tokenizer: ``$TIKTOKEN_CACHE_DIR``, or in our cache; tiktoken itself would take a temporary folder."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    return cache_folder() / "tiktoken" if folder is None else Path(folder)


def fetch(name: str, urls: Sequence[str], verify: Callable[[Path], object], without: str) -> Path:
    """The cached file ``name``, downloaded from the first of ``urls`` that gives a file which passes ``verify``.

    ``verify`` raises ``InputError`` for a wrong file. ``without`` ends the message when nothing could be
    downloaded: it says which setting needs no download.
    """
    path = cache_folder() / name
    if path.exists():
        verify(path)
        return path

    import pooch

    failures = []
    with tempfile.TemporaryDirectory(dir=writable_folder(path.parent)) as scratch:
        for url in urls:
            try:
                part = Path(pooch.retrieve(url, known_hash=None, fname=name, path=scratch, progressbar=False))
                verify(part)
            except (OSError, ValueError) as error:  # no network, HTTP status, or a file that is not the one we know
                failures.append(f"{url} ({reason(error)})")
                continue
            os.replace(part, path)
            return path
    raise InputError(
        f"could not download {name}: {'; '.join(failures)}. Put the file into {path.parent} by hand, or {without}."
    )


def writable_folder(folder: Path) -> Path:
    """``folder``, created if need be; one that cannot be created or written to is the user's to fix."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission")
    except OSError as error:
        raise InputError(f"cannot write to the folder {folder}: {error.strerror or error}") from error
    return folder


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A scratch path beside ``path`` that takes its place when the block ends well, and vanishes when it does not."""
    path = Path(path)
    # In the same folder, because os.replace is atomic only within one file system.
    scratch = writable_folder(path.parent) / f".{path.name}.{os.getpid()}.part"
    try:
        yield scratch
        with open(scratch, "rb") as stream:
            os.fsync(stream.fileno())
        scratch.chmod(0o644)  # some libraries make files that only their owner can read
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def check_sha256(path: Path, expected: str) -> None:
    """Raises ``InputError`` unless the file has this SHA-256."""
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise InputError(f"{path} has SHA-256 {found}, expected {expected}: delete it and fetch it again")
