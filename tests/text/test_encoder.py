"""Texts become ids in one way: whatever is in them, they are truncated, padded, counted and restored as promised."""

import os
import timeit
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier.errors import InputError
from gpt_classifier.files import tokenizer_folder
from gpt_classifier.text.bpe import train_bpe
from gpt_classifier.text.encoder import TRUNCATIONS, TextEncoder

ASSETS = Path(__file__).resolve().parents[3] / "shared" / "assets" / "tiktoken"
GPT2_FILES = ("6c7ea1a7e38e3a7f062df639a5b80947f075ffe6", "6d1cbeee0f20b3d9449abfede4726ed8212e3aee")
NO_LIMIT = 10**6

lengths_of_texts = st.integers(1, 12)
# Any text, also with characters that UTF-8 cannot hold, and with the one that GPT-2 would end a text with.
texts = st.lists(st.text(max_size=20) | st.sampled_from(["<|endoftext|>", "\ud800", " 😀"])).map("".join)


@pytest.fixture(scope="module", params=["bytes", "gpt2"])
def tokenizer(request):
    if request.param == "bytes":
        yield "bytes"
        return
    folders = [Path(os.environ.get("TIKTOKEN_CACHE_DIR") or ASSETS), ASSETS]
    folder = next((f for f in folders if all((f / name).is_file() for name in GPT2_FILES)), None)
    if folder is None:
        pytest.skip(f"GPT-2's tokenizer files are neither in $TIKTOKEN_CACHE_DIR nor in {ASSETS}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        TextEncoder("gpt2")  # tiktoken reads its files once
        yield "gpt2"


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@given(text=texts, most=lengths_of_texts)
def test_a_cut_text_keeps_the_ids_of_its_head_its_tail_or_both(tokenizer, truncation, text, most):
    whole, _ = TextEncoder(tokenizer, NO_LIMIT).encode(text)
    ids, cut = TextEncoder(tokenizer, most, truncation).encode(text)
    head = {"head": most, "tail": 0, "head+tail": most - most // 2}[truncation]
    assert ids == (whole[:head] + whole[len(whole) - (most - head) :] if len(whole) > most else whole)
    assert 1 <= len(ids) <= most
    assert cut == (len(whole) > most)


RUNS = [
    "ha" * 3001,
    "-" * 9999,
    "!" * 4001,
    "1234567890" * 601,
    "Hi " + "." * 3001,
    "x" * 3001 + " y",
    "see you " + "ab" * 4000,
]


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("text", RUNS, ids=lambda text: text[:5])
def test_a_run_without_blanks_has_the_tokens_of_the_whole_text(text, truncation, tokenizer):
    learned = train_bpe([*RUNS, "see you at five, haha !!! 1234 " * 50], 400)
    for each in (tokenizer, learned):
        whole, _ = TextEncoder(each, NO_LIMIT).encode(text)
        ids, cut = TextEncoder(each, 8, truncation).encode(text)
        assert cut
        assert ids == {"head": whole[:8], "tail": whole[-8:], "head+tail": whole[:4] + whole[-4:]}[truncation]


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_a_text_beyond_the_window_keeps_the_same_ids_as_if_it_were_tokenized_whole(tokenizer, truncation):
    text = " ".join(f"word{number}" for number in range(3000))
    whole, _ = TextEncoder(tokenizer, NO_LIMIT).encode(text)
    ids, cut = TextEncoder(tokenizer, 8, truncation).encode(text)
    assert ids == {"head": whole[:8], "tail": whole[-8:], "head+tail": whole[:4] + whole[-4:]}[truncation]
    assert cut


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("unit", ["a", " ", "\n", "spam, ham and ", "😀"])
def test_ten_megabytes_take_no_longer_than_a_long_message(tokenizer, truncation, unit):
    text_encoder = TextEncoder(tokenizer, 1024, truncation)
    text = unit * (10_000_000 // len(unit.encode()))
    assert (
        min(timeit.repeat(lambda: text_encoder.encode(text), repeat=3, number=1)) < 0.5
    )  # whole, it would take 1 to 2 s
    ids, cut = text_encoder.encode(text)
    assert len(ids) == 1024
    assert cut


@given(before=st.text(max_size=9), after=st.text(max_size=9))
def test_endoftext_in_a_text_is_ordinary_text(tokenizer, before, after):
    text_encoder = TextEncoder(tokenizer)
    ids, _ = text_encoder.encode(f"{before}<|endoftext|>{after}")
    assert text_encoder.padding_id not in ids
    assert len(ids) > 1


def test_an_empty_text_is_one_end_of_text_token(tokenizer):
    text_encoder = TextEncoder(tokenizer)
    assert text_encoder.encode("") == ([text_encoder.padding_id], False)


@given(rows=st.lists(texts, min_size=1, max_size=6), pad_to=st.none() | lengths_of_texts)
def test_a_batch_is_padded_on_the_right_and_its_lengths_count_real_tokens(tokenizer, rows, pad_to):
    text_encoder = TextEncoder(tokenizer, pad_to=pad_to)
    ids = [text_encoder.encode(text)[0] for text in rows]
    batch = text_encoder.batch(ids)
    assert batch.lengths.tolist() == [len(row) for row in ids]
    assert batch.inputs.shape == (len(rows), pad_to or max(map(len, ids)))
    for padded, row in zip(batch.inputs.tolist(), ids, strict=True):
        assert padded[: len(row)] == row
        assert set(padded[len(row) :]) <= {text_encoder.padding_id}


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("pad_to", [None, 7])
def test_a_restored_encoder_gives_the_same_ids(tokenizer, truncation, pad_to, assert_restored_alike):
    text_encoder = TextEncoder(tokenizer, 9, truncation, pad_to)
    assert_restored_alike(text_encoder, texts)


@given(
    lengths=st.lists(lengths_of_texts, max_size=40), tokens=st.integers(1, 60), pad_to=st.none() | st.integers(12, 20)
)
def test_rows_by_length_hold_every_row_once_within_the_token_budget(lengths, tokens, pad_to):
    batches = TextEncoder("bytes", pad_to=pad_to).rows_by_length(np.array(lengths), tokens)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        width = pad_to or max(lengths[row] for row in batch)
        assert len(batch) == 1 or len(batch) * width <= tokens


@pytest.mark.parametrize(
    ("wrong", "value"),
    [({"tokenizer": "bert"}, "'bert'"), ({"truncation": "middle"}, "'middle'"), ({"max_length": 0}, "0 tokens")],
)
def test_an_impossible_setting_is_named(wrong, value):
    with pytest.raises(InputError, match=value):
        TextEncoder(**{"tokenizer": "bytes"} | wrong)


def test_missing_tokenizer_files_are_an_error_that_says_what_to_do_instead(tmp_path, monkeypatch):
    import tiktoken.load
    import tiktoken.registry

    def unplugged(url):
        raise OSError(f"no route to {url}")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiktoken.load, "read_file", unplugged)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    with pytest.raises(InputError, match=r"TIKTOKEN_CACHE_DIR.*tokenizer bytes"):
        TextEncoder("gpt2")


@pytest.mark.parametrize(("chosen", "expected"), [(None, "cache/tiktoken"), ("mine", "mine")])
def test_tokenizer_files_are_kept_in_the_cache_unless_the_user_chose_a_place(chosen, expected, tmp_path, monkeypatch):
    import tiktoken

    sought = []

    def get_encoding(name):
        sought.append(Path(os.environ["TIKTOKEN_CACHE_DIR"]))  # as tiktoken does
        raise OSError

    monkeypatch.setattr(tiktoken, "get_encoding", get_encoding)
    monkeypatch.setenv("GPT_CLASSIFIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / str(chosen)))  # restored when the test ends
    if chosen is None:
        monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    with pytest.raises(InputError, match="GPT-2's tokenizer"):
        TextEncoder("gpt2")
    assert sought == [tokenizer_folder()] == [tmp_path / expected]
