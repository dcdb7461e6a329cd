"""Writes a model for other programs, in one of several formats, and keeps it only if it predicts as the model does."""

import json
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpt_classifier.export.verify import Measured, build_probe_texts, check_difference, compare

if TYPE_CHECKING:
    import numpy as np

    from gpt_classifier.inference.bundle import Bundle

To = Literal["hf", "onnx", "int8", "merged"]
FORMATS: dict[To, str] = {
    "hf": "a folder of transformers, or, where none of its classifiers computes the same, of sentence-transformers",
    "onnx": "ONNX, with tokenizer.json and a classify.py that needs neither PyTorch nor this package",
    "int8": "the same with 8-bit matrices",
    "merged": "a model folder of this package with the low-rank updates of LoRA merged into their matrices",
}
TOLERANCE: dict[To, float | None] = {"hf": 1e-5, "onnx": 1e-4, "int8": None, "merged": 1e-5}
REPORT = "export.json"


def export(
    model: str | Path, to: To, output: Path, base: str | Path | None = None, texts: list[str] | None = None
) -> list[str]:
    """Writes ``output`` whole or not at all; returns lines that say what was measured and what is not in it.

    Raises ``InputError`` if the format cannot express the model, or the exported model predicts otherwise.
    """
    from gpt_classifier import __version__
    from gpt_classifier.files import whole_folder
    from gpt_classifier.inference import model_folder

    if texts is None:
        texts = build_probe_texts()
    elif TOLERANCE[to] is not None:  # what is to be exact is so on awkward texts too
        texts = [*texts, *build_probe_texts()]
    with whole_folder(output) as folder:
        contents = model_folder.load(model, base)
        notes = [] if to == "merged" else _notes(contents)
        measured = _merged(contents, folder, texts) if to == "merged" else _network(contents, to, folder, notes, texts)
        advice = "" if to == "merged" else "; use --to merged, which TextClassifier loads"
        check_difference(measured, TOLERANCE[to], advice)
        report = {"format": to, "gpt_classifier": __version__, "tolerance": TOLERANCE[to]} | vars(measured)
        report |= {"versions": _versions(), "notes": notes}
        (folder / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    said = (
        f"{output}: {to}; on {measured.texts:,} texts probabilities differ by at most "
        f"{measured.largest_difference:.1e}, and {measured.equal_labels:.2%} of the most probable classes are the same "
        f"({REPORT})"
    )
    return [said, *notes]


def _network(contents: "Bundle", to: To, folder: Path, notes: list[str], texts: list[str]) -> Measured:
    """Writes what other programs run, in float32, and compares it with the classifier."""
    from gpt_classifier.export import huggingface, onnx
    from gpt_classifier.export.exported_classifier import ExportedClassifier
    from gpt_classifier.inference.classifier import TextClassifier

    contents = contents.merged()
    contents = replace(contents, model=deepcopy(contents.model).cpu().float().eval())
    if to == "hf":
        probabilities = huggingface.write(contents, folder, notes)
        texts = huggingface.find_comparable(contents.text_encoder, texts)
        return compare(TextClassifier(contents, "cpu").predict_proba(texts), probabilities(texts))
    expected = TextClassifier(contents, "cpu").predict_proba(texts)
    compute = onnx.write_onnx(contents, folder, notes, int8=to == "int8")
    found = ExportedClassifier(folder).predict_proba(texts)
    return compare(expected, found, onnx.measure_shape_difference(contents, compute))


def _merged(contents: "Bundle", folder: Path, texts: list[str]) -> Measured:
    """Writes a folder of this package and compares the loaded network, update by update as it was trained, with it."""
    from gpt_classifier.inference import model_folder
    from gpt_classifier.inference.model_card import model_card

    model_folder.save_folder(folder, contents, contents.card or model_card(contents))
    return compare(_probabilities(contents, texts), _probabilities(model_folder.load(folder), texts))


def _probabilities(contents: "Bundle", texts: list[str]) -> "np.ndarray":
    """(N, K) of a network as it is, with its low-rank updates beside their matrices, of the first window of texts."""
    import torch

    encoder, rows = contents.text_encoder.unpadded(), []
    for text in texts:
        batch = encoder.batch([encoder.encode(text)[0]])
        with torch.inference_mode():
            rows.append(contents.model(batch.inputs, batch.lengths))
    return contents.decision.probabilities(torch.cat(rows).numpy())


def _notes(contents: "Bundle") -> list[str]:
    """What the exported model does not do."""
    decision = contents.decision
    rules = {
        "a threshold": decision.positive is not None,
        "thresholds": decision.thresholds,
        "costs": decision.costs,
        "prediction sets": decision.set_threshold,
    }
    rule = " and ".join(name for name, given in rules.items() if given)
    if not rule:
        return []
    return [
        f"Not exported: this model decides by {rule} ({json.dumps(decision.asked)}); the exported one gives the same "
        "probabilities, and its prediction is the most probable class.",
    ]


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "transformers", "sentence-transformers", "tokenizers", "onnx", "onnxruntime"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
