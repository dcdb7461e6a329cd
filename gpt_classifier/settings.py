"""Checks settings and groups them in dataclasses."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar, get_args

from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.records import check

Group = TypeVar("Group")


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raises ``InputError`` unless ``value`` is among ``choices``, a ``Literal``."""
    known = get_args(choices)
    if value not in known:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(known)}{did_you_mean(str(value), known)}")


def grouped(kind: type[Group], name: str, value: Any) -> Group:
    """A group of settings, given as such or as a mapping of its fields.

    Args:
        kind: The frozen dataclass of the group.
        name: Of the group, for messages.
        value: A ``kind``, or a mapping of some of its fields; the others have their defaults.
    """
    if isinstance(value, kind):
        return value
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # it is a dataclass
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is {value!r}, expected a mapping with fields {', '.join(known)}")
    for field in value:
        if field not in known:
            close = did_you_mean(str(field), known)
            raise InputError(f"{name} has no field {field!r}, expected fields {', '.join(known)}{close}")
    check(kind, dict(value), name)
    return kind(**value)


def plain(group: Any) -> Any:
    """The fields of a group of settings, or of a mapping, as a dictionary; any other value as it is."""
    if is_dataclass(group) and not isinstance(group, type):
        return asdict(group)
    return dict(group) if isinstance(group, Mapping) else group


def check_resumed(now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    """Raises ``InputError`` for the first difference between what a fit is resumed with and what it was stopped with.

    It would not be the same fit any more, and where sizes differ, the optimizer's state would not fit the parameters.
    """
    for name in dict(now) | dict(then):
        if now.get(name) != then.get(name):
            raise InputError(
                f"{name} {_is(name)} {_shown(now.get(name))}, but the checkpoint was written with "
                f"{_shown(then.get(name))}: continue with what it was written with, or start a new run from its "
                "weights with --model.weights RUN, the folder of its run"
            )


def _is(name: str) -> str:
    return "are" if name.endswith(("rows", "texts", "weights")) else "is"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and " " in value else repr(value)


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` with dotted keys in place of mappings: ``{"optimizer.weight_decay": 0.1}``."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{key}": inner for key, inner in flat(value).items()}
        else:
            found[name] = value
    return found
