"""What a model knows about texts, for data that are to be encoded as those were that it was trained on."""

from typing import NamedTuple

from torch import Tensor

from gpt_classifier.text.encoder import TextEncoder


class FittedText(NamedTuple):
    """Handed to a data module by the model that it is used with. Each is None where the model does not know it yet."""

    text_encoder: TextEncoder | None = None
    class_names: list[str] | None = None  # in the order of the logits
    trained_on: Tensor | None = None  # (M,) int64, fingerprints of the training texts


UNFITTED = FittedText()
