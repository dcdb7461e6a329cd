"""Accuracy by the number of labelled training texts: table and sentences."""

from collections.abc import Sequence

import pandas as pd

from gpt_classifier.experiments.study.table import (
    Comparison,
    Line,
    compare_lines,
    count_seeds_and_folds,
    markdown_table,
    read_lines,
    show_test,
)
from gpt_classifier.statistics.paired_tests import ALPHA, format_p_value, format_signed

Curve = list[Line]  # of one row, by ascending fraction of the training rows
BEST = "the classical model with the best validation accuracy"


def read_curves(table: pd.DataFrame) -> list[Curve]:
    """The curve of each row, at the fractions that were asked for when it ran."""
    asked = table[table["runs_wanted"] > 0]
    curves = [read_lines(asked[asked["row"] == name]) for name in table["row"].unique()]
    return [curve for curve in curves if curve]


def complete_sizes(curve: Curve) -> Curve:
    """The sizes with all their runs, the only ones that are drawn and compared: others lack seeds or folds."""
    return [line for line in curve if line.complete]


def name_curve(curve: Curve) -> str:
    """What was trained, as at the largest fraction that has a result, and the row's name."""
    title = _find_title(curve)
    return title if title == curve[0].row else f"{title} ({curve[0].row})"


def _find_title(curve: Curve) -> str:
    return next((line for line in reversed(curve) if line.seeds), curve[-1]).title


# ---------------------------------------------------------------- sentences


def describe_curves(table: pd.DataFrame) -> list[str]:
    """Where each network beats the best classical model, whether more labels may help, and what is missing.

    Rows go by their names, which the table explains.
    """
    if (table["smoke"] == "true").any():
        return ["A smoke test says nothing about how many labels are needed."]
    curves = read_curves(table)
    against, between = compare_with_classical(curves), compare_sizes(curves)
    sentences = [
        _compare_with_classical_sentence(curve[0].row, [pair for pair in against if pair.line.row == curve[0].row])
        for curve in curves
        if complete_sizes(curve) and not curve[0].classical
    ]
    sentences += _write_more_labels_sentences(between)
    incomplete = [line for curve in curves for line in curve if not line.complete]
    if missing := [
        f"{line.row} at {100 * line.fraction:g} % of the training rows ({line.state})" for line in incomplete
    ]:
        sentences.append(f"Incomplete, so neither drawn nor compared: {'; '.join(missing)}.")
    if compared := [pair.line for pair in against + between]:
        texts = " or ".join(f"{n:,}" for n in sorted({line.texts for line in compared}))
        sentences.append(
            f"n = {texts} test texts, {count_seeds_and_folds(compared)}; p-values are corrected for their number "
            f"(Holm), {len(against)} against classical models and {len(between)} between sizes. Every seed trains on "
            "the same rows of a size: nothing here speaks of another choice of rows."
        )
    return sentences


def compare_with_classical(curves: Sequence[Curve]) -> list[Comparison]:
    """Each network at each size with the classical model that has the best validation accuracy there.

    Chosen by its test accuracy, the best of several models would be better than it is on other texts.
    """
    complete = [line for curve in curves for line in complete_sizes(curve)]
    pairs = []
    for line in complete:
        rivals = [rival for rival in complete if rival.classical and rival.fraction == line.fraction]
        if rivals and not line.classical:
            pairs.append((line, max(rivals, key=lambda rival: rival.val)))
    return compare_lines(pairs)


def compare_sizes(curves: Sequence[Curve]) -> list[Comparison]:
    """Each row at its largest size with itself at the next smaller one."""
    largest = [complete_sizes(curve)[-2:] for curve in curves]
    return compare_lines([(lines[1], lines[0]) for lines in largest if len(lines) == 2])


def _compare_with_classical_sentence(name: str, pairs: Sequence[Comparison]) -> str:
    """From which size on the network ``name`` is better in these ``pairs``, by ascending size."""
    if not pairs:
        return f"{name} is compared with no classical model: none was tested on the same texts at the same size."
    better = [pair.p_corrected < ALPHA and pair.difference > 0 for pair in pairs]
    last = better[::-1].index(False) if False in better else len(pairs)  # number of largest sizes at which it is better
    if not any(better):
        claim = f"{name} scored significantly more than {BEST} at none of the measured sizes"
    elif last == 0:
        claim = (
            f"{name} scored more than {BEST} at {sum(better)} of {len(pairs)} measured sizes, not at the largest one"
        )
    elif last == len(pairs):
        claim = f"{name} scored more than {BEST} at every measured size"
    else:
        size = pairs[-last].line.training_texts
        claim = f"{name} scored more than {BEST} at every measured size from {size:,} labels on"
    if less := sum(pair.p_corrected < ALPHA and pair.difference < 0 for pair in pairs):
        claim += f", and less at {less} of {len(pairs)}"
    details = []
    for line, other, difference, _, p in pairs:
        size, rival_size = line.training_texts, other.training_texts
        rival = other.row + ("" if rival_size == size else f" with {rival_size:,}")
        details.append(
            f"with {size:,} labels {format_signed(difference)} points against {rival} (p {format_p_value(p)})"
        )
    return f"{claim}: {', '.join(details)}."


def _write_more_labels_sentences(pairs: Sequence[Comparison]) -> list[str]:
    more, unclear, less = (
        "More labels may help",
        "No evidence that more labels would help",
        "With more labels scored less",
    )
    details: dict[str, list[str]] = {more: [], unclear: [], less: []}
    for line, other, difference, _, p in pairs:
        sizes = f"from {other.training_texts:,} to {line.training_texts:,} labels"
        claim = unclear if p >= ALPHA else more if difference > 0 else less
        details[claim].append(f"{line.row}, {sizes} {format_signed(difference)} points (p {format_p_value(p)})")
    return [f"{claim}: {'; '.join(rows)}." for claim, rows in details.items() if rows]


# ---------------------------------------------------------------- table


def format_curves(table: pd.DataFrame) -> str:
    """Test accuracies in Markdown: a line for each row, a column for each fraction of the training rows."""
    curves, columns = read_curves(table), {}
    for fraction in table["fraction"].unique():
        sizes = sorted({*table["training_texts"][table["fraction"] == fraction].dropna()})
        percent = f"{100 * fraction:g} %"
        head = f"{' or '.join(f'{size:,}' for size in sizes)} labels ({percent})" if sizes else percent
        columns[head] = [next((show_test(line) for line in curve if line.fraction == fraction), "") for curve in curves]
    cells = {"row": [curve[0].row for curve in curves], "setting": [_find_title(curve) for curve in curves], **columns}
    largest = f"{100 * table['fraction'].max():g} %"
    text = f"The rows above were trained on {largest} of the training rows. Test % [95 % interval] at every size:"
    return f"{text}\n\n{markdown_table(pd.DataFrame(cells))}"
