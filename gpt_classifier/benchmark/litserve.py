"""A server of LitServe for the same model, the alternative to ``app``; run as a module by the benchmark."""

import sys
from typing import Any

import litserve

from gpt_classifier.inference.classifier import Prediction, TextClassifier


class Classify(litserve.LitAPI):
    """Takes and answers what ``POST /predict`` does, one text a request."""

    def __init__(self, model: str) -> None:
        super().__init__(max_batch_size=64, batch_timeout=0.0)
        self.model = model

    def setup(self, device: str) -> None:
        self.classifier = TextClassifier.load(self.model, device.partition(":")[0])

    def decode_request(self, request: dict[str, Any]) -> str:
        (text,) = request["texts"]
        return text

    def predict(self, texts: list[str]) -> list[Prediction]:
        return self.classifier.predict(texts)

    def encode_response(self, prediction: Prediction) -> dict[str, Any]:
        return {"predictions": [prediction._asdict()]}


if __name__ == "__main__":
    model, device, port = sys.argv[1:]
    server = litserve.LitServer(Classify(model), accelerator=device)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")
