"""What a network of sentence-transformers says beside its configuration: how it pools, and how long its texts are."""

import json
from pathlib import Path
from typing import Any

LONGEST = 512  # tokens of a text, which most encoders can read


def sentence_pooling(name: str) -> str | None:
    """The pooling that a folder of sentence-transformers was trained with; None for others, and if it is another."""
    settings = _sentence_settings(name, "1_Pooling/config.json")
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first_token"}
    known |= {"pooling_mode_lasttoken": "last_token"}
    found = [pooling for key, pooling in known.items() if settings.get(key)]
    newer = {"mean": "mean", "cls": "first_token", "lasttoken": "last_token"}  # as sentence-transformers 6 writes it
    if isinstance(mode := settings.get("pooling_mode"), str) and mode in newer:
        found = [newer[mode]]
    return found[0] if len(found) == 1 else None


def usual_length(name: str) -> int:
    """The maximum number of tokens of a text for a published network, unless a number is given.

    It is that of a folder of sentence-transformers, and at most LONGEST.
    """
    length = _sentence_settings(name, "sentence_bert_config.json").get("max_seq_length")
    return min(LONGEST, length) if isinstance(length, int) and length > 0 else LONGEST


def _sentence_settings(name: str, file: str) -> dict[str, Any]:
    """A file of a folder or of a network on the hub, read if it is there or can be fetched."""
    path = Path(name) / file
    if Path(name).is_file():  # .gguf
        return {}
    if not Path(name).is_dir():
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(name, file))
        except Exception:  # the hub's client raises many unrelated kinds: there is no such file, or no network
            return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}
