"""Runs a search as a command line describes it: trials until a number of them is reached.

Optuna proposes the settings of each trial; a trial is an ordinary fit. The whole state of a search is a journal in its
folder, written line by line: the same command continues a search that was stopped.
"""

import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.metrics import score_names
from gpt_classifier.experiments.search.findings import conclude, draw_trials, find_finished, rounded, write_trials
from gpt_classifier.experiments.search.journal import lock_folder, next_trial, open_journal
from gpt_classifier.experiments.search.space import Search, read_search
from gpt_classifier.experiments.search.trial import run_trial
from gpt_classifier.files import writable_folder
from gpt_classifier.training.build_run import ClassifierCLI
from gpt_classifier.training.monitor import check_monitors
from gpt_classifier.training.overrides import ONE_PROCESS, Settings, arguments, build, quiet


def run_search(config: Path, trials: int | None, output: Path | None, settings: Settings) -> None:
    """Searches the space that a file describes.

    Args:
        config: The file.
        trials: Number of trials, those of earlier calls included; by default that of the file.
        output: Folder of results; by default ``checkpoints/search/NAME``.
        settings: Settings that change the configuration in all trials.
    """
    try:
        import filelock  # noqa: F401 - used by the journal
        import optuna
    except ImportError as error:
        raise InputError("a search needs Optuna and filelock: pip install 'gpt-classifier[search]'") from error
    search = read_search(config)
    trials = search.trials if trials is None else trials
    if trials < 1:
        raise InputError(f"--trials is {trials}, expected at least 1")
    if both := settings.keys() & search.space.keys():
        raise InputError(f"--{min(both)} is given, but it is in the space of {config}: take it out there")
    search = replace(search, settings=search.settings | settings)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # instead of Optuna's line for each trial we print ours
    with quiet():
        check_search(search)
    folder = writable_folder(output or Path("checkpoints/search") / config.stem)
    with lock_folder(folder):
        _run_trials(search, trials, folder)


def check_search(search: Search) -> None:
    """Raises ``InputError`` before the first trial for mistakes that would make every trial fail."""
    with TemporaryDirectory() as scratch:
        cli = check_space(search, Path(scratch))
    data = cli.datamodule
    data.prepare_data()
    data.setup("fit")
    cli.model.download()
    if "val" not in data.encoded:
        raise InputError("there are no val rows to score settings on: give --data.val_source or a val fraction above 0")
    labels = data.encoded["val"].labels
    assert labels is not None, "validation rows have labels"
    names = score_names(labels, data.class_names)
    check_monitors([], search.monitor, [f"val/{name}" for name in names])


def check_space(search: Search, scratch: Path) -> ClassifierCLI:
    """Builds the base with the settings of all trials, and parses every example of the space with it.

    Raises ``InputError`` for a key that does not exist, or one that must be the same in all trials.
    """
    if fixed := search.space.keys() & {*ONE_PROCESS, "trainer.default_root_dir", "model.monitor"}:
        raise InputError(f"{min(fixed)} is in the space, but it is the same for all trials: take it out")
    cli = build(search.base.content, search.settings | ONE_PROCESS, scratch)
    examples = {key: part.get("choices") or [part["low"], part["high"]] for key, part in search.space.items()}
    for n in range(max(map(len, examples.values()))):
        # Parsed, not built: values that exclude each other fail in the trial that combines them.
        example = {key: values[n % len(values)] for key, values in examples.items()}
        cli.parser.parse_args(arguments(search.base.content, search.settings | example, scratch))
    return cli


def _run_trials(search: Search, trials: int, folder: Path) -> None:
    """Runs trials until there are ``trials``, those of earlier calls included, and writes the results after each."""
    optuna_study = open_journal(search, folder)
    if before := len(find_finished(optuna_study)):
        print(f"{before} of {max(before, trials)} trials were done before", flush=True)
    while (number := len(find_finished(optuna_study)) + 1) <= trials:
        began = time.monotonic()
        trial = next_trial(optuna_study, search, number)
        settings = search.decode(trial.params)
        try:
            outcome = run_trial(optuna_study, search, trial, number, folder)
        except SystemExit as stop:  # Lightning exits without a message after Ctrl-C or SIGTERM
            print(f"[{number}/{trials}] stopped; the same command continues from here", file=sys.stderr)
            raise SystemExit(stop.code or 128 + signal.SIGTERM) from stop
        shown = ", ".join(f"{key} {rounded(value)}" for key, value in settings.items())
        print(f"[{number}/{trials}] {shown}: {outcome} ({time.monotonic() - began:.1f} s)", flush=True)
        write_trials(optuna_study, search, folder)
    write_trials(optuna_study, search, folder)
    summary = conclude(optuna_study, search, folder)
    draw_trials(optuna_study, search, folder)
    print(summary)
