"""The part of a trained model that a data module uses; knows no model."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from gpt_classifier.text.encoder import TextEncoder


@runtime_checkable
class TrainedModel(Protocol):
    """A model as its data see it. Each is None where the model does not know it yet."""

    text_encoder: TextEncoder | None = None  # that its texts were encoded with
    class_names: list[str] | None = None  # in the order of the logits
    trained_on: Tensor | None = None  # fingerprints of its training texts


class Untrained(TrainedModel):
    """Knows nothing: stands for a model that there is not, or that is not ours."""
