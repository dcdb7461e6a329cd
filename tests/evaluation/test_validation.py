"""A test that disagrees with the validation is found by Fisher's exact test, as scipy does."""

import pytest
from scipy.stats import fisher_exact

from gpt_classifier.evaluation.validation import Validation, describe_disagreement
from gpt_classifier.statistics.paired_tests import format_signed


@pytest.mark.parametrize(
    ("val", "test"),
    [((98, 500), (171, 500)), ((48, 50), (90, 100)), ((5, 5), (0, 5)), ((0, 1), (1, 1)), ((0, 9), (0, 9))],
)
def test_a_difference_is_said_if_it_is_statistically_significant(val, test):
    p = fisher_exact([[val[0], val[1] - val[0]], [test[0], test[1] - test[0]]]).pvalue
    said = describe_disagreement(Validation(right=val[0], rows=val[1]), *test)
    assert bool(said) == (p < 0.01)
    if val == (98, 500):
        assert "val, 19.60 % [16.4, 23.3] of 500" in said
        assert "test, 34.20 % [30.2, 38.5] of 500" in said


@pytest.mark.parametrize(
    ("value", "digits", "text"), [(-0.04, 1, "0.0"), (0.04, 1, "0.0"), (0.05, 2, "+0.05"), (-3, 1, "-3.0")]
)
def test_zero_has_no_sign(value, digits, text):
    assert format_signed(value, digits) == text
