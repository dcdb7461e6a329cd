"""Writes what a study plans, and its results as tables, figures and sentences."""

import json
from dataclasses import asdict
from pathlib import Path

from gpt_classifier.experiments.study import figures, learning_curve, sentences
from gpt_classifier.experiments.study import table as tables
from gpt_classifier.experiments.study.plan import Question, Row, Run, Study
from gpt_classifier.experiments.study.runner import results_of
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
    questions = {  # earlier versions wrote texts
        key: Question(value) if isinstance(value, str) else Question(**value)
        for key, value in plan["questions"].items()
    }
    results = results_of(runs, folder)
    found = learning_curve.curves(rows, runs, results, questions)
    lines = next(reversed(found.values()))
    answers = "".join(f"- {sentence}\n" for sentence in sentences.sentences(lines, questions))
    content = {
        "markdown": tables.markdown(lines) + (f"\n{answers}" if answers else ""),
        "csv": tables.comma_separated(lines),
    }
    if len(found) > 1:
        more = "".join(f"- {sentence}\n" for sentence in learning_curve.sentences(found, results))
        content["markdown"] += f"\n{learning_curve.markdown(found)}\n{more}"
        content["csv"] = tables.comma_separated([line for part in found.values() for line in part if line.runs])
    for name, text in (("table.md", content["markdown"]), ("table.csv", content["csv"])):
        with whole_file(folder / name) as path:
            path.write_bytes(text.encode())  # with line ends as they are
    drawn = {"intervals": figures.forest_plot(lines)}
    if len(found) > 1:
        drawn["learning_curve"] = figures.learning_curve(found)
    for name, figure in drawn.items():
        with whole_file(folder / f"{name}.png") as path:
            figure.savefig(path, format="png")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard" / "table")) as writer:
        writer.add_figure("test accuracy", drawn["intervals"])
        if "learning_curve" in drawn:
            writer.add_figure("learning curve", drawn["learning_curve"])
        writer.add_text("table", content["markdown"])
    if printed == "markdown":
        print(f"\n{content[printed]}\n{folder / 'table.md'}, table.csv, {', '.join(f'{name}.png' for name in drawn)}")
    else:
        print(content[printed], end="")
