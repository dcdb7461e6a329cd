"""Training texts are changed at random, in a way that seed, epoch and row decide; all other texts stay as they are."""

import numpy as np
import pytest

from gpt_classifier.data.augmentation import AugmentationConfig
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.errors import InputError

TEXT = "one  two\tthree four\nfive six seven"
WORDS = TEXT.split()
ALL = {"crop": 0.5, "delete": 0.1, "case": 0.2}


def versions(number=300, text=TEXT, **settings):
    config, rng = AugmentationConfig(**settings), np.random.default_rng(0)
    return [config.change(text, rng) for _ in range(number)]


def test_a_crop_is_a_part_of_the_text_and_as_often_its_beginning():
    found = versions(crop=1)
    assert all(version in TEXT and len(version.split()) >= 3 for version in found)
    assert {len(version.split()) for version in found} == set(range(3, 8))
    assert {version.split()[0] for version in found} == {"one", "two", "three", "four", "five"}
    # half of them, and of the others those that begin there by chance: 1 / 5, 1 / 4, ... 1 with 3, 4, ... 7 words
    assert np.mean([version.startswith("one") for version in found]) == pytest.approx(0.5 + 0.5 * 0.457, abs=0.08)
    assert 0.3 < np.mean([version != TEXT for version in versions(crop=0.5)]) < 0.5


def test_each_word_is_left_out_with_the_probability_but_one_remains():
    found = versions(1000, delete=0.3)
    for word in WORDS:
        assert np.mean([word in version.split() for version in found]) == pytest.approx(0.7 + 0.3 / 7, abs=0.05)
    assert all([word for word in WORDS if word in version.split()] == version.split() for version in found)
    assert {len(version.split()) for version in versions(delete=1)} == {1}


def test_case_is_small_capitals_or_one_capital():
    found = versions(case=1)
    assert set(found) == {TEXT, TEXT.upper(), TEXT.capitalize()}
    assert 0.1 < np.mean([version == TEXT.upper() for version in versions(case=0.5)]) < 0.25


@pytest.mark.parametrize("text", ["", " ", "word", "two words", "你好世界", "\n\n", "🙂"])
def test_texts_of_few_words_keep_some(text):
    for version in versions(20, text, **ALL):
        assert version.lower().split() in (text.split(), *([word] for word in text.split()))
    assert versions(5, text, crop=1) == [text] * 5


@pytest.mark.parametrize("settings", [{"crop": 1.5}, {"delete": -0.1}, {"case": float("nan")}])
def test_what_is_no_probability_is_refused(settings):
    with pytest.raises(InputError, match=r"probability.* 0 .*1"):
        AugmentationConfig(**settings)


def prepared(monkeypatch, seed=1, **settings):
    monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
    data = TextDataModule("sample", tokenizer="bytes", batch_size=16, **settings)
    data.prepare_data()
    data.setup("fit")
    return data


def by_row(data):
    """The token ids and the label of each row in the coming epoch."""
    found = {}
    for batch in data.train_dataloader():
        for inputs, length, label, row in zip(batch.inputs, batch.lengths, batch.labels, batch.rows, strict=True):
            found[int(row)] = bytes(inputs[:length].tolist()), int(label)
    return found


def test_a_version_depends_on_seed_epoch_and_row_only(monkeypatch):
    data = prepared(monkeypatch, augmentation=ALL)
    first, plain = by_row(data), by_row(prepared(monkeypatch))
    assert first.keys() == plain.keys()
    assert {row: label for row, (_, label) in first.items()} == {row: label for row, (_, label) in plain.items()}
    assert 0.4 < np.mean([first[row] != plain[row] for row in first]) < 0.9
    again = prepared(monkeypatch, augmentation=ALL, batching={"group_by_length": True})
    again.batch_size = 5
    assert by_row(again) == first
    assert by_row(prepared(monkeypatch, seed=2, augmentation=ALL)) != first
    data.load_state_dict({"batches_begun": len(data.train_dataloader())})
    assert by_row(data) != first


def test_evaluation_rows_are_never_changed_and_the_summary_says_which_are(monkeypatch):
    data, plain = prepared(monkeypatch, augmentation={"case": 1, "delete": 0.5}), prepared(monkeypatch)
    for name in ("val", "train"):
        pairs = zip(data.evaluation_dataloader(name), plain.evaluation_dataloader(name), strict=True)
        assert all(batch.inputs.equal(expected.inputs) for batch, expected in pairs)
    assert "changed at random (delete 0.5, case 1)" in data.summary()
    assert "at random" not in plain.summary()


def test_windows_and_a_limit_of_tokens_hold(monkeypatch):
    settings = {"max_length": 32, "windows": {"stride": 16}, "augmentation": ALL}
    batches = list(prepared(monkeypatch, **settings).train_dataloader())
    assert max(int(batch.lengths.max()) for batch in batches) == 32
    assert all(batch.texts is None or int(batch.texts.max()) == len(batch.labels) - 1 for batch in batches)
    assert any(len(batch.inputs) > len(batch.labels) for batch in batches)
