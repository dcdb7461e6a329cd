"""The command ``report``, and what ``test`` calls: renders a test's files as ``report.html`` and ``report.md``."""

from pathlib import Path

from gpt_classifier.errors import CommandParser
from gpt_classifier.files import whole_file
from gpt_classifier.report.contents import document
from gpt_classifier.report.page import html
from gpt_classifier.report.saved import read, scores_file
from gpt_classifier.report.text import markdown

DESCRIPTION = "Renders the report of a test anew, from the scores.json and predictions.csv of its run."


def main(arguments: list[str]) -> None:
    parser = CommandParser("gpt-classifier report", description=DESCRIPTION)
    about = "a run, a folder of runs (the newest tested one), or a file of scores, such as scores-new.json"
    parser.add_argument("run", type=Path, help=about)
    print(f"report: {write(parser.parse_args(arguments).run)}")


def write(path: Path) -> Path:
    """Writes both files beside the scores in ``path``, with the same ending; returns that of the page."""
    scores = scores_file(path)
    found = document(read(scores))
    page = scores.with_name(f"report{scores.stem.removeprefix('scores')}.html")
    for target, text in ((page.with_suffix(".md"), markdown(found)), (page, html(found))):
        with whole_file(target) as scratch:
            scratch.write_text(text, encoding="utf-8", errors="backslashreplace")
    return page
