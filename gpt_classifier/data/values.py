"""Distinguishes texts, names and missing values from everything else.

A text is a ``str``, or bytes that are UTF-8. A value is missing if it is None, NaN, or what pandas, polars and pyarrow
have for it. Everything else is refused by its type: what ``str`` makes of a list or a number is seldom what was meant.
"""

import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from numbers import Number
from typing import Any

import numpy as np

from gpt_classifier.errors import InputError
from gpt_classifier.text.normalize import replace_surrogates

MISSING_TYPES = ("NAType", "NaTType")  # of pandas, which is not imported for their sake
TEXTS = (str, bytes, bytearray, memoryview)
CONVERT = "convert the column to strings first"


def is_missing(value: Any) -> bool:
    if isinstance(value, float | Decimal | np.generic):
        return bool(value != value)  # as only NaN and NaT are
    return value is None or value is np.ma.masked or type(value).__name__ in MISSING_TYPES


def to_text(value: Any, where: Callable[[], str]) -> str | None:
    """The text that a value is, None if it is missing.

    Args:
        value: Value of a column or list of texts.
        where: Gives the value's name and place for a message, such as ``text in row 3 of a.jsonl``.
    """
    if type(value) is not str:
        value = _plain(value)
        if is_missing(value):
            return None
        if isinstance(value, bytes | bytearray | memoryview):
            try:
                return bytes(value).decode("utf-8")
            except UnicodeDecodeError as error:
                problem = f"which is not UTF-8 at byte {error.start}: decode the column first"
                raise InputError(f"{where()} is {format_value(bytes(value))}, {problem}") from error
        if not isinstance(value, str):
            raise InputError(f"{where()} is {format_value(value)}, expected a str: {CONVERT}")
    # Lone surrogates, which JSON can hold and strings of pandas cannot, are replaced, as by the tokenizers.
    return replace_surrogates(str.__str__(value))  # a plain str also of NumPy's and of an enumeration's


def to_texts(values: Iterable[Any], where: Callable[[int], str]) -> list[str | None]:
    """The text of each value of a column, None where it is missing; ``where`` gives a value's place by its position."""
    return [to_text(value, lambda n=n: where(n)) for n, value in enumerate(values)]  # type: ignore[misc]


def to_names(values: Iterable[Any], where: Callable[[int], str], known: Collection[str] = ()) -> list[str | None]:
    """The classes, groups or splits that the values of a whole column name, None where one is missing.

    Where all are whole numbers, 1.0 names what 1 names: libraries make floats of whole numbers among which one is
    missing. So it takes the whole column to tell.

    Args:
        values: Strings, numbers, booleans, dates.
        where: Gives a value's name and place for a message, by its position.
        known: Names that numbers are to meet: 1 is ``1.0`` if that is a known class and ``1`` is none.
    """
    values = [_plain(value) for value in values]
    present = [value for value in values if not is_missing(value)]
    numeric = all(isinstance(value, Number) and not isinstance(value, bool) for value in present)
    whole = numeric and all(_whole(value) is not None for value in present)

    def to_name(value: Any, position: int) -> str | None:
        if isinstance(value, TEXTS) or is_missing(value):
            return to_text(value, lambda: where(position))
        if isinstance(value, Iterable):  # a list, a dictionary, an array
            raise InputError(f"{where(position)} is {format_value(value)}, expected one name: {CONVERT}")
        number = _whole(value) if numeric else None
        name = str(number if whole else value)
        forms = [name] if number is None else [name, str(number), f"{number}.0"]
        return next((form for form in forms if form in known), name)

    return [to_name(value, position) for position, value in enumerate(values)]


def _whole(number: Any) -> int | None:
    """The number as an int; None if it is not whole."""
    try:
        whole = int(number)
        return whole if whole == number else None
    except (OverflowError, ValueError, TypeError):  # infinite, of too many digits, or complex
        return None


def to_list(values: Any, what: str) -> list[Any]:
    """The values of a list, iterator, or column of numpy, pandas, polars, pyarrow or torch.

    Args:
        values: One dimension of values.
        what: What they are, for messages: ``the texts``.
    """
    if hasattr(values, "columns") and hasattr(values, "shape"):  # a table of pandas, polars or pyarrow
        raise InputError(f"{what} are a {type(values).__name__}: give one of its columns, such as frame['text']")
    if isinstance(values, (*TEXTS, Mapping, set, frozenset)) or not isinstance(values, Iterable):
        raise InputError(f"{what} are {format_value(values)}, expected a list")
    if len(shape := tuple(getattr(values, "shape", (0,)))) != 1:
        raise InputError(f"{what} are an array of shape {shape}, expected one dimension")
    for method in ("to_pylist", "to_list", "tolist"):  # of pyarrow; of polars and pandas; of numpy and torch
        if hasattr(values, method):
            return list(getattr(values, method)())
    return list(values)


def format_value(value: Any) -> str:
    """A value in a message: shortened, on one line, with its type unless that is plain to see."""
    kind = "" if isinstance(value, str) else f" ({type(value).__name__})"
    return " ".join(reprlib.repr(value).split()) + kind


def _plain(value: Any) -> Any:
    """The value in a scalar of pyarrow, numpy or torch."""
    if hasattr(value, "as_py"):
        return value.as_py()
    if isinstance(value, np.datetime64) or value is np.ma.masked:
        return value  # whose item is a number
    is_scalar = isinstance(value, np.generic) or getattr(value, "shape", None) == ()
    return value.item() if is_scalar and hasattr(value, "item") else value
