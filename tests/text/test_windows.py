"""A text beyond the context is read as a whole, in windows, and alike in training, evaluation and prediction."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.errors import InputError
from gpt_classifier.text.encoder import TextEncoder, WindowsConfig, aggregate_logits, texts_of_windows
from gpt_classifier.training.module import GPTClassifier

WINDOWS = {"stride": 8, "aggregate": "mean"}
LONG = ["See you at five, mum. " * repeats for repeats in range(1, 17)]
SPAM = ["x" * length + " WIN a car, call now!" for length in range(0, 64, 4)]
LABELS = ["ham"] * 16 + ["spam"] * 16


def encoder(max_length=4, tokenizer="bytes", **windows):
    return TextEncoder(tokenizer, max_length, windows=WindowsConfig(**{"stride": 2} | windows))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [""]),
        ("abcd", ["abcd"]),
        ("abcde", ["abcd", "bcde"]),
        ("abcdef", ["abcd", "cdef"]),
        ("abcdefghi", ["abcd", "cdef", "efgh", "fghi"]),
    ],
)
def test_windows_start_every_stride_and_the_last_ends_with_the_text(text, expected):
    windows, truncated = encoder().encode_windows(text)
    assert windows == [list(part.encode()) or [256] for part in expected]
    assert not truncated


@given(text=st.text(max_size=40), length=st.integers(1, 9), stride=st.integers(1, 9))
def test_every_token_is_in_a_window(text, length, stride):
    text_encoder = encoder(length, stride=min(stride, length), limit=None)
    windows, truncated = text_encoder.encode_windows(text)
    ids, _ = TextEncoder("bytes", 10**6).encode(text)
    assert not truncated
    assert windows[0] == ids[:length]
    assert windows[-1] == ids[-length:]
    assert {len(window) for window in windows} == {min(length, len(ids))}
    # Between two starts there are at most ``stride`` tokens, so overlapping windows give the text again.
    starts = [*range(0, max(0, len(ids) - length), min(stride, length)), max(0, len(ids) - length)]
    restored = list(windows[0])
    for start, window in zip(starts[1:], windows[1:], strict=True):
        restored[start:] = window
    assert restored == ids


def test_a_limit_spreads_the_windows_over_the_text_which_is_truncated_if_tokens_are_in_none():
    windows, truncated = encoder(limit=3).encode_windows("abcdefghijkl")
    assert [bytes(window).decode() for window in windows] == ["abcd", "efgh", "ijkl"]
    assert not truncated
    windows, truncated = encoder(limit=2).encode_windows("abcdefghijkl")
    assert [bytes(window).decode() for window in windows] == ["abcd", "ijkl"]
    assert truncated
    assert encoder(limit=1).encode_windows("abcde") == ([list(b"abcd")], True)


def test_special_tokens_are_in_every_window(published):
    text_encoder = encoder(4, str(published("wordpiece")), stride=1)
    windows, _ = text_encoder.encode_windows("a b c d")
    plain = [TextEncoder(text_encoder.tokenizer, 4).encode(part)[0] for part in ("a b", "b c", "c d")]
    assert windows == plain


def test_a_stride_that_would_leave_tokens_out_is_refused():
    with pytest.raises(InputError, match=r"windows.stride is 5, expected at most 4"):
        encoder(stride=5)
    with pytest.raises(InputError, match="stride is 0"):
        WindowsConfig(stride=0)
    with pytest.raises(InputError, match=r"aggregate is 'median'.* mean, max"):
        WindowsConfig(aggregate="median")
    with pytest.raises(InputError, match="limit is 0"):
        WindowsConfig(limit=0)


@pytest.mark.parametrize(("how", "expected"), [("mean", [[2.0, 3.0], [5.0, 6.0]]), ("max", [[3.0, 5.0], [5.0, 6.0]])])
def test_logits_of_windows_become_those_of_texts_with_gradients(how, expected):
    logits = torch.tensor([[1.0, 5.0], [3.0, 1.0], [5.0, 6.0]], requires_grad=True)
    result = aggregate_logits(logits, texts_of_windows([2, 1]), 2, how)
    assert result.tolist() == expected
    result.sum().backward()
    assert logits.grad.sum() == 4  # of each text and class, the gradient is passed on whole


def test_texts_of_one_window_each_need_no_aggregation():
    assert texts_of_windows([1, 1, 1]) is None


def test_batches_are_bounded_by_the_tokens_of_all_windows():
    text_encoder = encoder()
    batches = text_encoder.rows_by_length([4, 4, 4, 3], 12, [2, 1, 3, 1])
    assert sorted(row for batch in batches for row in batch) == [0, 1, 2, 3]
    assert [sum([2, 1, 3, 1][row] for row in batch) * 4 <= 12 for batch in batches] == [True] * len(batches)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize("pooling", ["last_token", "mean"])
def test_cached_states_train_alike(quick_trainer, tiny_data, tiny_model, pooling, aggregate):
    results = []
    for enabled in (True, False):
        torch.manual_seed(1)
        optimizer = {"optimizer": {"name": "SGD"}, "learning_rate": 0.1, "cache": {"enabled": enabled}}
        model = tiny_model(trainable="last_block", pooling=pooling, **optimizer)
        trainer = quick_trainer(max_epochs=2)
        data = tiny_data(LONG + SPAM, LABELS, max_length=16, windows=WINDOWS | {"aggregate": aggregate}, split="random")
        trainer.fit(model, data)
        assert (model.state_cache is not None) == enabled
        assert data.encoded["train"].windows.max() > 3
        results.append({name: float(value) for name, value in trainer.callback_metrics.items()})
    assert results[0] == pytest.approx(results[1], abs=1e-5)


def test_a_gradient_step_sees_every_window(tiny_data, tiny_model):
    data = tiny_data(LONG + SPAM, LABELS, max_length=16, windows=WINDOWS, split="random")
    data.setup("fit")
    model = tiny_model(class_names=["ham", "spam"])
    model.text_encoder = data.text_encoder
    model.configure_model()
    row = int(data.encoded["train"].windows.argmax())
    batch = data.encoded["train"][[row]]
    assert batch.inputs.shape[0] == data.encoded["train"].windows[row]
    expected = model.model(batch.inputs, batch.lengths).mean(0, keepdim=True)
    torch.testing.assert_close(model.logits(batch), expected)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, fit):
    root = tmp_path_factory.mktemp("windows")
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(LONG + SPAM, LABELS, strict=True)]
    (root / "long.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = [f"--data.source={root / 'long.jsonl'}", "--data.split=random", "--data.windows={stride: 8}"]
    assert fit(root, *data, "--data.max_length=16", "--data.windows.aggregate=max") == 0
    return root / "version_0"


def test_the_command_line_the_checkpoint_and_a_copied_folder_read_windows_alike(trained, tmp_path, capsys):
    config = json.loads((trained / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["text_encoder"]["windows"] == {"stride": 8, "aggregate": "max", "limit": 16}
    shutil.copytree(trained / "model", tmp_path / "copy")
    classifier = TextClassifier.load(tmp_path / "copy")
    together = classifier.predict_proba(LONG + SPAM)
    alone = np.concatenate([classifier.predict_proba([text]) for text in LONG + SPAM])
    assert together == pytest.approx(alone, abs=1e-6)
    first = TextClassifier.load(tmp_path / "copy")
    first.text_encoder = TextEncoder("bytes", 16)
    assert np.abs(first.predict_proba(LONG + SPAM) - together).max() > 1e-4  # more than the first window counts

    source, output = trained.parent / "long.jsonl", tmp_path / "predictions.csv"
    assert main(["predict", str(tmp_path / "copy"), f"--data.source={source}", f"--output={output}"]) == 0
    written = np.loadtxt(output, delimiter=",", skiprows=1, usecols=(2, 3))
    assert written == pytest.approx(together, abs=2e-6)
    checkpoint = GPTClassifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt")
    assert checkpoint.to_text_classifier().predict_proba(LONG + SPAM) == pytest.approx(together, abs=1e-6)
    assert "windows of 16 tokens every 8" in (trained / "model" / "README.md").read_text(encoding="utf-8")


def test_the_summary_counts_texts_that_are_read_in_windows(tiny_data):
    data = tiny_data(LONG + SPAM, LABELS, max_length=16, windows={"stride": 8, "limit": 4}, split="random")
    data.setup("fit")
    counts = {name: int((encoded.windows > 1).sum()) for name, encoded in data.encoded.items()}
    shown = ", ".join(f"{count} in {name}" for name, count in counts.items())
    assert f"texts longer than 16 tokens, read in windows: {shown}" in data.summary()
    assert "texts read in 4 windows with gaps" in data.summary()


def test_the_report_tells_what_truncation_would_cost(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "version_0")
    assert main(["test", str(run), "--baselines=none"]) == 0
    found = json.loads((run / "scores.json").read_text(encoding="utf-8"))["truncation"]
    assert found["windows"] == {"stride": 8, "aggregate": "max", "limit": 16}
    assert found["longer"]["rows"] > 0
    assert found["otherwise"]["windows"] is None
    assert found["otherwise"]["as_read"] == found["longer"]
    page = (run / "report.md").read_text(encoding="utf-8")
    assert f"Longer than 16 tokens and read in windows every 8 tokens: {found['longer']['rows']} texts." in page
    assert "Truncated (head kept) instead, without training again" in page
