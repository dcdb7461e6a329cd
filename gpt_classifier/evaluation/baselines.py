"""Models that need no GPU, no minutes and no pretraining: what a large one has to beat."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

SECONDS = 60.0  # for all baselines of a test together, after a fit of ten minutes or less
MANY_ROWS = 4000  # of more training rows, a part tells how long all would take
PART = 20  # of such, every 20th


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


class Rows(NamedTuple):
    """Texts with their class names, N of each, or with which of K labels each has."""

    texts: Sequence[str]
    labels: np.ndarray  # (N,), or (N, K) booleans

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
    seconds: float = SECONDS,
) -> Baselines:
    """Trains each of CLASSICAL and classifies the test texts; where these may have several labels, one model a label.

    Args:
        train: The rows that the network was trained on.
        val: The rows that choose the best one. Without them it is chosen on every fifth training row, after training
            on the others; predictions are those after training on all.
        test_texts: The texts to classify.
        class_weights: Of the training rows' loss, by class name, as the network had them; not of several labels.
        seconds: After which nothing more is begun, nor anything that would last longer.
    """
    began = time.perf_counter()
    held_out = np.arange(len(train.texts)) % 5 == 0
    trained, skipped = [], {}
    for key, make in CLASSICAL.items():
        name = NAMES[key]
        try:
            left = seconds - (time.perf_counter() - began)
            if left <= 0 or (needed := _seconds_needed(make, train, class_weights)) > left:
                needs = "" if left <= 0 else f", as it needs about {needed:.0f} s of the {left:.0f} s that are left"
                skipped[name] = f"the time limit is {seconds:.0f} s for all baselines{needs}"
                continue
            start = time.perf_counter()
            model = _fit(make(), train, class_weights)
            predicted = np.asarray(model.predict(test_texts), dtype=train.labels.dtype)
            lasted = time.perf_counter() - start
            if val is None:
                model, chooses = _fit(make(), train.some(~held_out), class_weights), train.some(held_out)
            else:
                chooses = val
            accuracy = float(right(model.predict(chooses.texts), chooses.labels).mean())
            trained.append(Trained(name, predicted, accuracy, lasted))
        except (ValueError, MemoryError) as error:  # texts without any word, rows of one class among the others
            skipped[name] = " ".join(str(error).split()) or "not enough memory"
    chosen_on = f"{held_out.sum():,} training rows held out" if val is None else f"{len(val.texts):,} validation rows"
    return Baselines(trained, skipped, len(train.texts), chosen_on)


def right(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,), whether the class of each text is right, or all its labels are."""
    same: np.ndarray = np.equal(predicted, labels)
    return same if same.ndim == 1 else np.all(same, axis=1)


def _fit(model: Any, rows: Rows, class_weights: Mapping[str, float] | None) -> Any:
    steps = getattr(model, "steps", None)
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


def _seconds_needed(make: Callable[[], Any], train: Rows, class_weights: Mapping[str, float] | None) -> float:
    """An estimate for the training rows, which is 0 for few of them: time grows about as their number does."""
    if len(train.texts) <= MANY_ROWS:
        return 0.0
    part = train.some(np.arange(len(train.texts)) % PART == 0)
    if (part.labels == part.labels[:1]).all():  # the models need two classes
        return 0.0
    start = time.perf_counter()
    _fit(make(), part, class_weights)
    return PART * (time.perf_counter() - start)
