"""What a resumed fit must share with the stopped one, besides its data."""

from collections.abc import Collection, Mapping
from typing import Any

from gpt_classifier.errors import InputError
from gpt_classifier.settings import check_resumed, flat
from gpt_classifier.text.encoder import TextEncoder

# A resumed run must keep its settings. These may change, as they do not affect what is learnt, except for the data type
# that cached hidden states are rounded to.
MAY_CHANGE_ON_RESUME = {"weights", "compute", "cache", "decide"}
MUST_NOT_CHANGE = {"cache.dtype"}


def check_same_settings(now: Mapping[str, Any], then: Mapping[str, Any], may_change: Collection[str]) -> None:
    """Raises ``InputError`` if a run is resumed with other settings, which would silently not be used.

    Args:
        now: Settings with dotted keys.
        then: Those of the checkpoint.
        may_change: Groups of settings that do not affect what is learnt.
    """
    for name in dict(now) | dict(then):
        may = name.partition(".")[0] in may_change and name not in MUST_NOT_CHANGE
        if now.get(name) != then.get(name) and not may:
            check_resumed({name: now.get(name)}, {name: then.get(name)})


def check_same_fit(
    now: Mapping[str, Any], encoder_now: TextEncoder | None, then: Mapping[str, Any], encoder_then: TextEncoder
) -> None:
    """Raises ``InputError`` if a run is resumed with other settings or tokens: it would silently keep the old ones."""
    now = flat({**now, "encoding": encoder_now.settings() if encoder_now else None})
    then = flat({**then, "encoding": encoder_then.settings()})
    name = "encoding.tokenizer"
    if now.get(name) != then.get(name) and all(str(each.get(name)).startswith("bpe-") for each in (now, then)):
        others = {key: value for key, value in now.items() if key != name}
        check_same_settings(others, {key: then[key] for key in then if key != name}, MAY_CHANGE_ON_RESUME)
        raise InputError(
            f"the tokenizer trained on these training rows is {now[name]}, that of the checkpoint is {then[name]}: "
            "its rows, or data.tokenizer.train, were different; continue with them, or start a new run"
        )
    check_same_settings(now, then, MAY_CHANGE_ON_RESUME)
