"""One classifier may be used by many threads, and be sent to other processes."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpt_classifier import TextClassifier

TEXTS = [f"{'call now ' * (n % 7)}message {n}" for n in range(40)]


@pytest.fixture(scope="module")
def classifier() -> TextClassifier:
    return TextClassifier.load("checkpoints/sms-spam")


def test_threads_get_the_predictions_for_their_own_texts(classifier):
    expected = classifier.predict_proba(TEXTS)

    def from_(start: int) -> bool:
        return (classifier.predict_proba(TEXTS[start:] + TEXTS[:start])[: len(TEXTS) - start] == expected[start:]).all()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(from_, range(len(TEXTS))))


def test_a_pickled_classifier_predicts_the_same(classifier):
    again = pickle.loads(pickle.dumps(classifier))
    assert (again.predict_proba(TEXTS) == classifier.predict_proba(TEXTS)).all()
    assert again.predict(TEXTS[0]) == classifier.predict(TEXTS[0])
