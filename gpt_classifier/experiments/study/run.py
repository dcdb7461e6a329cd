"""Runs a study as a command line describes it, or writes the table of one again."""

from collections.abc import Sequence
from pathlib import Path

from gpt_classifier.errors import InputError
from gpt_classifier.experiments.study.plan import check_fractions, read_rows
from gpt_classifier.experiments.study.results import write_plan, write_results
from gpt_classifier.experiments.study.runner import Runner, collect_results
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
    write_plan(folder, study, chosen, runs)
    runner.perform(runs)
    write_results(folder)
    if runs and collect_results(runs, folder)["error"].all():
        raise InputError(f"no run has a result: {folder / 'table.md'} has the reasons")


def write_table(folder: Path, form: str) -> None:
    """Writes the table of the results so far, and prints it as ``markdown`` or ``csv``."""
    if not (folder / "study.json").is_file():
        raise InputError(f"no study in {folder}: expected the output folder of `study --config`")
    write_results(folder, form)
