"""The command ``export``: writes a model for other programs and compares their answers with the model's."""

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gpt_classifier.errors import CommandParser, InputError, reason

if TYPE_CHECKING:
    import numpy as np

    from gpt_classifier.inference.bundle import Bundle

To = Literal["hf", "onnx", "int8", "torch", "compiled", "merged", "delta"]
FORMATS: dict[To, str] = {
    "hf": "a folder of transformers (GPT2ForSequenceClassification)",
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
# What exports get wrong first: nothing, blanks, emoji, special tokens, scripts, more tokens than a model reads.
AWKWARD = [
    *(
        "",
        " ",
        "\n\t ",
        "a",
        "\x00\x07",
        "🎉",
        "👩\u200d👩\u200d👧 ünïcödé",
        "<|endoftext|>",
        "中文和 العربية",
        "हिन्दी ไทย",
    ),
    *("it's  2,000.50 $\r\n\r\nNEW line", "don't CAN'T I'll 12345678", "x" * 2000, "WIN a car now! " * 300, "😀" * 500),
]
WORDS = "see you at five tonight call now to claim your free prize of 2000 pounds and reply stop to end"


@dataclass(frozen=True)
class Measured:
    """How far the exported model's probabilities are from ours."""

    texts: int
    largest_difference: float
    equal_labels: float  # share of the texts with the same most probable class
    largest_difference_of_shapes: float | None = None  # on random ids in batches of awkward shapes


def main(arguments: list[str]) -> None:
    parser = CommandParser(
        "gpt-classifier export",
        "gpt-classifier export MODEL --to FORMAT --output FOLDER [options]",
        "Write a trained model for other programs. The exported model answers some texts before the command says that "
        "it is done; if it answers otherwise than the model, nothing is left.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="model folder, run folder, .ckpt file, or adapter folder with --base")
    add("--model", dest="named", metavar="MODEL", help="the same, by name")
    add(
        "--to",
        required=True,
        choices=list(FORMATS),
        help="; ".join(f"{name}: {what}" for name, what in FORMATS.items()),
    )
    add("--output", required=True, metavar="FOLDER", help="folder to write; must not exist, or be empty")
    add("--base", help="weights below an adapter folder, or of a delta: gpt2, a .safetensors file or a folder")
    add("--texts", metavar="FILE", help="texts to compare on, one a line (default: some awkward ones)")
    add("--push", metavar="NAME", help="also upload the folder to the Hugging Face hub, as the private repository NAME")
    options = parser.parse_args(arguments)
    if (options.model is None) == (options.named is None):
        raise InputError("which model? Name one, as in export checkpoints/spam --to onnx --output spam-onnx")
    if (options.to == "delta") and options.base is None:
        raise InputError("a delta is what differs from other weights: name them, --base gpt2 or --base FOLDER")
    texts = probe_texts() if options.texts is None else _lines(Path(options.texts))
    lines = export(options.model or options.named, options.to, Path(options.output), options.base, texts)
    print("\n".join(lines))
    if options.push is not None:
        print(f"uploaded to {push(Path(options.output), options.push)}")


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
        tolerance = TOLERANCE[to]
        worst = max(measured.largest_difference, measured.largest_difference_of_shapes or 0.0)
        if tolerance is not None and not worst <= tolerance:
            raise InputError(
                f"the exported model's probabilities differ by up to {worst:.2g}, expected at most {tolerance:g}: "
                "nothing was written; use --to merged, which TextClassifier loads"
            )
        report = {"format": to, "gpt_classifier": __version__, "tolerance": tolerance} | vars(measured)
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
    from gpt_classifier.export import onnx, transformers
    from gpt_classifier.export.exported_classifier import ExportedClassifier
    from gpt_classifier.inference.classifier import TextClassifier

    contents = contents.merged()
    contents = replace(contents, model=deepcopy(contents.model).cpu().float().eval())
    expected = TextClassifier(contents, "cpu").predict_proba(texts)
    if to == "hf":
        transformers.write(contents, folder, notes)
        found = transformers.probabilities(folder, texts, contents.class_names)
        return _measured(expected, found)
    if to == "torch":
        compute = onnx.write_program(contents, folder, notes)
        found = onnx.text_probabilities(contents.text_encoder, texts, compute)
    else:
        if to == "compiled":
            compute = onnx.write_compiled(contents, folder, notes)
        else:
            compute = onnx.write_onnx(contents, folder, notes, int8=to == "int8")
        found = ExportedClassifier(folder).predict_proba(texts)
    return _measured(expected, found, onnx.shape_difference(contents, compute))


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
    return _measured(model_probabilities(contents, texts), model_probabilities(loaded, texts))


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


def _measured(expected: "np.ndarray", found: "np.ndarray", of_shapes: float | None = None) -> Measured:
    same = (expected.argmax(-1) == found.argmax(-1)).mean()
    return Measured(len(expected), float(abs(expected - found).max()), float(same), of_shapes)


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


def probe_texts() -> list[str]:
    """Awkward texts, and made-up ones of every length up to 40 words."""
    words = WORDS.split()
    return AWKWARD + [" ".join(words[n * step % len(words)] for step in range(n)) for n in range(1, 41)]


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--texts {path} cannot be read ({reason(error)}): expected UTF-8 text, a text a line"
        ) from error
    if not lines:
        raise InputError(f"--texts {path} is empty, expected a text a line")
    return lines


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "transformers", "tokenizers", "onnx", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def push(folder: Path, name: str) -> str:
    """Uploads the folder to the private repository ``name`` of the Hugging Face hub; returns its address.

    The token is that of ``hf auth login`` or ``HF_TOKEN``; it is never printed.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi()
    try:
        api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="A classifier of gpt_classifier")
    except Exception as error:  # the hub's client raises several unrelated kinds
        said, token = reason(error), huggingface_hub.get_token()
        said = said.replace(token, "...") if token else said
        raise InputError(f"{folder} was written, but could not be uploaded as {name} ({said})") from error
    return f"https://huggingface.co/{name}"
