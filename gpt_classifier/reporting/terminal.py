"""A document as lines of a terminal or log file."""

import io
from collections.abc import Iterator, Sequence
from textwrap import fill

from gpt_classifier.reporting.document import DASH, Block, Cell, Document, Examples, Listing, Measured, Paragraph, Table


def lines(document: Document, width: int) -> str:
    """The whole document without its drawings, in lines of at most so many columns."""
    parts = [fill(document.headline, width)]
    parts += [fill(text, width) for text in (document.evidence, document.lead) if text]
    parts[0] = "\n".join([parts[0], *(fill(f"{name}: {value}", width) for name, value in document.facts)])
    for section in document.sections:
        shown = [text for block in section.blocks for text in _block(block, width)]
        parts.append("\n".join([f"{section.title}:", *shown]))
    return "\n\n".join(parts)


def _block(block: Block, width: int) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield fill(text, width)
        case Table(header, rows, names):
            yield table(header, [[[_plain(cell) for cell in row] for row in rows]], names, width)
        case Examples(examples):
            for number, example in enumerate(examples, start=1):
                yield fill(f"{number}. {' '.join(example.text.split())}", width, subsequent_indent="   ")
                for name, value in example.about:
                    yield fill(f"{name}: {value}", width, initial_indent="   ", subsequent_indent="     ")
        case Listing(title, text):
            yield f"{title}:\n{text}"


def _plain(cell: Cell) -> str:
    """In characters that every log file can show."""
    if isinstance(cell, Measured):
        interval = f" [{cell.interval.replace(DASH, ', ')}]" if cell.interval else ""
        return f"{cell.value}{interval}".replace(DASH, "-")
    return cell


def table(header: Sequence[str], sections: Sequence[Sequence[Sequence[str]]], names: int, width: int) -> str:
    """The first columns are ``names``, which get all the room that numbers leave; sections are parted by a line."""
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A line below the header and below a section, of a character that every log file can show.
    lines = Box("    \n    \n -- \n    \n    \n -- \n    \n    \n", ascii=True)
    table = Table(box=lines, pad_edge=False, show_edge=False)
    for number, title in enumerate(header):
        if number < names:
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, justify="right", no_wrap=True)
    for section in sections:
        for line in section:
            table.add_row(*(Text(cell) for cell in line))  # not as strings, in which rich would look for markup
        table.add_section()
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())
