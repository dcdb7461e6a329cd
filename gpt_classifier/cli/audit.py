"""The command ``audit``: prints whether labelled texts can be trusted, before anything is trained on them."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gpt_classifier.errors import CommandParser

if TYPE_CHECKING:
    from gpt_classifier.audit.inspection import Audit

WIDTH = 120  # of output to files
MOST_CLASSES = 20  # in the table; all are in the JSON object
QUIETLY = "--seed_everything=false"  # only the split is random, and it has a seed of its own


def main(words: list[str]) -> None:
    """``audit [FILE] [--config FILE] [--data.SETTING VALUE ...]``; exits with 1 for warnings with ``--strict``."""
    parser = CommandParser(
        "gpt-classifier audit",
        "gpt-classifier audit [FILE] [--config CONFIG] [--data.SETTING VALUE ...] [--json] [--strict]",
        description="Report whether labelled texts can be trusted, before anything is trained on them: lost rows, "
        "wrong encodings, conflicting labels, near-duplicates across splits, small classes, truncated texts, scripts, "
        "and words that give a class away. FILE, --config and the settings of data are those of fit.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object with all facts and findings")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there is a warning")
    options, others = parser.parse_known_args(words)

    from gpt_classifier.audit.inspection import inspect
    from gpt_classifier.training.build_run import DataCLI

    data = DataCLI([*others, QUIETLY]).datamodule
    data.prepare_data()
    audit = inspect(data)
    if options.json:
        print(json.dumps(asdict(audit), ensure_ascii=False))
    else:
        _print(audit)
    if options.strict and audit.warnings():
        raise SystemExit(1)


def _print(audit: "Audit") -> None:
    from gpt_classifier.audit.counts import DEPTH
    from gpt_classifier.audit.findings import counted

    lines = ", ".join(f"{fact['file']}: {fact['lines']:,} lines" for fact in audit.files if fact["lines"] is not None)
    print(f"{audit.source}, split {audit.split}: {audit.rows:,} rows read" + (f" ({lines})" if lines else ""))
    header = ["rows", "distinct", "without near-duplicates", "copies of train", "near-duplicates", "worded alike"]
    _print_table(_numbers("split", *header), [[split, *counts.values()] for split, counts in audit.splits.items()])
    print("rows of each class, and the tokens that hold the whole of 50, 90, 95, 99 and 100 % of its texts:")
    header = [*audit.splits, *(f"{share} %" for share in list(audit.needed)[:-1]), "longest", "truncated"]
    classes = [
        [name, *(counts[split] for split in audit.splits), *counts["tokens"].values(), counts["truncated"]]
        for name, counts in audit.classes.items()
    ]
    more = len(classes) - MOST_CLASSES
    classes[MOST_CLASSES:] = [[f"{more:,} more classes"]] if more > 0 else []
    _print_table(_numbers("class", *header), classes)
    needed = ", ".join(f"{share} %: {tokens:,}" for share, tokens in audit.needed.items())
    print(f"tokens that hold the whole of all texts: {needed}; max_length is {audit.max_length:,}")
    print("scripts: " + (", ".join(f"{share:.1%} {name}" for name, share in list(audit.scripts.items())[:5]) or "-"))
    if audit.trivial:
        print(f"accuracy of trivial models on the {audit.scored} rows:")
    for name, score in audit.trivial.items():
        model = f"a decision tree of depth {DEPTH} on {name}" if name != "nothing" else "the most frequent class"
        print(f"  {score:.2%} {model}")
    if audit.words:
        print("the word that tells each class best from the others, in the training texts:")
    for name, word in list(audit.words.items())[:MOST_CLASSES]:
        print(f"  {name}: {word['word']!r}, {word['precision']:.1%} precise, in {word['coverage']:.1%} of the class")
    for limit in audit.limits:
        print(f"limit: {limit}")
    print()
    if not audit.findings:
        print("nothing was found that speaks against training on them")
        return
    columns = {"": None, "what was found": 5, "rows, counted from 0": 3, "what fixes it": 4}
    found = [[finding.severity, finding.sentence, finding.row_numbers(), finding.setting] for finding in audit.findings]
    texts = [{"header": header, "overflow": "fold", "ratio": ratio} for header, ratio in columns.items()]
    _print_table(texts, found, {"warning": "yellow", "note": "dim"})
    warnings = len(audit.warnings())
    notes = len(audit.findings) - warnings
    print(f"{counted(warnings, 'warning', 'warnings')}, {counted(notes, 'note', 'notes')}")


def _numbers(name: str, *others: str) -> list[dict[str, Any]]:
    """Columns of numbers after one of names."""
    return [{"header": name, "overflow": "fold"}, *({"header": other, "justify": "right"} for other in others)]


def _print_table(
    columns: Sequence[dict[str, Any]], rows: Sequence[Sequence[str | int]], styles: Mapping[str, str] | None = None
) -> None:
    """Prints a table, on a terminal in the ``styles`` of cells by their text."""
    from rich.box import Box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    plain = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)  # readable in every log file
    table = Table(*(Column(**column) for column in columns), box=plain, pad_edge=False, show_edge=False)
    for row in rows:
        cells = (cell if isinstance(cell, str) else f"{cell:,}" for cell in row)
        # Not as strings, in which rich would look for markup.
        table.add_row(*(Text(cell, style=(styles or {}).get(cell, "")) for cell in cells))
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH, color_system=None)
    with console.capture() as printed:
        console.print(table)
    print("\n".join(line.rstrip() for line in printed.get().splitlines()) + "\n")
