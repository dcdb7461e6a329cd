"""How the texts of tables become token ids: the settings of a text encoder, and the making of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.data.labels import encode_labels
from gpt_classifier.text.bpe import TrainTokenizer, tokenizer_for
from gpt_classifier.text.encoder import TextEncoder, Truncation, WindowsConfig


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

    def encode(
        self, tables: Mapping[str, pd.DataFrame], class_names: Sequence[str], given: TextEncoder | None
    ) -> tuple[TextEncoder, dict[str, EncodedTexts], list[str]]:
        """The text encoder, ``given`` or made for the training texts, the texts of each table as ids, and remarks."""
        notes: list[str] = []
        encoder = given
        if encoder is None:
            tokenizer = tokenizer_for(self.tokenizer, tables["train"]["text"] if "train" in tables else None)
            size, learned = getattr(self.tokenizer, "train", 0), tokenizer.vocab_size - 1
            if learned < size:
                why = "no further pair occurs twice in the training rows"
                notes.append(f"tokenizer: {learned:,} tokens learned, not {size:,}, as {why}")
            pad_to = int(self.pad_to) if str(self.pad_to).isdigit() else None
            encoder = TextEncoder(tokenizer, self.max_length, self.truncation, pad_to, self.windows)
        encoded = {}
        if "train" in tables:
            encoded["train"] = encode_table(tables["train"], encoder, class_names)
            if given is None and self.pad_to == "longest_train":
                width = int(encoded["train"].lengths.max())
                encoder = TextEncoder(encoder.tokenizer, self.max_length, self.truncation, width, self.windows)
                encoded["train"].text_encoder = encoder
        others = (name for name in tables if name != "train")
        return encoder, encoded | {n: encode_table(tables[n], encoder, class_names) for n in others}, notes


def encode_table(
    table: pd.DataFrame, text_encoder: TextEncoder, class_names: Sequence[str] | None = None
) -> EncodedTexts:
    """The texts and row numbers of a table, and its labels where there are ``class_names``."""
    labels = None if class_names is None else encode_labels(table["label"], class_names)
    return EncodedTexts(table["text"], text_encoder, labels, torch.tensor(table["row"].to_numpy(np.int64)))


class FittedText(NamedTuple):
    """What a model knows about texts, for data that are encoded as those were that it was trained on.

    Handed to a data module by the model that it is used with. Each is None where the model does not know it yet.
    """

    text_encoder: TextEncoder | None = None
    class_names: list[str] | None = None  # in the order of the logits
    trained_on: Tensor | None = None  # (M,) int64, fingerprints of the training texts


UNFITTED = FittedText()
