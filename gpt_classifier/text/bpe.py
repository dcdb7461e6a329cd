"""Trains a byte-pair encoding (BPE) on texts.

The library ``tokenizers`` counts and merges; tiktoken, which is faster, then encodes with the same result.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from gpt_classifier.errors import InputError
from gpt_classifier.text.normalize import replace_surrogates
from gpt_classifier.text.tokenizers import BytePairs, Tokenizer, build_encoding, tokenizer_named

BYTES = 256
MAX_SIZE = 200_000  # about as many tokens as the encoding of GPT-4o has, which is for all languages
LONGEST = 128  # bytes of a token; GPT-2's longest has as many, and a model folder stores lengths below 256
# No token crosses the border of a word. As in OpenAI's o200k_base, marks belong to letters: GPT-2's pattern takes
# vowel signs of Hindi, Thai and other scripts (\p{M}) for punctuation and so divides words at each. Simpler than there,
# without English contractions and upper case. Every character is in one of these parts, so no text loses any.
# https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py
WORDS = (
    r"[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class TrainTokenizer:
    """A byte-pair encoding (BPE) that is trained on the training rows.

    Args:
        train: Number of tokens, the 256 bytes included; the end-of-text token is one more.
    """

    train: int = 4096

    def __post_init__(self) -> None:
        if type(self.train) is not int or not BYTES < self.train <= MAX_SIZE:
            raise InputError(
                f"tokenizer.train is {self.train!r}, expected a number of tokens from {BYTES + 1} to {MAX_SIZE:,}: the "
                f"{BYTES} bytes are among them"
            )


def tokenizer_for(setting: str | TrainTokenizer, texts: Iterable[str] | None) -> Tokenizer:
    """The tokenizer of that name, or the one that is trained on the training ``texts``.

    Raises ``InputError`` if it is to be trained but there are no training texts.
    """
    if isinstance(setting, str):
        return tokenizer_named(setting)
    if texts is None:
        raise InputError(
            f"tokenizer {{train: {setting.train}}} is trained on training rows, but there are none: fit first, or "
            "name a tokenizer"
        )
    return train_bpe(texts, setting.train)


def train_bpe(texts: Iterable[str], size: int) -> BytePairs:
    """A BPE of at most ``size`` tokens; fewer if the texts have no more pairs that occur twice.

    The same texts in the same order give the same tokens in every process.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, initial_alphabet=alphabet, max_token_length=LONGEST
    )
    library = untrained()
    library.train_from_iterator(map(replace_surrogates, texts), trainer)
    return from_library(library)


def untrained() -> tokenizers.Tokenizer:
    """A tokenizer of the library, which divides texts as tiktoken does, without any tokens yet."""
    library = tokenizers.Tokenizer(models.BPE())
    words = pre_tokenizers.Split(tokenizers.Regex(WORDS), "isolated")
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return library


def from_library(library: tokenizers.Tokenizer) -> BytePairs:
    """The same BPE in tiktoken: a token's id says when it was added, and so which merges come first."""
    byte_of = {symbol: bytes([value]) for value, symbol in _list_symbols().items()}
    ranks = {b"".join(byte_of[symbol] for symbol in token): number for token, number in library.get_vocab().items()}
    identity = b"".join(len(token).to_bytes() + token for token in sorted(ranks, key=ranks.__getitem__))
    name = f"bpe-{len(ranks)}-{hashlib.sha256(WORDS.encode() + identity).hexdigest()[:8]}"
    return BytePairs(build_encoding(name, WORDS, ranks, len(ranks)))


def to_library(tokenizer: BytePairs) -> tokenizers.Tokenizer:
    """The inverse of :func:`from_library`, for GPT-2's BPE and plain bytes too; with ``<|endoftext|>`` added."""
    ranks, symbols, settings = tokenizer.ranks(), _list_symbols(), tokenizer.settings()
    text = {token: "".join(symbols[byte] for byte in token) for token in ranks}
    merges = [_find_parts(token, ranks) for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1]
    library = tokenizers.Tokenizer(
        models.BPE({text[token]: rank for token, rank in ranks.items()}, [(text[a], text[b]) for a, b in merges])
    )
    by_byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=settings["tokenizer"] == "gpt2")
    own_words = merges and settings["tokenizer"] != "gpt2"  # plain bytes need none; GPT-2's are the library's default
    words = [pre_tokenizers.Split(tokenizers.Regex(settings["pattern"]), "isolated")] if own_words else []
    library.pre_tokenizer = pre_tokenizers.Sequence([*words, by_byte])
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<|endoftext|>"])
    assert library.token_to_id("<|endoftext|>") == settings["end_of_text"]
    return library


def _find_parts(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that were merged into ``token``: what earlier merges make of its bytes."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        # Every token but a byte was added as a pair, so there is one to merge.
        where = min(range(len(parts) - 1), key=lambda n: ranks.get(parts[n] + parts[n + 1], len(ranks)))
        parts[where : where + 2] = [parts[where] + parts[where + 1]]
    return parts[0], parts[1]


def _list_symbols() -> dict[int, str]:
    """The printable character that stands for each byte in the library's tokens, as in those of GPT-2."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(BYTES) if value not in plain]
    return {value: chr(value) for value in plain} | {value: chr(BYTES + n) for n, value in enumerate(others)}
