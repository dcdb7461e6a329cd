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
from gpt_classifier.training.callbacks.checkpoints import mode
from gpt_classifier.training.overrides import overrides

if TYPE_CHECKING:
    import optuna
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


def draw(search: Search, trials: "Sequence[FrozenTrial]") -> Any:
    """A figure of the score of each trial with the best so far, and below it of the scores against each setting."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = min(3, len(search.space))
    rows = -(-len(search.space) // columns)
    figure = Figure(figsize=(9, 3.4 + 2.4 * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1.4, *[1] * rows])
    values = {state: _values(trials, state) for state in STATES}
    marks = {"COMPLETE": ("o", "tab:blue", "complete"), "PRUNED": ("x", "grey", "stopped early")}

    axes = figure.add_subplot(grid[0, :])
    best: list[float] = []
    for value in values["COMPLETE"].values():
        best.append(value if not best or search.better(value, best[-1]) else best[-1])
    axes.step([*values["COMPLETE"], len(trials)], [*best, best[-1]], where="post", color="tab:red", label="best so far")
    for state, (mark, colour, label) in marks.items():
        if values[state]:
            axes.plot(list(values[state]), list(values[state].values()), mark, color=colour, label=label)
    for number in values["FAIL"]:
        first = number == min(values["FAIL"])
        axes.axvline(number, color="tab:red", linewidth=0.8, linestyle=":", label="failed" if first else None)
    axes.set(xlabel="trial", ylabel=search.monitor)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)

    for place, (key, part) in enumerate(search.space.items()):
        axes = figure.add_subplot(grid[1 + place // columns, place % columns])
        settings = [search.decode(trial.params)[key] for trial in trials]
        if isinstance(part, Choices):
            axes.set_xticks(range(len(part.choices)), [as_text(choice)[:20] for choice in part.choices])
            axes.set_xlim(-0.5, len(part.choices) - 0.5)
            settings = [part.choices.index(value) for value in settings]
        elif part.log:
            margin = (part.high / part.low) ** 0.05
            axes.set(xscale="log", xlim=(part.low / margin, part.high * margin))
        else:
            margin = 0.05 * (part.high - part.low)
            axes.set_xlim(part.low - margin, part.high + margin)
        for state, (mark, colour, _) in marks.items():
            shown = [settings[number - 1] for number in values[state]]
            axes.plot(shown, list(values[state].values()), mark, color=colour, markersize=4)
        axes.set_xlabel(key)

    all_values = [*values["COMPLETE"].values(), *values["PRUNED"].values()]
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        if min(all_values) > 0 and max(all_values) > 20 * min(all_values):
            axes.set_yscale("log")  # otherwise one trial that diverged would hide the differences of all others
    return figure


def _values(trials: "Sequence[FrozenTrial]", state: str) -> dict[int, float]:
    """Numbers and scores of the trials in a state."""
    return {n: t.user_attrs.get("value", math.nan) for n, t in enumerate(trials, 1) if t.state.name == state}
