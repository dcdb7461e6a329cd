"""The command ``review``: a person corrects the labels that are probably wrong, in a file for spreadsheets."""

import shlex
from functools import partial
from pathlib import Path

from gpt_classifier.audit.review import apply_review, check_new, export_review
from gpt_classifier.cli.parser import prepared
from gpt_classifier.errors import CommandParser, InputError

USAGE = """gpt-classifier review export [SOURCE] [--config CONFIG] [--data.KEY VALUE ...] [--top N]
       gpt-classifier review apply REVIEW [SOURCE] [--config CONFIG] [--data.KEY VALUE ...] [--output FILE]"""
DESCRIPTION = (
    "Find training labels that are probably wrong, and correct them. SOURCE (a data file, a model folder or a run), "
    "--config and the settings of data are those of fit. `export` ranks the training rows by suspicion: each is judged "
    "by a model that was trained without it. Edit the column new_label: an empty cell leaves the label as it is, "
    "`drop` leaves the row out. `apply` checks the file and writes all rows of all splits with the new labels; val and "
    "test rows stay as they are, so that scores can be compared."
)


def main(words: list[str]) -> None:
    """``review export [SOURCE] ...`` or ``review apply REVIEW [SOURCE] ...``."""
    parser = CommandParser("gpt-classifier review", USAGE, DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--output", help="file to write; by default review.csv, or SOURCE-reviewed.csv for apply")
    parser.add_argument("--top", type=int, metavar="N", help="export only the N most suspicious rows")
    about = "what judges the rows: a quick model, or the network that fit trains with these settings, five times"
    parser.add_argument("--with", dest="judge", choices=["quick", "network"], default="quick", help=about)
    options, others = parser.parse_known_args(words)
    action, *others = others or ["nothing"]
    if action not in ("export", "apply"):
        raise InputError(f"review is followed by {action}, expected export or apply, as in review export messages.csv")
    if options.top is not None and options.top < 1:
        raise InputError(f"--top is {options.top}, expected a number of rows, at least 1")
    if action == "export":
        return _export(others, Path(options.output or "review.csv"), options.top, options.judge == "network")
    if options.top is not None or options.judge == "network":
        raise InputError("--top and --with belong to review export: leave them out")
    _apply(others, options.output)


def _export(words: list[str], path: Path, top: int | None, network: bool) -> None:
    check_new(path)
    from gpt_classifier.training.review import network_judge, review_data

    data = review_data(words, prepared)
    export_review(data, path, top, partial(network_judge, words, data, prepared) if network else None)
    print(f"gpt-classifier {shlex.join(['review', 'apply', str(path), *words])}")


def _apply(words: list[str], output: str | None) -> None:
    from gpt_classifier.data.datasets import stem
    from gpt_classifier.training.review import fit_options, review_data, source_and_options

    review, words = source_and_options(words)
    if review is None:
        raise InputError("which file? Name the reviewed one first, as in review apply review.csv --config spam")
    data = review_data(words, prepared)
    column = apply_review(data, review, path := Path(output or f"{stem(data.source)}-reviewed.csv"))
    print(f"gpt-classifier {shlex.join(['fit', *fit_options(words, data, path, column)])}")
