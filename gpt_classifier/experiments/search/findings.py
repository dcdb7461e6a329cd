"""Writes the results of a search: a table of trials, the best configuration, a figure and a conclusion."""

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gpt_classifier.data import writers
from gpt_classifier.errors import InputError
from gpt_classifier.experiments.search.space import Choices, Search
from gpt_classifier.files import whole_file
from gpt_classifier.reporting import plots
from gpt_classifier.training.monitor import mode
from gpt_classifier.training.overrides import overrides

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def finished(optuna_study: "optuna.Study") -> "list[FrozenTrial]":
    """The finished trials in order. An interrupted one is not among them: it failed without an error."""
    return [
        trial
        for trial in optuna_study.get_trials(deepcopy=False)
        if trial.state.name in ("COMPLETE", "PRUNED") or (trial.state.name == "FAIL" and "error" in trial.user_attrs)
    ]


def best_of(trials: "Sequence[FrozenTrial]", search: Search) -> "tuple[int, FrozenTrial] | None":
    """Number and trial of the best one that was not pruned, the first among equals; None if there is none."""
    complete = [(number, trial) for number, trial in enumerate(trials, 1) if trial.state.name == "COMPLETE"]
    sign = 1 if mode(search.monitor) == "min" else -1
    return min(complete, key=lambda each: sign * each[1].user_attrs["value"], default=None)


def write(optuna_study: "optuna.Study", search: Search, folder: Path) -> None:
    """Writes ``trials.csv``, all trials, and ``best.yaml``, the best settings to pass as a second ``--config``."""
    trials = finished(optuna_study)
    writers.write(folder / "trials.csv", _rows(search, trials))
    if (best := best_of(trials, search)) is None:
        return
    number, trial = best
    content = overrides(search.base.content, search.settings | search.decode(trial.params))
    with whole_file(folder / "best.yaml") as path:
        path.write_text(
            f"# Trial {number} of {len(trials)}, the best: {search.monitor} {trial.user_attrs['value']:.4f} at epoch "
            f"{trial.user_attrs['epoch']}. Selected on validation rows: score it on test rows.\n"
            f"#   gpt-classifier fit --config {search.base.path} --config {folder / 'best.yaml'}\n"
            + yaml.safe_dump(content, sort_keys=False),
            encoding="utf-8",
        )


def _rows(search: Search, trials: "Sequence[FrozenTrial]") -> Iterator[list[object]]:
    """The names of the columns, and the row of each trial."""
    yield ["trial", "state", "value", "epoch", "epochs", "seconds", *search.space, "error"]
    for number, trial in enumerate(trials, 1):
        attributes = trial.user_attrs
        cells: list[object] = [number, STATES[trial.state.name]]
        cells += [attributes.get("value", ""), attributes.get("epoch", "")]
        cells += [max(attributes.get("epochs", [0])), attributes["seconds"]]
        settings = search.decode(trial.params).values()
        cells += [value if isinstance(value, str) else json.dumps(value) for value in settings]
        yield [*cells, attributes.get("error", "")]


def conclusion(optuna_study: "optuna.Study", search: Search, folder: Path) -> str:
    """The best trial in words, a note that its score is optimistic, and the commands that use it.

    Raises ``InputError`` if no trial was completed.
    """
    trials = finished(optuna_study)
    if (best := best_of(trials, search)) is None:
        error = next(trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs)
        raise InputError(f"none of {len(trials)} trials gave a {search.monitor}; the first that failed: {error}")
    number, trial = best
    states = [trial.state.name for trial in trials]
    files = f"--config {shlex.quote(str(search.base.path))} --config {shlex.quote(str(folder / 'best.yaml'))}"
    return "\n".join(
        [
            f"\nbest of {len(trials)} trials ({states.count('PRUNED')} stopped early, {states.count('FAIL')} failed): "
            f"trial {number}, {search.monitor} {trial.user_attrs['value']:.4f} at epoch {trial.user_attrs['epoch']}",
            *(f"  {key}: {as_text(value)}" for key, value in search.decode(trial.params).items()),
            "The settings were selected by this score, so it is optimistic: only the test rows, which no trial has "
            "seen, give an unbiased one.",
            f"  python -m gpt_classifier fit {files}",
            f"  python -m gpt_classifier test {files}",
            f"{folder / 'trials.csv'}, best.yaml, search.png; tensorboard --logdir {folder / 'tensorboard'}",
        ]
    )


def as_text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def draw(search: Search, trials: "Sequence[FrozenTrial]") -> "Figure":
    """A figure of the score of each trial with the best so far, and below it of the scores against each setting."""
    scores = plots.TrialScores(_values(trials, "COMPLETE"), _values(trials, "PRUNED"), list(_values(trials, "FAIL")))
    best: list[float] = []
    for value in scores.complete.values():
        best.append(value if not best or search.better(value, best[-1]) else best[-1])
    settings = []
    for key, part in search.space.items():
        values = [search.decode(trial.params)[key] for trial in trials]
        if isinstance(part, Choices):
            values, names = [part.choices.index(value) for value in values], [as_text(each) for each in part.choices]
            settings.append(plots.TrialSetting(key, values, choices=names))
        else:
            settings.append(plots.TrialSetting(key, values, (part.low, part.high), logarithmic=part.log))
    return plots.draw_trials(search.monitor, scores, best, len(trials), settings)


def _values(trials: "Sequence[FrozenTrial]", state: str) -> dict[int, float]:
    """Numbers and scores of the trials in a state."""
    return {n: t.user_attrs.get("value", math.nan) for n, t in enumerate(trials, 1) if t.state.name == state}
