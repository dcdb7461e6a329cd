"""Finds the files of the package, of caches and of runs, and writes files whole."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from gpt_classifier.errors import InputError, reason

PACKAGE = Path(__file__).parent
BUILT_IN_MODEL = "sms-spam"
PRETRAINING = "pretraining"  # folder of the files of tokens, among the computed files


def cache_folder() -> Path:
    """``$GPT_CLASSIFIER_CACHE``, or the cache folder of the operating system."""
    if folder := os.environ.get("GPT_CLASSIFIER_CACHE"):
        return Path(folder)
    import pooch

    return Path(pooch.os_cache("gpt_classifier"))


def computed_folder() -> Path:
    """Folder for computed files that can be recomputed: ``$GPT_CLASSIFIER_COMPUTED``, or in the user's cache folder.

    Not in :func:`cache_folder`, which may be shared and read-only.
    """
    if folder := os.environ.get("GPT_CLASSIFIER_COMPUTED"):
        return Path(folder)
    import pooch

    return Path(pooch.os_cache("gpt_classifier")) / "computed"


def tokenizer_folder() -> Path:
    """Folder of GPT-2's tokenizer: ``$TIKTOKEN_CACHE_DIR``, or in the cache; tiktoken's own is temporary."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    return cache_folder() / "tiktoken" if folder is None else Path(folder)


def published_at(network: str) -> tuple[str, dict[str, str]]:
    """Where ``transformers`` finds a published network, and what else its ``from_pretrained`` is to be told.

    That is its name on the hub or its folder, and nothing else; or, of a .gguf file, the file's folder and name. Raises
    ``InputError`` for a file that is none, or cannot be read here.
    """
    path = Path(network)
    if path.suffix != ".gguf":
        return network, {}
    try:
        with path.open("rb") as stream:
            begins = stream.read(4)
    except OSError as error:
        raise InputError(f"{network} cannot be read ({reason(error)}): expected a .gguf file or a folder") from error
    if begins != b"GGUF":
        raise InputError(f"{network} is no GGUF file, as it begins with {begins!r}: fetch it again")
    if find_spec("gguf") is None:
        raise InputError(f'{network} needs a library to be read: pip install "gpt-classifier[gguf]"')
    return str(path.parent), {"gguf_file": path.name}


def fetch(name: str, urls: Sequence[str], verify: Callable[[Path], object], without: str) -> Path:
    """The cached file ``name``, downloaded from the first of ``urls`` whose file passes ``verify``.

    ``verify`` raises ``InputError`` for a wrong file. ``without`` ends the error message of a failed download: it says
    which setting needs no download.
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
            except (OSError, ValueError) as error:  # no network, an HTTP error, or a wrong file
                failures.append(f"{url} ({reason(error)})")
                continue
            os.replace(part, path)
            return path
    raise InputError(
        f"could not download {name}: {'; '.join(failures)}. Put the file into {path.parent} by hand, or {without}."
    )


def writable_folder(folder: Path) -> Path:
    """``folder``, created if needed. Raises ``InputError`` if it cannot be created or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission")
    except OSError as error:
        raise InputError(f"cannot write to the folder {folder}: {error.strerror or error}") from error
    return folder


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path next to ``path`` that replaces it on success and is deleted on failure."""
    path = Path(path)
    # In the same folder, because os.replace is atomic only within one file system.
    scratch = writable_folder(path.parent) / f".{path.name}.{os.getpid()}.part"
    try:
        yield scratch
        with open(scratch, "r+b") as stream:  # Windows writes out only what is open for writing
            os.fsync(stream.fileno())
        scratch.chmod(0o644)  # some libraries create files that only their owner can read
        try:
            os.replace(scratch, path)
        except PermissionError as error:  # above all on Windows, where a program has the file open
            raise InputError(
                f"cannot replace {path} ({error.strerror}): close the program that has it open, or name another file"
            ) from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that becomes it on success and is deleted on failure.

    Raises ``InputError`` if ``folder`` is a file, or has something in it already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder: name another one, or remove it")
    try:
        whole = folder.resolve()  # of a link, what it points to
        scratch = writable_folder(whole.parent) / f".{whole.name}.{os.getpid()}.part"
        scratch.mkdir()
    except (OSError, RuntimeError) as error:  # the latter of links that lead to each other
        raise InputError(f"cannot write the folder {folder}: {reason(error)}") from error
    try:
        yield scratch
        if whole == Path.cwd() or os.path.ismount(whole):  # which must stay: file by file
            for part in scratch.iterdir():
                shutil.move(part, whole / part.name)
            return
        if whole.exists():
            whole.rmdir()  # empty, and in the way where a folder cannot be replaced
        os.replace(scratch, whole)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_sha256(path: Path, expected: str) -> None:
    """Raises ``InputError`` unless the file has this SHA-256."""
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise InputError(f"{path} has SHA-256 {found}, expected {expected}: delete it and fetch it again")


def find_in_run(path: Path, *names: str) -> Path | None:
    """The first of these files that the run has or, where ``path`` is a folder of runs, the newest run that has it."""
    for name in names:
        for found in (path / name, newest(path, name)):
            if found is not None and found.is_file():
                return found
    return None


CALLED_IN = "# fit was called in "  # begins a run's config.yaml, followed by the working folder


def folders_around(run: Path) -> list[Path]:
    """Where relative paths of a run may begin: in the working folder of its fit, if that is known, or above the run."""
    config, known = run / "config.yaml", list[Path]()
    if config.is_file():
        with open(config, encoding="utf-8", errors="replace") as stream:
            first = stream.readline().rstrip("\n")
        known = [Path(first.removeprefix(CALLED_IN))] if first.startswith(CALLED_IN) else []
    return [*known, *run.resolve().parents]


def newest(root: Path, name: str) -> Path | None:
    """``root/version_N/name`` of the highest N that has it; runs in one folder are numbered."""
    runs = {int(run.name[8:]): run / name for run in root.glob("version_*") if run.name[8:].isdigit()}
    return next((runs[n] for n in sorted(runs, reverse=True) if runs[n].exists()), None)


def built_in_configurations() -> dict[str, Path]:
    """The paths of the configurations that come with the package, by names such as ``spam`` and ``study/article``."""
    folder = _built_in("configs")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def named_model(path: str | Path) -> Path:
    """The built-in model's folder for its name, unless a file or folder here is called so; any other path unchanged."""
    return built_in_model() if str(path) == BUILT_IN_MODEL and not Path(path).exists() else Path(path)


def built_in_model() -> Path:
    """The folder of the model that comes with the package, which tells spam from other short messages in English."""
    return _built_in("checkpoints") / BUILT_IN_MODEL


def _built_in(name: str) -> Path:
    """A wheel has it in the package; in a checkout it lies beside it."""
    return next((f for f in (PACKAGE / name, PACKAGE.parent / name) if f.is_dir()), PACKAGE / name)
