"""The command ``study``: runs the rows of a study and writes its table; ``study table`` writes it again."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.experiments.study import learning_curve
from gpt_classifier.experiments.study import table as tables
from gpt_classifier.experiments.study.plan import (
    FRACTION,
    Row,
    Run,
    Study,
    of_configuration,
    question,
    read_study,
    with_classical,
)
from gpt_classifier.experiments.study.runner import Runner, results_of
from gpt_classifier.files import whole_file
from gpt_classifier.training.overrides import given_settings, read_yaml


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
    parser.add_argument(
        "--fractions",
        nargs="+",
        type=float,
        default=[],
        help="a learning curve: shares of the training rows to train on, such as 0.05 0.1 0.25 0.5 1, with the study's "
        "classical models, or two if it has none; --config may then also be an ordinary configuration",
    )
    options, others = parser.parse_known_args(arguments)
    if options.seeds < 1 or options.folds < 0 or options.folds == 1:
        raise InputError(f"--seeds {options.seeds} must be at least 1 and --folds {options.folds} at least 2")
    fractions = sorted(set(options.fractions))
    if wrong := [fraction for fraction in fractions if not 0 < fraction <= 1]:
        raise InputError(f"--fractions has {wrong[0]:g}, expected shares of the training rows above 0 and up to 1")
    if len(fractions) == 1:
        raise InputError(
            f"--fractions has {fractions[0]:g} alone, expected two or more shares; for a study with this share of the "
            f"training rows, give --{FRACTION} {fractions[0]:g}"
        )
    plain = fractions and "rows" not in (read_yaml(options.config) or {})
    study, base = of_configuration(options.config) if plain else read_study(options.config)
    study = with_classical(study) if fractions else study
    rows = study.chosen(options.rows)
    if fractions and not any(row.classical for row in rows):
        rows += [row for row in study.rows if row.classical]
    if options.smoke:  # published scores mean nothing beside those of a tiny network
        rows = [replace(row, published=None) for row in rows]
    given = given_settings(others)
    runs = study.runs(rows, base, options.seeds, options.folds, given, options.smoke, fractions)
    folder = options.output or Path("checkpoints/study") / (options.config.stem + ("-smoke" if options.smoke else ""))
    runner = Runner(folder)
    _write_plan(folder, study, rows, runs)
    runner.perform(runs)
    write(folder)


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
    """Writes ``table.md``, ``table.csv`` and ``intervals.png`` of a study's results, figures to TensorBoard too.

    With several fractions of the training rows there is also ``learning_curve.png``, the table of the rows is of the
    largest fraction, and the CSV file has the rows of all.

    Args:
        folder: The study's.
        printed: Format of the table on standard output, ``markdown`` or ``csv``.
    """
    plan = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    rows, runs = [Row(**row) for row in plan["rows"]], [Run(**run) for run in plan["runs"]]
    questions = {key: question(value) for key, value in plan["questions"].items()}
    results = results_of(runs, folder)
    found = learning_curve.curves(rows, runs, results, questions)
    lines = next(reversed(found.values()))
    answers = "".join(f"- {sentence}\n" for sentence in tables.sentences(lines, questions))
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
    figures = {"intervals": tables.forest_plot(lines)}
    if len(found) > 1:
        figures["learning_curve"] = learning_curve.figure(found)
    for name, figure in figures.items():
        with whole_file(folder / f"{name}.png") as path:
            figure.savefig(path, format="png")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard" / "table")) as writer:
        writer.add_figure("test accuracy", figures["intervals"])
        if "learning_curve" in figures:
            writer.add_figure("learning curve", figures["learning_curve"])
        writer.add_text("table", content["markdown"])
    if printed == "markdown":
        print(f"\n{content[printed]}\n{folder / 'table.md'}, table.csv, {', '.join(f'{name}.png' for name in figures)}")
    else:
        print(content[printed], end="")
