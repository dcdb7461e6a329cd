"""Models that need no GPU, no minutes and no pretraining: what a large one has to beat."""

from collections.abc import Callable
from typing import Any


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

    return make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True), LinearSVC())


# Each makes an untrained model with scikit-learn's fit and predict, for texts and class names.
CLASSICAL: dict[str, Callable[[], Any]] = {
    "tfidf_logistic_regression": tfidf_logistic_regression,
    "character_svm": character_svm,
}
