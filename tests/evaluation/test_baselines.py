"""The baselines learn from a table's texts and class names, are scikit-learn's own, and cost a limited time."""

import itertools

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from gpt_classifier.data import datasets, splits
from gpt_classifier.evaluation import baselines
from gpt_classifier.evaluation.baselines import BASELINES, Rows, build_baseline, train_baselines

READING = [name for name in BASELINES if name not in ("majority_class", "decision_tree")]  # what a text says


@pytest.fixture(scope="module")
def parts() -> dict[str, Rows]:
    """The sample messages."""
    tables = splits.split_rows(datasets.load("sample")["train"], "grouped", (0.7, 0.1, 0.2), 123)
    return {name: Rows(table["text"].tolist(), table["label"].to_numpy(dtype=object)) for name, table in tables.items()}


@pytest.mark.parametrize("name", BASELINES)
def test_a_classical_model_does_not_care_for_the_order_of_rows(name):
    table = datasets.load("sample")["train"]
    mixed = table.sample(frac=1, random_state=1)
    one, other = (
        build_baseline(name).fit(part["text"], part["label"]).predict(table["text"]) for part in (table, mixed)
    )
    assert np.mean(one == other) > 0.99


@pytest.mark.parametrize("name", READING)
def test_a_classical_model_takes_any_number_of_classes_and_any_text(name):
    model = build_baseline(name).fit(["red apple", "green pear", "blue plum"] * 5, ["apple", "pear", "plum"] * 5)
    assert model.predict(["apple", "a pear", "plum!"]).tolist() == ["apple", "pear", "plum"]
    assert len(model.predict(["", "ünïcödé 🎉", "a" * 10000])) == 3


def test_a_tree_of_three_questions_asks_for_length_and_digits():
    texts = ["x" * n + "7" * digits for n in (5, 50) for digits in (0, 9) for _ in range(5)]
    labels = np.repeat(["short", "short and digits", "long", "long and digits"], 5)
    model = build_baseline("decision_tree").fit(texts, labels)
    assert model.predict(["a note", "a note 123456789", "y" * 60]).tolist() == ["short", "short and digits", "long"]
    assert baselines.count_characters_and_digits(["", "a1", "٣4 b"]).tolist() == [[0, 0], [2, 1], [4, 2]]


def by_hand(train: Rows, texts: list[str], weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What scikit-learn alone predicts."""
    words, pairs = CountVectorizer(), TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    lengths = [[len(text), sum(c.isdigit() for c in text)] for text in train.texts]
    asked = [[len(text), sum(c.isdigit() for c in text)] for text in texts]
    models = {
        "decision tree": (DecisionTreeClassifier(max_depth=3, random_state=0), lengths, asked),
        "naive Bayes": (MultinomialNB(), words.fit_transform(train.texts), words.transform(texts)),
        "logistic regression": (
            LogisticRegression(C=10, max_iter=1000),
            pairs.fit_transform(train.texts),
            pairs.transform(texts),
        ),
        "character SVM": (
            LinearSVC(random_state=0),
            characters.fit_transform(train.texts),
            characters.transform(texts),
        ),
    }
    predicted = {
        name: m.fit(x, train.labels, sample_weight=weights).predict(new) for name, (m, x, new) in models.items()
    }
    majority = DummyClassifier(strategy="most_frequent").fit(train.texts, train.labels).predict(texts)
    return {"majority class": majority, **predicted}


@pytest.mark.parametrize("weighted", [False, True])
def test_predictions_are_those_of_scikit_learn_alone(weighted, parts):
    train, test = parts["train"], parts["test"]
    class_weights = {"ham": 0.6, "spam": 3.0} if weighted else None
    weights = np.array([class_weights[name] for name in train.labels]) if class_weights else None
    found = train_baselines(train, parts["val"], test.texts, class_weights)
    expected = by_hand(train, test.texts, weights)
    assert [each.name for each in found.trained] == list(expected)
    assert all(np.array_equal(each.predicted, expected[each.name]) for each in found.trained)
    assert found.skipped == {}
    assert (found.training_rows, found.chosen_on) == (len(train.texts), f"{len(parts['val'].texts)} validation rows")


def test_the_best_is_the_best_on_the_validation_rows(parts):
    train, val = parts["train"], parts["val"]
    found = train_baselines(train, val, parts["test"].texts)
    accuracies = {name: np.mean(values == val.labels) for name, values in by_hand(train, val.texts).items()}
    assert {each.name: each.accuracy_to_choose for each in found.trained} == pytest.approx(accuracies)
    assert found.best.accuracy_to_choose == max(accuracies.values())
    majority, *learnt = accuracies.values()
    assert min(learnt) > majority + 0.2


def test_without_validation_rows_training_rows_that_were_held_out_choose(parts):
    train, test = parts["train"], parts["test"]
    held_out = np.arange(len(train.texts)) % 5 == 0
    rest, chooses = train.select(~held_out), train.select(held_out)
    found = train_baselines(train, None, test.texts)
    assert found.chosen_on == f"{held_out.sum()} training rows held out"
    accuracies = {name: np.mean(values == chooses.labels) for name, values in by_hand(rest, chooses.texts).items()}
    assert {each.name: each.accuracy_to_choose for each in found.trained} == pytest.approx(accuracies)
    expected = by_hand(train, test.texts)  # after training on all rows
    assert all(np.array_equal(each.predicted, expected[each.name]) for each in found.trained)


def test_size_decides_what_is_trained_and_no_clock(parts, monkeypatch):
    """On a machine a thousand times as slow, the same rows have the same baselines."""
    clock = itertools.count(step=1000)
    monkeypatch.setattr(baselines.time, "perf_counter", lambda: next(clock))
    train, test = parts["train"], parts["test"]
    assert [each.name for each in train_baselines(train, parts["val"], test.texts).trained] == [
        each.name for each in BASELINES.values()
    ]
    found = train_baselines(train, parts["val"], test.texts, limit=0.0)
    assert [each.name for each in found.trained] == ["majority class"]
    characters = sum(map(len, [*train.texts, *test.texts]))
    assert f"{characters:,} characters in 2 classes would take it about" in found.skipped["character SVM"]
    assert "--baselines all" in found.skipped["character SVM"]


def test_estimates_grow_with_characters_and_classes():
    cost = BASELINES["character_svm"]
    assert cost.estimate_seconds(2_000_000, 2) == 2 * cost.estimate_seconds(1_000_000, 2)
    assert cost.estimate_seconds(1_000_000, 32) == 2 * cost.estimate_seconds(1_000_000, 2)
    assert cost.estimate_seconds(1_000_000, 1) == cost.estimate_seconds(1_000_000, 2)


def test_many_classes_get_another_solver_of_the_same_model():
    rng = np.random.default_rng(0)
    labels = np.array([f"class {number}" for number in rng.integers(0, 14, 400)], dtype=object)
    texts = [f"{label.split()[1]}a {rng.integers(40)}b {rng.integers(40)}c" for label in labels]
    rows = Rows(texts[:300], labels[:300])
    name = "tfidf_logistic_regression"
    found = {each.name: each for each in train_baselines(rows, None, texts[300:]).trained}[BASELINES[name].name]
    with_lbfgs = build_baseline(name).fit(*rows).predict(texts[300:])
    assert np.mean(found.predicted == with_lbfgs) >= 0.98
    assert build_baseline(name, 14)[-1].solver == "saga"


def test_texts_without_words_leave_out_those_that_count_words():
    train = Rows(["!", "?!", "??", "1 2"] * 5, np.array(["a", "b", "b", "a"] * 5, dtype=object))
    found = train_baselines(train, None, ["?", "!!"])
    assert "naive Bayes" in found.skipped
    assert "empty vocabulary" in found.skipped["naive Bayes"]
    assert {"majority class", "decision tree", "character SVM"} <= {each.name for each in found.trained}


def test_classes_may_be_absent_from_the_validation_rows_and_have_one_training_row():
    texts = ["red apple", "green pear", "blue plum"] * 5 + ["one fig"]
    train = Rows(texts, np.array(["apple", "pear", "plum"] * 5 + ["fig"], dtype=object))
    found = train_baselines(train, Rows(["apple"], np.array(["apple"], dtype=object)), ["a pear", "fig"])
    assert found.skipped == {}
    assert found.best.predicted[0] == "pear"
