"""Performs a search: checks its space before the first trial, runs the trials and writes the results after each."""

import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.metrics import score_names
from gpt_classifier.experiments.search.findings import as_text, conclusion, draw, finished, write
from gpt_classifier.experiments.search.journal import next_trial, open_journal
from gpt_classifier.experiments.search.space import Search
from gpt_classifier.experiments.search.trial import run
from gpt_classifier.files import whole_file
from gpt_classifier.training.build_run import ClassifierCLI
from gpt_classifier.training.monitor import check_monitors
from gpt_classifier.training.overrides import ONE_PROCESS, arguments, build


def check(search: Search) -> None:
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
    examples = {key: part.examples() for key, part in search.space.items()}
    for n in range(max(map(len, examples.values()))):
        # Parsed, not built: values that exclude each other fail in the trial that combines them.
        example = {key: values[n % len(values)] for key, values in examples.items()}
        cli.parser.parse_args(arguments(search.base.content, search.settings | example, scratch))
    return cli


def perform(search: Search, trials: int, folder: Path) -> None:
    """Runs trials until there are ``trials``, those of earlier calls included, and writes the results after each."""
    optuna_study = open_journal(search, folder)
    if before := len(finished(optuna_study)):
        print(f"{before} of {max(before, trials)} trials were done before", flush=True)
    while (number := len(finished(optuna_study)) + 1) <= trials:
        began = time.monotonic()
        trial = next_trial(optuna_study, search, number)
        settings = search.decode(trial.params)
        try:
            outcome = run(optuna_study, search, trial, number, folder)
        except SystemExit as stop:  # Lightning exits without a message after Ctrl-C or SIGTERM
            print(f"[{number}/{trials}] stopped; the same command continues from here", file=sys.stderr)
            raise SystemExit(stop.code or 128 + signal.SIGTERM) from stop
        shown = ", ".join(f"{key} {as_text(value)}" for key, value in settings.items())
        print(f"[{number}/{trials}] {shown}: {outcome} ({time.monotonic() - began:.1f} s)", flush=True)
        write(optuna_study, search, folder)
    write(optuna_study, search, folder)
    summary = conclusion(optuna_study, search, folder)
    with whole_file(folder / "search.png") as path:
        draw(search, finished(optuna_study)).savefig(path, format="png")
    print(summary)
