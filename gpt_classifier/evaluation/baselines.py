"""Models that need no GPU, no minutes and no pretraining: what a large one has to beat."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gpt_classifier.evaluation.interruptible import interruptibly

MANY_CLASSES = 10  # above which L-BFGS needs minutes where SAGA, at the same accuracy, needs seconds
LIMIT = 600.0  # estimated seconds of one baseline, above which it is left out unless asked for


def majority_class() -> Any:
    """The most frequent class of the training rows, whatever the text."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="most_frequent")


def decision_tree() -> Any:
    """Three questions about the number of characters and of digits."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.tree import DecisionTreeClassifier

    return make_pipeline(
        FunctionTransformer(characters_and_digits), DecisionTreeClassifier(max_depth=3, random_state=0)
    )


def characters_and_digits(texts: Sequence[str]) -> np.ndarray:
    """(N, 2) how many characters and how many digits each text has."""
    return np.array([(len(text), sum(map(str.isdigit, text))) for text in texts])


def naive_bayes() -> Any:
    """How often each word occurs in each class."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    return make_pipeline(CountVectorizer(), MultinomialNB())


def tfidf_logistic_regression() -> Any:
    """Words and pairs of words, weighted by rarity, under a logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )


def character_svm() -> Any:
    """Runs of 2 to 5 characters within words, weighted by rarity, under a linear support vector machine."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    # With a seed, as the solver visits rows at random.
    return make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True), LinearSVC(random_state=0)
    )


# Each makes an untrained model with scikit-learn's fit and predict, for texts and class names. From cheap to costly.
CLASSICAL: dict[str, Callable[[], Any]] = {
    "majority_class": majority_class,
    "decision_tree": decision_tree,
    "naive_bayes": naive_bayes,
    "tfidf_logistic_regression": tfidf_logistic_regression,
    "character_svm": character_svm,
}
NAMES = {  # in tables and sentences
    "majority_class": "majority class",
    "decision_tree": "decision tree",
    "naive_bayes": "naive Bayes",
    "tfidf_logistic_regression": "logistic regression",
    "character_svm": "character SVM",
}


class Cost(NamedTuple):
    """What training and choosing takes on one core of a server: measured once, so that no clock decides what runs."""

    seconds: float  # for a million characters of training and test texts, and two classes
    classes: float  # so many more take as long again

    def of(self, characters: int, classes: int) -> float:
        """The estimated seconds."""
        return self.seconds * characters / 1e6 * (1 + max(0, classes - 2) / self.classes)


COSTS = {
    "majority_class": Cost(0.0, 1),
    "decision_tree": Cost(0.1, 100),
    "naive_bayes": Cost(0.5, 100),
    "tfidf_logistic_regression": Cost(2.0, 30),
    "character_svm": Cost(8.0, 30),
}


class Rows(NamedTuple):
    """Texts with their class names, N of each, or with which of K labels each has."""

    texts: Sequence[str]
    labels: np.ndarray  # (N,), or (N, K) booleans

    @property
    def classes(self) -> int:
        """The number of classes that occur, or of labels."""
        return self.labels.shape[1] if self.labels.ndim == 2 else len(set(self.labels.tolist()))

    def some(self, which: np.ndarray) -> "Rows":
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
        """The one with the highest accuracy on these rows; of equals the costliest, which knows most of the texts."""
        return max(reversed(self.trained), key=lambda each: each.accuracy_to_choose)


def train_baselines(
    train: Rows,
    val: Rows | None,
    test_texts: Sequence[str],
    class_weights: Mapping[str, float] | None = None,
    limit: float = LIMIT,
) -> Baselines:
    """Trains each of CLASSICAL and classifies the test texts; where these may have several labels, one model a label.

    What is trained depends on the rows alone, so the same rows have the same baselines on a busy machine too.

    Args:
        train: The rows that the network was trained on.
        val: The rows that choose the best one. Without them it is chosen on every fifth training row, after training
            on the others; predictions are those after training on all.
        test_texts: The texts to classify.
        class_weights: Of the training rows' loss, by class name, as the network had them; not of several labels.
        limit: Estimated seconds of one baseline, above which it is left out.
    """
    characters, classes = sum(map(len, train.texts)) + sum(map(len, test_texts)), train.classes
    trained, skipped = [], {}
    for key, make in CLASSICAL.items():
        name = NAMES[key]
        if (estimated := COSTS[key].of(characters, classes)) > limit:
            skipped[name] = (
                f"{characters:,} characters in {classes:,} classes would take it about {estimated / 60:,.0f} minutes "
                "(--baselines all trains it all the same)"
            )
            continue
        try:
            work = partial(_trained, name, make, train, val, test_texts, class_weights)
            trained.append(interruptibly(work, f"training {name}"))
        except (ValueError, MemoryError) as error:  # texts without any word, rows of one class among the others
            skipped[name] = " ".join(str(error).split()) or "not enough memory"
    chosen_on = (
        f"{_held_out(train).sum():,} training rows held out" if val is None else f"{len(val.texts):,} validation rows"
    )
    return Baselines(trained, skipped, len(train.texts), chosen_on)


def _trained(
    name: str,
    make: Callable[[], Any],
    train: Rows,
    val: Rows | None,
    test_texts: Sequence[str],
    class_weights: Mapping[str, float] | None,
) -> Trained:
    start = time.perf_counter()
    model = _fit(make(), train, class_weights)
    predicted = np.asarray(model.predict(test_texts), dtype=train.labels.dtype)
    lasted = time.perf_counter() - start
    if val is None:
        held_out = _held_out(train)
        model, chooses = _fit(make(), train.some(~held_out), class_weights), train.some(held_out)
    else:
        chooses = val
    accuracy = float(right(model.predict(chooses.texts), chooses.labels).mean())
    return Trained(name, predicted, accuracy, lasted)


def _held_out(train: Rows) -> np.ndarray:
    """(N,), every fifth training row."""
    which: np.ndarray = np.arange(len(train.texts)) % 5 == 0
    return which


def suit_many_classes(model: Any) -> None:
    """Makes a logistic regression use the solver that is faster where there are more than MANY_CLASSES."""
    from sklearn.linear_model import LogisticRegression

    if isinstance(model, LogisticRegression):
        model.set_params(solver="saga", tol=1e-3, random_state=0)


def right(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,), whether the class of each text is right, or all its labels are."""
    same: np.ndarray = np.equal(predicted, labels)
    return same if same.ndim == 1 else np.all(same, axis=1)


def _fit(model: Any, rows: Rows, class_weights: Mapping[str, float] | None) -> Any:
    steps = getattr(model, "steps", None)
    if steps is not None and rows.labels.ndim == 1 and rows.classes > MANY_CLASSES:
        suit_many_classes(steps[-1][1])
    if rows.labels.ndim == 2:
        from sklearn.multiclass import OneVsRestClassifier

        if steps is not None:  # words are counted once for all labels; the most frequent answer is known for each
            steps[-1] = (steps[-1][0], OneVsRestClassifier(steps[-1][1]))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
            return model.fit(rows.texts, rows.labels)
    from sklearn.utils.validation import has_fit_parameter

    # The majority class is one of rows, not of their weights.
    if class_weights is None or steps is None or not has_fit_parameter(steps[-1][1], "sample_weight"):
        return model.fit(rows.texts, rows.labels)
    weights = np.array([class_weights[name] for name in rows.labels])
    return model.fit(rows.texts, rows.labels, **{f"{steps[-1][0]}__sample_weight": weights})
