"""Settings change a configuration as they say, and words that are no settings are one clear line."""

import pytest

from gpt_classifier.errors import InputError
from gpt_classifier.training.overrides import given_settings, overrides

BASE = "seed_everything: 7\nmodel: {learning_rate: 1.0e-3, gpt: {n_layer: 2, dropout: 0.2}}\n"


@pytest.mark.parametrize("words", [["model.weights", "random"], ["--model.weights"], ["--weights", "random"], ["x"]])
def test_options_that_are_no_settings_are_one_clear_line(words):
    with pytest.raises(InputError, match="expected pairs"):
        given_settings(words)


def test_settings_of_a_command_line_are_those_of_a_configuration():
    words = [
        "--model.learning_rate",
        "1e-3",
        "--model.trainable=2",
        "--data.batching.pad_to=longest",
        "--model.gpt",
        "{n_layer: 2}",
    ]
    assert given_settings(words) == {
        "model.learning_rate": 0.001,
        "model.trainable": 2,
        "data.batching.pad_to": "longest",
        "model.gpt": {"n_layer": 2},
    }


def test_a_setting_within_a_mapping_brings_the_rest_of_the_mapping_along():
    assert overrides(BASE, {"model.gpt.dropout": 0.0}) == {"model": {"gpt": {"n_layer": 2, "dropout": 0.0}}}
    assert overrides(BASE, {"model.lora.rank": 8}) == {"model": {"lora": {"rank": 8}}}
    assert overrides(BASE, {"model.gpt": {"n_layer": 1}, "model.gpt.dropout": 0.0})["model"]["gpt"] == {
        "n_layer": 1,
        "dropout": 0.0,
    }
    assert overrides(BASE, {"seed_everything": 1}) == {"seed_everything": 1}
    with pytest.raises(InputError, match=r"model\.learning_rate is 0\.001"):
        overrides(BASE, {"model.learning_rate.high": 1})
    named = "model: {gpt: gpt2-large}"
    assert overrides(named, {"model.gpt.causal": False}) == {"model": {"gpt": {"size": "gpt2-large", "causal": False}}}
