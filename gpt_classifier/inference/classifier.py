"""Classifies texts with a trained model; needs neither Lightning nor pandas, neither network nor caches."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import torch

from gpt_classifier import bundle


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

    def __init__(self, contents: bundle.Bundle, device: str | torch.device = "cpu") -> None:
        self.labels = contents.labels
        self.encoder = contents.encoder
        self.device = torch.device(device)
        self.model = contents.model.to(self.device).eval()

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> "TextClassifier":
        """From a model folder, a run's folder or a ``.ckpt`` file; ``InputError`` if there is none or it is broken."""
        return cls(bundle.load(path), device)

    @overload
    def predict(self, texts: str, tokens: int = ...) -> Prediction: ...  # type: ignore[overload-overlap]  # a str comes first
    @overload
    def predict(self, texts: Sequence[str], tokens: int = ...) -> list[Prediction]: ...
    def predict(self, texts: str | Sequence[str], tokens: int = 4096) -> Prediction | list[Prediction]:
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
    def probabilities(self, texts: Sequence[str], tokens: int = 4096) -> np.ndarray:
        """(N, K) class probabilities of N texts, classes in the order of ``labels``."""
        ids = [self.encoder.encode(text)[0] for text in texts]
        result = np.zeros((len(texts), len(self.labels)))
        for rows in self.encoder.rows_by_length([len(row) for row in ids], tokens):
            batch = self.encoder.batch([ids[row] for row in rows])
            logits = self.model(batch.input_ids.to(self.device), batch.lengths.to(self.device))
            result[rows] = logits.double().softmax(-1).cpu().numpy()
        return result
