"""Turns nested dataclasses into values that JSON knows, and back, and checks values.

A field is a key of the same name, without an underscore at its end (``class_``). It is left out where it has its
default value, and None where it has no default and the key is missing, as in a file of an earlier version.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from gpt_classifier.errors import InputError, did_you_mean

Record = TypeVar("Record")
INLINE = {"inline": True}  # metadata of a field whose own fields stand among those of its owner


def to_json(value: Any) -> Any:
    """``value`` with mappings in place of dataclasses, and lists in place of tuples."""
    if isinstance(value, Mapping):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    if not is_dataclass(value):
        return value
    found: dict[str, Any] = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        if field.metadata == INLINE:
            found |= to_json(inner) or {}
        elif field.default is MISSING or inner != field.default:
            found[_key(field.name)] = to_json(inner)
    return found


def from_json(kind: type[Record], value: Any) -> Record:
    """The ``kind`` that :func:`to_json` made ``value`` of; keys that it does not know are passed over."""
    return _read(kind, value)


def _read(kind: Any, value: Any) -> Any:
    kinds = [one for one in get_args(kind) if one is not NoneType] if NoneType in get_args(kind) else get_args(kind)
    if value is None:
        return None
    if is_dataclass(kind):
        return _record(kind, value)
    match get_origin(kind):
        case None:
            return value
        case origin if origin is list:
            return [_read(kinds[0], inner) for inner in value]
        case origin if origin is tuple:
            return tuple(value)
        case origin if origin is dict:
            return {key: _read(kinds[1], inner) for key, inner in value.items()}
    records: list[Any] = [one for one in kinds if is_dataclass(one)]
    if not records:
        return _read(kinds[0], value)
    return _record(max(records, key=lambda one: len(_keys(one) & value.keys())), value)  # of several, the likest


def _record(kind: Any, value: Mapping[str, Any]) -> Any:
    hints, given = _hints(kind), {}
    for field in fields(kind):
        hint, key = hints[field.name], _key(field.name)
        if field.metadata == INLINE:
            inner: Any = next(one for one in (hint, *get_args(hint)) if is_dataclass(one))
            given[field.name] = _record(inner, value) if hint is inner or _keys(inner) & value.keys() else None
        elif key in value:
            given[field.name] = _read(hint, value[key])
        elif field.default is MISSING and field.default_factory is MISSING:
            given[field.name] = None
    return kind(**given)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _keys(kind: Any) -> frozenset[str]:
    """Those of the record and of what is inline in it."""
    found: set[str] = set()
    for field in fields(kind):
        hint = _hints(kind)[field.name]
        inline: list[Any] = (
            [one for one in (hint, *get_args(hint)) if is_dataclass(one)] if field.metadata == INLINE else []
        )
        found |= _keys(inline[0]) if inline else {_key(field.name)}
    return frozenset(found)


def _key(name: str) -> str:
    return name.removesuffix("_")


# ---------------------------------------------------------------- checking


def with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object for ``json.loads(object_pairs_hook=...)``, which of two equal keys would take the last.

    Raises ``ValueError`` if there are any.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def check(kind: Any, value: Any, name: str = "") -> None:
    """Raises ``InputError`` unless ``value``, of JSON, is one that :func:`to_json` could have made of a ``kind``.

    ``name`` is that of the value in messages. Unlike :func:`from_json`, it takes no unknown keys and no missing ones.
    """
    if kind is Any:
        return
    if is_dataclass(kind):
        _check_record(kind, value, name)
        return
    origin, kinds = get_origin(kind), get_args(kind)
    if origin in (list, dict):
        inside = isinstance(value, list if origin is list else dict)
        named = value.items() if isinstance(value, dict) else enumerate(value) if inside else ()
        _expect(inside, value, name, "a list" if origin is list else "a mapping")
        for key, inner in named:
            check(kinds[-1], inner, f"{name}[{key!r}]")
    elif origin is Literal:
        _expect(value in kinds, value, name, f"one of {_word(kind)}{did_you_mean(str(value), [*map(str, kinds)])}")
    elif kinds:  # a union
        fitting = [one for one in kinds if _is_like(one, value)]
        _expect(bool(fitting), value, name, " or ".join(_word(one) for one in kinds))
        check(fitting[0], value, name)
    else:
        _expect(_is_like(kind, value), value, name, _word(kind))


def _check_record(kind: Any, value: Any, name: str) -> None:
    _expect(isinstance(value, dict), value, name, "a mapping")
    named = {_key(field.name): field for field in fields(kind)}
    if unknown := [key for key in value if key not in named]:
        raise InputError(f"{name or 'it'} has the key {str(unknown[0])[:60]!r}, expected {', '.join(named)}")
    for key, field in named.items():
        whole = f"{name}.{key}".removeprefix(".")
        if key in value:
            check(_hints(kind)[field.name], value[key], whole)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{whole} is missing")


def _is_like(kind: Any, value: Any) -> bool:
    """Whether a value is of a plain kind, or could be of a nested one."""
    if kind in (None, NoneType, bool, str):
        return isinstance(value, NoneType if kind is None else kind)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    origin = get_origin(kind) or kind
    if origin is Literal:
        return value in get_args(kind)
    return isinstance(value, list if origin is list else dict)


def _word(kind: Any) -> str:
    words = {None: "null", NoneType: "null", bool: "true or false", int: "a whole number", float: "a finite number"}
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    return (words | {str: "a text"}).get(kind) or ("a list" if get_origin(kind) is list else "a mapping")


def _expect(holds: bool, value: Any, name: str, expected: str) -> None:
    if not holds:
        raise InputError(f"{name or 'it'} is {repr(value)[:60]}, expected {expected}")
