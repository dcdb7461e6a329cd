"""Writes the results of a search: a table of trials, the best configuration, two figures and a conclusion."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gpt_classifier.data import writers
from gpt_classifier.errors import InputError
from gpt_classifier.experiments.search.space import Search, as_text
from gpt_classifier.files import whole_file
from gpt_classifier.reporting import plots
from gpt_classifier.training.overrides import overrides

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def find_finished(optuna_study: "optuna.Study") -> "list[FrozenTrial]":
    """The finished trials in order. An interrupted one is not among them: it failed without an error."""
    return [
        trial
        for trial in optuna_study.get_trials(deepcopy=False)
        if trial.state.name in ("COMPLETE", "PRUNED") or (trial.state.name == "FAIL" and "error" in trial.user_attrs)
    ]


def find_best(optuna_study: "optuna.Study") -> "tuple[int, FrozenTrial] | None":
    """Number, counted from 1, and trial of the best one that was not pruned, the first among equals; None without."""
    trials = find_finished(optuna_study)
    if not any(trial.state.name == "COMPLETE" for trial in trials):
        return None
    best = optuna_study.best_trial
    return 1 + [trial.number for trial in trials].index(best.number), best


def write_trials(optuna_study: "optuna.Study", search: Search, folder: Path) -> None:
    """Writes ``trials.csv``, all trials, and ``best.yaml``, the best settings to pass as a second ``--config``."""
    trials = find_finished(optuna_study)
    writers.write(folder / "trials.csv", _build_rows(search, trials))
    if (best := find_best(optuna_study)) is None:
        return
    number, trial = best
    content = overrides(search.base.content, search.settings | search.decode(trial.params))
    with whole_file(folder / "best.yaml") as path:
        path.write_text(
            f"# Trial {number} of {len(trials)}, the best: {search.monitor} {trial.value:.4f} at epoch "
            f"{trial.user_attrs['epoch']}. Selected on validation rows: score it on test rows.\n"
            f"#   gpt-classifier fit --config {search.base.path} --config {folder / 'best.yaml'}\n"
            + yaml.safe_dump(content, sort_keys=False),
            encoding="utf-8",
        )


def _build_rows(search: Search, trials: "Sequence[FrozenTrial]") -> Iterator[list[object]]:
    """The names of the columns, and the row of each trial."""
    yield ["trial", "state", "value", "epoch", "epochs", "seconds", *search.space, "error"]
    for number, trial in enumerate(trials, 1):
        values = trial.user_attrs
        cells = [number, STATES[trial.state.name], values.get("value"), values.get("epoch")]
        cells += [max(values.get("epochs", [0])), values["seconds"]]
        yield [*cells, *map(as_text, search.decode(trial.params).values()), values.get("error")]


def draw_trials(optuna_study: "optuna.Study", search: Search, folder: Path) -> None:
    """Writes ``history.png``, the best score so far by trial, and ``settings.png``, the scores by each setting.

    Optuna counts trials from 0 there.
    """
    for name, figure in plots.draw_search(optuna_study, search.monitor).items():
        with whole_file(folder / f"{name}.png") as path:
            figure.savefig(path, format="png", bbox_inches="tight")


def conclude(optuna_study: "optuna.Study", search: Search, folder: Path) -> str:
    """The best trial in words, a note that its score is optimistic, and the commands that use it.

    Raises ``InputError`` if no trial was completed.
    """
    trials = find_finished(optuna_study)
    if (best := find_best(optuna_study)) is None:
        error = next(trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs)
        raise InputError(f"none of {len(trials)} trials gave a {search.monitor}; the first that failed: {error}")
    number, trial = best
    states = [trial.state.name for trial in trials]
    files = f"--config {shlex.quote(str(search.base.path))} --config {shlex.quote(str(folder / 'best.yaml'))}"
    return "\n".join(
        [
            f"\nbest of {len(trials)} trials ({states.count('PRUNED')} stopped early, {states.count('FAIL')} failed): "
            f"trial {number}, {search.monitor} {trial.value:.4f} at epoch {trial.user_attrs['epoch']}",
            *(f"  {key}: {rounded(value)}" for key, value in search.decode(trial.params).items()),
            "The settings were selected by this score, so it is optimistic: only the test rows, which no trial has "
            "seen, give an unbiased one.",
            f"  python -m gpt_classifier fit {files}",
            f"  python -m gpt_classifier test {files}",
            f"{folder / 'trials.csv'}, best.yaml, history.png, settings.png; "
            f"tensorboard --logdir {folder / 'tensorboard'}",
        ]
    )


def rounded(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else as_text(value)
