"""The command ``review``: a person corrects the labels that are probably wrong, in a file for spreadsheets."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_classifier.cli.parser import prepared
from gpt_classifier.errors import CommandParser, InputError

if TYPE_CHECKING:
    from gpt_classifier.data.datamodule import TextDataModule

USAGE = """gpt-classifier review export [FILE] [--config CONFIG] [--data.KEY VALUE ...] [--output FILE]
       gpt-classifier review apply REVIEW [FILE] [--config CONFIG] [--data.KEY VALUE ...] [--output FILE]"""
DESCRIPTION = (
    "Find training labels that are probably wrong, and correct them. FILE, --config and the settings of data are those "
    "of fit. `export` ranks the training rows by label quality, estimated by a quick model trained without the row. "
    "Edit the column new_label: an empty cell leaves the label as it is, `drop` leaves the row out. `apply` checks "
    "the file and writes all rows of all splits with the new labels; val and test rows stay as they are, so that "
    "scores can be compared."
)


def main(words: list[str]) -> None:
    """``review export [FILE] ...`` or ``review apply REVIEW [FILE] ...``."""
    parser = CommandParser("gpt-classifier review", USAGE, DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--output", help="file to write; by default review.csv, or FILE-reviewed.csv for apply")
    options, others = parser.parse_known_args(words)
    action, *others = others or ["nothing"]
    if action not in ("export", "apply"):
        raise InputError(f"review is followed by {action}, expected export or apply, as in review export messages.csv")
    if action == "apply" and (not others or others[0].startswith("-")):
        raise InputError("which file? Name the reviewed one first, as in review apply review.csv --config spam")

    from gpt_classifier.audit.review import apply_review, build_fit_options, check_new, export_review
    from gpt_classifier.data.datasets import stem

    if action == "export":
        check_new(path := Path(options.output or "review.csv"))
        export_review(_data(others), path)
        print(f"gpt-classifier {shlex.join(['review', 'apply', str(path), *others])}")
        return
    data = _data(others[1:])
    column = apply_review(data, others[0], path := Path(options.output or f"{stem(data.source)}-reviewed.csv"))
    print(f"fit takes the same settings with {shlex.join(build_fit_options(data, path, column))}")


def _data(words: list[str]) -> "TextDataModule":
    """The data that FILE, --config and settings describe, but never undersampled: all rows can be reviewed."""
    from gpt_classifier.audit.columns import find_options
    from gpt_classifier.training.build_run import DataCLI

    words = prepared("audit", words)
    data = DataCLI([*find_options(words), *words, "--data.balance=none"]).datamodule
    if data.multi_label:
        raise InputError("review is for single-label texts: leave out data.multi_label")
    return data
