"""A document as lines of a terminal or log file."""

from collections.abc import Iterator
from textwrap import fill

from gpt_classifier.evaluation.report import table
from gpt_classifier.report.document import DASH, Block, Cell, Document, Examples, Listing, Measured, Paragraph, Table


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
