"""The command ``study``: compares settings, or searches for better ones; ``study table`` writes a table again."""

from pathlib import Path

from gpt_classifier.errors import CommandParser, InputError

DESCRIPTION = (
    "Run the rows of an ablation study and write its table, or, if CONFIG has a space of settings, search it for those "
    "with the best score on the validation rows. `study table FOLDER` writes a table again. Further options, such as "
    "--model.weights random, change the base configuration."
)
OUTPUT = "folder of results; by default checkpoints/study/NAME, of a search checkpoints/search/NAME"
FRACTIONS = (
    "a learning curve: fractions of the training rows to train on, such as 0.05 0.1 0.25 0.5 1, with the study's "
    "classical models, or two if it has none; --config may then also be an ordinary configuration"
)


def main(arguments: list[str]) -> None:
    """``study --config FILE ...`` or ``study table FOLDER``."""
    if arguments[:1] == ["table"]:
        return table(arguments[1:])
    parser = CommandParser("gpt-classifier study", description=DESCRIPTION)
    add = parser.add_argument
    add("--config", required=True, type=Path, help="YAML file of a study or a search")
    add("--output", type=Path, help=OUTPUT)
    add("--rows", nargs="+", help="names of the rows to run; all by default")
    add("--seeds", type=int, default=1, help="runs of each row with different seeds")
    add("--folds", type=int, default=0, help="cross-validation: each text is tested once, in one fold")
    add("--smoke", action="store_true", help="run all rows with tiny networks on made-up messages")
    add("--fractions", nargs="+", type=float, default=[], help=FRACTIONS)
    add("--trials", type=int, help="of a search: number of trials, those of earlier calls included")
    o, others = parser.parse_known_args(arguments)

    from gpt_classifier.training.overrides import given_settings, read_yaml

    content = read_yaml(o.config)
    if isinstance(content, dict) and "space" in content:
        if o.rows or o.folds or o.smoke or o.fractions or o.seeds != 1:
            raise InputError(f"{o.config} is a search: it has no rows, seeds, folds, fractions or smoke test")
        from gpt_classifier.experiments.search.run import run_search

        return run_search(o.config, o.trials, o.output, given_settings(others))
    if o.trials is not None:
        raise InputError(f"--trials is {o.trials}, but {o.config} has no space of settings to search")
    from gpt_classifier.experiments.study.run import run_study

    run_study(o.config, o.rows, o.seeds, o.folds, o.fractions, o.smoke, o.output, given_settings(others))


def table(arguments: list[str]) -> None:
    """Writes the table of a study again, from the results so far."""
    parser = CommandParser("gpt-classifier study table", description=table.__doc__)
    parser.add_argument("folder", type=Path, help="the study's folder")
    parser.add_argument("--format", choices=["markdown", "csv"], default="markdown", help="what to print")
    options = parser.parse_args(arguments)
    from gpt_classifier.experiments.study.run import write_table

    write_table(options.folder, options.format)
