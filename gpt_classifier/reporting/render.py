"""Renders a document for the terminal, as Markdown, or as one HTML page that needs no other file."""

import io
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from gpt_classifier.reporting.document import (
    DASH,
    Block,
    Cell,
    Document,
    Examples,
    Figure,
    Listing,
    Measured,
    Paragraph,
    Table,
)

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

SHOWN = 240  # characters of a text that a page shows before it collapses the rest
MARKUP = re.compile(r"[\\`*{}\[\]<>|#~&$]|(?<!\w)_|_(?!\w)")  # an underscore within a word is one


# ---------------------------------------------------------------- terminal


def render_terminal(document: Document, width: int) -> str:
    """The document without its drawings, in lines of at most so many columns."""
    parts = [fill(document.headline, width)]
    parts += [fill(text, width) for text in (document.evidence, document.lead) if text]
    parts[0] = "\n".join([parts[0], *(fill(f"{name}: {value}", width) for name, value in document.details)])
    for section in document.sections:
        shown = [text for block in section.blocks for text in _terminal_block(block, width)]
        parts.append("\n".join([f"{section.title}:", *shown]))
    return "\n\n".join(parts)


def _terminal_block(block: Block, width: int) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield fill(text, width)
        case Table(header, rows, names):
            yield terminal_table(header, [rows], names, width)
        case Examples(examples):
            for number, example in enumerate(examples, start=1):
                yield fill(f"{number}. {' '.join(example.text.split())}", width, subsequent_indent="   ")
                for name, value in example.about:
                    yield fill(f"{name}: {value}", width, initial_indent="   ", subsequent_indent="     ")
        case Listing(title, text):
            yield f"{title}:\n{text}"


def terminal_table(header: Sequence[str], parts: Sequence[Sequence[Sequence[Cell]]], names: int, width: int) -> str:
    """The first columns are ``names``, which get all the room that numbers leave; a line is between ``parts``."""
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A line below the header and below a part, of a character that every log file can show.
    lines = Box("    \n    \n -- \n    \n    \n -- \n    \n    \n", ascii=True)
    table = Table(box=lines, pad_edge=False, show_edge=False)
    for number, title in enumerate(header):
        if number < names:
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, justify="right", no_wrap=True)
    for rows in parts:
        for row in rows:
            table.add_row(*(Text(_plain(cell)) for cell in row))  # not as strings, in which rich would look for markup
        table.add_section()
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())


def _plain(cell: Cell) -> str:
    """In characters that every log file can show."""
    if not isinstance(cell, Measured):
        return cell
    interval = f" [{cell.interval.replace(DASH, ', ')}]" if cell.interval else ""
    return f"{cell.value}{interval}".replace(DASH, "-")


# ---------------------------------------------------------------- Markdown


def render_markdown(document: Document) -> str:
    """The document, whose figures are only named: the page beside it has the drawings."""
    parts = [f"# {document.title}", f"**{escape_markdown(document.headline)}**", escape_markdown(document.evidence)]
    if document.lead:
        parts.append(f"> {escape_markdown(document.lead)}")
    if document.details:
        parts.append(markdown_table(["", ""], document.details, 2))
    for section in document.sections:
        parts += [f"## {escape_markdown(section.title)}", f"*{escape_markdown(section.how_to_read)}*"]
        parts += [_markdown_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def escape_markdown(text: str) -> str:
    """One line in which every character that Markdown or HTML would take for markup is itself."""
    return MARKUP.sub(lambda match: f"&#{ord(match[0])};", " ".join(text.split()))


def _markdown_block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return escape_markdown(text)
        case Table(header, rows, names, collapsed):
            table = markdown_table(header, rows, names)
            return f"{escape_markdown(collapsed)}:\n\n{table}" if collapsed else table
        case Figure(_, caption, legend):
            named = "; ".join(escape_markdown(name) for _, name in legend)
            return f"Figure, drawn in the page: {escape_markdown(caption)} {named}".rstrip()
        case Examples(examples):
            lines = []
            for number, example in enumerate(examples, start=1):
                lines.append(f"{number}. {escape_markdown(example.text)}")
                lines += [f"   - {escape_markdown(name)}: {escape_markdown(value)}" for name, value in example.about]
            return "\n".join(lines)
        case Listing(title, text):
            fence = "`" * (3 + text.count("```"))
            return f"{escape_markdown(title)}:\n\n{fence}\n{text.rstrip()}\n{fence}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Cell]], names: int) -> str:
    """The first columns are ``names``, the others numbers, which are right-aligned."""

    def shown(cell: Cell) -> str:
        if isinstance(cell, Measured):
            return f"{cell.value} [{cell.interval}]" if cell.interval else cell.value
        return escape_markdown(cell)

    rules = ["---" if n < names else "--:" for n in range(len(header))]
    lines = [[shown(title) for title in header], rules, *([shown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ---------------------------------------------------------------- HTML


def render_html(document: Document) -> str:
    """The page, without script, font or picture from elsewhere; every string but the drawings is escaped."""
    return _template().render(document=document, kind=lambda block: type(block).__name__)


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"halves": split_text, "breakable": _breakable}
    environment.tests["measured"] = lambda cell: isinstance(cell, Measured)
    return environment.get_template("page.html")


def split_text(text: str) -> tuple[str, str]:
    """The beginning of a long text up to the end of a word, and the rest; empty lines are left out."""
    text = re.sub(r"\s*\n\s*", "\n", text)
    if len(text) <= SHOWN * 1.2:
        return text, ""
    end = max(text.rfind(" ", SHOWN // 2, SHOWN), text.rfind("\n", SHOWN // 2, SHOWN))
    end = SHOWN if end < 0 else end
    return text[:end], text[end:]


def _breakable(name: str) -> "Markup":
    """A name that lines may break behind its underscores and other joints."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[_/.-])(?=\w)", name))
