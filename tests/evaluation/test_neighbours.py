"""The training text that is most like another text."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from gpt_classifier.evaluation import neighbours
from gpt_classifier.evaluation.neighbours import find_nearest

KNOWN = ["win a free prize now", "see you at eight tonight", "the shares fell again", "call me, mum"]


def test_a_text_finds_itself_and_a_text_like_it():
    found = find_nearest([KNOWN[2], "WIN a prize!"], KNOWN)
    assert [each.position for each in found] == [2, 0]
    assert found[0].similarity > 0.999
    assert 0 < found[1].similarity < 1
    assert find_nearest(["a text"], ["", " "]) == []  # without a word


def test_similarities_are_scikit_learns():
    texts = ["you fell", "prizes", "zzz"]
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True).fit(KNOWN)
    expected = cosine_similarity(vectorizer.transform(texts), vectorizer.transform(KNOWN))
    found = find_nearest(texts, KNOWN)
    np.testing.assert_allclose([each.similarity for each in found], expected.max(1), atol=1e-6)
    assert [each.position for each in found[:2]] == expected.argmax(1)[:2].tolist()


def test_of_very_long_training_texts_a_part_is_searched(monkeypatch):
    monkeypatch.setattr(neighbours, "MAX_CHARACTERS", sum(map(len, KNOWN)) - 1)
    assert [each.position for each in find_nearest([KNOWN[2]], KNOWN)] == [2]
    assert find_nearest([KNOWN[1]], KNOWN)[0].position in (0, 2)
