"""Turns text into token ids; knows nothing about truncation, batches or models.

Two libraries do it: tiktoken for GPT-2's byte pairs and for plain bytes, ``tokenizers`` for those of encoders.
"""

import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tiktoken
import torch
from torch import Tensor

from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import tokenizer_folder

OWN = ("gpt2", "bytes")  # the names of those that are no encoder's


class Tokenizer(Protocol):
    """What :class:`~gpt_classifier.encoding.TextEncoder` needs to know of a tokenizer."""

    before: list[int]  # special tokens in front of every text
    after: list[int]  # and behind it
    longest: float  # most characters that one token can stand for

    @property
    def vocab_size(self) -> int: ...

    @property
    def padding_id(self) -> int: ...

    def ids(self, text: str) -> list[int]:
        """All tokens of ``text``, none of them special, whatever is written in it."""

    def settings(self) -> dict[str, Any]:
        """All but the vocabulary, as plain values; :func:`restore_tokenizer` takes both."""

    def vocabulary(self) -> Tensor:
        """The rest, as one uint8 tensor."""


def tokenizer_named(name: str) -> Tokenizer:
    """``gpt2``, ``bytes``, or that of an encoder: its name on the Hugging Face hub, or its folder."""
    return BytePairs(_encoding(name)) if name in OWN else Published(_published(name), _shown(name))


def restore_tokenizer(settings: dict[str, Any], vocabulary: Tensor) -> Tokenizer:
    """The tokenizer that gave these ``settings()`` and this ``vocabulary()``; needs no download."""
    if settings.get("library") == "tokenizers":
        return Published.restore(settings, vocabulary)
    return BytePairs.restore(settings, vocabulary)


class BytePairs:
    """A byte-pair encoding of tiktoken."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        self.before: list[int] = []
        self.after: list[int] = []
        self.longest: float = max(map(len, encoding.token_byte_values()))

    @property
    def vocab_size(self) -> int:
        return self._encoding.n_vocab

    @property
    def padding_id(self) -> int:
        """The end-of-text token, as in GPT-2, which has no padding token of its own."""
        return self._encoding.eot_token

    def ids(self, text: str) -> list[int]:
        return self._encoding.encode_ordinary(text)

    def settings(self) -> dict[str, Any]:
        return {
            "tokenizer": self._encoding.name,
            "pattern": self._encoding._pat_str,
            "end_of_text": self._encoding.eot_token,
        }

    def vocabulary(self) -> Tensor:
        """The byte strings of all ordinary tokens in rank order: lengths, a 0, bytes."""
        tokens = sorted(self._encoding._mergeable_ranks, key=self._encoding._mergeable_ranks.__getitem__)
        return _uint8(bytes(map(len, tokens)) + b"\0" + b"".join(tokens))

    @classmethod
    def restore(cls, settings: dict[str, Any], vocabulary: Tensor) -> "BytePairs":
        lengths, _, joined = vocabulary.numpy().tobytes().partition(b"\0")
        ends = np.cumsum(np.frombuffer(lengths, dtype=np.uint8))
        encoding = tiktoken.Encoding(
            settings["tokenizer"],
            pat_str=settings["pattern"],
            mergeable_ranks={
                joined[end - n : end]: rank for rank, (end, n) in enumerate(zip(ends, lengths, strict=True))
            },
            special_tokens={"<|endoftext|>": settings["end_of_text"]},
        )
        return cls(encoding)


class Published:
    """A tokenizer of the library ``tokenizers``, as encoders are published with: one file, ``tokenizer.json``."""

    # One token may stand for a word of any length, such as [UNK], so every text is tokenized whole.
    longest = math.inf

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer, self._name = tokenizer, name
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # what looks like a special token in a text is ordinary text
        self.vocab_size = max(tokenizer.get_vocab().values()) + 1
        known = (tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>", "<|endoftext|>"))
        self.padding_id = next((number for number in known if number is not None), 0)
        special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._never = special - {tokenizer.token_to_id(unknown) for unknown in ("[UNK]", "<unk>")}
        # What the tokenizer's own post-processor puts around a text, such as [CLS] and [SEP].
        text, whole = self.ids("a"), tokenizer.encode("a").ids
        start = next(place for place in range(len(whole)) if whole[place : place + len(text)] == text)
        self.before, self.after = whole[:start], whole[start + len(text) :]

    def ids(self, text: str) -> list[int]:
        # A half of a surrogate pair, which no UTF-8 can hold, is replaced, as tiktoken does.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        # A unigram model has its special tokens in its vocabulary, and finds them in texts all the same.
        return [number for number in ids if number not in self._never]

    def settings(self) -> dict[str, Any]:
        return {"tokenizer": self._name, "library": "tokenizers"}

    def vocabulary(self) -> Tensor:
        """The bytes of ``tokenizer.json``."""
        return _uint8(self._tokenizer.to_str().encode())

    @classmethod
    def restore(cls, settings: dict[str, Any], vocabulary: Tensor) -> "Published":
        try:
            tokenizer = _library().from_str(vocabulary.numpy().tobytes().decode())
        except InputError:
            raise
        except Exception as error:  # the library knows no other kind
            raise InputError(
                f"the stored tokenizer {settings['tokenizer']} cannot be read ({reason(error)})"
            ) from error
        return cls(tokenizer, settings["tokenizer"])


def _uint8(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _encoding(name: str) -> tiktoken.Encoding:
    if name == "bytes":
        return tiktoken.Encoding(
            "bytes",
            pat_str="(?s:.)",
            mergeable_ranks={bytes([value]): value for value in range(256)},
            special_tokens={"<|endoftext|>": 256},
        )
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(tokenizer_folder()))  # tiktoken is told in no other way
    try:
        return tiktoken.get_encoding(name)
    except (OSError, ValueError) as error:  # tiktoken raises ValueError for a file with the wrong checksum
        raise InputError(
            "could not load GPT-2's tokenizer files (vocab.bpe and encoder.json of the GPT-2 release): "
            f"{reason(error)}. Fetch them on a machine with internet by `gpt-classifier download`, "
            "copy its tiktoken cache folder and name it in TIKTOKEN_CACHE_DIR, or use `--data.tokenizer bytes`."
        ) from error


def _published(name: str) -> Any:
    """The tokenizer of an encoder, downloaded if needed."""
    library = _library()
    try:
        return _from_file(library, name) or _converted(library, name)
    except InputError:
        raise
    except Exception as error:  # the hub's client and the libraries raise many unrelated kinds
        advice = (
            "" if find_spec("sentencepiece") else '; some need sentencepiece: pip install "gpt-classifier[encoders]"'
        )
        raise InputError(
            f"tokenizer is {name!r}, expected {', '.join(OWN)}, the name of an encoder on the Hugging Face hub, or a "
            f"folder with its tokenizer.json; this one could not be had ({reason(error)}){advice}"
        ) from error


def _from_file(library: Any, name: str) -> Any:
    """From ``tokenizer.json``, or None where there is no such file."""
    if Path(name).is_dir():
        file = Path(name) / "tokenizer.json"
        return library.from_file(str(file)) if file.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return library.from_file(hf_hub_download(name, "tokenizer.json"))
    except EntryNotFoundError:
        return None


def _converted(library: Any, name: str) -> Any:
    """From the older files that some encoders are published with: DeBERTa-v3 has but a SentencePiece model."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise InputError(
            f"the tokenizer {name} has no tokenizer.json, or it could not be downloaded; to convert older files, "
            'pip install "gpt-classifier[encoders]"'
        ) from error
    return library.from_str(AutoTokenizer.from_pretrained(name, trust_remote_code=False).backend_tokenizer.to_str())


def _library() -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError('an encoder\'s tokenizer needs tokenizers: pip install "gpt-classifier[encoders]"') from error
    return Tokenizer


def _shown(name: str) -> str:
    """The name to keep: a model must not tell where on this machine its tokenizer came from."""
    return Path(name).resolve().name if Path(name).is_dir() else name
