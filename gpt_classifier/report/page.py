"""A document as one HTML page that needs no other file: no script, no font, no picture from elsewhere."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template

from gpt_classifier.report import document as parts

FOLDED = 240  # characters of a text that a page shows before it folds the rest


def html(document: parts.Document) -> str:
    """The page; every string but the drawings is escaped."""
    return _template().render(document=document, kind=lambda block: type(block).__name__, folded=FOLDED)


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.tests["measured"] = lambda cell: isinstance(cell, parts.Measured)
    return environment.get_template("page.html")
