"""A document as one HTML page that needs no other file: no script, no font, no picture from elsewhere."""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup

from gpt_classifier.reporting import document as parts

SHOWN = 240  # characters of a text that a page shows before it folds the rest


def html(document: parts.Document) -> str:
    """The page; every string but the drawings is escaped."""
    return _template().render(document=document, kind=lambda block: type(block).__name__)


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"folded": folded, "breakable": breakable}
    environment.tests["measured"] = lambda cell: isinstance(cell, parts.Measured)
    return environment.get_template("page.html")


def folded(text: str) -> tuple[str, str]:
    """The beginning of a long text up to the end of a word, and the rest; empty lines are left out."""
    text = re.sub(r"\s*\n\s*", "\n", text)
    if len(text) <= SHOWN * 1.2:
        return text, ""
    end = max(text.rfind(" ", SHOWN // 2, SHOWN), text.rfind("\n", SHOWN // 2, SHOWN))
    end = SHOWN if end < 0 else end
    return text[:end], text[end:]


def breakable(name: str) -> Markup:
    """A name that lines may break behind its underscores and other joints."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/.-])(?=\w)", name))
