"""Scores the quality of labels by models that were trained without them.

The ranking is by the normalized margin of C. Northcutt, L. Jiang, I. Chuang, "Confident Learning: Estimating
Uncertainty in Dataset Labels", Journal of Artificial Intelligence Research 70, 2021; on 300 random tables of up to 50
classes it was that of the authors' package, cleanlab 2.7.1.
"""

import warnings
from collections.abc import Sequence

import numpy as np

from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import build_baseline

FOLDS = 5


def cross_fitted_probabilities(texts: Sequence[str], labels: np.ndarray, units: np.ndarray, classes: int) -> np.ndarray:
    """(N, K) probabilities of the classes for each text, by a model that was trained without this text.

    It is the character SVM of the baselines, with a logistic regression in place of the SVM for probabilities, trained
    once for each of FOLDS folds, which are stratified by class. A class without a text to train on has probability 0.

    Args:
        texts: N of them.
        labels: (N,) number of the class that each text was given.
        units: (N,) groups of near-duplicates; each group is in one fold, or a wrong label would support itself.
        classes: Number of classes K, of which some may have no text.
    """
    from sklearn.linear_model import LogisticRegression
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
    features = build_baseline("character_svm")[:-1].fit_transform(texts)  # once for all folds, as it uses no labels
    probabilities = np.zeros((len(labels), classes))
    for fitted, held_out in parts:
        model = LogisticRegression(C=10, max_iter=1000).fit(features[fitted], labels[fitted])
        probabilities[np.ix_(held_out, model.classes_)] = model.predict_proba(features[held_out])
    return probabilities


def suggest_labels(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class other than the label (N,), and 1 minus the quality of the label (N,), from 0 to 1.

    Label quality is the normalized margin of the paper's authors, (1 + probability of the label - probability of that
    class) / 2: below 0.5 the other class is more probable than the label.
    """
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -1.0
    suggested = others.argmax(axis=1)
    return suggested, (1 + probabilities[rows, suggested] - probabilities[rows, labels]) / 2
