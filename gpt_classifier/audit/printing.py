"""Prints an audit: its statistics in tables and lines, and what was found."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gpt_classifier.audit.findings import count_phrase
from gpt_classifier.audit.inspection import Audit
from gpt_classifier.audit.statistics import DEPTH

WIDTH = 120  # of output to files
MAX_CLASSES = 20  # in the table; all are in the JSON object
PRECISE = 0.5  # fraction of the texts with a word that are of its class, below which the word tells nothing


def print_audit(audit: Audit) -> None:
    """Prints it to standard output, on a terminal in colours."""
    lines = ", ".join(f"{file.file}: {file.lines:,} lines" for file in audit.files if file.lines is not None)
    print(f"{audit.source}, split {audit.split}: {audit.rows:,} rows read" + (f" ({lines})" if lines else ""))
    header = ["rows", "distinct", "without near-duplicates", "copies of train", "near-duplicates", "worded alike"]
    _print_table(
        _build_columns("split", *header), [[split, *counts.values()] for split, counts in audit.splits.items()]
    )
    print("rows of each class, and the token-length percentiles of its texts:")
    header = [*audit.splits, *(f"{percentile} %" for percentile in list(audit.length_percentiles)[:-1])]
    classes = [
        [name, *(counts[split] for split in audit.splits), *counts["tokens"].values(), counts["truncated"]]
        for name, counts in audit.classes.items()
    ]
    more = len(classes) - MAX_CLASSES
    classes[MAX_CLASSES:] = [[f"{more:,} more classes"]] if more > 0 else []
    _print_table(_build_columns("class", *header, "longest", "truncated"), classes)
    percentiles = ", ".join(f"{percentile} %: {length:,}" for percentile, length in audit.length_percentiles.items())
    print(f"token-length percentiles of all texts: {percentiles}; max_length is {audit.max_length:,}")
    letters = ", ".join(f"{fraction:.1%} {name}" for name, fraction in list(audit.scripts.items())[:5])
    print(f"scripts: {letters or '-'}")
    if audit.baselines:
        print(f"accuracy of baselines on the {audit.scored} rows:")
    for name, score in audit.baselines.items():
        model = f"a decision tree of depth {DEPTH} on {name}" if name != "nothing" else "the most frequent class"
        print(f"  {score:.2%} {model}")
    words = [(name, word) for name, word in audit.words.items() if word.precision >= PRECISE]
    if words:
        print(f"the word that tells each class best from the others, in the training texts, if {PRECISE:.0%} precise:")
    for name, word in words[:MAX_CLASSES]:
        print(f"  {name}: {word.word!r}, {word.precision:.1%} precise, in {word.coverage:.1%} of the class")
    print("".join(f"limit: {limit}\n" for limit in audit.limits))
    if not audit.findings:
        print("nothing was found that speaks against training on them")
        return
    columns = {"": None, "what was found": 5, "rows, counted from 0": 3, "what fixes it": 4}
    found = [[finding.severity, finding.sentence, finding.row_numbers(), finding.setting] for finding in audit.findings]
    texts = [{"header": header, "overflow": "fold", "ratio": ratio} for header, ratio in columns.items()]
    _print_table(texts, found, {"warning": "yellow", "note": "dim"})
    warnings = len(audit.warnings())
    notes = len(audit.findings) - warnings
    print(f"{count_phrase(warnings, '# warning{|s}')}, {count_phrase(notes, '# note{|s}')}")


def _build_columns(name: str, *others: str) -> list[dict[str, Any]]:
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
