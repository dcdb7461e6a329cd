"""Accuracy by the number of labelled training texts: table and sentences."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gpt_classifier.experiments.study import table as tables
from gpt_classifier.experiments.study.plan import Question, Result, Row, Run
from gpt_classifier.statistics.paired_tests import ALPHA, holm, number, paired_p_value, signed

Curves = dict[float, list[tables.Line]]  # every row's line at each fraction of the training rows, in ascending order
Curve = list[tables.Line]  # of one row, by ascending fraction


def curves(
    rows: Sequence[Row], runs: Sequence[Run], results: dict[str, Result], questions: Mapping[str, Question]
) -> Curves:
    """The lines of each fraction; those at the largest one also make the study's ordinary table."""
    fractions = sorted({run.fraction for run in runs})
    by_fraction = {fraction: [run for run in runs if run.fraction == fraction] for fraction in fractions}
    return {fraction: tables.lines(rows, part, results, questions) for fraction, part in by_fraction.items()}


def row_curves(found: Curves) -> list[Curve]:
    """The curve of each row, at the fractions that were asked for when it ran."""
    return [[line for line in lines if line.runs] for lines in zip(*found.values(), strict=True)]


def complete_sizes(curve: Curve) -> Curve:
    """The sizes with all their runs, the only ones that are drawn and judged: others lack seeds or folds."""
    return [line for line in curve if line.test is not None and line.complete]


def curve_name(curve: Curve) -> str:
    """What was trained, as at the largest fraction that has a result, and the row's name."""
    line = next((line for line in reversed(curve) if line.test is not None), curve[-1])
    return line.title if line.title == line.row.name else f"{line.title} ({line.row.name})"


# ---------------------------------------------------------------- sentences


class Comparison(NamedTuple):
    """Two lines that were tested on the same texts."""

    line: tables.Line
    other: tables.Line
    difference: float  # of the test accuracies, in percentage points
    p: float


def sentences(found: Curves, results: dict[str, Result]) -> list[str]:
    """Where each network beats the best classical model, whether more labels may help, and what is missing.

    Rows go by their names, which the table explains.
    """
    by_row = row_curves(found)
    if any(run.smoke for curve in by_row for line in curve for run in line.runs):
        return ["A smoke test says nothing about how many labels are needed."]
    against, sizes = _against_classical(by_row, results), _between_sizes(by_row, results)
    said = [_from_how_many(curve, against) for curve in by_row if complete_sizes(curve) and not curve[0].row.classical]
    said += _more_labels(by_row, sizes)
    incomplete = [line for curve in by_row for line in curve if not line.complete]
    if missing := [f"{line.row.name} at {_share(line)} ({line.state})" for line in incomplete]:
        said.append(f"Incomplete, so neither drawn nor judged: {'; '.join(missing)}.")
    if compared := [pair.line for pair in against + sizes]:
        texts = " or ".join(f"{n:,}" for n in sorted({line.texts for line in compared}))
        said.append(
            f"n = {texts} test texts, {tables.seeds_and_folds(compared)}; p-values are corrected for their number "
            f"(Holm), {len(against)} against classical models and {len(sizes)} between sizes. Every seed trains on the "
            "same rows of a size: nothing here speaks of another choice of rows."
        )
    return said


def _against_classical(by_row: Sequence[Curve], results: dict[str, Result]) -> list[Comparison]:
    """Each network at each size with the classical model that has the best validation accuracy there.

    Chosen by its test accuracy, the best of several models would be better than it is on other texts.
    """
    classical = [line for curve in by_row if curve[0].row.classical for line in complete_sizes(curve)]
    pairs = []
    for line in (line for curve in by_row if not curve[0].row.classical for line in complete_sizes(curve)):
        if rivals := [rival for rival in classical if rival.fraction == line.fraction]:
            pairs.append((line, max(rivals, key=lambda rival: rival.val.value if rival.val else 0.0)))
    return _compared(pairs, results)


def _between_sizes(by_row: Sequence[Curve], results: dict[str, Result]) -> list[Comparison]:
    """Each row at its largest size with itself at the next smaller one."""
    largest = [complete_sizes(curve)[-2:] for curve in by_row]
    return _compared([(lines[1], lines[0]) for lines in largest if len(lines) == 2], results)


def _compared(pairs: Iterable[tuple[tables.Line, tables.Line]], results: dict[str, Result]) -> list[Comparison]:
    """The pairs that were tested on the same texts, with p-values corrected for their number."""
    found = []
    for line, other in pairs:
        one, two = tables.correct(line.runs, results), tables.correct(other.runs, results)
        if one is not None and two is not None and one[1] == two[1]:
            assert line.test is not None
            assert other.test is not None
            difference = 100 * (line.test.value - other.test.value)
            found.append(Comparison(line, other, difference, paired_p_value(one[0], two[0])))
    corrected = holm([pair.p for pair in found])
    return [pair._replace(p=p) for pair, p in zip(found, corrected, strict=True)]


def _from_how_many(curve: Curve, against: Sequence[Comparison]) -> str:
    name, best = curve[0].row.name, "the classical model with the best validation accuracy"
    own = [pair for pair in against if any(pair.line is line for line in curve)]
    if not own:
        return f"{name} is compared with no classical model: none was tested on the same texts at the same size."
    better = [pair.p < ALPHA and pair.difference > 0 for pair in own]
    last = better[::-1].index(False) if False in better else len(own)  # number of largest sizes at which it is better
    sizes = [pair.line.training_texts for pair in own]
    if not any(better):
        claim = f"{name} scored significantly more than {best} at none of the measured sizes"
    elif last == 0:
        claim = f"{name} scored more than {best} at {sum(better)} of {len(own)} measured sizes, not at the largest one"
    elif last == len(own):
        claim = f"{name} scored more than {best} at every measured size"
    else:
        claim = f"{name} scored more than {best} at every measured size from {sizes[-last]:,} labels on"
    if less := sum(pair.p < ALPHA and pair.difference < 0 for pair in own):
        claim += f", and less at {less} of {len(own)}"
    return f"{claim}: {', '.join(map(_against, own))}."


def _against(pair: Comparison) -> str:
    size, others = pair.line.training_texts, pair.other.training_texts
    rival = pair.other.row.name + ("" if others == size else f" with {others:,}")
    return f"with {size:,} labels {signed(pair.difference)} points against {rival} (p {number(pair.p)})"


def _more_labels(by_row: Sequence[Curve], sizes: Sequence[Comparison]) -> list[str]:
    claims: dict[str, list[str]] = {
        "More labels may help": [],
        "No evidence that more labels would help": [],
        "With more labels scored less": [],
    }
    more, unclear, less = claims.values()
    for curve in by_row:
        for pair in sizes:
            if any(pair.line is line for line in curve):
                fact = f"from {pair.other.training_texts:,} to {pair.line.training_texts:,} labels"
                fact = f"{curve[0].row.name}, {fact} {signed(pair.difference)} points (p {number(pair.p)})"
                (unclear if pair.p >= ALPHA else more if pair.difference > 0 else less).append(fact)
    return [f"{claim}: {'; '.join(facts)}." for claim, facts in claims.items() if facts]


def _share(line: tables.Line) -> str:
    return f"{100 * line.fraction:g} % of the training rows"


# ---------------------------------------------------------------- table


def markdown(found: Curves) -> str:
    """Test accuracies in Markdown: a line for each row, a column for each fraction of the training rows."""
    by_row, largest = row_curves(found), 100 * max(found)
    head = ["row", "setting", *(_heading(fraction, lines) for fraction, lines in found.items())]
    rows = []
    for curve in by_row:
        states = {line.fraction: _cell(line) for line in curve}
        title = curve_name(curve).removesuffix(f" ({curve[0].row.name})")
        rows.append([curve[0].row.name, title, *(states.get(fraction, "") for fraction in found)])
    text = f"The rows above were trained on {largest:g} % of the training rows. Test % [95 % interval] at every size:"
    return "\n".join([text, "", tables.in_cells(head), "|" + "---|" * len(head), *map(tables.in_cells, rows)]) + "\n"


def _heading(fraction: float, lines: Sequence[tables.Line]) -> str:
    sizes = sorted({line.training_texts for line in lines if line.test is not None})
    share = f"{100 * fraction:g} %"
    return f"{' or '.join(f'{size:,}' for size in sizes)} labels ({share})" if sizes else share


def _cell(line: tables.Line) -> str:
    if line.test is None:
        return line.state
    return str(line.test).replace(" %", "") + ("" if line.complete else f" ({line.state})")
