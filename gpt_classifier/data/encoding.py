"""How the texts of tables become token ids: the settings of a text encoder, and the making of one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.data.labels import encode_labels
from gpt_classifier.text.bpe import TrainTokenizer, tokenizer_for
from gpt_classifier.text.encoder import TextEncoder, Truncation, WindowsConfig
from gpt_classifier.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class Encoding:
    """How texts become token ids: the settings of a text encoder, and the making of one.

    Args:
        tokenizer: Its name, or the size of one to learn from the training texts.
        max_length: Maximum number of tokens per text.
        truncation: Which part of a longer text is kept.
        windows: Windows in which longer texts are read instead.
        pad_to: Width of batches: ``longest``, ``longest_train``, or a number of tokens.
    """

    tokenizer: str | TrainTokenizer
    max_length: int
    truncation: Truncation
    windows: WindowsConfig | None
    pad_to: int | str

    def new_tokenizer(self, texts: Iterable[str] | None) -> tuple[Tokenizer, list[str]]:
        """The tokenizer that is named, or learned from the training ``texts``, and a remark on one of fewer tokens."""
        tokenizer = tokenizer_for(self.tokenizer, texts)
        asked, learned = getattr(self.tokenizer, "train", 0), tokenizer.vocab_size - 1
        if learned >= asked:
            return tokenizer, []
        why = "no further pair occurs twice in the training rows"
        return tokenizer, [f"tokenizer: {learned:,} tokens learned, not {asked:,}, as {why}"]

    def text_encoder(self, tokenizer: Tokenizer, longest_train: int | None = None) -> TextEncoder:
        """An encoder that pads to ``longest_train`` tokens where the settings say so."""
        width = {"longest": None, "longest_train": longest_train}.get(str(self.pad_to), self.pad_to)
        pad_to = None if width is None else int(width)
        return TextEncoder(tokenizer, self.max_length, self.truncation, pad_to, self.windows)

    def encode(
        self, tables: Mapping[str, pd.DataFrame], class_names: Sequence[str], given: TextEncoder | None
    ) -> tuple[TextEncoder, dict[str, EncodedTexts], list[str]]:
        """The encoder, ``given`` or made for the training texts, the texts of each table as ids, and remarks."""
        notes: list[str] = []
        if given is None:
            tokenizer, notes = self.new_tokenizer(tables["train"]["text"] if "train" in tables else None)
        encoder = given or self.text_encoder(tokenizer)
        encoded = {}
        if "train" in tables:
            encoded["train"] = encode_table(tables["train"], class_names, encoder)
        if given is None and self.pad_to == "longest_train":
            encoder = self.text_encoder(tokenizer, int(encoded["train"].lengths.max()))
            encoded["train"].text_encoder = encoder
        others = (name for name in tables if name != "train")
        return encoder, encoded | {n: encode_table(tables[n], class_names, encoder) for n in others}, notes


def encode_texts(table: pd.DataFrame, text_encoder: TextEncoder) -> EncodedTexts:
    """The texts and row numbers of a table without labels."""
    return EncodedTexts(table["text"], text_encoder, None, torch.tensor(table["row"].to_numpy(np.int64)))


def encode_table(table: pd.DataFrame, class_names: Sequence[str], text_encoder: TextEncoder) -> EncodedTexts:
    """The texts, labels and row numbers of a table."""
    labels = encode_labels(table["label"], class_names)
    return EncodedTexts(table["text"], text_encoder, labels, torch.tensor(table["row"].to_numpy(np.int64)))
