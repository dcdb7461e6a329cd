"""Finds fonts for the letters of names, and says which letters no font has."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from gpt_classifier.text.normalize import shorten

MAX_NAME = 32  # columns of a name; longer ones lose their middle


def drawable_names(names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Names of moderate length in letters that fonts here have, the families of these fonts, and a line about names
    that no font has."""
    plain = [re.sub("[\ufe00-\ufe0f]", "", " ".join(name.split())) for name in names]  # without variation selectors
    families, missing = _families_with("".join(sorted(set("".join(plain)))))
    shown, unnamed = [], False
    for n, name in enumerate(plain, start=1):
        if lacking := missing & set(name):
            rest = "".join(c for c in name if c not in lacking)
            name = " ".join([f"class {n}", *(rest.split() if 2 * len(rest) > len(name) else ())])
            unnamed = True
        name = shorten(name, MAX_NAME)
        to_the_left = any(unicodedata.bidirectional(c) in ("R", "AL") for c in name)
        shown.append(f"\u200e{name}\u200e" if to_the_left else name)  # what stands beside it still runs to the right
    return shown, families, ['"class n" is the n-th: no font here has all letters of its name'] * unnamed


@cache
def _families_with(characters: str) -> tuple[list[str], set[str]]:
    """Font families that have as many of the characters as possible, and those characters that none has."""
    from matplotlib import font_manager, rcParams

    families = list(rcParams["font.family"])
    missing = {c for c in characters if unicodedata.category(c) not in ("Zs", "Cc", "Cf")}
    missing -= _letters_of(font_manager.findfont(font_manager.FontProperties(family=families)))
    for font in font_manager.fontManager.ttflist if missing else ():
        # The last resort has a box for every character.
        if font.style != "normal" or font.weight not in (400, "normal", "regular") or "Last Resort" in font.name:
            continue
        if found := missing & _letters_of(font.fname):
            families.append(font.name)
            missing -= found
    return families, missing


def _letters_of(font: str) -> set[str]:
    from matplotlib import font_manager

    try:
        return {chr(code) for code in font_manager.get_font(font).get_charmap()}
    except (OSError, RuntimeError):  # a font that is broken
        return set()
