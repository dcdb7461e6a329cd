"""The estimator is one of scikit-learn's, and what it trains is what ``fit`` trains."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from gpt_classifier import TextClassifier, TextClassifierEstimator
from gpt_classifier.errors import InputError
from gpt_classifier.training.estimator import SETTINGS

TINY = {
    "data.tokenizer": "bytes",
    "data.max_length": 48,
    "model.gpt": {"n_layer": 1, "n_head": 2, "n_embd": 16, "context_length": 48},
    "model.learning_rate": 3e-3,
    "trainer.max_epochs": 2,
}
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def texts_of(*firsts: str, each: int = 40) -> tuple[list[str], list[str]]:
    """Texts that begin with the name of their class."""
    drawn = np.random.default_rng(0)
    texts = [f"{first} {' '.join(drawn.choice(WORDS, 4))} {n}" for n in range(each) for first in firsts]
    return texts, [text.split()[0] for text in texts]


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], list[str]]:
    return texts_of("red", "green")


@pytest.fixture(scope="module")
def fitted(texts) -> TextClassifierEstimator:
    return TextClassifierEstimator(settings=TINY | {"trainer.max_epochs": 6}).fit(*texts)


def test_it_learns_and_predicts_the_classes_given(fitted, texts):
    assert fitted.classes_.tolist() == ["green", "red"]
    assert fitted.score(*texts) > 0.9
    probabilities = fitted.predict_proba(pd.Series(texts[0][:5], index=[9, 7, 5, 3, 1]))
    assert probabilities.shape == (5, 2)
    assert probabilities.sum(1) == pytest.approx(1)
    assert (
        fitted.predict(np.array(texts[0][:5], dtype=object)).tolist()
        == fitted.classes_[probabilities.argmax(1)].tolist()
    )


@pytest.mark.parametrize("classes", [(3, 20, 100), (False, True), (np.int64(-1), np.int64(1))])
def test_classes_keep_their_type_and_scikit_learns_order(classes):
    texts, names = texts_of(*(f"class{value}" for value in classes))
    labels = [dict(zip((f"class{value}" for value in classes), classes, strict=True))[name] for name in names]
    estimator = TextClassifierEstimator(settings=TINY).fit(texts, labels)
    assert estimator.classes_.tolist() == sorted(classes)
    assert estimator.predict(texts).dtype == np.array(labels).dtype


def test_a_seed_decides_everything_and_the_callers_random_numbers_stay(texts):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = TextClassifierEstimator(settings=TINY).fit(*texts)
    assert torch.rand(1) == expected
    again = clone(first).fit(*texts)
    other = clone(first).set_params(random_state=1).fit(*texts)
    assert (first.predict_proba(texts[0]) == again.predict_proba(texts[0])).all()
    assert (first.predict_proba(texts[0]) != other.predict_proba(texts[0])).any()


def test_it_drops_into_pipelines_grids_and_cross_validation(texts):
    pipeline = make_pipeline(FunctionTransformer(_lower), TextClassifierEstimator(settings=TINY))
    predicted = cross_val_predict(pipeline, *texts, cv=2, method="predict_proba")
    assert predicted.shape == (len(texts[0]), 2)
    grid = GridSearchCV(pipeline, {"textclassifierestimator__random_state": [0, 1]}, cv=2)
    found = grid.fit(*texts)
    assert found.best_estimator_.predict(["RED alpha"]).tolist()[0] in ("red", "green")


def test_settings_of_daily_use_are_arguments_that_a_grid_names(texts):
    named = {name: TINY[SETTINGS[name]] for name in SETTINGS if SETTINGS[name] in TINY}
    further = {key: value for key, value in TINY.items() if key not in SETTINGS.values()}
    by_name, by_key = TextClassifierEstimator(**named, settings=further), TextClassifierEstimator(settings=TINY)
    assert (by_name.fit(*texts).predict_proba(texts[0]) == by_key.fit(*texts).predict_proba(texts[0])).all()
    grid = {"max_epochs": np.arange(1, 3), "learning_rate": np.logspace(-3, -3, 1)}  # numbers of numpy
    search = GridSearchCV(by_name, grid, cv=2, error_score="raise").fit(*texts)
    assert search.best_params_["max_epochs"] in (1, 2)
    assert search.best_estimator_.classifier_.predict("red alpha").label in ("red", "green")


def test_texts_of_weight_zero_teach_nothing(texts):
    """Half of the labels are wrong, and their texts have no weight."""
    wrong = np.arange(len(texts[0])) % 4 < 2
    swapped = {"red": "green", "green": "red"}
    labels = [swapped[label] if is_wrong else label for label, is_wrong in zip(texts[1], wrong, strict=True)]
    estimator = TextClassifierEstimator(settings=TINY | {"trainer.max_epochs": 8})
    weighted = estimator.fit(texts[0], labels, sample_weight=~wrong).score(*texts)
    assert weighted > 0.9
    assert weighted > clone(estimator).fit(texts[0], labels).score(*texts) + 0.2


def test_equal_weights_of_any_size_change_nothing(texts):
    plain, weighted = (TextClassifierEstimator(settings=TINY) for _ in range(2))
    weighted.fit(*texts, sample_weight=np.full(len(texts[0]), 7.0))
    assert weighted.predict_proba(texts[0]) == pytest.approx(plain.fit(*texts).predict_proba(texts[0]), abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ([1.0], r"shape \(1,\), expected 80 numbers"),
        ([-1.0] * 80, r"sample_weight\[0\] is -1.0, expected a finite number of 0 or more"),
        (["a"] * 80, "sample_weight is not a list of numbers"),
        ([0.0, 1.0] * 40, "0 for all texts of a class"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, named, texts):
    with pytest.raises(InputError, match=named):
        TextClassifierEstimator(settings=TINY).fit(*texts, sample_weight=weights)


CHECKS = [  # those of scikit-learn's check_estimator that need no numbers as X
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_mixin_order,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_scikit_learns_checks_that_need_no_numbers_pass(check):
    check("TextClassifierEstimator", TextClassifierEstimator())


def test_fitting_again_forgets_the_first_fit_and_leaves_the_parameters(fitted, texts):
    """As scikit-learn's check_fit_check_is_fitted, check_dict_unchanged and check_fit_idempotent, with texts."""
    estimator = TextClassifierEstimator(settings=TINY)
    before = dict(estimator.get_params())
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)
    estimator.fit(*texts_of("blue", "black", "white"))
    assert estimator.get_params() == before
    fitted_attributes = dict(vars(estimator))
    estimator.predict(texts[0])
    assert vars(estimator) == fitted_attributes
    assert estimator.fit(*texts).classes_.tolist() == ["green", "red"]
    again = clone(estimator).fit(*texts)
    assert (again.predict_proba(texts[0]) == estimator.predict_proba(texts[0])).all()


def _lower(texts: list[str]) -> list[str]:
    return [text.lower() for text in texts]


def test_pickled_and_saved_it_predicts_the_same(fitted, texts, tmp_path):
    expected = fitted.predict_proba(texts[0])
    assert (pickle.loads(pickle.dumps(fitted)).predict_proba(texts[0]) == expected).all()
    fitted.classifier_.save(tmp_path / "model")
    assert (TextClassifier.load(tmp_path / "model").predict_proba(texts[0]) == expected).all()


def test_the_model_is_that_of_fit(fitted, texts, tmp_path, monkeypatch):
    from gpt_classifier.cli.main import main

    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"text": texts[0], "label": texts[1]}).to_csv("texts.csv", index=False)
    options = [f"--{key}={value}" for key, value in fitted.settings.items()]
    own = ["--data.source=texts.csv", "--data.splitting.fractions=[0.9, 0.1, 0.0]", "--seed_everything=0"]
    assert main(["fit", "--config=scratch", *options, *own, "--trainer.default_root_dir=run"]) == 0
    same = TextClassifier.load(tmp_path / "run").predict_proba(texts[0])
    assert same == pytest.approx(fitted.predict_proba(texts[0]), abs=1e-6)


def deciding(rule: dict[str, object], fraction: float = 0.5) -> TextClassifierEstimator:
    return TextClassifierEstimator(settings=TINY | {"model.decide": rule}, validation_fraction=fraction)


def test_the_rule_of_the_model_decides():
    texts = texts_of("red", "green", each=100)
    estimator = deciding({"max_fpr": 0.2, "of": "red"}).fit(*texts)
    decision = estimator.classifier_.decision
    assert decision.positive == 1
    expected = np.where(estimator.predict_proba(texts[0])[:, 1] >= decision.threshold, "red", "green")
    assert estimator.predict(texts[0]).tolist() == expected.tolist()
    with pytest.raises(InputError, match="may abstain, and unsure"):
        deciding({"coverage": 0.8}).fit(*texts)
    with pytest.raises(InputError, match="cannot be followed with 20 validation texts"):
        deciding({"max_fpr": 0.001, "of": "red"}, 0.1).fit(*texts)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"config": "nothing"}, "no file nothing"),
        ({"settings": {"model.poling": "mean"}}, "poling"),
        ({"settings": {"data.source": "messages.csv"}}, "data.source.* X and y"),
        ({"settings": ["model.pooling"]}, "settings are .*, expected keys and values"),
        ({"settings": TINY, "max_epochs": 3}, "settings have trainer.max_epochs, which max_epochs sets too"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"random_state": np.random.RandomState(0)}, "random_state is RandomState.*, expected a whole number"),
        ({"validation_fraction": "a"}, "validation_fraction is a, expected"),
        ({"validation_fraction": 0}, "validation_fraction is 0.* 0 and 1"),
    ],
)
def test_a_mistake_is_one_clear_line(parameters, named, texts):
    with pytest.raises(InputError, match=named) as caught:
        TextClassifierEstimator(**parameters).fit(*texts)
    assert "\n" not in str(caught.value)


def test_one_class_or_labels_of_another_length_are_refused(texts):
    with pytest.raises(InputError, match=r"y .*single class .*'red'"):
        TextClassifierEstimator(settings=TINY).fit(["a", "b"], ["red", "red"])
    with pytest.raises(InputError, match="2 texts and 3 labels"):
        TextClassifierEstimator(settings=TINY).fit(["a", "b"], ["red", "green", "red"])
    with pytest.raises(NotFittedError):
        TextClassifierEstimator().predict(texts[0])
