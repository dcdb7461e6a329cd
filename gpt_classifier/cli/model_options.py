"""Which model a command line means, and the options that say how its network runs."""

import argparse
import os
import sys
from pathlib import Path

from gpt_classifier import files
from gpt_classifier.errors import InputError


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Adds those of ``TextClassifier.load``."""
    add = parser.add_argument
    add("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"], help="auto is CUDA, MPS or else the CPU")
    add("--int8", action="store_true", help="quantize the network, for speed on CPUs with VNNI")
    add("--base", help="weights below an adapter folder: gpt2, or a .safetensors file")


def model_and_texts(words: list[str]) -> tuple[str | Path, list[str]]:
    """The model that the first word names, or else the built-in one, which is said; and the texts.

    Raises ``InputError`` if there is none, before PyTorch is imported.
    """
    found, texts = _first_is_model(words)
    if not os.path.exists(found):
        raise InputError(
            f"no model at {str(found)[:100]!r}: expected a model folder, a run or a .ckpt file first, "
            'as in classify FOLDER "a text"'
        )
    return found, texts


def _first_is_model(words: list[str]) -> tuple[str | Path, list[str]]:
    first = words[0] if words else ""
    if first == files.BUILT_IN_MODEL:
        return files.built_in_model(), words[1:]
    path_like = not any(map(str.isspace, first)) and (os.path.dirname(first) != "" or first.endswith(".ckpt"))
    if first and (os.path.exists(first) or (path_like and len(words) > 1)):
        return first, words[1:]
    print(f"model: {files.BUILT_IN_MODEL}, the built-in one; classify MODEL takes yours", file=sys.stderr)
    return files.built_in_model(), words
