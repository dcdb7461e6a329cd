"""Answers the questions of a study in sentences that claim no more than the tests support."""

from collections.abc import Mapping, Sequence

from gpt_classifier.experiments.study.plan import Question
from gpt_classifier.experiments.study.table import Line, seeds_and_folds
from gpt_classifier.statistics.paired_tests import ALPHA, number, signed


def sentences(table: Sequence[Line], questions: Mapping[str, Question]) -> list[str]:
    """One sentence for each question that is answered, then one for each row that answers none, with the reason."""
    if any(run.smoke for line in table for run in line.runs):
        return ["A smoke test answers no question."]
    others = [line for line in table[1:] if line.test is not None and line.row.question is not None]
    compared = [line for line in others if line.p_corrected is not None]
    rivals = [line for line in table if any(other.against is line for other in others)]
    said = []
    for key, question in questions.items():
        for rival in rivals:
            answers = [line for line in compared if line.row.question == key and line.against is rival]
            if answers := [line for line in answers if not line.obstacle]:
                claims = _claims(answers, rival)
                said.append(f"{question.ask} {claims[0].upper()}{claims[1:]}")
    for line in compared:
        if line.obstacle and line.against is not None:
            # Rows with equal descriptions differ in settings that the sentence would not name.
            fact = "" if line.trained == line.against.trained else f": {_claims([line], line.against)} It"
            asked = questions[line.row.question or ""].ask
            said.append(f"Row {line.row.name}{fact} gives no answer to {asked!r}, because {line.obstacle}.")
    for rival in rivals:
        if rival.test is None or not rival.complete:
            said.append(f"Nothing is compared with row {rival.row.name}, as it is incomplete ({rival.state}).")
            continue
        for line in others:
            if line.against is rival and line.p_corrected is None:
                why = "it was tested on other texts" if line.complete else line.state
                said.append(f"Row {line.row.name} is not compared with row {rival.row.name}: {why}.")
    return said


def _claims(answers: list[Line], first: Line) -> str:
    """Which of ``answers`` differ significantly from ``first``, and which show no evidence either way."""
    claims = []
    unclear = []
    for line in answers:
        assert line.difference is not None
        assert line.p_corrected is not None
        if line.p_corrected < ALPHA:
            more = "more" if line.difference > 0 else "less"
            claims.append(
                f"{_described(line)} scored {abs(line.difference):.1f} points {more} than {first.title} "
                f"(p {number(line.p_corrected)})"
            )
        else:
            unclear.append(f"{_described(line)} ({signed(line.difference)} points)")
    if unclear:
        against = "" if claims else f", compared with {first.title}"
        claims.append(f"no evidence either way for {', '.join(unclear)}{against}")
    text = "; ".join(claims)
    return f"{text}; n = {first.texts:,}, {seeds_and_folds([first, *answers])}."


def _described(line: Line) -> str:
    """Its title, and the settings that differ besides the one in question: the answer is about all of them together."""
    if not line.also:
        return line.title
    more = f" and {len(line.also) - 3} more" if len(line.also) > 3 else ""
    return f"{line.title} (with {', '.join(line.also[:3])}{more} of its own)"
