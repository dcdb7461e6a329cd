"""The classical models learn from a table's texts and class names, and beat guessing on messages they have not seen."""

import numpy as np
import pytest

from gpt_classifier.data import sources, splits
from gpt_classifier.evaluation.baselines import CLASSICAL


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_classical_model_learns_the_sample_messages(name):
    parts = splits.split_grouped(sources.load("sample")["train"], (0.7, 0.1, 0.2), 123)
    train, test = parts["train"], parts["test"]
    predicted = CLASSICAL[name]().fit(train["text"], train["label"]).predict(test["text"])
    assert set(predicted) == {"ham", "spam"}
    guessing = test["label"].value_counts(normalize=True).max()
    assert (predicted == test["label"]).mean() > guessing + 0.2


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_classical_model_does_not_care_for_the_order_of_rows(name):
    table = sources.load("sample")["train"]
    mixed = table.sample(frac=1, random_state=1)
    one, other = (CLASSICAL[name]().fit(part["text"], part["label"]).predict(table["text"]) for part in (table, mixed))
    assert np.mean(one == other) > 0.99


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_classical_model_takes_any_number_of_classes_and_any_text(name):
    model = CLASSICAL[name]().fit(["red apple", "green pear", "blue plum"] * 5, ["apple", "pear", "plum"] * 5)
    assert model.predict(["apple", "a pear", "plum!"]).tolist() == ["apple", "pear", "plum"]
    assert len(model.predict(["", "ünïcödé 🎉", "a" * 10000])) == 3
