"""Prints predictions of texts as lines or JSON objects, with traces; computes nothing itself."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpt_classifier.inference import prediction_text, trace_text
from gpt_classifier.text.normalize import ESCAPES

if TYPE_CHECKING:
    from gpt_classifier.inference.classifier import Prediction, TextClassifier
    from gpt_classifier.inference.trace import Trace


@dataclass(frozen=True)
class PredictionPrinter:
    """How predictions are printed.

    Args:
        as_json: Whether as a JSON object for each text.
        top_k: Number of the most probable classes to print; None for the answer, and all classes in JSON.
        trace: Whether to tell how the answer comes about.
    """

    as_json: bool = False
    top_k: int | None = None
    trace: bool = False

    def print(self, classifier: "TextClassifier", texts: Iterable[list[str]]) -> None:
        """Classifies the texts of each list together, and prints them before it asks for the next list."""
        several = classifier.decision.multi_label
        for together in texts:
            for text, prediction in zip(together, classifier.predict_stream(together), strict=True):
                self._print(text, prediction, classifier.trace(text) if self.trace else None, several)

    def _print(self, text: str, prediction: "Prediction", trace: "Trace | None", multi_label: bool) -> None:
        if self.as_json:
            answer = {"text": text} | prediction_text.fields(prediction, self.top_k, multi_label)
            traced = {} if trace is None else {"trace": trace.to_dict()}
            print(json.dumps(answer | traced, ensure_ascii=False), flush=True)
        elif trace is None:
            parts = prediction_text.parts(prediction, self.top_k, multi_label)
            print("\t".join(part.translate(ESCAPES) for part in (*parts, text)), flush=True)
        else:
            trace_text.show(trace, prediction_text.parts(prediction, self.top_k, False))
