"""The tokenizers that encoders are published with work like GPT-2's, special tokens and all."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from gpt_classifier.errors import InputError
from gpt_classifier.text.encoder import TRUNCATIONS, TextEncoder

NO_LIMIT = 10**6
SPECIAL = ["[CLS]", "[SEP]", "[PAD]", "<s>", "</s>", "<pad>", "<|endoftext|>"]
# Any text, also with characters that UTF-8 cannot hold, and with what looks like a special token.
texts = st.lists(st.text(max_size=20) | st.sampled_from([*SPECIAL, "\ud800", " 😀", " "])).map("".join)


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "unigram"])
def folder(request, published):
    return published(request.param)


@pytest.fixture(scope="module")
def library(folder):
    """The same tokenizer, as the library would use it."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@pytest.mark.parametrize("side", ["head", "tail"])
def test_a_cut_text_has_the_ids_that_the_library_gives(side, folder, library):
    text = "see you at five or at six"
    for most in (3, 4, 7, NO_LIMIT):
        library.enable_truncation(most, direction={"head": "right", "tail": "left"}[side])
        assert TextEncoder(str(folder), most, side).encode(text)[0] == library.encode(text).ids
    library.no_truncation()


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@given(text=texts, most=st.integers(3, 12))
def test_special_tokens_stay_around_what_is_left_of_any_text(folder, library, truncation, text, most):
    first, *_, last = library.encode("a").ids
    whole = TextEncoder(str(folder), NO_LIMIT).encode(text)[0][1:-1]
    ids, cut = TextEncoder(str(folder), most, truncation).encode(text)
    room = most - 2
    head = {"head": room, "tail": 0, "head+tail": room - room // 2}[truncation]
    assert ids[0] == first
    assert ids[-1] == last
    assert ids[1:-1] == (whole[:head] + whole[len(whole) - (room - head) :] if len(whole) > room else whole)
    assert cut == (len(whole) > room)


@given(before=st.text(max_size=9), after=st.text(max_size=9), token=st.sampled_from(SPECIAL))
def test_what_looks_like_a_special_token_is_ordinary_text(folder, library, before, after, token):
    ids, _ = TextEncoder(str(folder), NO_LIMIT).encode(before + token + after)
    special = {library.token_to_id(name) for name in SPECIAL}
    assert not special & set(ids[1:-1])


def test_an_empty_text_is_its_special_tokens(folder, library):
    assert TextEncoder(str(folder)).encode("") == (library.encode("").ids, False)


def test_padding_is_the_tokenizers_own(folder, library):
    text_encoder = TextEncoder(str(folder))
    assert text_encoder.padding_id in {library.token_to_id("[PAD]"), library.token_to_id("<pad>")}
    assert text_encoder.vocab_size == library.get_vocab_size()
    ids = [text_encoder.encode(text)[0] for text in ("see you", "a")]
    batch = text_encoder.batch(ids)
    assert batch.lengths.tolist() == [len(row) for row in ids]
    assert set(batch.inputs[1, len(ids[1]) :].tolist()) == {text_encoder.padding_id}


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("pad_to", [None, 7])
def test_a_restored_encoder_gives_the_same_ids_without_transformers(
    folder, truncation, pad_to, monkeypatch, assert_restored_alike
):
    text_encoder = TextEncoder(str(folder), 9, truncation, pad_to)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert_restored_alike(text_encoder, texts)


def test_the_settings_do_not_tell_where_the_folder_was(folder):
    assert TextEncoder(str(folder)).settings()["tokenizer"] == folder.name


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
