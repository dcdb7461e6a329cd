"""Prints predictions of texts as lines or JSON objects, with traces; computes nothing itself."""

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gpt_classifier.inference import prediction_text, trace_text
from gpt_classifier.text.normalize import ESCAPES

if TYPE_CHECKING:
    from gpt_classifier.inference.classifier import TextClassifier


def print_predictions(
    classifier: "TextClassifier",
    texts: Iterable[list[str]],
    as_json: bool = False,
    top_k: int | None = None,
    with_trace: bool = False,
) -> None:
    """Classifies the texts of each list together, and prints them before it asks for the next list.

    Args:
        classifier: What predicts.
        texts: Lists of texts.
        as_json: Whether to print a JSON object for each text.
        top_k: Number of the most probable classes to print; None for the prediction, and all classes in JSON.
        with_trace: Whether to tell how the prediction comes about.
    """
    multi_label = classifier.decision.multi_label
    for together in texts:
        for text, prediction in zip(together, classifier.predict_stream(together), strict=True):
            trace = classifier.trace(text) if with_trace else None
            if as_json:
                found = {"text": text} | prediction_text.fields(prediction, top_k, multi_label)
                print(json.dumps(found | ({} if trace is None else {"trace": trace.to_dict()}), ensure_ascii=False))
            elif trace is None:
                parts = prediction_text.parts(prediction, top_k, multi_label)
                print("\t".join(part.translate(ESCAPES) for part in (*parts, text)))
            else:
                trace_text.show(trace, prediction_text.parts(prediction, top_k, False))
            sys.stdout.flush()
