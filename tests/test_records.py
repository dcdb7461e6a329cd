"""Records become plain values and come back; a file of an earlier version is read too."""

from dataclasses import dataclass, field

import pytest

from gpt_classifier.records import INLINE, from_json, to_json


@dataclass(frozen=True, kw_only=True)
class Size:
    width: int
    unit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reason:
    missing: str


@dataclass(frozen=True, kw_only=True)
class Thing:
    class_: str
    size: Size | None = field(default=None, metadata=INLINE)
    span: tuple[float, float] | None
    parts: list[Size | Reason]
    named: dict[str, Size]
    either: Size | Reason | None = None


FULL = Thing(
    class_="a",
    size=Size(width=1),
    span=(0.5, 1.5),
    parts=[Size(width=2, unit="m"), Reason(missing="lost")],
    named={"b": Size(width=3)},
    either=Reason(missing="gone"),
)


@pytest.mark.parametrize("thing", [FULL, Thing(class_="b", span=None, parts=[], named={})])
def test_a_record_comes_back_from_its_plain_values(thing):
    assert from_json(Thing, to_json(thing)) == thing


def test_keys_are_field_names_and_what_has_its_default_is_left_out():
    assert to_json(FULL) == {
        "class": "a",
        "width": 1,
        "span": [0.5, 1.5],
        "parts": [{"width": 2, "unit": "m"}, {"missing": "lost"}],
        "named": {"b": {"width": 3}},
        "either": {"missing": "gone"},
    }


def test_missing_keys_are_none_and_unknown_ones_passed_over():
    assert from_json(Thing, {"class": "a", "colour": "red"}) == Thing(class_="a", span=None, parts=None, named=None)
