"""Figures of matplotlib whose letters can be read in any script."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from gpt_classifier.text.normalize import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure

MAX_NAME = 32  # columns of a name; longer ones lose their middle


def new_figure(width: float, height: float) -> "Figure":
    """An empty one, of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot: nothing to close, no window system, no global state. Few inches at a high resolution, because
    # TensorBoard shows figures as small tiles, in which the text must still be read.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def finish(figure: "Figure", note: list[str], families: list[str]) -> "Figure":
    """The figure with a note above it and its letters from these font families."""
    from matplotlib.text import Text

    # On the left of the figure and not of the axes, which may have long names beside them.
    figure.suptitle("\n".join(note), fontsize=6.5, x=0.01, ha="left")
    for text in figure.findobj(Text):
        text.set(fontfamily=families, parse_math=False)  # a dollar sign in a name begins no formula
    return figure


def drawable(names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Names of moderate length in letters that fonts here have, the families of these fonts, and a line about names
    that no font has.
    """
    plain = [_plain(name) for name in names]
    families, missing = families_with("".join(sorted(set("".join(plain)))))
    result, unnamed = [], False
    for n, name in enumerate(plain, start=1):
        if lacking := missing & set(name):
            rest = "".join(c for c in name if c not in lacking)
            name = " ".join([f"class {n}", *(rest.split() if 2 * len(rest) > len(name) else ())])
            unnamed = True
        result.append(_isolated(shortened(name, MAX_NAME)))
    return result, families, ['"class n" is the n-th: no font here has all letters of its name'] * unnamed


def _plain(text: str) -> str:
    """On one line and without variation selectors."""
    return re.sub("[\ufe00-\ufe0f]", "", " ".join(text.split()))


def _isolated(name: str) -> str:
    """What stands beside a name that runs to the left still runs to the right."""
    return f"\u200e{name}\u200e" if any(unicodedata.bidirectional(c) in ("R", "AL") for c in name) else name


@cache
def families_with(characters: str) -> tuple[list[str], set[str]]:
    """Font families that have as many of the characters as possible, and those characters that none has."""
    from matplotlib import font_manager, rcParams

    families = list(rcParams["font.family"])
    missing = {c for c in characters if unicodedata.category(c) not in ("Zs", "Cc", "Cf")}
    missing -= _characters(font_manager.findfont(font_manager.FontProperties(family=families)))
    for font in font_manager.fontManager.ttflist if missing else ():
        # The last resort has a box for every character.
        if font.style == "normal" and font.weight in (400, "normal", "regular") and "Last Resort" not in font.name:
            found = missing & _characters(font.fname)
            if found:
                families.append(font.name)
                missing -= found
    return families, missing


def _characters(font: str) -> set[str]:
    from matplotlib import font_manager

    try:
        return {chr(code) for code in font_manager.get_font(font).get_charmap()}
    except (OSError, RuntimeError):  # a font that is broken
        return set()
