"""The command ``study``: runs the rows of a study and writes its table; ``study table`` writes it again."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.files import whole_file
from gpt_classifier.study import table as tables
from gpt_classifier.study.plan import Row, Run, Study, question, read_study
from gpt_classifier.study.runner import Runner, results_of
from gpt_classifier.variants import given_settings


def main(arguments: list[str]) -> None:
    """``study --config FILE ...`` or ``study table FOLDER``."""
    if arguments[:1] == ["table"]:
        return table(arguments[1:])
    parser = CommandParser(
        "gpt-classifier study",
        description=__doc__ + " Further options, such as --model.weights random, change the base configuration.",
    )
    parser.add_argument("--config", required=True, type=Path, help="the study's YAML file")
    parser.add_argument("--rows", nargs="+", help="names of the rows to run; all by default")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each row with different seeds")
    parser.add_argument("--folds", type=int, default=0, help="cross-validation: each text is tested once, in one fold")
    parser.add_argument("--smoke", action="store_true", help="run all rows with tiny networks on made-up messages")
    parser.add_argument("--output", type=Path, help="folder of results; by default checkpoints/study/NAME")
    options, others = parser.parse_known_args(arguments)
    if options.seeds < 1 or options.folds < 0 or options.folds == 1:
        raise InputError(f"--seeds {options.seeds} must be at least 1 and --folds {options.folds} at least 2")
    study, base = read_study(options.config)
    rows = study.chosen(options.rows)
    if options.smoke:  # published scores mean nothing beside those of a tiny network
        rows = [replace(row, published=None) for row in rows]
    runs = study.runs(rows, base, options.seeds, options.folds, given_settings(others), options.smoke)
    folder = options.output or Path("checkpoints/study") / (options.config.stem + ("-smoke" if options.smoke else ""))
    runner = Runner(folder)
    _write_plan(folder, study, rows, runs)
    runner.perform(runs)
    write(folder)


def _write_plan(folder: Path, study: Study, rows: list[Row], runs: list[Run]) -> None:
    """Writes study.json, the contents of the table: these rows, and those of the study that earlier calls ran."""
    path = folder / "study.json"
    before = json.loads(path.read_text()) if path.exists() else {"rows": [], "runs": []}
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
        part.write_text(json.dumps(plan, indent=1))


def table(arguments: list[str]) -> None:
    """Writes the table of a study again, from the results so far."""
    parser = CommandParser("gpt-classifier study table", description=table.__doc__)
    parser.add_argument("folder", type=Path, help="the study's folder")
    parser.add_argument("--format", choices=["markdown", "csv"], default="markdown", help="what to print")
    options = parser.parse_args(arguments)
    if not (options.folder / "study.json").is_file():
        raise InputError(f"no study in {options.folder}: expected the output folder of `study --config`")
    write(options.folder, options.format)


def write(folder: Path, printed: str = "markdown") -> None:
    """Writes ``table.md``, ``table.csv`` and ``intervals.png`` of a study's results, the figure to TensorBoard too.

    Args:
        folder: The study's.
        printed: Format of the table on standard output, ``markdown`` or ``csv``.
    """
    plan = json.loads((folder / "study.json").read_text())
    rows, runs = [Row(**row) for row in plan["rows"]], [Run(**run) for run in plan["runs"]]
    questions = {key: question(value) for key, value in plan["questions"].items()}
    lines = tables.lines(rows, runs, results_of(runs, folder), questions)
    answers = "".join(f"- {sentence}\n" for sentence in tables.sentences(lines, questions))
    content = {
        "markdown": tables.markdown(lines) + (f"\n{answers}" if answers else ""),
        "csv": tables.comma_separated(lines),
    }
    for name, text in (("table.md", content["markdown"]), ("table.csv", content["csv"])):
        with whole_file(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    figure = tables.forest_plot(lines)
    with whole_file(folder / "intervals.png") as path:
        figure.savefig(path, format="png")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard" / "table")) as writer:
        writer.add_figure("test accuracy", figure)
        writer.add_text("table", content["markdown"])
    if printed == "markdown":
        print(f"\n{content[printed]}\n{folder / 'table.md'}, table.csv, intervals.png")
    else:
        print(content[printed], end="")
