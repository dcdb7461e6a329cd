"""What a tokenizer of unknown origin must not do: take very long, make texts very long, or end the process."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpt_classifier.errors import InputError, reason

# No pattern of the tokens repeats a group or refers to one, which may take a time exponential in a text.
UNBOUNDED = re.compile(r"\)[*+?{]|(?<!\\)\\[1-9k]")
MAX_PATTERN = 1000  # characters
MAX_GROWTH, MAX_STEPS = 16, 100  # of a text by the steps of a normalizer, and their number


@contextmanager
def without_panic(name: str) -> Iterator[None]:
    """Raises ``InputError`` for a panic of the tokenizer's library in Rust, which is no ``Exception``."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(f"the tokenizer {name} cannot encode a text ({reason(error)}): fetch it again") from error


def check_pattern(pattern: str) -> None:
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN or UNBOUNDED.search(pattern):
        raise InputError(f"the tokenizer's pattern is {str(pattern)[:60]!r}, which may take very long: fetch it again")


def check_numbers(largest: int, tokens: int, name: str) -> None:
    """Raises ``InputError`` if far more numbers of tokens are possible than there are tokens."""
    if not tokens > 0 or largest > 4 * tokens + 1000:
        raise InputError(f"the tokenizer {name} numbers {tokens:,} tokens up to {largest:,}: fetch it again")


def check_growth(normalizer: Any, name: str) -> None:
    """Raises ``InputError`` if normalizing may make a text many times as long, as a chain of replacements does."""
    steps, growth = _list_steps(normalizer), 1.0
    for step in steps:
        if step.get("type") == "Replace":
            pattern = step["pattern"].get("String")
            # A regular expression may match nothing, between any two characters.
            growth *= max(1.0, len(step["content"]) / len(pattern) if pattern else 1.0 + len(step["content"]))
    if len(steps) > MAX_STEPS or growth > MAX_GROWTH:
        raise InputError(
            f"the tokenizer {name} normalizes in {len(steps)} steps, which may make texts {growth:,.0f} times as long: "
            "fetch it again"
        )


def _list_steps(normalizer: Any) -> list[dict[str, Any]]:
    """The steps of a normalizer, those of sequences within sequences too."""
    found: list[dict[str, Any]] = []
    waiting = [normalizer]
    while waiting and len(found) <= MAX_STEPS:
        step = waiting.pop()
        inner = step.get("normalizers") if isinstance(step, dict) else None
        if inner is not None:
            waiting += inner
        elif isinstance(step, dict):
            found.append(step)
    return found
