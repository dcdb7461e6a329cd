"""Writes a model for other programs, in one of several formats, and keeps it only if it answers as the model does."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gpt_classifier.errors import InputError
from gpt_classifier.export.verify import Measured, check_difference, compare, probe_texts

if TYPE_CHECKING:
    from gpt_classifier.inference.bundle import Bundle

To = Literal["hf", "onnx", "int8", "torch", "compiled", "merged", "delta"]
FORMATS: dict[To, str] = {
    "hf": "a folder of transformers, or, where none of its classifiers computes the same, of sentence-transformers",
    "onnx": "ONNX, with tokenizer.json and a classify.py that needs neither PyTorch nor this package",
    "int8": "the same with 8-bit matrices",
    "torch": "a program of torch.export (.pt2)",
    "compiled": "that program compiled by AOTInductor for processors like this one, with a classify.py",
    "merged": "a model folder of this package with low-rank updates merged into their matrices",
    "delta": "only what differs from the weights --base, and their checksum",
}
TOLERANCE: dict[To, float | None] = {
    "hf": 1e-5, "onnx": 1e-4, "int8": None, "torch": 1e-5, "compiled": 1e-5, "merged": 1e-5, "delta": 1e-6
}  # fmt: skip
REPORT = "export.json"


def export(
    model: str | Path, to: To, output: Path, base: str | Path | None = None, texts: list[str] | None = None
) -> list[str]:
    """Writes ``output`` whole or not at all; returns lines that say what was measured and what is not in it.

    Raises ``InputError`` if the format cannot express the model, or the exported model answers otherwise.
    """
    from gpt_classifier import __version__
    from gpt_classifier.files import whole_folder
    from gpt_classifier.inference import adapter, model_folder

    texts = texts or probe_texts()
    with whole_folder(output) as folder:
        of_delta = to == "delta" and not (Path(model) / adapter.ADAPTER).is_file()
        contents = model_folder.load(model, None if of_delta else base)
        notes = _notes(contents, to) if to not in ("merged", "delta") else []
        if to in ("merged", "delta"):
            measured = _folder(contents, to, folder, base, texts)
        else:
            measured = _network(contents, to, folder, notes, texts)
        check_difference(measured, TOLERANCE[to])
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
        texts = huggingface.comparable(contents.text_encoder, texts)
        return compare(TextClassifier(contents, "cpu").predict_proba(texts), probabilities(texts))
    expected = TextClassifier(contents, "cpu").predict_proba(texts)
    if to == "torch":
        compute = onnx.write_program(contents, folder, notes)
        found = onnx.text_probabilities(contents.text_encoder, texts, compute)
    else:
        if to == "compiled":
            compute = onnx.write_compiled(contents, folder, notes)
        else:
            compute = onnx.write_onnx(contents, folder, notes, int8=to == "int8")
        found = ExportedClassifier(folder).predict_proba(texts)
    return compare(expected, found, onnx.shape_difference(contents, compute))


def _folder(contents: "Bundle", to: To, folder: Path, base: str | Path | None, texts: list[str]) -> Measured:
    """Writes a folder of this package and compares the loaded network, update by update as it was trained, with it."""
    from gpt_classifier.export.onnx import model_probabilities
    from gpt_classifier.inference import adapter, model_folder
    from gpt_classifier.inference.model_card import model_card

    if to == "merged":
        model_folder.save_folder(folder, contents, contents.card or model_card(contents))
        loaded = model_folder.load(folder)
    else:
        assert base is not None
        adapter.save_adapter(folder, contents, _changed(contents, base))
        loaded = model_folder.load(folder, base)
    return compare(model_probabilities(contents, texts), model_probabilities(loaded, texts))


def _changed(contents: "Bundle", base: str | Path) -> set[str]:
    """Names of the tensors that are not those of ``base``. Raises ``InputError`` if none is."""
    import torch

    from gpt_classifier.inference import adapter
    from gpt_classifier.models.build import Specification

    tensors = contents.model.state_dict()
    dtype = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    below = adapter.base_tensors(Specification.of(contents.model), base, dtype)
    same = {name for name, tensor in tensors.items() if name in below and torch.equal(tensor.cpu(), below[name])}
    if not same:
        raise InputError(
            f"no tensor of this model is that of {base}, so a delta would be the whole model: name the weights that "
            "training began with, or use --to merged"
        )
    return tensors.keys() - same


def _notes(contents: "Bundle", to: To) -> list[str]:
    """What the exported model does not do."""
    notes = ["Compiled for processors like the one of this machine."] if to == "compiled" else []
    decision = contents.decision
    rules: dict[str, Any] = {
        "a threshold": decision.positive is not None,
        "thresholds": bool(decision.thresholds),
        "costs": bool(decision.costs),
        "prediction sets": decision.set_threshold > 0,
    }
    rule = " and ".join(name for name, given in rules.items() if given)
    if not rule:
        return notes
    return [
        *notes,
        f"Not exported: this model decides by {rule} ({json.dumps(decision.asked)}); the exported one gives the same "
        "probabilities, and its answer is the most probable class.",
    ]


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "transformers", "sentence-transformers", "tokenizers", "onnx", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
