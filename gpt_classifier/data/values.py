"""Tells texts, names and missing values apart from everything else; knows no files and needs no pandas.

A text is a ``str``, or bytes that are UTF-8. A value is missing if it is None, NaN, or what pandas, polars and pyarrow
have for it. Everything else is refused by its type: what ``str`` makes of a list or a number is seldom what was meant.
"""

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from numbers import Number
from typing import Any

import numpy as np

from gpt_classifier.errors import InputError

MISSING_TYPES = ("NAType", "NaTType")  # of pandas, which is not imported for their sake
CONVERT = "convert the column to strings first"


def is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in MISSING_TYPES:
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating | Decimal) and math.isnan(value)


def text_of(value: Any, where: Callable[[], str]) -> str | None:
    """The text that a value is, None if it is missing.

    Args:
        value: Of a column or list of texts.
        where: Gives the value's name and place for a message, such as ``text in row 3 of a.jsonl``.
    """
    if type(value) is not str:
        value = _plain(value)
        if is_missing(value):
            return None
        if isinstance(value, bytes | bytearray | memoryview):
            return _decoded(bytes(value), where)
        if not isinstance(value, str):
            raise InputError(f"{where()} is {shown(value)}, expected a str: {CONVERT}")
    # Lone surrogates, which JSON can hold and strings of pandas cannot, are replaced, as by the tokenizers.
    value = str.__str__(value)  # a plain one also of NumPy's and of an enumeration's
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def name_of(value: Any, where: Callable[[], str]) -> str | None:
    """The class, group or split that a value names, None if it is missing: a number is the name that it is written by.

    1.0 is written as 1, because a column of whole numbers becomes one of floats wherever a value is missing.
    """
    value = _plain(value)
    if isinstance(value, str | bytes | bytearray | memoryview) or is_missing(value):
        return text_of(value, where)
    if isinstance(value, Number) and not isinstance(value, bool | int | complex) and value == int_of(value):
        return str(int_of(value))
    if isinstance(value, Iterable | Mapping):  # a list, a dictionary, an array
        raise InputError(f"{where()} is {shown(value)}, expected one name: {CONVERT}")
    return str(value)


def int_of(value: Any) -> int | None:
    """The whole number that a number is cut to; None for those that are infinite."""
    try:
        return int(value)
    except (OverflowError, ValueError, TypeError):
        return None


def listed(values: Any, what: str) -> list[Any]:
    """The values of a list, iterator, or column of numpy, pandas, polars, pyarrow or torch.

    Args:
        values: One dimension of values.
        what: What they are, for messages: ``the texts``.
    """
    if hasattr(values, "columns") and hasattr(values, "shape"):  # a table of pandas, polars or pyarrow
        raise InputError(f"{what} are a {type(values).__name__}: give one of its columns, such as frame['text']")
    if isinstance(values, str | bytes | bytearray | memoryview | Mapping | set | frozenset) or not isinstance(
        values, Iterable
    ):
        raise InputError(f"{what} are {shown(values)}, expected a list")
    if len(shape := tuple(getattr(values, "shape", (0,)))) != 1:
        raise InputError(f"{what} are an array of shape {shape}, expected one dimension")
    for method in ("to_pylist", "to_list", "tolist"):  # of pyarrow; of polars and pandas; of numpy and torch
        if hasattr(values, method):
            return list(getattr(values, method)())
    return list(values)


def shown(value: Any) -> str:
    """A value in a message: shortened, on one line, with its type unless that is plain to see."""
    kind = "" if isinstance(value, str) else f" ({type(value).__name__})"
    return " ".join(reprlib.repr(value).split()) + kind


def _plain(value: Any) -> Any:
    """The value in a scalar of pyarrow, numpy or torch."""
    if hasattr(value, "as_py"):
        return value.as_py()
    is_scalar = isinstance(value, np.generic) or getattr(value, "shape", None) == ()
    return value.item() if is_scalar and hasattr(value, "item") else value


def _decoded(content: bytes, where: Callable[[], str]) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where()} is {shown(content)}, which is not UTF-8 at byte {error.start}: decode the column first"
        ) from error
