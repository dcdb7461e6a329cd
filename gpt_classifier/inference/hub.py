"""Reads a GPT-2 classifier of ``transformers`` from its folder, without that package."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError, reason
from gpt_classifier.inference.stored import no_more_than
from gpt_classifier.models.build import Specification, build
from gpt_classifier.models.heads import BACKBONE, SequenceClassifier
from gpt_classifier.models.tensor_file import read_tensors
from gpt_classifier.models.weights import to_our_layout
from gpt_classifier.records import check
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.text.tokenizers import Published, tokenizer_named

ARCHITECTURE = "GPT2ForSequenceClassification"
EXPECTED = {  # what our GPT computes, by the names and defaults of GPT2Config
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


def is_classifier(config: object) -> bool:
    """Whether this is the ``config.json`` of such a folder."""
    return isinstance(config, dict) and config.get("architectures") == [ARCHITECTURE]


def read_classifier(folder: Path, config: Mapping[str, Any]) -> tuple[SequenceClassifier, TextEncoder, list[str]]:
    """The classifier, its text encoder and the class names.

    Raises ``InputError`` for networks that compute something else, or a folder that is not whole.
    """
    try:
        return _read(folder, config)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError, MemoryError) as error:
        raise InputError(f"{folder} is not a whole {ARCHITECTURE} ({reason(error)}): fetch it again") from error


def _read(folder: Path, config: Mapping[str, Any]) -> tuple[SequenceClassifier, TextEncoder, list[str]]:
    other = {name: config[name] for name, value in EXPECTED.items() if config.get(name, value) != value}
    if config.get("n_inner") not in (None, 4 * config["n_embd"]):
        other["n_inner"] = config["n_inner"]
    if config.get("problem_type") == "regression" or len(config.get("id2label", {})) < 1:
        other["problem_type"] = config.get("problem_type")
    if other:
        raise InputError(f"{folder} is a {ARCHITECTURE} with {other}, which this package's GPT does not have")
    tensors = read_tensors(folder)
    names = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
    check(list[str], names, "id2label")
    weight = tensors.pop("score.weight").float()
    fields = {
        "vocab_size": config["vocab_size"],
        "context_length": config["n_positions"],
        "dropout": config.get("resid_pdrop", 0.1),
    } | {name: config[name] for name in ("n_embd", "n_layer", "n_head")}
    with no_more_than(tensors | {"head": weight}):
        model = build(Specification("gpt", fields | {"causal": True}, len(names)), weights=None)
    state = {f"{BACKBONE}{name}": tensor.contiguous() for name, tensor in to_our_layout(tensors).items()}
    model.load_state_dict(
        state | {"head.weight": weight, "head.bias": torch.zeros(len(names))}, strict=True, assign=True
    )
    return model.eval(), _text_encoder(folder, config), names


def decision(config: Mapping[str, Any]) -> Decision:
    """How its logits become predictions: one class, or any number of labels."""
    several = config.get("problem_type") == "multi_label_classification" or len(config["id2label"]) == 1
    return Decision(multi_label=several)


def _text_encoder(folder: Path, config: Mapping[str, Any]) -> TextEncoder:
    path = folder / "tokenizer_config.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    length = min(given.get("model_max_length", config["n_positions"]), config["n_positions"])
    check(int, length, "model_max_length")
    tokenizer = tokenizer_named(str(folder))
    # Padding after every text, as our export adds, is not read there, whereas we read the last token of a text.
    if isinstance(tokenizer, Published) and tokenizer.after == [config.get("pad_token_id")] and not tokenizer.before:
        tokenizer, length = tokenizer.without_special_tokens(), length - 1
    return TextEncoder(tokenizer, length, "tail" if given.get("truncation_side") == "left" else "head")
