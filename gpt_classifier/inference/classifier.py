"""Classifies texts with a trained model; needs neither Lightning nor pandas, neither network nor caches."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import torch
from torch import nn

from gpt_classifier import bundle
from gpt_classifier.encoding import batch_tokens
from gpt_classifier.errors import InputError
from gpt_classifier.model.encoders import Encoder
from gpt_classifier.model.gpt import GPT


class Prediction(NamedTuple):
    """The most probable class of one text."""

    label: str
    probability: float
    probabilities: dict[str, float]  # by class name


class TextClassifier:
    """A loaded classifier.

    >>> classifier = TextClassifier.load("checkpoints/sample-bytes")
    >>> classifier.predict("You have won a prize, call now").label
    'spam'
    """

    def __init__(self, contents: bundle.Bundle, device: str | torch.device = "cpu", int8: bool = False) -> None:
        contents = contents.merged()
        self.labels = contents.labels
        self.encoder = contents.encoder
        self.device = torch.device(device)
        self.model = contents.model.to(self.device).eval()
        if int8:
            self.model.gpt = quantized(self.model.gpt)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        int8: bool = False,
        base: str | Path | None = None,
    ) -> "TextClassifier":
        """From a model folder, a run's folder or a ``.ckpt`` file; ``InputError`` if there is none or it is broken.

        ``int8`` quantizes the network's matrices, for CPUs: faster and less exact, see :func:`quantized`. ``base``
        names the weights below an adapter folder: ``gpt2``, or a .safetensors file.
        """
        return cls(bundle.load(path, base), device, int8)

    @overload
    def predict(self, texts: str, tokens: int | None = ...) -> Prediction: ...  # type: ignore[overload-overlap]  # a str comes first
    @overload
    def predict(self, texts: Sequence[str], tokens: int | None = ...) -> list[Prediction]: ...
    def predict(self, texts: str | Sequence[str], tokens: int | None = None) -> Prediction | list[Prediction]:
        """A prediction for a text, or a list of them, in order, for several.

        ``tokens`` limits the size of one batch, padding included; it decides speed and memory, never the result.
        """
        if isinstance(texts, str):
            return self.predict([texts])[0]
        predictions = []
        for row in self.probabilities(texts, tokens):
            best = int(row.argmax())
            by_name = dict(zip(self.labels, row.tolist(), strict=True))
            predictions.append(Prediction(self.labels[best], by_name[self.labels[best]], by_name))
        return predictions

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str], tokens: int | None = None) -> np.ndarray:
        """(N, K) class probabilities of N texts, classes in the order of ``labels``."""
        ids = [self.encoder.encode(text)[0] for text in texts]
        result = np.zeros((len(texts), len(self.labels)))
        for rows in self.encoder.rows_by_length([len(row) for row in ids], tokens or batch_tokens(self.device.type)):
            batch = self.encoder.batch([ids[row] for row in rows])
            logits = self.model(batch.input_ids.to(self.device), batch.lengths.to(self.device))
            result[rows] = logits.double().softmax(-1).cpu().numpy()
        return result


def quantized(gpt: GPT | Encoder) -> nn.Module:
    """A copy whose matrices are int8, a scale for each output channel; activations are quantized as they come.

    Pays on CPUs with int8 instructions (VNNI). The head stays in float32. Raises ``InputError`` elsewhere.
    """
    device = next(gpt.parameters()).device
    if device.type != "cpu" or "x86" not in torch.backends.quantized.supported_engines:
        raise InputError(f"int8 needs an x86 CPU, but the model is on {device}: load it without int8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch moves its quantization elsewhere and says so at each call
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

        torch.backends.quantized.engine = "x86"
        # The last block of a GPT uses this matrix in a way of its own, which costs next to nothing as it is.
        exact = f"h.{gpt.config.n_layer - 1}.attn.c_attn"
        return quantize_dynamic(gpt, {nn.Linear: per_channel_dynamic_qconfig, exact: None}, dtype=torch.qint8)
