"""A line of counts names every class of few, and the ends of many."""

import pytest

from gpt_classifier.data.summary import format_class_counts


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({"ham": 12, "spam": 3}, "12 ham, 3 spam"),
        ({"spam": 1234, "ham": 0}, "1,234 spam, 0 ham"),
        ({str(n): n for n in range(1, 11)}, "1 1, 2 2, 3 3, 4 4, 5 5, 6 6, 7 7, 8 8, 9 9, 10 10"),
    ],
)
def test_few_classes_are_all_named_in_their_order(counts, line):
    assert format_class_counts(counts) == line


def test_of_many_classes_the_most_frequent_and_the_rarest_are_named():
    counts = {"currency": 3, "person": 401, "location": 1812, "city": 95} | {f"class {n}": 50 for n in range(46)}
    assert (
        format_class_counts(counts)
        == "50 classes of 3 to 1,812 rows: 1,812 location, 401 person, 95 city, ..., 3 currency"
    )


def test_of_many_classes_those_without_rows_are_named():
    counts = {f"class {n}": 5 for n in range(11)} | {"date": 0}
    expected = "12 classes, 11 of 5 rows each: 5 class 0, 5 class 1, 5 class 2, ..., 5 class 10; without rows: date"
    assert format_class_counts(counts) == expected
    nothing = dict.fromkeys(map(str, range(60)), 0)
    assert format_class_counts(nothing) == "60 classes; without rows: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 50 more"


@pytest.mark.parametrize("classes", [11, 77, 1000])
def test_the_line_stays_short(classes):
    assert len(format_class_counts({f"a_name_of_25_letters_{n:05}": n for n in range(classes)})) < 250
