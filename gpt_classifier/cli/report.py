"""The command ``report``: renders a test's report again, or compares two tests on the same rows side by side."""

import json
import shutil
from pathlib import Path

from gpt_classifier.errors import CommandParser, InputError

ABOUT = (
    "With one run: render report.html and report.md of its test again, from scores.json and predictions.csv. "
    "With two: compares two runs that were tested on the same rows: their scores, the paired difference of their "
    "accuracies with its interval and McNemar's exact test, the settings that differ, and the rows on which they "
    "disagree most."
)


def main(arguments: list[str]) -> None:
    """``report RUN`` or ``report RUN RUN``."""
    parser = CommandParser("gpt-classifier report", "gpt-classifier report RUN [RUN] [options]", description=ABOUT)
    add = parser.add_argument
    about = "a run, a folder of runs (the newest tested one), or a file of scores, such as scores-new.json"
    add("runs", nargs="+", type=Path, metavar="RUN", help=about)
    add("--json", action="store_true", help="of two runs: print everything as JSON")
    add("--html", type=Path, metavar="FILE", help="of two runs: write a page too")
    options = parser.parse_args(arguments)
    match options.runs:
        case [run]:
            if options.json or options.html is not None:
                raise InputError(
                    "--json and --html compare two runs, as in report version_0 version_1 --html page.html"
                )
            from gpt_classifier.reporting.report import write_report

            print(f"report: {write_report(run)}")
        case [first, second]:
            compare(first, second, options.json, options.html)
        case runs:
            raise InputError(f"{len(runs)} runs are given, expected one, or two to compare")


def compare(first: Path, second: Path, as_json: bool, page: Path | None) -> None:
    """Prints the comparison of two runs, and writes it as a page."""
    from gpt_classifier.files import whole_file
    from gpt_classifier.records import to_json
    from gpt_classifier.reporting.comparison import align_rows, build_comparison, compare_tests
    from gpt_classifier.reporting.render import render_html, render_terminal
    from gpt_classifier.reporting.saved import read_test

    tests = align_rows(read_test(first), read_test(second))
    comparison = compare_tests(*tests, (str(first), str(second)))
    if as_json:
        told = json.dumps(to_json(comparison), indent=2, ensure_ascii=False)
    else:
        told = render_terminal(build_comparison(comparison), shutil.get_terminal_size().columns)
    print(told.encode("utf-8", "backslashreplace").decode())  # of a text with half a surrogate pair
    if page is not None:
        with whole_file(page) as path:
            path.write_text(render_html(build_comparison(comparison)), encoding="utf-8", errors="backslashreplace")
