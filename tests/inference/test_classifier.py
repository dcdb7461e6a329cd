"""A loaded classifier answers text by text, in order, whatever it is asked together."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt_classifier import TextClassifier
from gpt_classifier.errors import InputError
from gpt_classifier.inference.classifier import Prediction

TEXTS = [
    "WIN a car now!",
    "See you at five",
    "",
    "x" * 1000,
    "ünïcödé 🎉",
    "<|endoftext|>",
    "See you at five",
    "\x00 \n",
]


@pytest.fixture(scope="module")
def classifier(trained) -> TextClassifier:
    return TextClassifier.load(trained / "model")


def test_predictions_come_in_the_order_of_the_texts(classifier):
    forth, back = classifier.predict(TEXTS), classifier.predict(TEXTS[::-1])
    assert [p.label for p in forth] == [p.label for p in back[::-1]]
    assert [p.probability for p in forth] == pytest.approx([p.probability for p in back[::-1]], abs=1e-6)


@pytest.mark.parametrize("tokens", [1, 100, 4096])
def test_many_texts_at_once_equal_one_at_a_time(tokens, classifier):
    alone = np.concatenate([classifier.probabilities([text]) for text in TEXTS])
    assert classifier.probabilities(TEXTS, tokens) == pytest.approx(alone, abs=1e-6)


def test_a_text_gives_a_prediction_and_a_list_gives_a_list(classifier):
    assert isinstance(classifier.predict(TEXTS[0]), Prediction)
    assert classifier.predict([TEXTS[0]]) == [classifier.predict(TEXTS[0])]
    assert classifier.predict(tuple(TEXTS[:2])) == classifier.predict(TEXTS[:2])


def test_no_texts_give_no_predictions(classifier):
    assert classifier.predict([]) == []
    assert classifier.probabilities([]).shape == (0, 2)


def test_probabilities_sum_to_1_and_the_most_probable_class_is_the_label(classifier):
    for label, probability, probabilities in classifier.predict(TEXTS):
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-12)
        assert list(probabilities) == classifier.labels == ["ham", "spam"]
        assert probability == probabilities[label] == max(probabilities.values())


@pytest.mark.parametrize("where", ["model", "checkpoints/best.ckpt", "", ".."])
def test_a_model_loads_from_its_folder_its_checkpoint_its_run_and_the_folder_of_runs(where, trained, classifier):
    loaded = TextClassifier.load(trained / where)
    assert np.array_equal(loaded.probabilities(TEXTS), classifier.probabilities(TEXTS))


@pytest.mark.parametrize("path", ["nowhere", "nowhere.ckpt", ""])
def test_where_there_is_no_model_the_message_names_the_place(path, tmp_path):
    with pytest.raises(InputError, match=f"no model at {tmp_path / path}"):
        TextClassifier.load(tmp_path / path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"format": 99}'),
        ("config.json", b'{"format": 1}'),
        ("model.safetensors", b"torn"),
        ("model.safetensors", None),
    ],
)
def test_a_damaged_model_folder_is_refused_by_name(name, content, trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=str(folder)):
        TextClassifier.load(folder)


def test_weights_without_a_vocabulary_are_refused(trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["tokenizer"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match="tokenizer"):
        TextClassifier.load(folder)


def test_weights_of_another_model_are_refused(trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"n_layer": 2', '"n_layer": 1'))
    with pytest.raises(InputError, match="do not fit its config"):
        TextClassifier.load(folder)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused_by_name(share, trained, tmp_path):
    path, whole = tmp_path / "best.ckpt", (trained / "checkpoints" / "best.ckpt").read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=str(path)):
        TextClassifier.load(path)


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.zeros(3)])
def test_a_checkpoint_of_something_else_is_refused_by_name(content, tmp_path):
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(InputError, match=f"{tmp_path / 'best.ckpt'} was not written by gpt_classifier"):
        TextClassifier.load(tmp_path / "best.ckpt")


class Mischief:
    def __reduce__(self):
        return Path.touch, (Path("mischief"),)


def test_loading_a_checkpoint_never_runs_code_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"gpt_classifier": Mischief()}, "best.ckpt")
    with pytest.raises(InputError, match=r"best\.ckpt"):
        TextClassifier.load("best.ckpt")
    assert not Path("mischief").exists()
