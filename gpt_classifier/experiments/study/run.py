"""Runs a study as a command line describes it, and writes its table, figures and sentences."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gpt_classifier.errors import InputError
from gpt_classifier.experiments.study import figures
from gpt_classifier.experiments.study.learning_curve import describe_curves, format_curves
from gpt_classifier.experiments.study.plan import Question, Row, Run, Study, check_fractions, read_rows
from gpt_classifier.experiments.study.runner import Runner, collect_results
from gpt_classifier.experiments.study.sentences import answer_questions
from gpt_classifier.experiments.study.table import build_table, format_csv, format_markdown, keep_largest_fraction
from gpt_classifier.files import whole_file
from gpt_classifier.training.overrides import Settings


def run_study(
    config: Path,
    rows: Sequence[str] | None,
    seeds: int,
    folds: int,
    fractions: Sequence[float],
    smoke: bool,
    output: Path | None,
    settings: Settings,
) -> None:
    """Runs those rows of a study that have no result yet, and writes its table.

    Args:
        config: The study's YAML file.
        rows: Names of the rows to run; None for all.
        seeds: Number of runs of each row, with different seeds.
        folds: Number of folds of a cross-validation, 0 for none.
        fractions: Fractions of the training rows, of a learning curve.
        smoke: Whether to run tiny networks on made-up messages.
        output: Folder of results; by default ``checkpoints/study/NAME``.
        settings: Settings that change the base configuration.
    """
    if seeds < 1 or folds < 0 or folds == 1:
        raise InputError(f"--seeds is {seeds} and --folds {folds}: expected 1 seed or more, and 0 folds, 2 or more")
    checked = check_fractions(list(fractions))
    study, base, chosen = read_rows(config, rows, checked, smoke)
    runs = study.plan_runs(chosen, base, seeds, folds, settings, smoke, checked)
    folder = output or Path("checkpoints/study") / (config.stem + ("-smoke" if smoke else ""))
    runner = Runner(folder)
    _write_plan(folder, study, chosen, runs)
    runner.perform(runs)
    write_table(folder)
    if runs and collect_results(runs, folder)["error"].all():
        raise InputError(f"no run has a result: {folder / 'table.md'} has the reasons")


def write_table(folder: Path, printed: str = "markdown") -> None:
    """Writes ``table.md``, ``table.csv`` and ``intervals.png`` of a study's results, figures to TensorBoard too.

    With several fractions of the training rows there is also ``learning_curve.png``, the table of the rows is of the
    largest fraction, and the CSV file has the rows of all.

    Args:
        folder: The study's.
        printed: Format of the table on standard output, ``markdown`` or ``csv``.

    Raises:
        InputError: There is no study in the folder.
    """
    if not (folder / "study.json").is_file():
        raise InputError(f"no study in {folder}: expected the output folder of `study --config`")
    plan = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    rows, runs = [Row(**row) for row in plan["rows"]], [Run(**run) for run in plan["runs"]]
    questions = {key: Question(**value) for key, value in plan["questions"].items()}
    points = build_table(rows, collect_results(runs, folder), questions)
    table = keep_largest_fraction(points)
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


def _write_plan(folder: Path, study: Study, rows: list[Row], runs: list[Run]) -> None:
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
