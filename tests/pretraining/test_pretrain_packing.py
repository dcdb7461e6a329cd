"""Packing texts into blocks: every token is there once, in order, and predicted once."""

import pytest
import torch

from gpt_classifier.data.datasets import Columns
from gpt_classifier.data.readers import AS_NAMED
from gpt_classifier.errors import InputError
from gpt_classifier.pretraining.packing import Packed, pack, token_dtype
from gpt_classifier.pretraining.texts import find_files, is_held_out, read_documents, read_plain_documents
from gpt_classifier.text.tokenizers import tokenizer_named

BYTES = tokenizer_named("bytes")
TEXTS = ["one two", "", "drei", "fünf " * 20]


@pytest.mark.parametrize("length", [1, 3, 7, 16, 1000])
def test_blocks_predict_every_token_but_the_first_once(tmp_path, length):
    count = pack(TEXTS, BYTES, tmp_path / "train.bin")
    packed = Packed(tmp_path / "train.bin", token_dtype(BYTES.vocab_size), length)
    everything = [token for text in TEXTS for token in [256, *text.encode()]]
    assert packed.tokens == count == len(everything)
    predicted, read = [], []
    for number in range(len(packed)):
        ids, lengths, _ = packed[[number]]
        predicted += ids[0, 1 : lengths[0]].tolist()
        read += ids[0, : lengths[0] - 1].tolist()
    assert predicted == everything[1:]
    assert read == everything[:-1]
    assert all(length == packed.length + 1 for length in packed[range(len(packed) - 1)].lengths.tolist())


def test_several_blocks_are_the_rows_of_a_batch(tmp_path):
    pack(TEXTS, BYTES, tmp_path / "train.bin")
    packed = Packed(tmp_path / "train.bin", "uint16", 8)
    assert torch.equal(packed[[2, 0]].ids, torch.cat([packed[[2]].ids, packed[[0]].ids]))


def test_token_ids_need_no_more_bytes_than_they_must():
    assert (token_dtype(2**16), token_dtype(2**16 + 1)) == ("uint16", "uint32")


def test_a_blank_line_ends_a_document(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\n \n\nthree\n", encoding="utf-8")
    assert list(read_plain_documents(str(path))) == ["one\ntwo", "three"]


def test_a_folder_means_all_text_files_below_it_and_sources_may_be_mixed(tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "inner/c.txt", "ignored.md"):
        (tmp_path / "folder" / name).write_text(name, encoding="utf-8")
    (tmp_path / "more.csv").write_text("text\nfour\n\nfive\n", encoding="utf-8")
    source = [str(tmp_path / "folder"), str(tmp_path / "more.csv")]
    found = list(read_documents(source, Columns("text", None), AS_NAMED))
    assert found == ["a.txt", "b.txt", "inner/c.txt", "four", "five"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"\xff\xfe\xfa", "is no utf-8 text"),
        ("a.pdf", b"text", "has no known format"),
    ],
)
def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=expected) as caught:
        list(read_documents(str(tmp_path / name), Columns("text", None), AS_NAMED))
    assert "\n" not in str(caught.value)


def test_a_file_named_twice_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(InputError, match="named twice"):
        find_files([str(tmp_path), str(tmp_path / "a.txt")])


def test_near_duplicates_are_held_out_together_and_the_fraction_is_about_right():
    assert is_held_out("You won  100 pounds", 0.5) == is_held_out("you won 250 POUNDS", 0.5)
    held = sum(is_held_out(f"text {'x' * n} about {chr(97 + n % 26)}", 0.1) for n in range(2000))
    assert 140 < held < 260
    assert not any(is_held_out(str(n), 0.0) for n in range(20))
