"""Texts become ids in one way: whatever is in them, they are truncated, padded, counted and restored as promised."""

import os
import sys
import timeit
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from gpt_classifier.errors import InputError
from gpt_classifier.files import tokenizer_folder
from gpt_classifier.text.bpe import train_bpe
from gpt_classifier.text.encoder import TRUNCATIONS, TextEncoder

ASSETS = Path(__file__).resolve().parents[3] / "shared" / "assets" / "tiktoken"
GPT2_FILES = ("6c7ea1a7e38e3a7f062df639a5b80947f075ffe6", "6d1cbeee0f20b3d9449abfede4726ed8212e3aee")
NO_LIMIT = 10**6
OWN, PUBLISHED = ("bytes", "gpt2"), ("wordpiece", "bpe", "unigram")
SPECIAL = ["[CLS]", "[SEP]", "[PAD]", "<s>", "</s>", "<pad>", "<|endoftext|>"]

lengths_of_texts = st.integers(1, 12)
# Any text, also with characters that UTF-8 cannot hold, and with what looks like a special token.
texts = st.lists(st.text(max_size=20) | st.sampled_from([*SPECIAL, "\ud800", " 😀", " "])).map("".join)


@pytest.fixture(scope="module")
def gpt2():
    folders = [Path(os.environ.get("TIKTOKEN_CACHE_DIR") or ASSETS), ASSETS]
    folder = next((f for f in folders if all((f / name).is_file() for name in GPT2_FILES)), None)
    if folder is None:
        pytest.skip(f"GPT-2's tokenizer files are neither in $TIKTOKEN_CACHE_DIR nor in {ASSETS}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        TextEncoder("gpt2")  # tiktoken reads its files once
        yield "gpt2"


@pytest.fixture(scope="module", params=OWN)
def plain(request):
    return request.getfixturevalue("gpt2") if request.param == "gpt2" else request.param


@pytest.fixture(scope="module", params=PUBLISHED)
def folder(request, published):
    return published(request.param)


@pytest.fixture(scope="module", params=[*OWN, *PUBLISHED])
def tokenizer(request, published):
    if request.param in PUBLISHED:
        return str(published(request.param))
    return request.getfixturevalue("gpt2") if request.param == "gpt2" else request.param


@pytest.fixture(scope="module")
def library(folder):
    """The same tokenizer, as the library would use it."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@given(text=texts, most=st.integers(1, 12))
def test_a_truncated_text_keeps_its_head_its_tail_or_both_between_special_tokens(tokenizer, truncation, text, most):
    whole = TextEncoder(tokenizer, NO_LIMIT)
    before, after = whole.tokenizer.before, whole.tokenizer.after
    ids = whole.encode(text)[0]
    inner = ids[len(before) : len(ids) - len(after)]
    assert ids == [*before, *inner, *after]
    assert not {*whole.tokenizer.never_text} & {*inner} or inner == [whole.padding_id]
    head = {"head": most, "tail": 0, "head+tail": most - most // 2}[truncation]
    kept = inner[:head] + inner[len(inner) - (most - head) :] if len(inner) > most else inner
    text_encoder = TextEncoder(whole.tokenizer, most + len(before) + len(after), truncation)
    assert text_encoder.encode(text) == ([*before, *kept, *after], len(inner) > most)


@pytest.mark.parametrize("side", ["head", "tail"])
def test_a_truncated_text_has_the_ids_that_the_library_gives(side, folder, library):
    text = "see you at five or at six"
    for most in (3, 4, 7, NO_LIMIT):
        library.enable_truncation(most, direction={"head": "right", "tail": "left"}[side])
        assert TextEncoder(str(folder), most, side).encode(text)[0] == library.encode(text).ids
    library.no_truncation()


RUNS = [
    " ".join(f"word{number}" for number in range(3000)),
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
def test_a_huge_text_has_the_tokens_of_the_whole_text_also_without_blanks(text, truncation, plain):
    trained = train_bpe([*RUNS, "see you at five, haha !!! 1234 " * 50], 400)
    for each in (plain, trained):
        whole, _ = TextEncoder(each, NO_LIMIT).encode(text)
        ids, is_truncated = TextEncoder(each, 8, truncation).encode(text)
        assert is_truncated
        assert ids == {"head": whole[:8], "tail": whole[-8:], "head+tail": whole[:4] + whole[-4:]}[truncation]


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("unit", ["a", " ", "\n", "spam, ham and ", "😀"])
def test_ten_megabytes_take_no_longer_than_a_long_message(plain, truncation, unit):
    text_encoder = TextEncoder(plain, 1024, truncation)
    text = unit * (10_000_000 // len(unit.encode()))
    assert (
        min(timeit.repeat(lambda: text_encoder.encode(text), repeat=3, number=1)) < 0.5
    )  # whole, it would take 1 to 2 s
    ids, is_truncated = text_encoder.encode(text)
    assert len(ids) == 1024
    assert is_truncated


@given(before=st.text(max_size=9), after=st.text(max_size=9), token=st.sampled_from(SPECIAL))
def test_what_looks_like_a_special_token_is_ordinary_text(tokenizer, before, after, token):
    text_encoder = TextEncoder(tokenizer, NO_LIMIT)
    ids = text_encoder.tokenizer.ids(before + token + after)
    assert ids
    assert not text_encoder.tokenizer.never_text & set(ids)


def test_an_empty_text_is_its_special_tokens_or_one_end_of_text_token(tokenizer):
    text_encoder = TextEncoder(tokenizer)
    special = [*text_encoder.tokenizer.before, *text_encoder.tokenizer.after]
    assert text_encoder.encode("") == (special or [text_encoder.padding_id], False)


@given(rows=st.lists(texts, min_size=1, max_size=6), pad_to=st.none() | st.integers(3, 12))
def test_a_batch_is_padded_on_the_right_and_its_lengths_count_real_tokens(tokenizer, rows, pad_to):
    text_encoder = TextEncoder(tokenizer, pad_to=pad_to)
    ids = [text_encoder.encode(text)[0] for text in rows]
    batch = text_encoder.batch(ids)
    assert batch.lengths.tolist() == [len(row) for row in ids]
    assert batch.inputs.shape == (len(rows), pad_to or max(map(len, ids)))
    for padded, row in zip(batch.inputs.tolist(), ids, strict=True):
        assert padded[: len(row)] == row
        assert set(padded[len(row) :]) <= {text_encoder.padding_id}


def test_padding_is_the_tokenizers_own(folder, library):
    text_encoder = TextEncoder(str(folder))
    assert text_encoder.padding_id in {library.token_to_id("[PAD]"), library.token_to_id("<pad>")}
    assert text_encoder.vocab_size == library.get_vocab_size()
    assert text_encoder.encode("")[0] == library.encode("").ids
    assert text_encoder.settings()["tokenizer"] == folder.name, "not where the folder was"


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("pad_to", [None, 7])
def test_a_restored_text_encoder_gives_the_same_ids(tokenizer, truncation, pad_to, monkeypatch, assert_restored_alike):
    text_encoder = TextEncoder(tokenizer, 9, truncation, pad_to)
    monkeypatch.setitem(sys.modules, "transformers", None)
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


def test_a_broken_tokenizer_is_named(folder, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=str(tmp_path)):
        TextEncoder(str(tmp_path))
    text_encoder = TextEncoder(str(folder))
    with pytest.raises(InputError, match=folder.name):
        TextEncoder.restore(text_encoder.settings(), text_encoder.tokenizer.vocabulary()[1:])


def test_special_tokens_need_room_and_something_between_them(folder):
    with pytest.raises(InputError, match=r"2 tokens.*max_length .*pad_to .*at least 3"):
        TextEncoder(str(folder), 2)


def test_a_folder_of_older_files_is_converted(published, tmp_path):
    whole = TextEncoder(str(published("wordpiece")))
    vocabulary = Tokenizer.from_str(bytes(whole.tokenizer.vocabulary().tolist()).decode()).get_vocab()
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    converted = TextEncoder(str(tmp_path))
    for text in ("see you at five!", "[SEP] WIN", ""):
        assert converted.encode(text) == whole.encode(text)
