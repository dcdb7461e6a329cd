"""A fraction of the training rows: of each class, nested, and the same validation and test rows."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from gpt_classifier.data.balance import choose_subset
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.splits import SplittingConfig
from gpt_classifier.errors import InputError

TABLE = pd.DataFrame({"text": [str(n) for n in range(500)], "label": [f"class {n % 50}" for n in range(500)]})
FRACTIONS = [0.001, 0.05, 0.1, 0.25, 0.5, 1.0]


def test_smaller_fractions_are_among_larger_ones_and_depend_on_the_seed_alone():
    parts = [set(choose_subset(TABLE, fraction, 1)["text"]) for fraction in FRACTIONS]
    assert all(fewer <= more for fewer, more in pairwise(parts))
    assert len(parts[-1]) == len(TABLE)
    first, again, other = (choose_subset(TABLE, 0.1, seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("labels", "fraction", "kept"),
    [(["a"] * 2 + ["b"] * 20, 0.05, "a"), ([("x",)] * 8 + [("x", "y"), ()], 0.1, ("x", "y"))],
)
def test_a_rare_class_or_label_keeps_a_row(labels, fraction, kept):
    table = pd.DataFrame({"text": [str(n) for n in range(len(labels))], "label": labels})
    assert choose_subset(table, fraction, 1)["label"].tolist().count(kept) == 1


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5])
def test_other_fractions_are_refused(fraction):
    with pytest.raises(InputError, match="train_fraction is"):
        SplittingConfig(train_fraction=fraction)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_each_class_has_its_fraction_and_at_least_one_row(fraction):
    counts = choose_subset(TABLE, fraction, 1)["label"].value_counts()
    assert len(counts) == 50
    assert (counts == max(1, round(10 * fraction))).all()


@pytest.mark.parametrize("seed", range(5))
def test_every_label_of_texts_with_several_is_in_every_nested_subset(seed):
    rng = np.random.default_rng(seed)
    has = rng.random((300, 12)) < np.geomspace(0.005, 0.5, 12)
    has[0] = True
    labels = [tuple(f"label {n}" for n in np.flatnonzero(row)) for row in has]
    table = pd.DataFrame({"text": [str(n) for n in range(300)], "label": labels})
    parts = [choose_subset(table, fraction, seed) for fraction in FRACTIONS]
    assert all({name for names in part["label"] for name in names} == set(labels[0]) for part in parts)
    assert all(set(fewer["text"]) <= set(more["text"]) for fewer, more in pairwise(parts))
    assert len(parts[0]) <= 12 < len(parts[2]) <= 30 + 12


def test_undersampled_rows_are_nested_and_balanced():
    parts = []
    for fraction in (0.1, 0.3, 1.0):
        data = TextDataModule(
            "sample", tokenizer="bytes", balance="undersample", splitting={"train_fraction": fraction}
        )
        parts.append(data.read_tables()["train"])
    assert all(set(fewer["row"]) < set(more["row"]) for fewer, more in pairwise(parts))
    assert all(part["label"].value_counts().nunique() == 1 for part in parts)


def test_class_weights_are_those_of_the_rows_that_are_used():
    data = TextDataModule("sample", tokenizer="bytes", balance="class_weights", splitting={"train_fraction": 0.1})
    counts = data.read_tables()["train"]["label"].value_counts()
    expected = [len(data.tables["train"]) / (len(counts) * counts[name]) for name in data.class_names]
    assert data.class_weights.tolist() == pytest.approx(expected)


def test_validation_and_test_rows_stay_and_a_note_says_so():
    modules = []
    for fraction in (1.0, 0.2):
        data = TextDataModule(source="sample", tokenizer="bytes", splitting={"train_fraction": fraction})
        data.setup("fit")
        modules.append(data)
    whole, part = modules
    for name in ("val", "test"):
        assert whole.tables[name].equals(part.tables[name])
    assert len(part.tables["train"]) == pytest.approx(0.2 * len(whole.tables["train"]), abs=1)
    used = f"training rows used: {len(part.tables['train'])} of {len(whole.tables['train'])}"
    assert used in part.summary()
    assert "training rows used" not in whole.summary()
