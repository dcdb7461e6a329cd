"""The parts of a report, whatever they are about and however they are shown, and how they write numbers and names."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

DASH = "\N{EN DASH}"  # between the ends of an interval, and where there is no value
INTERVAL = "95 % interval"


class Measured(NamedTuple):
    """A value with its interval."""

    value: str
    interval: str


Cell = str | Measured


class Paragraph(NamedTuple):
    text: str


class Table(NamedTuple):
    """Rows of cells; the first columns are names, which may be long, the others numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1
    collapsed: str = ""  # the title under which a page hides it until somebody asks


class Figure(NamedTuple):
    """A drawing, which plain text leaves out."""

    svg: str
    caption: str
    legend: Sequence[tuple[str, str]] = ()  # colour and name of each line


class Example(NamedTuple):
    """A text of the data, with what there is to say of it."""

    text: str
    about: Sequence[tuple[str, str]]


class Examples(NamedTuple):
    examples: Sequence[Example]


class Listing(NamedTuple):
    """Lines as they are, hidden by a page until somebody asks."""

    title: str
    text: str


Block = Paragraph | Table | Figure | Examples | Listing


class Section(NamedTuple):
    """Blocks below a heading and a sentence on how to read them."""

    title: str
    how_to_read: str
    blocks: Sequence[Block]


class Document(NamedTuple):
    title: str
    headline: str  # the result, shown large
    evidence: str  # how sure it is
    lead: str  # what follows from it
    details: Sequence[tuple[str, str]]
    sections: Sequence[Section]


# ---------------------------------------------------------------- numbers and names


def format_percent(fraction: float | None, digits: int = 1) -> str:
    return DASH if fraction is None else f"{100 * fraction:.{digits}f} %"


def measured_fraction(fraction: float | None, interval: Sequence[float] | None, digits: int = 1) -> Measured:
    """In percent."""
    bounds = "" if interval is None else DASH.join(f"{100 * bound:.1f}" for bound in interval)
    return Measured(format_percent(fraction, digits), bounds)


def measured_score(value: float | None, interval: Sequence[float] | None = None, digits: int = 4) -> Measured:
    bounds = "" if interval is None else DASH.join(f"{bound:.3f}" for bound in interval)
    return Measured(DASH if value is None else f"{value:.{digits}f}", bounds)


def isolate(name: str) -> str:
    """A name within a sentence, whose direction of writing must not reach beyond it (Unicode's isolates)."""
    to_the_left = any(unicodedata.bidirectional(c) in ("R", "AL") for c in name)
    return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}" if to_the_left else name
