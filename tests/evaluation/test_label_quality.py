"""Suspicions are right on a table small enough for paper, and on texts whose labels were flipped on purpose."""

import numpy as np
import pytest

from gpt_classifier.data import datasets
from gpt_classifier.data.splits import linked_rows
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.label_quality import cross_fitted_probabilities, suggest_labels


def test_label_quality_is_the_normalized_margin():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    suggested, suspicion = suggest_labels(probabilities, np.array([1, 2, 1, 0, 0]))
    assert suggested.tolist() == [2, 1, 0, 1, 1]
    assert suspicion.tolist() == pytest.approx([0.4, 0.6, 0.0, 1.0, 0.5])


def test_most_of_the_flipped_labels_come_first():
    table = datasets.load("sample")["train"]
    labels = (table["label"] == "spam").to_numpy(int)
    flipped = np.random.default_rng(0).choice(len(labels), 20, replace=False)
    labels[flipped] = 1 - labels[flipped]
    units = linked_rows(table).to_numpy()
    probabilities = cross_fitted_probabilities(table["text"].tolist(), labels, units, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    first = np.argsort(-suggest_labels(probabilities, labels)[1])[:40]
    assert len(set(first) & set(flipped)) >= 17  # of 20; 40 rows chosen at random would have 2


def test_a_near_duplicate_with_the_same_wrong_label_does_not_vouch_for_it():
    ham = [f"see you at {letter * 3} then" for letter in "abcdefghij"]
    spam = [f"win a free {letter * 3} now" for letter in "abcdefghij"]
    texts = [*ham, *spam, *["win a free prize, call 0800 12345 now"] * 4]
    labels = np.array([0] * 10 + [1] * 10 + [0] * 4)
    together = np.array([*range(20), *[20] * 4])
    apart = np.arange(24)
    for units, expected in ((together, [1] * 4), (apart, [0] * 4)):
        probabilities = cross_fitted_probabilities(texts, labels, units, 2)
        assert probabilities.argmax(axis=1)[20:].tolist() == expected


def test_a_class_that_a_fold_does_not_know_has_probability_0_there():
    texts = [f"text {letter}{number} {letter * 4}" for letter in "abc" for number in range(9)] + [
        "lonely",
        "never seen",
    ]
    labels = np.array([0] * 9 + [2] * 9 + [3] * 9 + [1, 0])
    probabilities = cross_fitted_probabilities(texts, labels, np.arange(len(texts)), 5)
    assert probabilities[27, 1] == 0
    assert (probabilities[:, 4] == 0).all()  # a class without texts
    assert suggest_labels(probabilities, labels)[1][27] > 0.5


@pytest.mark.parametrize(
    ("texts", "labels"),
    [(["a b", "c d", "e f"], [0, 1, 1]), (["same"] * 9, [0] * 4 + [1] * 5), ([f"x{n}" for n in range(20)], [0] * 20)],
)
def test_texts_that_cannot_be_judged_are_refused_in_one_line(texts, labels):
    units = np.unique(texts, return_inverse=True)[1]
    with pytest.raises(InputError, match=f"{len(texts)} training texts are too few for 5 folds"):
        cross_fitted_probabilities(texts, np.array(labels), units, 2)
