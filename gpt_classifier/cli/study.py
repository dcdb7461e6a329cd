"""The command ``study``: runs the rows of a study and writes its table; ``study table`` writes it again."""

from pathlib import Path

from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.experiments.study.plan import checked_fractions, chosen_rows
from gpt_classifier.experiments.study.results import write_plan, write_results
from gpt_classifier.experiments.study.runner import Runner, results_of
from gpt_classifier.training.overrides import given_settings

FRACTIONS = (
    "a learning curve: shares of the training rows to train on, such as 0.05 0.1 0.25 0.5 1, with the study's "
    "classical models, or two if it has none; --config may then also be an ordinary configuration"
)


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
    parser.add_argument("--fractions", nargs="+", type=float, default=[], help=FRACTIONS)
    options, others = parser.parse_known_args(arguments)
    if options.seeds < 1 or options.folds < 0 or options.folds == 1:
        raise InputError(
            f"--seeds is {options.seeds} and --folds {options.folds}: expected 1 seed or more, and 0 folds, 2 or more"
        )
    fractions = checked_fractions(options.fractions)
    study, base, rows = chosen_rows(options.config, options.rows, fractions, options.smoke)
    given = given_settings(others)
    runs = study.runs(rows, base, options.seeds, options.folds, given, options.smoke, fractions)
    folder = options.output or Path("checkpoints/study") / (options.config.stem + ("-smoke" if options.smoke else ""))
    runner = Runner(folder)
    write_plan(folder, study, rows, runs)
    runner.perform(runs)
    write_results(folder)
    if runs and all("error" in result for result in results_of(runs, folder).values()):
        raise InputError(f"no run has a result: {folder / 'table.md'} has the reasons")


def table(arguments: list[str]) -> None:
    """Writes the table of a study again, from the results so far."""
    parser = CommandParser("gpt-classifier study table", description=table.__doc__)
    parser.add_argument("folder", type=Path, help="the study's folder")
    parser.add_argument("--format", choices=["markdown", "csv"], default="markdown", help="what to print")
    options = parser.parse_args(arguments)
    if not (options.folder / "study.json").is_file():
        raise InputError(f"no study in {options.folder}: expected the output folder of `study --config`")
    write_results(options.folder, options.format)
