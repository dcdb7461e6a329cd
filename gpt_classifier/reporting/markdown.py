"""A document as Markdown; markup in texts and names is shown, not obeyed."""

import re
from collections.abc import Sequence

from gpt_classifier.reporting.document import (
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

MARKUP = re.compile(r"[\\`*{}\[\]<>|#~&$]|(?<!\w)_|_(?!\w)")  # an underscore within a word is one


def markdown(document: Document) -> str:
    """The whole document; of figures there is only what they show, with the page beside it having the drawing."""
    parts = [f"# {document.title}", f"**{escaped(document.headline)}**", escaped(document.evidence)]
    if document.lead:
        parts.append(f"> {escaped(document.lead)}")
    if document.facts:
        parts.append(_table(["", ""], document.facts, 2))
    for section in document.sections:
        parts += [f"## {escaped(section.title)}", f"*{escaped(section.how_to_read)}*"]
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """One line in which every character that Markdown or HTML would take for markup is itself."""
    return MARKUP.sub(lambda match: f"&#{ord(match[0])};", " ".join(text.split()))


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return escaped(text)
        case Table(header, rows, names, folded):
            table = _table(header, rows, names)
            return f"{escaped(folded)}:\n\n{table}" if folded else table
        case Figure(_, caption, legend):
            named = "; ".join(escaped(name) for _, name in legend)
            return f"Figure, drawn in the page: {escaped(caption)} {named}".rstrip()
        case Examples(examples):
            lines = []
            for number, example in enumerate(examples, start=1):
                lines.append(f"{number}. {escaped(example.text)}")
                lines += [f"   - {escaped(name)}: {escaped(value)}" for name, value in example.about]
            return "\n".join(lines)
        case Listing(title, text):
            fence = "`" * (3 + text.count("```"))
            return f"{escaped(title)}:\n\n{fence}\n{text.rstrip()}\n{fence}"


def _table(header: Sequence[str], rows: Sequence[Sequence[Cell]], names: int) -> str:
    rules = ["---" if n < names else "--:" for n in range(len(header))]
    lines = [[escaped(title) for title in header], rules, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    if isinstance(cell, Measured):
        return f"{cell.value} [{cell.interval}]" if cell.interval else cell.value
    return escaped(cell)
