"""The command ``audit``: says whether labelled texts can be trusted, before anything is trained on them."""

import io
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpt_classifier.errors import CommandParser

if TYPE_CHECKING:
    from gpt_classifier.data.audit import Audit

WIDTH = 120  # of output that is no terminal's
MOST_CLASSES = 20  # in the table; all are in the JSON object
QUIETLY = "--seed_everything=false"  # only the split is random, and it has a seed of its own


def main(words: list[str]) -> None:
    """``audit [FILE] [--config FILE] [--data.SETTING VALUE ...]``; exits with 1 for warnings with ``--strict``."""
    parser = CommandParser(
        "gpt-classifier audit",
        "gpt-classifier audit [FILE] [--config CONFIG] [--data.SETTING VALUE ...] [--json] [--strict]",
        description="Say whether labelled texts can be trusted, before anything is trained on them: lost rows, wrong "
        "encodings, conflicting labels, copies across splits, small classes, truncated texts, scripts, and what gives "
        "a class away. FILE, --config and the settings of data are those of fit.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object with all that was found")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where there is a warning")
    options, others = parser.parse_known_args(words)

    from gpt_classifier.training.cli import DataCLI

    data = DataCLI([*others, QUIETLY]).datamodule
    data.prepare_data()
    audit = data.audit()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    if options.json:
        print(json.dumps(audit.plain(), ensure_ascii=False))
    else:
        _print(audit)
    if options.strict and audit.warnings():
        raise SystemExit(1)


def _print(audit: "Audit") -> None:
    from gpt_classifier.data.audit import DEPTH, rows_of

    lines = ", ".join(f"{fact['file']}: {fact['lines']:,} lines" for fact in audit.files if fact["lines"] is not None)
    print(f"{audit.source}, split {audit.split}: {audit.rows:,} rows read" + (f" ({lines})" if lines else ""))
    header = ["split", "rows", "distinct", "without near-copies", "copies of train", "near-copies", "worded alike"]
    names = ("rows", "texts", "distinct", "exact", "near", "similar")
    _table(header, [[split, *(_number(facts.get(name)) for name in names)] for split, facts in audit.splits.items()])
    splits = list(audit.splits)
    shares = list(audit.needed)
    print("rows of each class, and the tokens that hold the whole of 50, 90, 95, 99 and 100 % of its texts:")
    header = ["class", *splits, *(f"{share} %" for share in shares[:-1]), "longest", "truncated"]
    classes = [
        [name, *(_number(facts[split]) for split in splits), *map(_number, facts["tokens"].values()),
         _number(facts["truncated"])]
        for name, facts in audit.classes.items()
    ]  # fmt: skip
    more = len(classes) - MOST_CLASSES
    classes[MOST_CLASSES:] = [[f"{more:,} more classes", *[""] * (len(header) - 1)]] if more > 0 else []
    _table(header, classes)
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
    for name, facts in list(audit.words.items())[:MOST_CLASSES]:
        print(f"  {name}: {facts['word']!r}, {facts['precision']:.1%} precise, in {facts['coverage']:.1%} of the class")
    for limit in audit.limits:
        print(f"limit: {limit}")
    print()
    if not audit.findings:
        print("nothing was found that speaks against training on them")
        return
    header = ["", "what was found", "rows, counted from 0", "what fixes it"]
    _table(header, [[f.severity, f.sentence, rows_of(f), f.setting] for f in audit.findings], prose=True)
    serious = len(audit.warnings())
    print(f"{_count(serious, 'warning')}, {_count(len(audit.findings) - serious, 'note')}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], prose: bool = False) -> None:
    """Prints a table of numbers behind a name, or of ``prose``."""
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = io.StringIO()
    terminal = sys.stdout.isatty()
    console = Console() if terminal else Console(file=stream, width=WIDTH, color_system=None)
    plain = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)  # what every log file can show
    table = Table(box=plain, pad_edge=False, show_edge=False)
    for number, title in enumerate(header):
        if prose or number == 0:
            table.add_column(title, overflow="fold", ratio=(None, 5, 3, 4)[number] if prose else None)
        else:
            table.add_column(title, justify="right")
    colours = {"warning": "yellow", "note": "dim"}
    for row in rows:
        # Not as strings, in which rich would look for markup.
        table.add_row(*(Text(cell, style=colours.get(cell, "") if prose else "") for cell in row))
    console.print(table)
    if not terminal:
        print("\n".join(line.rstrip() for line in stream.getvalue().splitlines()))
    print()
