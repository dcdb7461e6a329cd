"""Error rates of groups of rows."""

from itertools import pairwise

import numpy as np
import pytest

from gpt_classifier.evaluation.groups import NO_LETTERS, Group, count_errors, group_by_length, group_by_script
from gpt_classifier.statistics.intervals import wilson


def test_a_group_counts_its_errors_with_wilsons_interval_and_without_rows_has_no_rate():
    found = count_errors(np.array([True, False, True, True]))
    assert found == Group(rows=4, errors=1, error_rate=0.25, error_rate_interval=wilson(1, 4)[1:])
    assert count_errors(np.zeros(0, dtype=bool)) == Group(rows=0, errors=0, error_rate=None, error_rate_interval=None)


@pytest.mark.parametrize("lengths", [[1], [7] * 9, [1, 1, 1, 1, 1, 1, 1, 1, 1, 50], list(range(1, 101))])
def test_every_row_is_in_one_group_and_equal_lengths_stay_together(lengths):
    right = np.arange(len(lengths)) % 3 > 0
    found = group_by_length(right, np.array(lengths))
    assert sum(each.group.rows for each in found) == len(lengths)
    assert sum(each.group.errors for each in found) == (~right).sum()
    for before, after in pairwise(found):
        assert before.to < after.from_
    if len(lengths) == 100:  # all distinct
        assert [each.group.rows for each in found] == [20] * 5


def test_scripts_are_those_of_most_letters_the_most_frequent_first():
    found = group_by_script(np.array([True, False, True, True]), ["hello", "привет all", "12 🙂", "bye"])
    assert (found[0].script, found[0].group.rows) == ("Latin", 2)
    assert {each.script: each.group.errors for each in found} == {"Latin": 0, "Cyrillic": 1, NO_LETTERS: 0}
    assert group_by_script(np.array([True]), [""])[0].script == NO_LETTERS
