"""Confident learning on tables small enough for paper, and on texts whose labels were flipped on purpose."""

import numpy as np
import pytest

from gpt_classifier.data import datasets
from gpt_classifier.data.splits import linked_rows
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.label_quality import confident_joint, cross_fitted_probabilities, quick_judge, suspicions


def quick(texts, labels, units, classes):
    return cross_fitted_probabilities(labels, units, classes, quick_judge(texts, labels, classes))


# Thresholds are the mean probabilities of the own label: (0.9 + 0.8 + 0.1) / 3 = 0.6 and (0.6 + 0.8 + 0.4) / 3 = 0.6.
BY_HAND = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.2, 0.8], [0.6, 0.4]])
LABELS = np.array([0, 0, 0, 1, 1, 1])


def test_the_joint_counts_a_text_for_the_class_that_reaches_its_threshold():
    assert confident_joint(BY_HAND, LABELS).tolist() == [[2, 1], [1, 2]]


def test_a_text_that_reaches_no_threshold_is_taken_to_err_as_often_as_the_others():
    # Thresholds 0.6 and 0.8: the fourth text reaches neither, so the three others of its class count for four.
    first = np.array([0.9, 0.9, 0.1, 0.5, 0.2, 0.2, 0.2])
    joint = confident_joint(np.column_stack([first, 1 - first]), np.array([0, 0, 0, 0, 1, 1, 1]))
    np.testing.assert_allclose(joint, [[8 / 3, 4 / 3], [0, 3]])


def test_a_text_counts_for_the_most_probable_of_the_classes_that_it_reaches():
    # Thresholds 0.8, 0.3 and 0.2: the third text reaches classes 1 and 2, though class 0 is the most probable of all.
    probabilities = [[1, 0, 0], [1, 0, 0], [0.4, 0.35, 0.25], [0.7, 0.3, 0], [0.7, 0.3, 0], [0.7, 0.1, 0.2]]
    joint = confident_joint(np.array(probabilities), np.array([0, 0, 0, 1, 1, 2]))
    np.testing.assert_allclose(joint, [[2, 1, 0], [0, 2, 0], [0, 0, 1]])


def test_the_joint_is_that_of_cleanlab():
    """The numbers are those of cleanlab 2.7.1, compute_confident_joint(labels, probabilities, calibrate=False)."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 4, 200)
    probabilities = rng.dirichlet(np.ones(4) / 2, 200)
    probabilities[np.arange(200), truth] += 1
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = np.where(rng.random(200) < 0.15, rng.integers(0, 4, 200), truth)
    counted = np.array([[22, 1, 3, 1], [1, 29, 0, 2], [1, 0, 20, 0], [1, 0, 3, 29]])
    joint = confident_joint(probabilities, labels)
    np.testing.assert_allclose(joint, counted * (np.bincount(labels) / counted.sum(axis=1))[:, None])


def test_the_joint_has_as_many_texts_of_each_label_as_there_are():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 50, 400)
    labels[labels == 17] = 18  # a class without texts
    joint = confident_joint(rng.dirichlet(np.ones(50), 400), labels)
    np.testing.assert_allclose(joint.sum(axis=1), np.bincount(labels, minlength=50))
    assert (joint >= 0).all()
    assert joint[17].sum() == 0


def test_equal_probabilities_speak_against_no_label():
    joint = confident_joint(np.full((6, 3), 1 / 3), np.array([0, 0, 0, 0, 0, 0]))
    assert joint.sum() == 6
    assert joint[0, 0] == 6


def test_a_suspicion_is_one_minus_the_normalized_margin():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    suggested, suspicion = suspicions(probabilities, np.array([1, 2, 1, 0, 0]))
    assert suggested.tolist() == [2, 1, 0, 1, 1]
    assert suspicion.tolist() == pytest.approx([0.4, 0.6, 0.0, 1.0, 0.5])


def test_most_of_the_flipped_labels_come_first():
    table = datasets.load("sample")["train"]
    labels = (table["label"] == "spam").to_numpy(int)
    flipped = np.random.default_rng(0).choice(len(labels), 20, replace=False)
    labels[flipped] = 1 - labels[flipped]
    units = linked_rows(table).to_numpy()
    probabilities = quick(table["text"].tolist(), labels, units, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    first = np.argsort(-suspicions(probabilities, labels)[1])[:40]
    assert len(set(first) & set(flipped)) >= 17  # of 20; 40 rows chosen at random would have 2
    joint = confident_joint(probabilities, labels)
    assert 8 < joint[0, 1] + joint[1, 0] < 40


def test_a_near_duplicate_with_the_same_wrong_label_does_not_vouch_for_it():
    ham = [f"see you at {letter * 3} then" for letter in "abcdefghij"]
    spam = [f"win a free {letter * 3} now" for letter in "abcdefghij"]
    texts = [*ham, *spam, *["win a free prize, call 0800 12345 now"] * 4]
    labels = np.array([0] * 10 + [1] * 10 + [0] * 4)
    together = np.array([*range(20), *[20] * 4])
    apart = np.arange(24)
    for units, expected in ((together, [1] * 4), (apart, [0] * 4)):
        probabilities = quick(texts, labels, units, 2)
        assert probabilities.argmax(axis=1)[20:].tolist() == expected


def test_a_class_that_a_fold_does_not_know_has_probability_0_there():
    texts = [f"text {letter}{number} {letter * 4}" for letter in "abc" for number in range(9)] + [
        "lonely",
        "never seen",
    ]
    labels = np.array([0] * 9 + [2] * 9 + [3] * 9 + [1, 0])
    probabilities = quick(texts, labels, np.arange(len(texts)), 5)
    assert probabilities[27, 1] == 0
    assert (probabilities[:, 4] == 0).all()  # a class without texts
    assert suspicions(probabilities, labels)[1][27] > 0.5


@pytest.mark.parametrize(
    ("texts", "labels"),
    [(["a b", "c d", "e f"], [0, 1, 1]), (["same"] * 9, [0] * 4 + [1] * 5), ([f"x{n}" for n in range(20)], [0] * 20)],
)
def test_texts_that_cannot_be_judged_are_refused_in_one_line(texts, labels):
    units = np.unique(texts, return_inverse=True)[1]
    with pytest.raises(InputError, match=f"{len(texts)} training texts are too few for 5 folds"):
        quick(texts, np.array(labels), units, 2)
