"""Reads a search: the space of settings and the score that ranks them."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt_classifier.errors import InputError, reason
from gpt_classifier.training.monitor import DEFAULT_MONITOR
from gpt_classifier.training.overrides import Settings, check_settings, parse_yaml, read_base, read_yaml, spread

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Base(NamedTuple):
    """The configuration that a search changes."""

    path: Path
    content: str


@dataclass(frozen=True)
class Search:
    """A search as its YAML file describes it.

    Args:
        base: Configuration that the search changes; in YAML a path relative to the search's own.
        space: For each key that is searched ``choices``, of any kind that a configuration may have, or a range with the
            arguments of Optuna's IntDistribution, where all are whole numbers, or FloatDistribution.
        trials: Number of trials.
        seed: Seed of Optuna's sampler; the trials themselves use the seed of the configuration.
        settings: Settings of all trials.
        start: Settings of the first trials.
        prune: Whether trials that score worse than the median of earlier ones are stopped early.
    """

    base: Base
    space: dict[str, Settings]
    trials: int = 20
    seed: int = 123
    settings: Settings = field(default_factory=dict)
    start: list[Settings] = field(default_factory=list)
    prune: bool = True

    def identity(self) -> dict[str, Any]:
        """Everything that determines the trials and their scores: a search continues only where this is equal."""
        content = {**asdict(self), "base": parse_yaml(self.base.content)}
        del content["trials"]
        return json.loads(json.dumps(content))

    @property
    def monitor(self) -> str:
        """The score of the validation rows that ranks settings, at its best epoch: ``model.monitor``."""
        of_base = (parse_yaml(self.base.content).get("model") or {}).get("monitor", DEFAULT_MONITOR)
        return self.settings.get("model.monitor", of_base)

    def distributions(self) -> "dict[str, BaseDistribution]":
        return {key: build_distribution(key, part) for key, part in self.space.items()}

    def encode(self, settings: Settings) -> Settings:
        """The settings as Optuna's parameters, whose categories are texts."""
        return {key: as_text(value) if "choices" in self.space[key] else value for key, value in settings.items()}

    def decode(self, parameters: Mapping[str, Any]) -> Settings:
        """The parameters that Optuna chose, as settings of the configuration."""
        settings: Settings = {}
        for key, part in self.space.items():
            value = parameters[key]
            if "choices" in part:
                value = next(choice for choice in part["choices"] if as_text(choice) == value)
            elif isinstance(value, float):
                value = float(f"{value:.12g}")  # 0.3, not 0.30000000000000004
            settings[key] = value
        return settings


def read_search(path: Path) -> Search:
    """The search of a YAML file. Raises ``InputError`` for a mistake in it or in the path of its base."""
    from optuna.trial import create_trial

    content = read_yaml(path)
    known = ", ".join(f.name for f in fields(Search))
    if not isinstance(content, dict) or not isinstance(content.get("space"), dict) or not content["space"]:
        raise InputError(f"{path} is not a search: expected {known}, where space maps keys to ranges or choices")
    base = Base(Path(normpath(path.parent / str(content.get("base")))), read_base(path, content.get("base")))
    space = {str(key): part for key, part in content["space"].items()}
    distributions = {key: build_distribution(f"{key} in the space of {path}", part) for key, part in space.items()}
    try:
        search = Search(**{**content, "base": base, "space": space})
    except TypeError as error:
        raise InputError(f"{path} is not a search ({reason(error)}): it has {known}") from error
    for name, expected, good in (
        ("trials", "a number from 1", type(search.trials) is int and search.trials >= 1),
        ("seed", "a number from 0", type(search.seed) is int and search.seed >= 0),
        ("prune", "true or false", isinstance(search.prune, bool)),
        ("start", "a list of settings", isinstance(search.start, list)),
    ):
        if not good:
            raise InputError(f"{name} of {path} is {getattr(search, name)!r}, expected {expected}")
    check_settings(search.settings, f"settings of {path}")
    search = replace(search, settings=spread(search.settings))
    if both := search.settings.keys() & space.keys():
        raise InputError(f"{min(both)} is in the settings and in the space of {path}: leave it out of one")
    for number, settings in enumerate(search.start, 1):
        check_settings(settings, f"start {number} of {path}")
        for key, value in settings.items():
            if key not in space:
                raise InputError(f"start {number} of {path} has {key}, expected keys of its space: {', '.join(space)}")
            try:
                create_trial(value=0.0, params=search.encode({key: value}), distributions={key: distributions[key]})
            except ValueError as error:
                expected = f"expected a value of {space[key]}"
                raise InputError(f"start {number} of {path} has {key}: {value}, {expected}") from error
    return search


def build_distribution(name: str, part: Any) -> "BaseDistribution":
    """Optuna's distribution of a part of the space. Raises ``InputError``, which calls it ``name``, for a mistake."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(part, dict) and part.keys() == {"choices"}:
        choices = part["choices"]
        texts = list(dict.fromkeys(map(as_text, choices))) if isinstance(choices, list) else []
        if len(texts) < 2 or len(texts) < len(choices):
            raise InputError(f"{name} is {part}: expected a list of two or more different values")
        return CategoricalDistribution(texts)
    if not isinstance(part, dict) or not {"low", "high"} <= part.keys() <= {"low", "high", "log", "step"}:
        expected = "{low: ..., high: ...}, with log or step if wanted, or {choices: [...]}"
        raise InputError(f"{name} is {part!r}, expected {expected}")
    numbers = [value for key, value in part.items() if key != "log"]
    if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
        raise InputError(f"{name} is {part}: low, high and step are numbers")
    if not isinstance(part.get("log", False), bool):
        raise InputError(f"{name} is {part}: log is true or false")
    try:
        with warnings.catch_warnings(action="error"):  # about a high that no whole number of steps reaches
            return (IntDistribution if all(type(value) is int for value in numbers) else FloatDistribution)(**part)
    except (ValueError, UserWarning) as error:
        raise InputError(f"{name} is {part}: {reason(error)}") from error


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
