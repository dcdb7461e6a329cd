"""The command ``search``: finds the settings with which a configuration scores best on the validation rows.

Optuna proposes the settings of each trial; a trial is an ordinary fit. The whole state of a search is a journal in its
folder, written line by line: the same command continues a search that was stopped.
"""

from dataclasses import replace
from pathlib import Path

from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.experiments.search.journal import alone_in
from gpt_classifier.experiments.search.perform import check, perform
from gpt_classifier.experiments.search.space import read_search
from gpt_classifier.files import writable_folder
from gpt_classifier.training.overrides import given_settings, quiet


def main(words: list[str]) -> None:
    """``search --config FILE ...``."""
    parser = CommandParser(
        "gpt-classifier search",
        description="Search for the settings with which a configuration scores best on the validation rows. "
        "Further options, such as --model.weights random, change the configuration in all trials.",
    )
    parser.add_argument("--config", required=True, type=Path, help="the search's YAML file")
    parser.add_argument("--trials", type=int, help="trials in all, those of earlier calls included")
    parser.add_argument("--output", type=Path, help="folder of results; by default checkpoints/search/NAME")
    options, others = parser.parse_known_args(words)
    search, given = read_search(options.config), given_settings(others)
    trials = search.trials if options.trials is None else options.trials
    if trials < 1:
        raise InputError(f"--trials is {trials}, expected at least 1")
    if both := given.keys() & search.space.keys():
        raise InputError(f"--{min(both)} is given, but it is in the space of {options.config}: take it out there")
    search = replace(search, settings=search.settings | given)
    try:
        import filelock  # noqa: F401 - used once the search has been checked
        import optuna
    except ImportError as error:
        raise InputError("search needs Optuna and filelock: pip install 'gpt-classifier[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # instead of Optuna's line for each trial we print ours
    with quiet():
        check(search)
    folder = writable_folder(options.output or Path("checkpoints/search") / options.config.stem)
    with alone_in(folder):
        perform(search, trials, folder)
