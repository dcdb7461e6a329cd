"""The command ``compare``: two tested runs on the same test rows, side by side."""

import json
import shutil
from pathlib import Path

from gpt_classifier.errors import CommandParser
from gpt_classifier.reporting.comparison import DESCRIPTION, compared, document, same_rows


def main(arguments: list[str]) -> None:
    parser = CommandParser("gpt-classifier compare", description=DESCRIPTION)
    add = parser.add_argument
    add("runs", nargs=2, type=Path, metavar="RUN", help="a run, a folder of runs (the newest tested one) or its scores")
    add("--json", action="store_true", help="print everything as JSON")
    add("--html", type=Path, metavar="FILE", help="write a page too")
    options = parser.parse_args(arguments)

    from gpt_classifier.files import whole_file
    from gpt_classifier.reporting.html import html
    from gpt_classifier.reporting.saved import read
    from gpt_classifier.reporting.terminal import lines

    first, second = same_rows(*(read(path) for path in options.runs))
    facts = {"first": str(options.runs[0]), "second": str(options.runs[1])} | compared(first, second)
    if options.json:
        told = json.dumps(facts, indent=2, ensure_ascii=False)
    else:
        told = lines(document(facts), shutil.get_terminal_size().columns)
    print(told.encode("utf-8", "backslashreplace").decode())  # of a text with half a surrogate pair
    if options.html is not None:
        with whole_file(options.html) as path:
            path.write_text(html(document(facts)), encoding="utf-8", errors="backslashreplace")
