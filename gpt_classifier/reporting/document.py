"""The parts of a report, whatever they are about and however they are shown."""

from collections.abc import Sequence
from typing import NamedTuple

DASH = "\N{EN DASH}"  # between the ends of an interval, and where there is no value


class Measured(NamedTuple):
    """A value with its interval."""

    value: str
    interval: str


Cell = str | Measured


class Paragraph(NamedTuple):
    """Text."""

    text: str


class Table(NamedTuple):
    """Rows of cells; the first columns are names, which may be long, the others numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1
    folded: str = ""  # the title under which a page hides it until somebody asks


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
    """Several of them."""

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
    """A report."""

    title: str
    headline: str  # the result, shown large
    evidence: str  # how sure it is
    lead: str  # what follows from it
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
