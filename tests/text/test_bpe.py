"""A BPE trained on the training rows: as the library ``tokenizers`` has them, and kept with the model."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiktoken
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers, trainers

from gpt_classifier.audit.inspection import inspect
from gpt_classifier.cli.main import main
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.errors import InputError
from gpt_classifier.inference.model_folder import load
from gpt_classifier.text.bpe import LONGEST, WORDS, TrainTokenizer, from_library, train_bpe, untrained
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.text.tokenizers import tokenizer_named
from gpt_classifier.training.overrides import build

SCRIPTS = [
    "नमस्ते दुनिया, आप कैसे हैं? नमस्ते दुनिया",  # vowel signs are marks, not letters
    "สวัสดีชาวโลก คุณเป็นอย่างไร สวัสดีชาวโลก",
    "مَرْحَبًا بِالْعَالَم مَرْحَبًا",
    "გამარჯობა მსოფლიო გამარჯობა",
    "see you at five, see you then, it's 12345 or 1234\r\n\n  so  what \t",
    "aaaaaaaa aaaa aaa banana ananas !!!!! ?!?! ...",
]
# Any text: of these words, of what has few letters and so many ways to be merged, and of anything at all.
words = st.sampled_from([word for text in SCRIPTS for word in text.split()] + [" ", "\n", "\r\n", "\ud800", "'"])
texts = st.lists(words | st.text("ab \n", max_size=12) | st.text(max_size=6), max_size=8).map("".join)


def in_library(rows, size):
    library = untrained()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        rows, trainers.BpeTrainer(vocab_size=size, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    )
    return library


@pytest.fixture(scope="module")
def sample():
    return list(TextDataModule("sample").read_tables()["train"]["text"])


# ---------------------------------------------------------------- the encoding


@given(rows=st.lists(texts, max_size=6), text=texts, size=st.integers(257, 400))
def test_tiktoken_gives_the_ids_of_the_library_whatever_it_was_trained_on(rows, text, size):
    rows = [row.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for row in [*rows, *SCRIPTS]]
    library = in_library(rows, size)
    ours = from_library(library)
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for each in (whole, *rows):
        assert ours.ids(each) == library.encode(each, add_special_tokens=False).ids
    assert ours.ids(text) == ours.ids(whole)
    assert ours.vocab_size == library.get_vocab_size() + 1
    assert ours.settings() == train_bpe(rows, size).settings()


@given(text=st.text() | texts)
def test_the_bytes_of_the_tokens_are_those_of_the_text(text):
    ours = train_bpe(SCRIPTS, 350)
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert ours._encoding.decode_bytes(ours.ids(text)) == whole.encode()
    assert sum(ours.byte_lengths()[ours.ids(text)]) == len(whole.encode())


@pytest.mark.parametrize("text", SCRIPTS[:4])
def test_marks_stay_with_the_letters_of_their_word(text):
    parts = [part for part, _ in pre_tokenizers.Split(Regex(WORDS), "isolated").pre_tokenize_str(text)]
    assert [part.strip(" ,?") for part in parts if part.strip(" ,?")] == re.findall(r"[^ ,?]+", text)


@pytest.mark.parametrize("kind", [r"[\p{L}\p{M}]", r"\p{N}", r"\s"])
def test_both_libraries_know_the_same_letters_marks_numbers_and_spaces(kind):
    everything = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    others = "".join(part for part, _ in pre_tokenizers.Split(Regex(kind), "removed").pre_tokenize_str(everything))
    ranks = {bytes([value]): value for value in range(256)}
    ours = tiktoken.Encoding("x", pat_str=kind, mergeable_ranks=ranks, special_tokens={})
    assert set(ours.decode(ours.encode_ordinary(everything))) == set(everything) - set(others)


def test_the_same_rows_give_the_same_tokens_in_every_process(sample):
    code = "import sys, json; from gpt_classifier.text.bpe import train_bpe\n"
    code += "print(train_bpe(json.load(sys.stdin), 600).settings()['tokenizer'])"
    names = {train_bpe(sample, 600).settings()["tokenizer"]}
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(sample), env=environment, capture_output=True, text=True
        )
        names.add(done.stdout.strip())
    assert len(names) == 1
    assert re.fullmatch(r"bpe-600-[0-9a-f]{8}", name := names.pop())
    assert train_bpe(sample[:-9], 600).settings()["tokenizer"] != name


def test_a_token_is_never_longer_than_a_folder_can_store():
    ours = train_bpe(["=" * 5000] * 9, 4096)
    assert max(ours.byte_lengths()) <= LONGEST
    assert ours.longest > 8


def test_what_is_stored_is_restored(assert_restored_alike, sample):
    assert_restored_alike(TextEncoder(train_bpe(sample, 500), 32), texts)


@pytest.mark.parametrize("size", [0, 256, 200_001, 300.0, True, "300"])
def test_an_impossible_number_of_tokens_is_one_line(size):
    expected = "257 to 200,0" if type(size) is int else "a whole number"
    with pytest.raises(InputError, match=rf"tokenizer.train is {size!r}.* {expected}"):
        TextDataModule(tokenizer={"train": size})
    with pytest.raises(InputError, match=r"tokenizer .*'trian'.* train.* train"):
        TextDataModule(tokenizer={"trian": 300})


# ---------------------------------------------------------------- from the training rows only


def made(**others):
    rows = [(f"common words {n} alpha", "a") for n in range(8)] + [(f"common words {n} beta", "b") for n in range(8)]
    train = pd.DataFrame(rows, columns=["text", "label"])
    data = TextDataModule.from_tables(
        train, **{"val": train[:0:-2], "test": train[:2], "tokenizer": {"train": 300}, "max_length": 64} | others
    )
    data.setup("fit")
    return data


def test_it_is_trained_on_training_rows_alone_and_few_give_fewer_tokens_and_a_note():
    other = pd.DataFrame({"text": ["zzzzzz qqqqqq zzzzzz qqqqqq"] * 20, "label": ["a", "b"] * 10})
    data = made(val=other, test=other, tokenizer=TrainTokenizer(300))
    assert data.hparams["tokenizer"] == made().hparams["tokenizer"] == {"train": 300}
    assert data.text_encoder.settings() == made().text_encoder.settings()
    assert len(data.text_encoder.encode("zzzz")[0]) == 4
    few = made(tokenizer={"train": 4096})
    number = few.text_encoder.vocab_size - 1
    assert 256 < number < 4096
    assert f"tokenizer: trained with {number} tokens, not 4,096, as no further pair occurs twice" in few.summary()
    assert "trained with" not in made(tokenizer={"train": 260}).summary()
    none = TextDataModule.from_tables(predict=pd.DataFrame({"text": ["a"]}), tokenizer={"train": 300})
    with pytest.raises(InputError, match=r"tokenizer \{train: 300\} .*training rows.* none"):
        none.setup("predict")


def test_each_fold_learns_its_own(sample):
    def describe_fold(fold):
        data = TextDataModule("sample", tokenizer={"train": 600}, splitting={"folds": 3, "fold": fold})
        data.setup("fit")
        rows = list(data.tables["train"]["text"])
        assert data.text_encoder.settings()["tokenizer"] == train_bpe(rows, 600).settings()["tokenizer"]
        return data.text_encoder.settings()["tokenizer"]

    assert len({describe_fold(fold) for fold in range(3)}) == 3


def test_padding_to_the_longest_training_text_learns_once_and_alike():
    data = made(batching={"pad_to": "longest_train"})
    assert data.text_encoder.pad_to == max(data.encoded["train"].lengths)
    assert data.text_encoder.tokenizer.vocabulary().equal(made().text_encoder.tokenizer.vocabulary())


def test_an_audit_counts_its_tokens(sample):
    lengths = inspect(TextDataModule("sample", tokenizer={"train": 600})).length_percentiles
    longest = inspect(TextDataModule("sample", tokenizer="bytes")).length_percentiles
    assert all(lengths[name] < longest[name] for name in lengths)


# ---------------------------------------------------------------- from a fit to a folder and back

OWN = "--data.tokenizer={train: 300}"


@pytest.fixture(scope="module")
def run(tmp_path_factory, fit):
    root = tmp_path_factory.mktemp("trained")
    assert fit(root, OWN) == 0
    return root / "version_0"


def test_a_fit_keeps_it_in_its_folder_and_uses_it_from_there(run, capsys):
    bundle = load(run / "model")
    name = bundle.text_encoder.settings()["tokenizer"]
    assert name.startswith("bpe-300-")
    assert bundle.text_encoder.vocab_size == bundle.model.backbone.config.vocab_size == 301
    for folder in (run / "model", run, run.parent):
        assert tokenizer_named(str(folder)).settings()["tokenizer"] == name
    assert main(["classify", str(run / "model"), "WIN a car now", "see you at five"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["test", str(run), "--baselines=none", "--report=none"]) == 0
    assert name in (run / "model" / "README.md").read_text()


def test_a_resumed_fit_learns_the_same_tokens(run, tmp_path, fit):
    constant = [OWN, "--model.optimizer.warmup=0", "--model.optimizer.schedule=constant"]
    assert fit(tmp_path, *constant, "--trainer.max_epochs=2") == 0
    copy = tmp_path / "version_0"
    last = f"--ckpt_path={copy / 'checkpoints' / 'last.ckpt'}"
    assert fit(tmp_path, *constant, "--trainer.max_epochs=3", last) == 0
    assert load(copy).text_encoder.settings() == load(run).text_encoder.settings()


def test_resuming_with_other_rows_is_refused(run, tmp_path, fit, capsys):
    copy = shutil.copytree(run, tmp_path / "version_0")
    last = f"--ckpt_path={copy / 'checkpoints' / 'last.ckpt'}"
    assert fit(tmp_path, OWN, "--trainer.max_epochs=3", "--data.splitting.seed=9", last) != 0
    assert re.search(
        r"tokenizer trained on these training rows is bpe-300-\w+, that of the checkpoint is bpe-300-",
        capsys.readouterr().err,
    )


def test_the_tokenizer_of_a_model_folder_is_taken_with_its_weights(run, tmp_path, fit):
    folder = run / "model"
    assert fit(tmp_path, f"--data.tokenizer={folder}", f"--model.weights={folder}", "--trainer.max_epochs=1") == 0
    ours, theirs = load(tmp_path / "version_0").text_encoder, load(folder).text_encoder
    assert ours.settings() == theirs.settings()
    assert ours.tokenizer.vocabulary().equal(theirs.tokenizer.vocabulary())


def test_the_weights_of_a_folder_with_another_tokenizer_are_refused(run, tmp_path, fit, capsys):
    folder = run / "model"
    assert fit(tmp_path, "--data.tokenizer={train: 301}", f"--model.weights={folder}") != 0
    error = capsys.readouterr().err
    assert re.search(r"the tokenizer bpe-301-\w+, but \S+ was trained with another one \(bpe-300-\w+\): ", error)
    assert f"give --data.tokenizer {folder}" in error


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
def test_a_damaged_model_folder_is_named(broken, run, tmp_path):
    copy = shutil.copytree(run / "model", tmp_path / "model")
    (copy / broken).write_text("{")
    with pytest.raises(InputError, match=rf"tokenizer .*{copy} "):
        tokenizer_named(str(copy))


def test_published_weights_need_their_own_tokens(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for tokenizer in ("{train: 300}", "bytes"):
        assert main(["fit", "--config=spam", "--data.source=sample", f"--data.tokenizer={tokenizer}"]) != 0
        assert f"tokenizer is {tokenizer}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[OWN], ["--data.tokenizer.train=300"], ["--data.tokenizer.train", "300"]])
def test_the_command_line_takes_a_mapping_or_its_field(words, tmp_path, fit, capsys):
    assert main(["audit", "sample", "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["length_percentiles"]["50"] > 20
    assert fit(tmp_path, "--data.tokenizer.train=many") != 0
    assert "data.tokenizer.train is 'many'" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"data.tokenizer": {"train": 512}}, {"data.tokenizer.train": 512}])
def test_a_row_or_trial_changes_it(change, tmp_path):
    base = "model: {gpt: {n_layer: 1, n_head: 1, n_embd: 8}, weights: random}\ndata: {tokenizer: {train: 300}}"
    assert build(base, change, tmp_path).datamodule.tokenizer == TrainTokenizer(512)
    named = yaml.safe_load(base) | {"data": {"tokenizer": "bytes"}}
    if "data.tokenizer" in change:
        assert build(yaml.safe_dump(named), change, tmp_path).datamodule.tokenizer == TrainTokenizer(512)


def test_download_needs_none(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert main(["cache", "download", "--config=toy", OWN]) == 0
    assert not list(tmp_path.iterdir())
