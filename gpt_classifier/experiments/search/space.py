"""Reads a search: the space of settings and the score that ranks them."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt_classifier.errors import InputError, reason
from gpt_classifier.training.monitor import DEFAULT_MONITOR, is_better
from gpt_classifier.training.overrides import Settings, check_settings, parse_yaml, read_base, read_yaml, spread

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included: integers where both bounds are.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Whether values are sampled from the logarithmic domain.
        step: Distance between neighbouring values; by default values are continuous.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def check(self, name: str) -> None:
        if not all(_is_number(n) for n in (self.low, self.high, 1 if self.step is None else self.step)):
            raise InputError(f"{name} is {self}: low, high and step are numbers")
        if not isinstance(self.log, bool):
            raise InputError(f"{name} is {self}: log is true or false")
        if self.low >= self.high:
            raise InputError(f"{name} is {self}: expected a low below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise InputError(f"{name} is {self}: with log, expected a low above 0 and no step")
        if self.step is not None and (self.step <= 0 or not self._on_step(self.high)):
            raise InputError(f"{name} is {self}: expected a high that is low plus a whole number of steps")

    def allows(self, value: Any) -> bool:
        """Whether ``value`` lies in the range and on its steps."""
        good = _is_number(value) and self.low <= value <= self.high and (isinstance(value, int) or not self.whole)
        return good and (self.step is None or self._on_step(value))

    @property
    def whole(self) -> bool:
        return all(isinstance(n, int) for n in (self.low, self.high, 1 if self.step is None else self.step))

    def _on_step(self, value: float) -> bool:
        assert self.step is not None
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-6

    def examples(self) -> list[Any]:
        return [self.low, self.high]

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), self.log, int(self.step or 1))
        return FloatDistribution(self.low, self.high, self.log, self.step)

    def encode(self, value: Any) -> Any:
        return value

    def decode(self, value: Any) -> Any:
        return float(f"{value:.12g}") if isinstance(value, float) else value  # 0.3, not 0.30000000000000004

    def __str__(self) -> str:
        return _as_yaml(self)


@dataclass(frozen=True)
class Choices:
    """A list of values of any kind that a configuration may have, mappings and lists included."""

    choices: list[Any]

    def check(self, name: str) -> None:
        if not isinstance(self.choices, list) or len(self.choices) < 2 or len(self._encoded()) < len(self.choices):
            raise InputError(f"{name} is {self}: expected a list of two or more different values")

    def allows(self, value: Any) -> bool:
        return self.encode(value) in self._encoded()

    def examples(self) -> list[Any]:
        return self.choices

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(list(self._encoded()))

    def encode(self, value: Any) -> str:  # Optuna's categories are strings and numbers only
        return json.dumps(value)

    def decode(self, value: str) -> Any:
        return json.loads(value)

    def _encoded(self) -> dict[str, None]:
        return dict.fromkeys(self.encode(choice) for choice in self.choices)

    def __str__(self) -> str:
        return _as_yaml(self)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _as_yaml(part: Range | Choices) -> str:
    given = {name: value for name, value in asdict(part).items() if value is not None and value is not False}
    return "{" + ", ".join(f"{name}: {value}" for name, value in given.items()) + "}"


class Base(NamedTuple):
    """The configuration that a search changes."""

    path: Path
    content: str


@dataclass(frozen=True)
class Search:
    """A search as its YAML file describes it.

    Args:
        base: Configuration that the search changes; in YAML a path relative to the search's own.
        space: Range or choices of each key of the configuration that is searched.
        trials: Number of trials.
        seed: Seed of Optuna's sampler; the trials themselves use the seed of the configuration.
        settings: Settings of all trials.
        start: Settings of the first trials.
        prune: Whether trials that score worse than the median of earlier ones are stopped early.
    """

    base: Base
    space: dict[str, Range | Choices]
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

    def better(self, a: float, b: float) -> bool:
        return is_better(self.monitor, a, b)

    def decode(self, parameters: Mapping[str, Any]) -> Settings:
        """The parameters that Optuna chose, as settings of the configuration."""
        return {key: part.decode(parameters[key]) for key, part in self.space.items()}


def read_search(path: Path) -> Search:
    """The search of a YAML file. Raises ``InputError`` for a mistake in it or in the path of its base."""
    content = read_yaml(path)
    known = ", ".join(f.name for f in fields(Search))
    if not isinstance(content, dict) or not isinstance(content.get("space"), dict) or not content["space"]:
        raise InputError(f"{path} is not a search: expected {known}, where space maps keys to ranges or choices")
    base = Base(Path(normpath(path.parent / str(content.get("base")))), read_base(path, content.get("base")))
    space = {str(key): _part(f"{key} in the space of {path}", part) for key, part in content["space"].items()}
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
            if not space[key].allows(value):
                raise InputError(f"start {number} of {path} has {key}: {value}, expected a value of {space[key]}")
    return search


def _part(name: str, content: Any) -> Range | Choices:
    kind = Choices if isinstance(content, dict) and "choices" in content else Range
    try:
        part = kind(**content)
    except TypeError as error:
        expected = "{low: ..., high: ...}, with log or step if wanted, or {choices: [...]}"
        raise InputError(f"{name} is {content!r}, expected {expected}") from error
    part.check(name)
    return part
