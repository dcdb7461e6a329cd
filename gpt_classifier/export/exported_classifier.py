"""Classifies texts with an exported folder; needs tokenizers, numpy and onnxruntime.

Each such folder has a copy of this file: ``python classify.py "a text" ...``.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

Compute = Callable[[np.ndarray, np.ndarray], np.ndarray]  # ids (B, T), lengths (B,) -> probabilities (B, K)
MAX_BATCH_TOKENS = 1024  # padding included


class ExportedClassifier:
    """Texts in, probabilities and class names out.

    >>> ExportedClassifier("path/to/folder").predict(["a text"])  # doctest: +SKIP
    [('spam', 0.97)]
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.encode_special_tokens = True  # written in a text, <|endoftext|> is ordinary text
        self.never_text = frozenset(self.config["never_text"])  # some tokenizers find them in texts even so
        self.run = _onnx(folder / "model.onnx")

    def predict(self, texts: list[str]) -> list[tuple[str, float]]:
        """The most probable class of each text, and its probability."""
        rows = self.predict_proba(texts)
        return [(self.config["class_names"][row.argmax()], float(row.max())) for row in rows]

    def predict_proba(self, texts: list[str]) -> np.ndarray:
        """(N, K) probabilities of N texts, in the order of ``config["class_names"]``."""
        ids = [self.encode(text) for text in texts]
        result = np.zeros((len(ids), len(self.config["class_names"])), dtype=np.float32)
        rest = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        while rest:
            number = max(1, MAX_BATCH_TOKENS // len(ids[rest[0]]))
            rows, rest = rest[:number], rest[number:]
            lengths = np.array([len(ids[row]) for row in rows], dtype=np.int64)
            table = np.full((len(rows), lengths.max()), self.config["padding_id"], dtype=np.int64)
            for line, row in zip(table, rows, strict=True):
                line[: len(ids[row])] = ids[row]
            result[rows] = self.run(table, lengths)
        return result

    def encode(self, text: str) -> list[int]:
        """Token ids, truncated as in training, between special tokens; without any, an empty text is one of padding."""
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half surrogates are no text
        before, after = self.config["before"], self.config["after"]
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        ids = [token for token in ids if token not in self.never_text]
        most = self.config["max_length"] - len(before) - len(after)
        if len(ids) > most:
            tail = {"head": 0, "tail": most, "head+tail": most // 2}[self.config["truncation"]]
            ids = ids[: most - tail] + ids[len(ids) - tail :]
        return [*before, *ids, *after] or [self.config["padding_id"]]


def _onnx(path: Path) -> Compute:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda input_ids, lengths: session.run(None, {"input_ids": input_ids, "lengths": lengths})[0]


if __name__ == "__main__":
    for _text, (_label, _probability) in zip(
        sys.argv[1:], ExportedClassifier(Path(__file__).parent).predict(sys.argv[1:]), strict=True
    ):
        print(f"{_label}\t{_probability:.3f}\t{_text}")
