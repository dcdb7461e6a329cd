"""The command ``report``, and what ``test`` calls: renders a test's files as ``report.html`` and ``report.md``."""

from pathlib import Path

from gpt_classifier.errors import CommandParser
from gpt_classifier.reporting.report_files import write

DESCRIPTION = "Renders the report of a test anew, from the scores.json and predictions.csv of its run."


def main(arguments: list[str]) -> None:
    parser = CommandParser("gpt-classifier report", description=DESCRIPTION)
    about = "a run, a folder of runs (the newest tested one), or a file of scores, such as scores-new.json"
    parser.add_argument("run", type=Path, help=about)
    print(f"report: {write(parser.parse_args(arguments).run)}")
