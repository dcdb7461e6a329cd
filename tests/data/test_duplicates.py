"""Training texts are recognised again: near-duplicates too, and nothing else."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier.data.duplicates import (
    compute_digest,
    compute_fingerprints,
    find_trained_on,
    near_duplicate_key,
    training_fingerprints,
)

TEXTS = st.lists(st.text(max_size=20), max_size=20)


@given(TEXTS, TEXTS)
def test_a_text_was_trained_on_exactly_when_a_training_text_has_its_key(train, test):
    keys = {near_duplicate_key(text) for text in train}
    expected = [near_duplicate_key(text) in keys for text in test]
    assert find_trained_on(test, training_fingerprints(train)).tolist() == expected


def test_fingerprints_are_the_same_in_every_process_and_release():
    """They are stored with models: computed once with BLAKE2b of eight bytes, little-endian, and written down here."""
    assert compute_fingerprints(["see you at 5"]).tolist() == [3708400326078430215]


def test_fingerprints_to_keep_are_sorted_distinct_whole_numbers():
    kept = training_fingerprints(["b", "a", "b", "B ", "half a pair \ud800"])
    assert kept.dtype == torch.int64
    assert len(kept) == 3
    assert (np.diff(kept.numpy()) > 0).all()


def test_a_digest_depends_on_the_texts_and_their_order_but_not_on_the_numbers_in_them():
    texts = ["Call 123 now", "see you", ""]
    assert compute_digest(texts) == compute_digest(["call 9  NOW", "see you", ""])
    assert len({compute_digest(texts), compute_digest(texts[::-1]), compute_digest(texts[:2]), compute_digest([])}) == 4
