"""Renders a test's files as ``report.html`` and ``report.md``."""

from pathlib import Path

from gpt_classifier.files import whole_file
from gpt_classifier.reporting.contents import document
from gpt_classifier.reporting.html import html
from gpt_classifier.reporting.markdown import markdown
from gpt_classifier.reporting.saved import read, scores_file


def write(path: Path) -> Path:
    """Writes both files beside the scores in ``path``, with the same ending; returns that of the page."""
    scores = scores_file(path)
    found = document(read(scores))
    page = scores.with_name(f"report{scores.stem.removeprefix('scores')}.html")
    for target, text in ((page.with_suffix(".md"), markdown(found)), (page, html(found))):
        with whole_file(target) as scratch:
            scratch.write_text(text, encoding="utf-8", errors="backslashreplace")
    return page
