"""Runs a search as a command line describes it: trials until a number of them is reached.

Optuna proposes the settings of each trial; a trial is an ordinary fit. The whole state of a search is a journal in its
folder, written line by line: the same command continues a search that was stopped.
"""

from dataclasses import replace
from pathlib import Path

from gpt_classifier.errors import InputError
from gpt_classifier.experiments.search.journal import alone_in
from gpt_classifier.experiments.search.perform import check, perform
from gpt_classifier.experiments.search.space import read_search
from gpt_classifier.files import writable_folder
from gpt_classifier.training.overrides import Settings, quiet


def run_search(config: Path, trials: int | None, output: Path | None, settings: Settings) -> None:
    """Searches the space that a file describes.

    Args:
        config: The file.
        trials: Number of trials, those of earlier calls included; by default that of the file.
        output: Folder of results; by default ``checkpoints/search/NAME``.
        settings: Settings that change the configuration in all trials.
    """
    search = read_search(config)
    trials = search.trials if trials is None else trials
    if trials < 1:
        raise InputError(f"--trials is {trials}, expected at least 1")
    if both := settings.keys() & search.space.keys():
        raise InputError(f"--{min(both)} is given, but it is in the space of {config}: take it out there")
    search = replace(search, settings=search.settings | settings)
    try:
        import filelock  # noqa: F401 - used once the search has been checked
        import optuna
    except ImportError as error:
        raise InputError("a search needs Optuna and filelock: pip install 'gpt-classifier[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # instead of Optuna's line for each trial we print ours
    with quiet():
        check(search)
    folder = writable_folder(output or Path("checkpoints/search") / config.stem)
    with alone_in(folder):
        perform(search, trials, folder)
