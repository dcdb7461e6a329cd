"""Measures by how much answers change where they should not: with padding, batches, order, number format, saving."""

import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gpt_classifier.errors import InputError, reason
from gpt_classifier.evaluation.results import Certificate, Missing, MissingVariation, Variation
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.models.heads import PADDING_COUNTS

TOLERANCE = 1e-4  # of probabilities in float32: sums in another order differ by 1e-6 or so
MAX_TEXTS = 200
PASSES = 12  # through the network for each text, as a rough estimate: wider batches count for more
FIRST = 8  # texts that tell how long all would take


def certificate(classifier: TextClassifier, texts: list[str], seconds: float) -> Certificate | Missing:
    """The largest change of a probability and the number of changed answers under each variation.

    What must not change has a ``tolerance`` and has ``passed`` or not; where both are None, a change is expected and
    only measured. :class:`Missing` is the reason where the model cannot be saved.

    Args:
        classifier: Not quantized.
        texts: N > 0 of which about equally spaced ones are taken, at most ``MAX_TEXTS``.
        seconds: About how long it may take; it decides how many texts are taken, at least one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        try:
            classifier.save(folder)
            reloaded = TextClassifier.load(folder, classifier.device)
        except (InputError, OSError) as error:
            return Missing(missing=f"the model cannot be saved in a temporary folder ({reason(error)})")
        sample = _sample(reloaded, texts, seconds)
        expected = reloaded.logits(sample)
        rows = [
            _row(reloaded, expected, name, exact, compute) for name, exact, compute in _variations(reloaded, sample)
        ]
        rows.append(_row(reloaded, expected, "saved and loaded again", True, lambda: classifier.logits(sample)))
        rows.append(
            _row(
                reloaded, expected, "int8", False, lambda: TextClassifier.load(folder, "cpu", int8=True).logits(sample)
            )
        )
    return Certificate(rows=len(sample), of=len(texts), variations=rows)


def _sample(classifier: TextClassifier, texts: list[str], seconds: float) -> list[str]:
    first = [texts[row] for row in _spaced(len(texts), FIRST)]
    classifier.logits(first[:1])  # the first pass sets things up
    began = time.perf_counter()
    classifier.logits(first)
    lasted = (time.perf_counter() - began) / len(first)
    affordable = int(seconds / max(lasted * PASSES, 1e-9))
    return [texts[row] for row in _spaced(len(texts), max(1, min(MAX_TEXTS, affordable)))]


def _spaced(n: int, maximum: int) -> list[int]:
    return np.unique(np.linspace(0, n - 1, min(n, maximum)).round().astype(int)).tolist()


Varied = tuple[str, bool, Callable[[], np.ndarray]]  # its name, whether answers must stay, the logits (N, K)


def _variations(classifier: TextClassifier, texts: list[str]) -> list[Varied]:
    exact = classifier.model.pooling not in PADDING_COUNTS
    return [
        ("longer padding", exact, lambda: _padded(classifier, texts).logits(texts)),
        ("one text at a time", exact, lambda: classifier.logits(texts, max_batch_tokens=1)),
        ("reversed order", exact, lambda: classifier.logits(texts[::-1])[::-1]),
        ("bfloat16 autocast", False, lambda: _in_bfloat16(classifier, texts)),
    ]


def _padded(classifier: TextClassifier, texts: list[str]) -> TextClassifier:
    """Pads all batches to a quarter more than the longest text, or to the context."""
    encoder = copy.copy(classifier.text_encoder)
    longest = max(len(encoder.encode(text)[0]) for text in texts)
    encoder.pad_to = min(longest + longest // 4 + 1, classifier.model.backbone.config.context_length)
    padded = copy.copy(classifier)
    padded.text_encoder = encoder
    return padded


def _in_bfloat16(classifier: TextClassifier, texts: list[str]) -> np.ndarray:
    with torch.autocast(classifier.device.type, torch.bfloat16):
        return classifier.logits(texts)


def _row(
    classifier: TextClassifier, expected: np.ndarray, name: str, exact: bool, compute: Callable[[], np.ndarray]
) -> Variation | MissingVariation:
    try:
        logits = compute()
    except (InputError, RuntimeError) as error:
        return MissingVariation(variation=name, missing=reason(error))
    decision = classifier.decision
    before, after = decision.probabilities(expected), decision.probabilities(logits)
    change = float(np.abs(after - before).max())
    # Reduced precision of weights or of products on a GPU is no invariance of another order of sums.
    full = {parameter.dtype for parameter in classifier.model.parameters()} == {torch.float32}
    tolerance = TOLERANCE if exact and full and torch.get_float32_matmul_precision() == "highest" else None
    return Variation(
        variation=name,
        largest_change=change,
        changed_answers=int((decision.sets(after) != decision.sets(before)).any(-1).sum()),
        tolerance=tolerance,
        passed=None if tolerance is None else change <= tolerance,
    )
