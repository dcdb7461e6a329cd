"""A loaded classifier predicts text by text, in order, whatever texts come together."""

import copy
import doctest
import json
import re
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from gpt_classifier import TextClassifier
from gpt_classifier.errors import InputError
from gpt_classifier.inference import classifier as module
from gpt_classifier.inference.classifier import Prediction
from gpt_classifier.models.tensor_file import write_tensors

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


def test_the_example_in_its_docstring_is_true(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert doctest.testmod(module) == (0, 5)


def test_predictions_come_in_the_order_of_the_texts(classifier):
    forth, back = classifier.predict(TEXTS), classifier.predict(TEXTS[::-1])
    assert [p.label for p in forth] == [p.label for p in back[::-1]]
    assert [p.probability for p in forth] == pytest.approx([p.probability for p in back[::-1]], abs=1e-6)


@pytest.mark.parametrize("max_batch_tokens", [1, 100, 4096])
def test_many_texts_at_once_equal_one_at_a_time(max_batch_tokens, classifier):
    alone = np.concatenate([classifier.predict_proba([text]) for text in TEXTS])
    assert classifier.predict_proba(TEXTS, max_batch_tokens) == pytest.approx(alone, abs=1e-6)


def test_longer_padding_changes_no_probability(classifier):
    padded = copy.copy(classifier)
    padded.text_encoder = copy.copy(classifier.text_encoder)
    padded.text_encoder.pad_to = classifier.model.backbone.config.context_length
    assert padded.predict_proba(TEXTS[:3]) == pytest.approx(classifier.predict_proba(TEXTS[:3]), abs=1e-6)


def test_a_text_gives_a_prediction_and_a_list_gives_a_list(classifier):
    assert isinstance(classifier.predict(TEXTS[0]), Prediction)
    assert classifier.predict([TEXTS[0]]) == [classifier.predict(TEXTS[0])]
    assert classifier.predict(tuple(TEXTS[:2])) == classifier.predict(TEXTS[:2])


def test_no_texts_give_no_predictions(classifier):
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 2)


def test_probabilities_sum_to_1_and_the_most_probable_class_is_the_label(classifier):
    for label, probability, probabilities, _ in classifier.predict(TEXTS):
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-12)
        assert list(probabilities) == classifier.classes_.tolist() == ["ham", "spam"]
        assert probability == probabilities[label] == max(probabilities.values())


def test_the_columns_of_predict_proba_are_the_classes(classifier):
    probabilities = classifier.predict_proba(TEXTS)
    assert probabilities.shape == (len(TEXTS), len(classifier.classes_))
    labels = classifier.classes_[probabilities.argmax(axis=1)].tolist()
    assert labels == [prediction.label for prediction in classifier.predict(TEXTS)]
    assert {type(label) for label in labels} == {str}


COLUMNS = {
    "a tuple": tuple,
    "a numpy array": np.array,
    "an object array": lambda texts: np.array(texts, dtype=object),
    "an index of pandas": pd.Index,
    "the keys of a dict": lambda texts: dict.fromkeys(texts).keys(),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS.keys())
def test_any_column_of_texts_is_classified_like_a_list(column, classifier):
    texts = list(dict.fromkeys(TEXTS[:7]))
    assert classifier.predict(column(texts)) == classifier.predict(texts)
    assert np.array_equal(classifier.predict_proba(column(texts)), classifier.predict_proba(texts))


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_a_pandas_column_gives_a_table_with_its_index(dtype, classifier):
    rows = pd.DataFrame({"sms": TEXTS}, index=[f"row {number // 2}" for number in range(len(TEXTS))])  # twice each
    predictions = classifier.predict_frame(rows["sms"].astype(dtype))
    assert list(predictions) == ["predicted", *(f"probability_{name}" for name in classifier.classes_)]
    assert predictions.index.equals(rows.index)
    assert predictions["predicted"].tolist() == [prediction.label for prediction in classifier.predict(TEXTS)]
    assert np.array_equal(predictions.iloc[:, 1:], classifier.predict_proba(TEXTS))
    assert classifier.predict_frame(rows["sms"][:0]).shape == (0, 1 + len(classifier.classes_))


def test_a_generator_is_classified_as_it_is_read(classifier):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield TEXTS[taken % len(TEXTS)]

    stream = classifier.predict_stream(endless())
    assert taken == 0
    first = next(stream)
    assert 0 < taken < 1000
    predictions = [first, *islice(stream, 599)]
    expected = classifier.predict([TEXTS[number % len(TEXTS)] for number in range(1, 601)])
    assert [prediction.label for prediction in predictions] == [prediction.label for prediction in expected]
    assert [prediction.probability for prediction in predictions] == pytest.approx(
        [a.probability for a in expected], abs=1e-6
    )


def test_an_iterator_has_as_many_predictions_as_texts(classifier):
    assert list(classifier.predict_stream(iter([]))) == []
    assert len(list(classifier.predict_stream(text for text in ["a"] * 513))) == 513
    assert classifier.predict(text for text in ["a"] * 3) == classifier.predict(["a"] * 3)
    assert classifier.predict_proba(text for text in ["a"] * 3).shape == (3, 2)


NO_TEXTS = {
    "a table": (lambda: pd.DataFrame({"text": TEXTS}), "DataFrame: give one of its columns, such as frame['text']"),
    "an empty table": (pd.DataFrame, "DataFrame: give one of its columns"),
    "an arrow table": (lambda: pa.table({"text": TEXTS}), "Table: give one of its columns"),
    "a dict": (lambda: {"text": TEXTS[0]}, "{'text': 'WIN a car now!'} (dict)"),
    "a set": (lambda: {"a"}, "{'a'} (set)"),
    "bytes": (lambda: b"abc", "b'abc' (bytes)"),
    "nothing": (lambda: None, "None (NoneType)"),
    "a number": (lambda: 5, "5 (int)"),
    "a path": (lambda: Path("a.csv"), "a.csv"),
    "a list of tables": (lambda: [pd.DataFrame({"text": TEXTS})], "texts[0] is"),
    "a table of numpy": (lambda: np.array([["a"], ["b"]]), "shape (2, 1)"),
}


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize(("make", "named"), NO_TEXTS.values(), ids=NO_TEXTS.keys())
def test_what_is_no_sequence_of_texts_is_refused_in_a_sentence(method, make, named, classifier):
    with pytest.raises(InputError) as caught:
        getattr(classifier, method)(make())
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_probabilities_of_a_single_text_are_refused(classifier):
    with pytest.raises(InputError, match=r"predict_proba .*list of texts.*'abc'"):
        classifier.predict_proba("abc")


NO_TEXT = {"5": 5, "5.0": 5.0, "['a']": ["a"], "True": True, "{}": {}, r"b'\xff'": b"\xff"}


@pytest.mark.parametrize(("shown", "value"), NO_TEXT.items())
def test_what_is_no_text_is_named_with_its_position(shown, value, classifier):
    message = re.escape(f"texts[2] is {shown} ({type(value).__name__}), ") + "(expected a str|which is not UTF-8)"
    for texts in (["a", "b", value, "c"], pd.Series(["a", "b", value], dtype=object)):
        with pytest.raises(InputError, match=message):
            classifier.predict(texts)
        with pytest.raises(InputError, match=message):
            classifier.predict_proba(texts)
    stream = classifier.predict_stream(text for text in ["a", "b", value])
    with pytest.raises(InputError, match=message):
        list(stream)


def test_a_position_in_a_stream_is_counted_from_its_beginning(classifier):
    with pytest.raises(InputError, match=r"texts\[700\] is 7"):
        list(classifier.predict_stream(["a"] * 700 + [7]))


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, pa.scalar(None, pa.string())]
)
def test_a_missing_text_is_classified_in_its_place_as_an_empty_one(missing, classifier):
    texts = ["WIN a car", missing, "See you at five"]
    expected = classifier.predict(["WIN a car", "", "See you at five"])
    assert classifier.predict(texts) == expected
    assert list(classifier.predict_stream(iter(texts))) == expected
    assert classifier.predict_proba(pd.Series(texts, dtype=object))[1].tolist() == [*expected[1].probabilities.values()]


def test_its_description_tells_classes_network_and_device(classifier):
    assert re.fullmatch(
        r"TextClassifier\(2 classes: ham, spam; GPT: 2 blocks, hidden size 32, [\d,]+ parameters; on (cpu|cuda)\)",
        repr(classifier),
    )


def test_auto_is_a_device_that_is_there(trained, monkeypatch):
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert TextClassifier.load(trained / "model").device.type == expected
    assert TextClassifier.load(trained / "model", device="cpu").device.type == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    if "x86" in torch.backends.quantized.supported_engines:
        assert TextClassifier.load(trained / "model", int8=True).device.type == "cpu", "int8 is for CPUs"


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_named(device, trained):
    with pytest.raises(InputError, match=rf"device .*'{device}'.*auto, cpu, cuda.* mps"):
        TextClassifier.load(trained / "model", device=device)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run, in a folder of its own, whose last checkpoint predicts otherwise than its best."""
    run = shutil.copytree(trained, tmp_path / "runs" / "version_0")
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.head.bias"] += torch.tensor([0.0, 1.0])
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    return run


def test_of_a_stopped_run_the_best_checkpoint_counts_then_the_last(run):
    checkpoints = run / "checkpoints"
    best, last = (TextClassifier.load(checkpoints / f"{name}.ckpt").predict_proba(TEXTS) for name in ("best", "last"))
    assert not np.allclose(best, last)
    (run / "model" / "model.safetensors").unlink()  # written last, so a folder without it is not whole
    for path in (run, run.parent):
        assert np.array_equal(TextClassifier.load(path).predict_proba(TEXTS), best)
    shutil.rmtree(run / "model")
    assert np.array_equal(TextClassifier.load(run).predict_proba(TEXTS), best)
    (checkpoints / "best.ckpt").unlink()
    for path in (run, run.parent):
        assert np.array_equal(TextClassifier.load(path).predict_proba(TEXTS), last)
    (checkpoints / "last.ckpt").unlink()
    for path in (run, run.parent):
        with pytest.raises(InputError, match=f"no model at {path}: expected"):
            TextClassifier.load(path)


def test_of_several_runs_the_newest_finished_one_counts_before_a_newer_one_that_was_stopped(run):
    expected = TextClassifier.load(run).predict_proba(TEXTS)
    stopped = run.with_name("version_1") / "checkpoints"
    stopped.mkdir(parents=True)
    shutil.copy(run / "checkpoints" / "last.ckpt", stopped / "best.ckpt")
    assert np.array_equal(TextClassifier.load(run.parent).predict_proba(TEXTS), expected)
    shutil.rmtree(run / "model")
    assert not np.allclose(TextClassifier.load(run.parent).predict_proba(TEXTS), expected)


@pytest.mark.parametrize("where", ["model", "checkpoints/best.ckpt", "", ".."])
def test_a_model_loads_from_its_folder_its_checkpoint_its_run_and_the_folder_of_runs(where, trained, classifier):
    loaded = TextClassifier.load(trained / where)
    assert np.array_equal(loaded.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


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
    write_tensors(folder / "model.safetensors", tensors)
    with pytest.raises(InputError, match="tokenizer"):
        TextClassifier.load(folder)


def test_weights_of_another_model_are_refused(trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    config = folder / "config.json"
    content = json.loads(config.read_text())
    content["model"]["backbone"]["n_layer"], _ = 1, content.pop("crc32")
    config.write_text(json.dumps(content))
    with pytest.raises(InputError, match="do not fit its config"):
        TextClassifier.load(folder)


@pytest.mark.parametrize("fraction", [0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused_by_name(fraction, trained, tmp_path):
    path, whole = tmp_path / "best.ckpt", (trained / "checkpoints" / "best.ckpt").read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
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


def test_a_saved_model_predicts_alike_and_keeps_its_card(classifier, trained, tmp_path):
    classifier.save(tmp_path / "copy")
    again = TextClassifier.load(tmp_path / "copy")
    assert again.predict(TEXTS) == classifier.predict(TEXTS)
    for name in ("README.md", "config.json"):
        assert (tmp_path / "copy" / name).read_text() == (trained / "model" / name).read_text()


def test_a_quantized_model_is_not_saved(trained, tmp_path):
    with pytest.raises(InputError, match="int8"):
        TextClassifier.load(trained / "model", int8=True).save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_fitted_model_becomes_a_classifier_of_its_own(quick_trainer, tiny_model, tiny_data, tmp_path):
    model = tiny_model(trainable="lora")
    quick_trainer().fit(model, tiny_data())
    classifier = model.to_text_classifier()
    before = classifier.predict(TEXTS)
    with torch.no_grad():
        model.model.head.weight.add_(1)
    assert classifier.predict(TEXTS) == before
    classifier.save(tmp_path)
    assert TextClassifier.load(tmp_path).predict(TEXTS) == before
    card = (tmp_path / "README.md").read_text()
    assert "| trained | lora, learning rate" in card
    assert "| initial weights | random |" in card


def test_it_is_called_as_a_pipeline_of_transformers(classifier):
    (one,) = classifier("WIN a car now!")
    prediction = classifier.predict("WIN a car now!")
    assert one == {"label": prediction.label, "score": prediction.probability}
    assert classifier(["WIN a car now!", ""])[0]["label"] == one["label"]
    of_text, other = classifier(["WIN a car now!", "see you"], top_k=None)
    prediction = classifier.predict(["WIN a car now!", "see you"])[0]
    assert {each["label"]: each["score"] for each in of_text} == prediction.probabilities
    assert [each["score"] for each in of_text] == sorted(prediction.probabilities.values(), reverse=True)
    assert [each["label"] for each in classifier("WIN a car now!", top_k=None)] == [each["label"] for each in of_text]
    assert len(classifier("", top_k=5)) == len(other) == 2


def test_it_comes_from_a_folder_or_a_name_on_the_hub(classifier, tmp_path, monkeypatch):
    classifier.save_pretrained(tmp_path / "model")
    expected = classifier.predict_proba(TEXTS)
    assert np.array_equal(TextClassifier.from_pretrained(tmp_path / "model").predict_proba(TEXTS), expected)
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *given, **named: asked.append((given, named)) or tmp_path / "model"
    )
    assert np.array_equal(TextClassifier.from_pretrained("me/spam", revision="v1").predict_proba(TEXTS), expected)
    assert asked == [(("me/spam",), {"revision": "v1"})]


def test_a_name_that_cannot_be_fetched_is_one_line(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(InputError, match=r"no folder me/spam, and it cannot be fetched .*no route to host") as error:
        TextClassifier.from_pretrained("me/spam")
    assert "\n" not in str(error.value)


def test_it_is_pushed_as_a_whole_folder(classifier, monkeypatch):
    pushed = {}

    class Api:
        def create_repo(self, name, private, exist_ok):
            pushed["private"] = private

        def upload_folder(self, repo_id, folder_path, commit_message):
            pushed[repo_id] = {path.name for path in folder_path.iterdir()}

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert classifier.push_to_hub("me/spam") == "https://huggingface.co/me/spam"
    assert pushed["private"]
    assert {"config.json", "model.safetensors", "README.md"} <= pushed["me/spam"]


def test_a_frame_needs_a_column(classifier):
    with pytest.raises(InputError, match="predict_frame takes a column of pandas"):
        classifier.predict_frame(["a"])
