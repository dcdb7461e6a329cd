"""The formats of stored models: their versions, and the file ``config.json`` with its checksum."""

import json
import zlib
from pathlib import Path
from typing import Any

from gpt_classifier.errors import InputError
from gpt_classifier.files import whole_file
from gpt_classifier.records import with_each_key_once

FORMAT = 6

CHECKSUM = "crc32"  # of a config, among its keys


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
    other = config.get("architectures") if isinstance(config, dict) and found is None else None
    if isinstance(other, list) and other:
        raise InputError(
            f"{where} is a {str(other[0])[:100]} of transformers or sentence-transformers, of which this package loads "
            "GPT2ForSequenceClassification only: load it with those libraries, or load what it was exported from"
        )
    if not isinstance(found, int) or (found != FORMAT and found not in STEPS):
        raise InputError(
            f"{where} has format {found!r}, expected one from {min(STEPS)} to {FORMAT}: another version of the package "
            "wrote it, so install that version or train again"
        )
    while config["format"] < FORMAT:
        config = STEPS[config["format"]](config)
    return config


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Writes ``config.json`` with a checksum of what it says."""
    content = config | {CHECKSUM: _compute_checksum(config)}
    with whole_file(folder / "config.json") as path:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _compute_checksum(config: dict[str, Any]) -> str:
    said = json.loads(json.dumps({key: value for key, value in config.items() if key != CHECKSUM}))  # as it is read
    return f"{zlib.crc32(json.dumps(said, sort_keys=True).encode()):08x}"


def has_checksums(config: dict[str, Any]) -> bool:
    """Whether the file of tensors beside a ``config`` has checksums, so that one without is damaged."""
    return config["format"] >= 6


def read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"no file {path}: expected a folder with config.json and its tensors")
    try:
        config = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=with_each_key_once)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if isinstance(config, dict) and config.get(CHECKSUM, found := _compute_checksum(config)) != found:
        raise InputError(
            f"{path} is damaged, or was edited: its checksum is {found}, not {config[CHECKSUM]}; if you mean what it "
            f"says, remove its line {CHECKSUM!r}"
        )
    return config
