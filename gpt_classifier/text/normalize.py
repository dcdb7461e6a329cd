"""Replaces what UTF-8 cannot hold, and measures and shortens texts for people."""

import unicodedata

# What would break a line or steer a terminal, or turn the direction of writing beyond a text, as Python writes it: \n,
# \t, \r, \x1b, \u2028, \u202e.
STEERING = (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
ESCAPES = {c: chr(c).encode("unicode_escape").decode() for c in STEERING}


def replace_surrogates(text: str) -> str:
    """Without lone surrogates, which UTF-8 cannot hold and which are replaced as tiktoken does; a pair becomes one."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shorten(name: str, maximum: int) -> str:
    """A name of at most so many columns; a longer one loses its middle."""
    if len(name) > 3 * maximum + 1:  # so that the time for a long one grows with its length alone
        name = f"{name[: 2 * maximum]}…{name[-maximum:]}"
    while count_columns(name) > maximum:
        middle = len(name) * 2 // 3
        name = f"{name[: middle - 1].removesuffix('…')}…{name[middle + 1 :].removeprefix('…')}"
    return name


def count_columns(text: str) -> int:
    """In columns of a fixed-width font: letters of East Asia are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
