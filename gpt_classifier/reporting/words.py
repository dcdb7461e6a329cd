"""How a report writes shares, scores and names."""

import unicodedata
from collections.abc import Sequence

from gpt_classifier.reporting.document import DASH, Measured

INTERVAL = "95 % interval"


def percent(share: float | None, digits: int = 1) -> str:
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def isolated(name: str) -> str:
    """A name within a sentence, whose direction of writing must not reach beyond it (Unicode's isolates)."""
    return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}" if _runs_to_the_left(name) else name


def _runs_to_the_left(text: str) -> bool:
    return any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)


def measured(share: float | None, interval: Sequence[float] | None) -> Measured:
    return Measured(percent(share), "" if interval is None else f"{100 * interval[0]:.1f}{DASH}{100 * interval[1]:.1f}")


def score(value: float | None, interval: Sequence[float] | None = None, digits: int = 4) -> Measured:
    shown = DASH if value is None else f"{value:.{digits}f}"
    return Measured(shown, "" if interval is None else f"{interval[0]:.3f}{DASH}{interval[1]:.3f}")
