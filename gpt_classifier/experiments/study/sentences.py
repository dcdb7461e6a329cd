"""Answers the questions of a study in sentences that claim no more than the tests support."""

from collections.abc import Mapping, Sequence

import pandas as pd

from gpt_classifier.experiments.study.plan import Question
from gpt_classifier.experiments.study.table import Line, count_seeds_and_folds, read_lines
from gpt_classifier.statistics.paired_tests import ALPHA, format_p_value, format_signed


def answer_questions(table: pd.DataFrame, questions: Mapping[str, Question]) -> list[str]:
    """One sentence for each question that is answered, then one for each row that answers none, with the reason."""
    if (table["smoke"] == "true").any():
        return ["A smoke test answers no question."]
    lines = read_lines(table)
    others = [line for line in lines[1:] if line.seeds and line.question]
    compared = [line for line in others if pd.notna(line.p)]
    rivals = [line for line in lines if any(other.against == line.row for other in others)]
    sentences = []
    for key, question in questions.items():
        for rival in rivals:
            answers = [line for line in compared if (line.question, line.against) == (key, rival.row)]
            if answers := [line for line in answers if not line.obstacle]:
                claims = _write_claims(answers, rival)
                sentences.append(f"{question.ask} {claims[0].upper()}{claims[1:]}")
    for line in compared:
        if line.obstacle:
            # Rows with equal descriptions differ in settings that the sentence would not name.
            rival = next(rival for rival in rivals if rival.row == line.against)
            claim = "" if line.trained == rival.trained else f": {_write_claims([line], rival)} It"
            asked = questions[line.question].ask
            sentences.append(f"Row {line.row}{claim} gives no answer to {asked!r}, because {line.obstacle}.")
    for rival in rivals:
        if not rival.seeds or not rival.complete:
            sentences.append(f"Nothing is compared with row {rival.row}, as it is incomplete ({rival.state}).")
            continue
        for line in others:
            if line.against == rival.row and pd.isna(line.p):
                why = "it was tested on other texts" if line.complete else line.state
                sentences.append(f"Row {line.row} is not compared with row {rival.row}: {why}.")
    return sentences


def _write_claims(answers: Sequence[Line], rival: Line) -> str:
    """Which of ``answers`` differ significantly from ``rival``, and which show no evidence either way."""
    claims, unclear = [], []
    for line in answers:
        if line.p_corrected < ALPHA:
            more = "more" if line.difference_points > 0 else "less"
            claims.append(
                f"{_describe(line)} scored {abs(line.difference_points):.1f} points {more} than {rival.title} "
                f"(p {format_p_value(line.p_corrected)})"
            )
        else:
            unclear.append(f"{_describe(line)} ({format_signed(line.difference_points)} points)")
    if unclear:
        against = "" if claims else f", compared with {rival.title}"
        claims.append(f"no evidence either way for {', '.join(unclear)}{against}")
    return f"{'; '.join(claims)}; n = {rival.texts:,}, {count_seeds_and_folds([rival, *answers])}."


def _describe(line: Line) -> str:
    """Its title, and the settings that differ besides the one in question: the answer is about all of them together."""
    if not line.also:
        return line.title
    more = f" and {len(line.also) - 3} more" if len(line.also) > 3 else ""
    return f"{line.title} (with {', '.join(line.also[:3])}{more} of its own)"
