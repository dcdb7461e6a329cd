"""Builds networks of ``transformers``, with published, random or no weights.

Code from the hub is never run, neither with published weights nor from a model folder.
"""

from collections.abc import Mapping
from contextlib import redirect_stderr, suppress
from io import StringIO
from typing import TYPE_CHECKING, Any

import torch

from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import published_at
from gpt_classifier.models.transformers_config import errors_only, import_transformers, network_config
from gpt_classifier.models.whole_network import WholeNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def pretrained_network(name: str, fields: Mapping[str, Any] | None = None) -> WholeNetwork:
    """The network ``name`` with published weights: from the hub (downloaded if needed), a folder or a .gguf file.

    Its configuration is that of the same place, or ``fields``.

    Raises:
        InputError: It cannot be loaded, is neither an encoder nor a decoder, or its weights do not fit its
            configuration.
    """
    transformers = import_transformers()
    config = network_config(name if fields is None else fields)
    place, told = published_at(name)
    try:
        with errors_only(), redirect_stderr(StringIO()):  # the reader of .gguf files has a progress bar of its own
            network, info = transformers.AutoModel.from_pretrained(
                place, config=config, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, **told
            )
        backbone = _wrap(network)
    except Exception as error:  # the hub's client and transformers raise many unrelated kinds
        raise InputError(
            f"could not load the weights of {name!r} ({reason(error)}). Fetch its files elsewhere and "
            "give their folder as --model.backbone FOLDER, or train from scratch with `--model.weights random`."
        ) from error
    blocks = backbone.blocks.removeprefix("network")
    problems = [f"missing {key}" for key in sorted(info["missing_keys"]) if not key.startswith("pooler.")]
    # Other unexpected keys belong to the head that it was pretrained with.
    problems += [f"unexpected {key}" for key in sorted(info["unexpected_keys"]) if blocks in f".{key}"]
    if problems:
        raise InputError(f"the weights of {name!r} do not fit its configuration: {'; '.join(problems[:3])}")
    return backbone


def random_network(network: str | Mapping[str, Any], vocab_size: int | None = None) -> WholeNetwork:
    """A network with random weights; ``network`` as for :func:`network_config`."""
    return _build(network_config(network, vocab_size))


def build_empty_network(fields: Mapping[str, Any]) -> WholeNetwork:
    """A network with this configuration, whose weights are not initialized."""
    config = network_config(fields)
    from transformers.initialization import no_init_weights

    # On the CPU even if the caller uses the meta device: buffers such as position ids are in no file.
    with torch.device("cpu"), no_init_weights():
        return _build(config)


def context_length(name: str) -> int:
    """The maximum number of tokens of a text for the network ``name``, of which only the configuration is read."""
    config = network_config(name)
    try:
        with torch.device("meta"), errors_only():
            network = import_transformers().AutoModel.from_config(config, trust_remote_code=False)
            return WholeNetwork(network).config.context_length
    except Exception as error:  # each architecture raises errors of its own for a wrong configuration
        raise InputError(f"no network can be built from the configuration of {name} ({reason(error)})") from error


def _build(config: "PreTrainedConfig") -> WholeNetwork:
    try:
        return _wrap(import_transformers().AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False))
    except Exception as error:  # each architecture raises errors of its own for a wrong configuration
        raise InputError(
            f"no {config.model_type} network can be built from its configuration ({reason(error)})"
        ) from error


def _wrap(network: "PreTrainedModel") -> WholeNetwork:
    from gpt_classifier.models.split_network import CannotSplit, SplitNetwork  # it imports PyTorch's compiler

    with suppress(CannotSplit):
        return SplitNetwork(network)
    return WholeNetwork(network)
