"""Writes a classifier's network as ONNX.

Its inputs are token ids (B, T), padded on the right, and lengths (B,); its output is probabilities (B, K), calibrated.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from copy import copy
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from torch import Tensor, nn

from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError, reason
from gpt_classifier.export import exported_classifier
from gpt_classifier.export.exported_classifier import Compute
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.models.heads import PADDING_COUNTS, SequenceClassifier
from gpt_classifier.models.split_network import SplitNetwork
from gpt_classifier.text.bpe import to_library
from gpt_classifier.text.tokenizers import BytePairs, Tokenizer

LARGEST = 2**31  # bytes of an ONNX file
LONGEST = 1024  # tokens of a text that shapes are compared on: GPT-2's, as some networks read 100,000


class Probabilities(nn.Module):
    """Token ids (B, T) and lengths (B,) -> probabilities (B, K), as its ``Decision`` says."""

    def __init__(self, model: SequenceClassifier, decision: Decision) -> None:
        super().__init__()
        self.model, self.temperature, self.multi_label = model, decision.temperature, decision.multi_label
        self.log_priors: Tensor
        self.register_buffer("log_priors", torch.tensor(decision.log_priors or [0.0] * model.num_classes))

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        scaled = self.model(input_ids, lengths) / self.temperature + self.log_priors
        return scaled.sigmoid() if self.multi_label else scaled.softmax(-1)


def check_one_pass(contents: Bundle, to: str) -> None:
    """Raises ``InputError`` for classifiers that are more than one pass through a network, or depend on padding."""
    model = contents.model
    if contents.text_encoder.windows is not None:
        raise InputError(
            f"this model reads long texts in windows, which --to {to} cannot express: use --to merged, or train with "
            "data.windows null"
        )
    if model.pooling in PADDING_COUNTS:
        raise InputError(
            f"this model's pooling is {model.pooling}, whose predictions depend on padding: --to {to} needs one of "
            "last_token, first_token and mean"
        )


def import_library(name: str) -> Any:
    """A library of the extra ``export``. Raises ``InputError`` if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        library = name.partition(".")[0].replace("_", "-")
        raise InputError(f'{library} is not installed: pip install "gpt-classifier[export]"') from error


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def library_tokenizer(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """A copy of the tokenizer in the library ``tokenizers``."""
    if isinstance(tokenizer, BytePairs):
        return to_library(tokenizer)
    return tokenizers.Tokenizer.from_str(tokenizer.vocabulary().numpy().tobytes().decode())


def write_onnx(contents: Bundle, folder: Path, notes: list[str], int8: bool = False) -> Compute:
    """Writes ``model.onnx``, ``tokenizer.json``, ``config.json`` and ``classify.py``; returns what computes it."""
    check_one_pass(contents, "int8" if int8 else "onnx")
    size = sum(tensor.nbytes for tensor in contents.model.state_dict().values())
    if size >= LARGEST:
        raise InputError(
            f"the network has {size / 2**30:.1f} GB of weights, and a file of ONNX at most 2: use --to hf or merged"
        )
    import_library("onnxscript")  # torch.onnx needs it
    quantization = import_library("onnxruntime.quantization")
    path = folder / "model.onnx"
    with quiet():
        longest = contents.model.backbone.config.context_length
        width = min(7, longest)
        inputs = torch.zeros(3, width, dtype=torch.long), torch.tensor([width, 1, 1])
        batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=longest)
        try:
            program = torch.onnx.export(
                _traceable(contents), inputs, dynamo=True, dynamic_shapes=({0: batch, 1: length}, {0: batch}),
                input_names=["input_ids", "lengths"], output_names=["probabilities"], verbose=False,
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            name = contents.model.backbone.config.model_type
            raise InputError(
                f"a network of type {name} cannot be written as ONNX ({reason(error)}): use --to hf or merged"
            ) from error
        assert program is not None
        program.save(path, external_data=False)
        if int8:
            path.rename(exact := folder / "float32.onnx")
            head = _nodes_of_head(program.model_proto)
            quantization.quantize_dynamic(
                exact, path, weight_type=quantization.QuantType.QInt8, per_channel=True, nodes_to_exclude=head
            )
            exact.unlink()
    return _with_classify(contents, folder, notes)


def _nodes_of_head(program: Any) -> list[str]:
    """Names of the nodes that read the head's weights, which stay in float32.

    Those of a probe may be 100,000 times as large for one channel as for others, and int8 would make these 0.
    """
    nodes = (node for node in program.graph.node if any(name.startswith("model.head.") for name in node.input))
    return [f"{node.name}{end}" for node in nodes for end in ("", "_MatMul")]  # as onnxruntime renames a Gemm


def _with_classify(contents: Bundle, folder: Path, notes: list[str]) -> Compute:
    """Adds ``tokenizer.json``, ``config.json`` and a ``classify.py`` that reads them; returns what it computes with."""
    encoder, tokenizer = contents.text_encoder, contents.text_encoder.tokenizer
    library_tokenizer(tokenizer).save(str(folder / "tokenizer.json"))
    config = {
        "class_names": contents.class_names,
        "before": tokenizer.before,
        "after": tokenizer.after,
        "never_text": sorted(tokenizer.never_text),
        "max_length": encoder.max_length,
        "truncation": encoder.truncation,
        "padding_id": encoder.padding_id,
        "multi_label": contents.decision.multi_label,
        "notes": notes,
    }
    write_json(folder / "config.json", config)
    shutil.copyfile(exported_classifier.__file__, folder / "classify.py")
    return exported_classifier.ExportedClassifier(folder).run


def _traceable(contents: Bundle) -> Probabilities:
    """What is traced: a network that runs block by block copies itself, which no tracer follows, so it runs whole."""
    model = contents.model
    if isinstance(model.backbone, SplitNetwork):
        whole = model.backbone.whole()
        model = copy(model)
        model._modules = model._modules | {"backbone": whole}
    return Probabilities(model, contents.decision).eval()


def measure_shape_difference(contents: Bundle, compute: Compute) -> float:
    """The largest difference of a probability from ours, on batches of random ids in awkward shapes."""
    ours, rng = Probabilities(contents.model, contents.decision).eval(), np.random.default_rng(0)
    longest, largest = min(contents.model.backbone.config.context_length, LONGEST), 0.0
    for batch, width in ((1, 1), (4, 1), (1, 2), (3, min(7, longest)), (1, longest), (5, max(1, longest - 1))):
        ids = rng.integers(0, contents.text_encoder.vocab_size, (batch, width))
        lengths = rng.integers(1, width + 1, batch)
        with torch.inference_mode():
            expected = ours(torch.from_numpy(ids), torch.from_numpy(lengths)).numpy()
        largest = max(largest, float(np.abs(compute(ids, lengths) - expected).max()))
    return largest


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress and warnings of the exporters."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(action="ignore"), redirect_stdout(StringIO()):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
