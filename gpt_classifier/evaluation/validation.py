"""Says whether a test agrees with the validation that its model was chosen by."""

from dataclasses import dataclass

from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.statistics.paired_tests import format_p_value

DIFFERS = 0.01  # with a smaller p-value the difference is statistically significant


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Of the model that is tested: how many validation texts it classified correctly."""

    right: int
    rows: int


def describe_disagreement(validation: Validation, right: int, rows: int) -> str:
    """A sentence if the accuracy of the test rows differs significantly from that of the validation, else ``""``.

    The test is Fisher's exact one, of two proportions of different texts (R. A. Fisher, 1922).
    """
    from scipy.stats import fisher_exact

    counts = [[validation.right, validation.rows - validation.right], [right, rows - right]]
    p = float(fisher_exact(counts).pvalue)
    if p >= DIFFERS:
        return ""
    val, test = wilson(validation.right, validation.rows), wilson(right, rows)
    return (
        f"The accuracies on val, {val} of {validation.rows:,}, and on test, {test} of {rows:,}, differ "
        f"significantly (Fisher's exact p {format_p_value(p)}): their rows are not alike (another source or class "
        "prior, or texts that were trained on), and new texts may score like either."
    )
