"""Writes a classifier of a network of ``transformers`` as a folder of ``sentence-transformers``.

Its modules are the network, the pooling and the layers of the head; what it calls the embedding of a text are the
calibrated logits. The files are of the oldest form that the library reads, and none is a pickle.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gpt_classifier.errors import InputError
from gpt_classifier.export.onnx import import_library, write_json
from gpt_classifier.export.transformers import (
    appends_padding,
    build_published_network,
    compute_calibrated_head,
    sequence_classifier,
    write_readme,
    write_tokenizer,
)
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.models.transformers_config import errors_only

POOLING = {"mean": "mean_tokens", "first_token": "cls_token", "last_token": "lasttoken"}
HARDLY = 2.0**-26  # weight of a token that counts only where there is no other: 1 + HARDLY is 1, and HARDLY is not 0
README = """\
---
library_name: sentence-transformers
pipeline_tag: text-classification
---

# Text classifier: {classes}

Exported from a model of gpt_classifier. What sentence-transformers (6 or newer) calls the embedding of a text are its
calibrated logits:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
probabilities = model.encode(["your text"], convert_to_tensor=True).{function}  # (texts, classes)
print([model[0].auto_model.config.id2label[number] for number in probabilities.argmax(-1).tolist()], probabilities)
```
{notes}"""


def write(contents: Bundle, folder: Path, notes: list[str]) -> None:
    """Writes modules, configuration, weights, tokenizer and a README.

    Raises ``Inexpressible`` or ``InputError`` for what cannot be one.
    """
    import_library("transformers")
    import_library("sentence_transformers")
    model, encoder = contents.model, contents.text_encoder
    if type(model.head) is not nn.Linear and model.head_settings != "mlp":
        raise InputError("this model's head is a class of its own, which --to hf cannot express: use --to onnx")
    settings: dict[str, Any] = {"do_lower_case": False}
    if not appends_padding(encoder):
        network, layers = build_published_network(contents, "AutoModel"), [_pooling(contents), *_head(contents)]
    elif not model.backbone.config.causal:
        raise InputError(
            "this model's tokenizer adds no special tokens, and its attention is bidirectional: sentence-transformers "
            "has no token for an empty text, so use --to onnx"
        )
    elif model.pooling == "last_token":
        # The last token there is padding; the sequence classifier reads the one before it. Its head has no bias.
        network, bias = sequence_classifier(contents)
        layers = [_dense(torch.eye(len(contents.class_names)), bias, "linear.Identity")]
        read = {"text": {"method": "forward", "method_output_name": "logits"}}
        settings |= {"transformer_task": "sequence-classification", "modality_config": read}
        settings |= {"module_output_name": "sentence_embedding"}
    else:
        weights = [_weights(contents)] if model.pooling == "mean" else []
        network = build_published_network(contents, "AutoModel")
        layers = [*weights, _pooling(contents), *_head(contents)]
    with errors_only():
        network.save_pretrained(folder)
    settings["max_seq_length"] = write_tokenizer(contents, folder)
    write_json(folder / "sentence_bert_config.json", settings)
    _write_modules(folder, layers)
    function = "sigmoid()" if contents.decision.multi_label else "softmax(-1)"
    write_readme(folder, README, contents, notes, function=function)


def compute_probabilities(folder: Path, texts: list[str], multi_label: bool) -> np.ndarray:
    """(N, K) what the folder's README says."""
    with errors_only():
        model = import_library("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    logits = model.encode(texts, convert_to_tensor=True, show_progress_bar=False).double()
    return (logits.sigmoid() if multi_label else logits.softmax(-1)).numpy()


Layer = tuple[str, dict[str, Any], dict[str, Tensor]]  # name of a class, its settings, its tensors


def _weights(contents: Bundle) -> Layer:
    """Has the mean leave out the padding token that ends every text, unless there is no other."""
    names = [str(number) for number in range(contents.model.backbone.config.vocab_size)]
    padding = contents.text_encoder.padding_id
    weights = torch.ones(len(names), 1)
    weights[padding] = HARDLY
    settings = {"vocab": names, "word_weights": {names[padding]: HARDLY}, "unknown_word_weight": 1.0}
    return "WordWeights", settings, {"emb_layer.weight": weights}


def _pooling(contents: Bundle) -> Layer:
    modes = {f"pooling_mode_{name}": pooling == contents.model.pooling for pooling, name in POOLING.items()}
    return "Pooling", {"word_embedding_dimension": contents.model.backbone.config.n_embd} | modes, {}


def _head(contents: Bundle) -> list[Layer]:
    head, last = contents.model.head, _dense(*compute_calibrated_head(contents), "linear.Identity")
    if isinstance(head, nn.Sequential):
        inner = cast(nn.Linear, head[0])
        return [_dense(inner.weight, inner.bias, "activation.Tanh"), last]
    return [last]


def _dense(weight: Tensor, bias: Tensor | None, activation: str) -> Layer:
    bias = torch.zeros(len(weight)) if bias is None else bias
    settings = {
        "in_features": weight.shape[1],
        "out_features": weight.shape[0],
        "bias": True,
        "activation_function": f"torch.nn.modules.{activation}",
    }
    return "Dense", settings, {"linear.weight": weight.detach().float(), "linear.bias": bias.detach().float()}


def _write_modules(folder: Path, layers: list[Layer]) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, (name, settings, tensors) in enumerate(layers, start=1):
        path = folder / f"{number}_{name}"
        path.mkdir()
        write_json(path / "config.json", settings)
        if tensors:
            save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, path / "model.safetensors")
        modules.append(
            {"idx": number, "name": str(number), "path": path.name, "type": f"sentence_transformers.models.{name}"}
        )
    write_json(folder / "modules.json", modules)
