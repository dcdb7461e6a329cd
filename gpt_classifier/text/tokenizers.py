"""Converts text to token ids, also as a stored model does.

GPT-2's BPE, those trained on one's own texts and plain bytes use tiktoken, those of published networks the
library ``tokenizers``.
"""

import json
import math
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import tiktoken
import tokenizers
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import find_in_run, named_model, published_at, tokenizer_folder
from gpt_classifier.text.bounds import check_growth, check_numbers, check_pattern, without_panic
from gpt_classifier.text.normalize import replace_surrogates

BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a token of SentencePiece for one byte of a character that it does not know
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # stands for a space in SentencePiece's tokens
SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]|.", re.DOTALL)  # a pair that stands for one character, or any
OWN = ("gpt2", "bytes")  # names of tokenizers that do not belong to a network of transformers


class BytePairs:
    """A byte-pair encoding of tiktoken. It has the attributes and methods of :class:`Published`."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        self.before: list[int] = []  # special tokens before every text
        self.after: list[int] = []  # special tokens after every text
        self.never_text = {encoding.eot_token}  # ids that are no part of a text, even if it contains their names
        self.longest: float = max(map(len, encoding.token_byte_values()))  # maximum number of characters per token
        self.vocab_size = encoding.n_vocab
        self.padding_id = encoding.eot_token  # as in GPT-2, which has no padding token of its own

    def ids(self, text: str) -> list[int]:
        """Token ids of ``text``, without special tokens even if it contains their names."""
        with without_panic(self._encoding.name):
            return self._encoding.encode_ordinary(text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each of ``ids(text)`` the start and end of its characters in ``text``.

        A token that is a part of a character has the span of the whole one.
        """
        characters, borders = replace_surrogates(text), _find_borders(text)
        of_byte = [place for place, c in enumerate(characters) for _ in c.encode()]  # the character of each byte
        ends = accumulate(map(len, self._encoding.decode_tokens_bytes(self.ids(text))), initial=0)
        return [(borders[of_byte[start]], borders[of_byte[end - 1] + 1]) for start, end in pairwise(ends)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these token ids; bytes that are no valid UTF-8 are replaced."""
        return self._encoding.decode(list(ids))

    def byte_lengths(self) -> Tensor:
        """(V,) number of bytes that each token id stands for, in int64; 0 for special tokens."""
        lengths = torch.zeros(self.vocab_size, dtype=torch.long)
        for token, number in self.ranks().items():
            lengths[number] = len(token)
        return lengths

    def ranks(self) -> dict[bytes, int]:
        """The bytes of every ordinary token, and its id, which also says when it was added."""
        return self._encoding._mergeable_ranks

    def settings(self) -> dict[str, Any]:
        """All but the vocabulary, as plain values for :func:`restore_tokenizer`."""
        encoding = self._encoding
        return {"tokenizer": encoding.name, "pattern": encoding._pat_str, "end_of_text": encoding.eot_token}

    def vocabulary(self) -> Tensor:
        """The byte strings of all ordinary tokens in rank order, as a uint8 tensor: lengths, a 0, bytes."""
        tokens = sorted(ranks := self.ranks(), key=ranks.__getitem__)
        return _uint8(bytes(map(len, tokens)) + b"\0" + b"".join(tokens))

    @classmethod
    def restore(cls, settings: dict[str, Any], vocabulary: Tensor) -> "BytePairs":
        check_pattern(settings["pattern"])
        lengths, _, joined = vocabulary.numpy().tobytes().partition(b"\0")
        tokens = [joined[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]
        ranks = {token: rank for rank, token in enumerate(tokens)}
        return cls(build_encoding(settings["tokenizer"], settings["pattern"], ranks, settings["end_of_text"]))


class Published:
    """The tokenizer of a published network: ``tokenizer.json`` of the library ``tokenizers``."""

    # A token such as [UNK] may represent a word of any length, so every text is tokenized whole.
    longest = math.inf

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer, self._name = tokenizer, name
        if tokenizer.normalizer is not None:
            check_growth(json.loads(tokenizer.normalizer.__getstate__()), name)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # special tokens written in a text are ordinary text
        vocabulary = tokenizer.get_vocab()
        self.vocab_size = max(vocabulary.values(), default=0) + 1
        check_numbers(self.vocab_size, len(vocabulary), name)
        known = (tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>", "<|endoftext|>"))
        self.padding_id = next((number for number in known if number is not None), 0)
        special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self.never_text = special - {tokenizer.token_to_id(unknown) for unknown in ("[UNK]", "<unk>")}
        # Special tokens that the tokenizer's post-processor adds, for example [CLS] and [SEP].
        text, whole = self.ids("a"), self._encoded("a", special=True).ids
        start = next((place for place in range(len(whole)) if whole[place : place + len(text)] == text), None)
        if start is None:
            raise InputError(f"the tokenizer {name} reads a text otherwise between its special tokens: fetch it again")
        self.before, self.after = whole[:start], whole[start + len(text) :]

    def ids(self, text: str) -> list[int]:
        return [number for number, _ in self._tokens(text)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        borders = _find_borders(text)
        return [(borders[start], borders[end]) for _, (start, end) in self._tokens(text)]

    def _tokens(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        """Ids, each with its start and end."""
        encoding = self._encoded(text)
        # Unigram models have special tokens in their vocabulary, and find them in texts even so.
        tokens = zip(encoding.ids, encoding.offsets, strict=True)
        return [(number, span) for number, span in tokens if number not in self.never_text]

    def _encoded(self, text: str, special: bool = False) -> Any:
        with without_panic(self._name):
            return self._tokenizer.encode(replace_surrogates(text), add_special_tokens=special)

    def without_special_tokens(self) -> "Published":
        """The same tokenizer, except that it adds nothing to a text."""
        bare = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        bare.post_processor = None
        return Published(bare, self._name)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids))

    def byte_lengths(self) -> Tensor:
        lengths = torch.zeros(self.vocab_size, dtype=torch.long)
        by_bytes = "ByteLevel" in self._tokenizer.to_str()  # one character of a token is one byte, as in GPT-2
        for token, number in self._tokenizer.get_vocab().items():
            if number in self.never_text:
                continue
            if by_bytes or BYTE.fullmatch(token):
                lengths[number] = len(token) if by_bytes else 1
            else:
                lengths[number] = len(token.removeprefix("##").replace(SPACE, " ").encode())
        return lengths

    def settings(self) -> dict[str, Any]:
        return {"tokenizer": self._name, "library": "tokenizers"}

    def vocabulary(self) -> Tensor:
        """The bytes of ``tokenizer.json``."""
        return _uint8(self._tokenizer.to_str().encode())

    @classmethod
    def restore(cls, settings: dict[str, Any], vocabulary: Tensor) -> "Published":
        name = settings["tokenizer"]
        try:
            with without_panic(name):
                return cls(tokenizers.Tokenizer.from_str(vocabulary.numpy().tobytes().decode()), name)
        except Exception as error:  # tokenizers raises plain Exceptions
            raise InputError(f"the stored tokenizer {name} cannot be read ({reason(error)})") from error


Tokenizer = BytePairs | Published


def tokenizer_named(name: str) -> Tokenizer:
    """The tokenizer ``gpt2``, ``bytes``, or that of a model folder, run or published network, by its name or folder."""
    if name in OWN:
        return BytePairs(_load_encoding(name))
    if (kept := load_stored_tokenizer(Path(name))) is not None:
        return kept
    return Published(_load_published(name), _find_public_name(name))


def are_alike(name: str, other: str) -> bool:
    """Whether two tokenizers have the same vocabulary. Raises ``InputError`` if one is not there."""
    return name == other or torch.equal(tokenizer_named(name).vocabulary(), tokenizer_named(other).vocabulary())


def load_stored_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a model folder of this package, of a run, the newest run in a folder or a checkpoint; else None.

    Raises ``InputError`` if its files are damaged.
    """
    folder = named_model(folder)
    if folder.suffix == ".ckpt" and folder.is_file():
        try:
            ours = torch.load(folder, map_location="cpu", weights_only=True, mmap=True)["gpt_classifier"]
            return restore_tokenizer(ours["config"]["text_encoder"], ours["tensors"]["tokenizer"])
        except Exception as error:  # of a damaged file, PyTorch raises several unrelated kinds
            raise InputError(f"the tokenizer in {folder} cannot be read ({reason(error)})") from error
    if (of_run := find_in_run(folder, "model/model.safetensors")) is not None:
        folder = of_run.parent
    config, weights = folder / "config.json", folder / "model.safetensors"
    if not (config.is_file() and weights.is_file()):
        return None
    try:
        settings = json.loads(config.read_text(encoding="utf-8")).get("text_encoder")
        if settings is None:  # the folder of a published network
            return None
        with safe_open(weights, framework="pt") as stream:
            return restore_tokenizer(settings, stream.get_tensor("tokenizer"))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"the tokenizer in the model folder {folder} cannot be read ({reason(error)})") from error


def end_of_text(tokenizer: Tokenizer) -> int:
    """The token that begins a document: GPT-2's, or what ends (or else begins) a text of a published tokenizer."""
    return [*tokenizer.after[-1:], *tokenizer.before[:1], tokenizer.padding_id][0]


def restore_tokenizer(settings: dict[str, Any], vocabulary: Tensor) -> Tokenizer:
    """The tokenizer with these ``settings()`` and this ``vocabulary()``, without a download."""
    if settings.get("library") == "tokenizers":
        return Published.restore(settings, vocabulary)
    return BytePairs.restore(settings, vocabulary)


def build_encoding(name: str, pattern: str, ranks: dict[bytes, int], end_of_text: int) -> tiktoken.Encoding:
    return tiktoken.Encoding(
        name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": end_of_text}
    )


def _load_encoding(name: str) -> tiktoken.Encoding:
    if name == "bytes":
        return build_encoding("bytes", "(?s:.)", {bytes([value]): value for value in range(256)}, 256)
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(tokenizer_folder()))  # tiktoken has no argument for it
    try:
        return tiktoken.get_encoding(name)
    except (OSError, ValueError) as error:  # tiktoken raises ValueError for a file with the wrong checksum
        raise InputError(
            "could not load GPT-2's tokenizer files (vocab.bpe and encoder.json of the GPT-2 release): "
            f"{reason(error)}. Fetch them on a machine with internet by `gpt-classifier cache download`, "
            "copy its tiktoken cache folder and name it in TIKTOKEN_CACHE_DIR, or use `--data.tokenizer bytes`."
        ) from error


def _load_published(name: str) -> Any:
    """The tokenizer of a published network, downloaded if needed."""
    try:
        if (file := _find_tokenizer_file(name)) is not None:
            return tokenizers.Tokenizer.from_file(file)
        modified = Path(name).stat().st_mtime_ns if Path(name).exists() else 0
        return tokenizers.Tokenizer.from_str(_convert(name, modified))
    except InputError:
        raise
    except Exception as error:  # the hub's client and the libraries raise many unrelated classes
        has_all = find_spec("sentencepiece") or name.endswith(".gguf")
        advice = "" if has_all else '; some need sentencepiece: pip install "gpt-classifier[transformers]"'
        raise InputError(
            f"tokenizer is {name!r}, expected {', '.join(OWN)}, {{train: 4096}}, a model folder, the name of a "
            "network on the Hugging Face hub, a folder with its tokenizer.json, or a .gguf file; it could not be "
            f"loaded ({reason(error)}){advice}"
        ) from error


def _find_tokenizer_file(name: str) -> str | None:
    """The path of ``tokenizer.json`` of a network in a folder or on the hub, or None if it has no such file."""
    if published_at(name)[1]:  # a .gguf file
        return None
    if Path(name).is_dir():
        file = Path(name) / "tokenizer.json"
        return str(file) if file.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return hf_hub_download(name, "tokenizer.json")
    except EntryNotFoundError:
        return None


@lru_cache(maxsize=1)
def _convert(name: str, modified: int) -> str:
    """``tokenizer.json`` of a network that has it in another form; DeBERTa-v3, for example, is a SentencePiece model.

    Kept until its file is ``modified``: a .gguf file is read for seconds, and several times in a fit.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise InputError(
            f"the tokenizer {name} has no tokenizer.json, or it could not be downloaded; to convert older files, "
            'pip install "gpt-classifier[transformers]"'
        ) from error
    place, options = published_at(name)
    return AutoTokenizer.from_pretrained(place, trust_remote_code=False, **options).backend_tokenizer.to_str()


def _find_public_name(name: str) -> str:
    """The name to store with a model: of a folder or file without its path, which is private."""
    return Path(name).resolve().name if Path(name).exists() else name


def _find_borders(text: str) -> list[int]:
    """Where in ``text`` each character of ``valid(text)`` begins, and where the last one ends."""
    return list(accumulate(map(len, SURROGATES.findall(text)), initial=0))


def _uint8(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
