"""Writes what a study plans, and its results as tables, figures and sentences."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gpt_classifier.experiments.study import figures
from gpt_classifier.experiments.study.learning_curve import describe_curves, format_curves
from gpt_classifier.experiments.study.plan import Question, Row, Run, Study
from gpt_classifier.experiments.study.runner import collect_results
from gpt_classifier.experiments.study.sentences import answer_questions
from gpt_classifier.experiments.study.table import build_table, format_csv, format_markdown, largest_fraction
from gpt_classifier.files import whole_file


def write_plan(folder: Path, study: Study, rows: list[Row], runs: list[Run]) -> None:
    """Writes study.json, the contents of the table: these rows, and those of the study that earlier calls ran."""
    path = folder / "study.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": [], "runs": []}
    now = {row.name: asdict(row) for row in rows}
    earlier = {row["name"]: row for row in before["rows"]}
    shown = [(earlier | now)[row.name] for row in study.rows if row.name in earlier | now]
    kept = [run for run in before["runs"] if run["row"] not in now]
    with whole_file(path) as part:
        plan = {
            "questions": {key: asdict(asked) for key, asked in study.questions.items()},
            "rows": shown,
            "runs": kept + [asdict(run) for run in runs],
        }
        part.write_text(json.dumps(plan, indent=1), encoding="utf-8")


def write_results(folder: Path, printed: str = "markdown") -> None:
    """Writes ``table.md``, ``table.csv`` and ``intervals.png`` of a study's results, figures to TensorBoard too.

    With several fractions of the training rows there is also ``learning_curve.png``, the table of the rows is of the
    largest fraction, and the CSV file has the rows of all.

    Args:
        folder: The study's.
        printed: Format of the table on standard output, ``markdown`` or ``csv``.
    """
    plan = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    rows, runs = [Row(**row) for row in plan["rows"]], [Run(**run) for run in plan["runs"]]
    questions = {key: Question(**value) for key, value in plan["questions"].items()}
    points = build_table(rows, collect_results(runs, folder), questions)
    table = largest_fraction(points)
    markdown, csv = format_markdown(table), format_csv(table)
    drawn = {"intervals": ("test accuracy", figures.forest_plot(table))}
    if sentences := answer_questions(table, questions):
        markdown += "\n" + _list(sentences)
    if len(points) > len(table):
        markdown += f"\n{format_curves(points)}\n{_list(describe_curves(points))}"
        csv = format_csv(points[points["runs_wanted"] > 0])
        drawn["learning_curve"] = ("learning curve", figures.draw_learning_curve(points))
    for name, text in (("table.md", markdown), ("table.csv", csv)):
        with whole_file(folder / name) as path:
            path.write_bytes(text.encode())  # with line ends as they are
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard" / "table")) as writer:
        for name, (title, figure) in drawn.items():
            with whole_file(folder / f"{name}.png") as path:
                figure.savefig(path, format="png")
            writer.add_figure(title, figure)
        writer.add_text("table", markdown)
    names = ", ".join(f"{name}.png" for name in drawn)
    print(csv if printed == "csv" else f"\n{markdown}\n{folder / 'table.md'}, table.csv, {names}\n", end="")


def _list(sentences: Sequence[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)
