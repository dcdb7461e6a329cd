"""Models that need no GPU, no minutes and no pretraining: what a large one has to beat."""

import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gpt_classifier.evaluation.interruptible import interruptibly

MANY_CLASSES = 10  # above which L-BFGS needs minutes where SAGA, at the same accuracy, needs seconds
LIMIT = 600.0  # estimated seconds of one baseline, above which it is left out unless asked for


class Baseline(NamedTuple):
    """A simple model, and the time that training and choosing it takes on one core of a server.

    That was measured once, so that no clock decides what runs.
    """

    name: str  # in tables and sentences
    seconds: float  # for a million characters of training and test texts, and two classes
    classes: float  # so many more take as long again

    def estimate_seconds(self, characters: int, classes: int) -> float:
        return self.seconds * characters / 1e6 * (1 + max(0, classes - 2) / self.classes)


BASELINES = {  # from cheap to costly
    "majority_class": Baseline("majority class", 0.0, 1),
    "decision_tree": Baseline("decision tree", 0.1, 100),
    "naive_bayes": Baseline("naive Bayes", 0.5, 100),
    "tfidf_logistic_regression": Baseline("logistic regression", 2.0, 30),
    "character_svm": Baseline("character SVM", 8.0, 30),
}


def build_baseline(key: str, classes: int = 2) -> Any:
    """One of BASELINES, untrained, with scikit-learn's ``fit`` and ``predict`` for texts and class names.

    A logistic regression of many ``classes`` has the solver that is faster there.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    match key:
        case "majority_class":  # whatever the text
            return DummyClassifier(strategy="most_frequent")
        case "decision_tree":  # three questions about the number of characters and of digits
            tree = DecisionTreeClassifier(max_depth=3, random_state=0)
            return make_pipeline(FunctionTransformer(count_characters_and_digits), tree)
        case "naive_bayes":
            return make_pipeline(CountVectorizer(), MultinomialNB())
        case "tfidf_logistic_regression":  # of words and pairs of words
            solver = {"solver": "saga", "tol": 1e-3, "random_state": 0} if classes > MANY_CLASSES else {}
            model = LogisticRegression(C=10, max_iter=1000, **solver)
            return make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), model)
        case _:  # a linear support vector machine of runs of 2 to 5 characters within words
            features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
            return make_pipeline(features, LinearSVC(random_state=0))  # a seed, as it visits rows at random


def count_characters_and_digits(texts: Sequence[str]) -> np.ndarray:
    """(N, 2) how many characters and how many digits each text has."""
    return np.array([(len(text), sum(map(str.isdigit, text))) for text in texts])


class Rows(NamedTuple):
    """N texts with their class names, or with the labels of K that each has."""

    texts: Sequence[str]
    labels: np.ndarray  # (N,), or (N, K) booleans

    @property
    def classes(self) -> int:
        """The number of classes that occur, or of labels."""
        return self.labels.shape[1] if self.labels.ndim == 2 else len(set(self.labels.tolist()))

    def select(self, which: np.ndarray) -> "Rows":
        """The rows for which ``which`` (N,) holds."""
        return Rows([text for text, chosen in zip(self.texts, which, strict=True) if chosen], self.labels[which])


class Trained(NamedTuple):
    """One baseline."""

    name: str
    predicted: np.ndarray  # (N,) class names of the test texts, or (N, K) whether they have each label
    accuracy_to_choose: float  # of the rows that choose the best one
    seconds: float  # of training and of classifying the test texts


class Baselines(NamedTuple):
    """All that could be trained."""

    trained: list[Trained]
    skipped: dict[str, str]  # the others, each with the reason
    training_rows: int
    chosen_on: str  # what rows chose the best one; never the test rows, which then would favour it

    @property
    def best(self) -> Trained:
        """The one with the best accuracy on these rows; of equals the costliest, which uses more of the texts."""
        return max(reversed(self.trained), key=lambda each: each.accuracy_to_choose)


def train_baselines(
    train: Rows,
    val: Rows | None,
    test_texts: Sequence[str],
    class_weights: Mapping[str, float] | None = None,
    limit: float = LIMIT,
) -> Baselines:
    """Trains each of BASELINES and classifies the test texts; for multi-label rows, one model a label.

    What is trained depends on the rows alone, so the same rows have the same baselines on a busy machine too.

    Args:
        train: The rows that the network was trained on.
        val: The rows that choose the best one. Without them it is chosen on every fifth training row, after training
            on the others; predictions are those after training on all.
        test_texts: The texts to classify.
        class_weights: Of the training rows' loss, by class name, as the network had them; not for multi-label rows.
        limit: Estimated seconds of one baseline, above which it is left out.
    """
    characters, classes = sum(map(len, train.texts)) + sum(map(len, test_texts)), train.classes
    trained, skipped = [], {}
    for key, baseline in BASELINES.items():
        if (estimated := baseline.estimate_seconds(characters, classes)) > limit:
            skipped[baseline.name] = (
                f"{characters:,} characters in {classes:,} classes would take it about {estimated / 60:,.0f} minutes "
                "(--baselines all trains it all the same)"
            )
            continue
        try:
            work = partial(_train, key, train, val, test_texts, class_weights)
            trained.append(interruptibly(work, f"training {baseline.name}"))
        except (ValueError, MemoryError) as error:  # texts without any word, rows of one class among the others
            skipped[baseline.name] = " ".join(str(error).split()) or "not enough memory"
    chosen_on = (
        f"{_held_out(train).sum():,} training rows held out" if val is None else f"{len(val.texts):,} validation rows"
    )
    return Baselines(trained, skipped, len(train.texts), chosen_on)


def _train(
    key: str,
    train: Rows,
    val: Rows | None,
    test_texts: Sequence[str],
    class_weights: Mapping[str, float] | None,
) -> Trained:
    start = time.perf_counter()
    model = _fit(key, train, class_weights)
    predicted = np.asarray(model.predict(test_texts), dtype=train.labels.dtype)
    seconds = time.perf_counter() - start
    if val is None:
        held_out = _held_out(train)
        model, val = _fit(key, train.select(~held_out), class_weights), train.select(held_out)
    accuracy = float(right(model.predict(val.texts), val.labels).mean())
    return Trained(BASELINES[key].name, predicted, accuracy, seconds)


def _held_out(train: Rows) -> np.ndarray:
    """(N,), every fifth training row."""
    every_fifth: np.ndarray = np.arange(len(train.texts)) % 5 == 0
    return every_fifth


def right(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,), whether the class of each text is right, or all its labels are."""
    same: np.ndarray = np.equal(predicted, labels)
    return same if same.ndim == 1 else np.all(same, axis=1)


def _fit(key: str, rows: Rows, class_weights: Mapping[str, float] | None) -> Any:
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.utils.validation import has_fit_parameter

    multi_label = rows.labels.ndim == 2
    model = build_baseline(key, 2 if multi_label else rows.classes)
    if key == "majority_class":  # of rows, not of their weights
        return model.fit(rows.texts, rows.labels)
    name, last = model.steps[-1]
    if multi_label:
        model.steps[-1] = name, OneVsRestClassifier(last)  # words are counted once for all labels
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
            return model.fit(rows.texts, rows.labels)
    if class_weights is None or not has_fit_parameter(last, "sample_weight"):
        return model.fit(rows.texts, rows.labels)
    weights = np.array([class_weights[label] for label in rows.labels])
    return model.fit(rows.texts, rows.labels, **{f"{name}__sample_weight": weights})
