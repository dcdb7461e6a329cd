"""Proposes a published network for texts, by their language and by what lies on this machine; loads none."""

import json
import os
import re
import shutil
import urllib.request
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

ENGLISH = "sentence-transformers/all-MiniLM-L6-v2"
MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"  # 50 languages
FOLDER = "GPT_CLASSIFIER_MODELS"  # environment variable: a folder with folders of networks
# English words that other languages hardly have
FREQUENT = {"the", "and", "you", "that", "this", "with", "are", "my", "your", "what", "but", "they", "from", "their"}
ENGLISH_FRACTION = 0.05  # of such words, which English texts of some length exceed
MOSTLY = 0.5  # fraction of the words that stand in English texts, from which all are called English
WORD = re.compile(r"[^\W\d_]+")


def propose_network(texts: Iterable[str]) -> str | None:
    """The name or folder of a network for these texts; None if there is none here and none can be reached."""
    if find_spec("transformers") is None:
        return None
    name = ENGLISH if is_english(texts) else MULTILINGUAL
    return name if _in_cache(name) else _in_folder() if name == ENGLISH and _in_folder() else _try_to_reach(name)


def is_english(texts: Iterable[str]) -> bool:
    """Whether most texts are English: of ten languages, one may be."""
    words, english = 0, 0
    for text in texts:
        found = WORD.findall(text[:1000].lower())
        words += len(found)
        english += len(found) * (sum(word in FREQUENT for word in found) > ENGLISH_FRACTION * len(found))
    return english >= MOSTLY * max(1, words)


def has_gpt2_weights() -> bool:
    """Whether GPT-2's weights are in the hub's cache, or the hub can be reached."""
    from huggingface_hub import try_to_load_from_cache

    from gpt_classifier.models.weights import REVISIONS

    name = "openai-community/gpt2"
    there = try_to_load_from_cache(name, "model.safetensors", revision=REVISIONS["gpt2"])
    return isinstance(there, str) or _try_to_reach(name) is not None


def has_gpu() -> bool:
    """Whether a GPU of NVIDIA's is there, without loading PyTorch."""
    return shutil.which("nvidia-smi") is not None


def is_decoder(folder: str) -> bool:
    """Whether the folder of a network is that of a language model, which predicts the next token."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        return False
    try:
        names = json.loads(path.read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError, RecursionError, AttributeError):  # no network: the fit says so, when it needs it
        return False
    return any("CausalLM" in str(name) for name in names)


def _in_cache(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    files = ("config.json", "model.safetensors")
    return all(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def _in_folder() -> str | None:
    """The first sentence encoder in the folder that the environment names, else its first network."""
    if not (folder := os.environ.get(FOLDER)):
        return None
    found = sorted(path.parent for path in Path(folder).glob("*/config.json"))
    found.sort(key=lambda path: (not (path / "1_Pooling").is_dir(), is_decoder(str(path))))
    return str(found[0]) if found else None


def _try_to_reach(name: str) -> str | None:
    """The name, if the hub can be reached, which is asked for the network's configuration, once."""
    from huggingface_hub import constants, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        return None
    request = urllib.request.Request(hf_hub_url(name, "config.json"), method="HEAD")  # the hub's client asks six times
    try:
        with urllib.request.urlopen(request, timeout=5):
            return name
    except (OSError, ValueError):  # no connection, another response, or a wrong address in the environment
        return None
