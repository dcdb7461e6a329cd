"""Loss and bits per byte, whatever the tokenizer and however texts are batched."""

import math

import pytest
import torch

from gpt_classifier.evaluation.language_model import LanguageModelScores
from gpt_classifier.text.encoder import TextEncoder

TEXTS = ["See you at five", "I owe you £5 \U0001f642", "नमस्ते", ""]


@pytest.mark.parametrize("tokenizer", ["bytes", "published"])
def test_tokens_stand_for_the_bytes_of_a_text(tokenizer, request):
    if tokenizer == "published":
        tokenizer = request.getfixturevalue("byte_level_folder")
    encoder = TextEncoder(tokenizer)
    lengths = encoder.tokenizer.byte_lengths()
    assert lengths.shape == (encoder.vocab_size,)
    for text in TEXTS:
        ids, _ = encoder.encode(text)
        assert int(lengths[ids].sum()) == len(text.encode())


@pytest.fixture
def byte_level_folder(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path)


def test_a_uniform_guess_over_bytes_takes_eight_bits_each():
    scores = LanguageModelScores(torch.ones(256, dtype=torch.long))
    scores.update(torch.full((2, 5), math.log(256)), torch.randint(256, (2, 5)), torch.ones(2, 5, dtype=torch.bool))
    assert scores.compute() == pytest.approx({"lm_loss": math.log(256), "bits_per_byte": 8.0})


def test_special_tokens_and_padding_count_in_no_bits():
    scores = LanguageModelScores(torch.tensor([2, 0]))
    counted = torch.tensor([[True, True, False]])
    scores.update(torch.tensor([[math.log(2), 7.0, 9.0]]), torch.tensor([[0, 1, 0]]), counted)
    assert scores.compute() == pytest.approx({"lm_loss": (math.log(2) + 7) / 2, "bits_per_byte": 0.5})


def test_batches_add_up():
    together, apart = (LanguageModelScores(torch.arange(5)) for _ in range(2))
    nats, ids, counted = torch.rand(4, 3), torch.randint(5, (4, 3)), torch.rand(4, 3) > 0.3
    together.update(nats, ids, counted)
    for rows in ([0], [1, 2, 3]):
        apart.update(nats[rows], ids[rows], counted[rows])
    assert apart.compute() == pytest.approx(together.compute())
