"""The command ``review``."""

from pathlib import Path

from gpt_classifier.audit.review import DESCRIPTION, USAGE, _apply, _export
from gpt_classifier.errors import CommandParser, InputError


def main(words: list[str]) -> None:
    """``review export [SOURCE] ...`` or ``review apply REVIEW [SOURCE] ...``."""
    parser = CommandParser("gpt-classifier review", USAGE, DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--output", help="file to write; by default review.csv, or SOURCE-reviewed.csv for apply")
    parser.add_argument("--top", type=int, metavar="N", help="export only the N most suspicious rows")
    parser.add_argument(
        "--with", dest="judge", choices=["quick", "network"], default="quick",
        help="what judges the rows: a quick model, or the network that fit trains with these settings, five times",
    )  # fmt: skip
    options, others = parser.parse_known_args(words)
    action, *others = others or ["nothing"]
    if action not in ("export", "apply"):
        raise InputError(f"review is followed by {action}, expected export or apply, as in review export messages.csv")
    if options.top is not None and options.top < 1:
        raise InputError(f"--top is {options.top}, expected a number of rows, at least 1")
    if action == "apply" and (options.top is not None or options.judge == "network"):
        raise InputError("--top and --with belong to review export: leave them out")
    if action == "export":
        _export(others, Path(options.output or "review.csv"), options.top, options.judge == "network")
    else:
        _apply(others, options.output)
