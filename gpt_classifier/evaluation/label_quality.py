"""Which labels are probably wrong, by confident learning; knows nothing about files.

C. Northcutt, L. Jiang, I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial
Intelligence Research 70, 2021. On 300 random tables of up to 50 classes the ranking was that of the authors' package,
cleanlab 2.7.1, and so was the joint before rounding, but for texts that reach the thresholds of several classes and not
that of the most probable one: there this module keeps to the paper's equation 1.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import character_svm

FOLDS = 5

# Takes the numbers of the rows to train on and of n rows to judge, and returns the latter's probabilities, (n, K).
Judge = Callable[[np.ndarray, np.ndarray], np.ndarray]


def cross_fitted_probabilities(labels: np.ndarray, units: np.ndarray, classes: int, judge: Judge) -> np.ndarray:
    """(N, K) the probability of each class for each text, by a model that was trained without this text.

    Args:
        labels: (N,) number of the class that each text was given.
        units: (N,) what near-duplicates have in common; they are in one fold, or a wrong label would vouch for itself.
        classes: Number of classes K, of which some may have no text.
        judge: Trains and asks a model, once for each of FOLDS folds, which are stratified by class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes with fewer texts than folds
            parts = [(fitted, held_out) for fitted, held_out in folds.split(labels, labels, units) if len(held_out)]
    except ValueError:  # no class has as many texts as there are folds
        parts = []
    if not parts or any(len(set(labels[fitted])) < 2 for fitted, _ in parts):
        raise InputError(
            f"{len(labels)} training texts are too few for {FOLDS} folds with two classes in each: add rows"
        )
    probabilities = np.zeros((len(labels), classes))
    for fitted, held_out in parts:
        probabilities[held_out] = judge(fitted, held_out)
    return probabilities


def quick_judge(texts: Sequence[str], labels: np.ndarray, classes: int) -> Judge:
    """Judges by the character SVM of the baselines, with a logistic regression in place of the SVM for probabilities.

    A class without a text to train on has probability 0.
    """
    from sklearn.linear_model import LogisticRegression

    features = character_svm()[:-1].fit_transform(texts)  # once for all folds, as it uses no labels

    def judge(fitted: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        model = LogisticRegression(C=10, max_iter=1000).fit(features[fitted], labels[fitted])
        probabilities = np.zeros((len(held_out), classes))
        probabilities[:, model.classes_] = model.predict_proba(features[held_out])
        return probabilities

    return judge


def suspicions(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class other than the label (N,), and how suspicious that makes the label (N,), from 0 to 1.

    A suspicion is (1 + probability of that class - probability of the label) / 2, which is 1 minus the normalized
    margin of the paper's authors: above 0.5 the other class is more probable than the label.
    """
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -1.0
    suggested = others.argmax(axis=1)
    return suggested, (1 + probabilities[rows, suggested] - probabilities[rows, labels]) / 2


def confident_joint(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K, K) an estimate of how many texts with the label i are of class j; the sum of row i is its number of labels.

    A text is counted for the most probable of those classes whose probability reaches the mean that it has over texts
    with this label; a text that no class reaches is not counted. Each row of counts is then scaled to the number of
    labels, so that the texts not counted are taken to err as often as the others.
    """
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    members = [probabilities[labels == number, number] for number in range(len(counts))]
    thresholds = np.array([one.mean() if len(one) else np.inf for one in members])
    reached = probabilities >= thresholds - 1e-6  # where all are equal, the mean may be rounded up
    confident = reached.any(axis=1)
    likely = np.where(reached, probabilities, -1.0).argmax(axis=1)
    joint = np.zeros((len(counts), len(counts)))
    np.add.at(joint, (labels[confident], likely[confident]), 1)
    np.fill_diagonal(joint, joint.diagonal().clip(min=1))  # of each class, one text at least is right
    return joint * (counts / joint.sum(axis=1))[:, None]
