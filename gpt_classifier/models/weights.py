"""Loads weights from files into a backbone; raises an error if they do not fit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import check_sha256
from gpt_classifier.models.backbone import Backbone
from gpt_classifier.models.heads import BACKBONE
from gpt_classifier.models.tensor_file import read_tensors

# Commits of openai-community/<size> on the Hugging Face hub; a commit fixes every file below it.
REVISIONS = {
    "gpt2": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "gpt2-medium": "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
    "gpt2-large": "32b71b12589c2f8d625668d2335a01cac3249519",
    "gpt2-xl": "15ea56dee5df4983c59b2538573817e1667135e2",
}
SHA256 = {"gpt2": "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"}

# Stored as input x output (a convolution of width one), whereas nn.Linear stores output x input.
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
# Constants of the attention mask, and the output layer over the vocabulary, which a classifier replaces.
IGNORED = (".attn.bias", ".attn.masked_bias", "lm_head.weight")  # not .attn.c_attn.bias, a parameter


RANDOM_FILLS = {nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_}


@contextmanager
def without_weights() -> Iterator[None]:
    """Parameters of modules built in this context have shapes but no values, which will be loaded from a file."""
    with torch.device("meta"), _NoInitialValues():
        yield


class _NoInitialValues(TorchFunctionMode):
    """Skips random initialization, for which torch would import its compiler on the meta device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in RANDOM_FILLS:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def fetch_pretrained(size: str) -> Path:
    """The published weights of ``size`` (``gpt2`` to ``gpt2-xl``) in the hub's cache, downloaded if needed."""
    from huggingface_hub import hf_hub_download

    repository = f"openai-community/{size}"
    try:
        path = Path(hf_hub_download(repository, "model.safetensors", revision=REVISIONS[size]))
    except Exception as error:  # the hub's client raises several unrelated kinds; all mean that the file is missing
        raise InputError(
            f"could not download model.safetensors of {repository} at revision {REVISIONS[size]} "
            f"({reason(error)}). Fetch it elsewhere and give its folder as --model.weights FOLDER, "
            "or train from scratch with `--model.weights random`; --config quickstart needs no download."
        ) from error
    if size in SHA256:
        check_sha256(path, SHA256[size])
    return path


def load_weights(backbone: Backbone, path: str | Path) -> None:
    """Loads weights from a safetensors file or folder with Hugging Face's names of GPT-2, or from our model folder.

    Those of a network of transformers are loaded from a model folder only; model/transformers_network.py loads
    published ones.

    Raises:
        InputError: A tensor is missing, unexpected or of another shape; the message names it.
    """
    tensors = read_tensors(Path(path))
    if any(name.startswith("gpt.") for name in tensors):
        raise InputError(f"the weights in {path} were written by an earlier version of the package: train them again")
    state = to_our_layout(tensors)
    expected = backbone.state_dict()
    problems = [f"missing {name}" for name in sorted(expected.keys() - state.keys())]
    problems += [f"unexpected {name}" for name in sorted(state.keys() - expected.keys())]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & state.keys())
        if state[name].shape != expected[name].shape
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f" and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise InputError(f"the weights in {path} do not fit this model: {shown}")
    backbone.load_state_dict(state)


def to_our_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors under this package's names and layouts, in float32."""
    ours = {name: tensor for name, tensor in tensors.items() if name.startswith(BACKBONE)}
    if ours:  # a model folder of this package: its backbone, not its head
        return {name.removeprefix(BACKBONE): tensor.float() for name, tensor in ours.items()}
    state = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("transformer.")
        if name.endswith(IGNORED):
            continue
        state[name] = (tensor.T if name.endswith(TRANSPOSED) else tensor).to(torch.float32)
    return state
