"""What ``config.json`` of a stored model must be, and how large the network may be that it describes."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from gpt_classifier.decision.rule import Decision
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.records import check
from gpt_classifier.text.encoder import Truncation, WindowsConfig

SPARE = (
    64  # parameters that a network may have beyond the tensors of its file, as layers are replaced while it is built
)
MODULES = 30  # for each of its tensors, a network has at most so many modules


@dataclass(frozen=True)
class StoredModel:
    """See :class:`~gpt_classifier.models.build.Specification`."""

    family: str
    backbone: dict[str, Any]
    num_classes: int
    pooling: str
    head: str | dict[str, Any]
    lora: LoRAConfig | None


@dataclass(frozen=True)
class StoredEncoder:
    """See :class:`~gpt_classifier.text.encoder.TextEncoder`."""

    tokenizer: str
    max_length: int
    truncation: Truncation
    pad_to: int | None
    windows: WindowsConfig | None = None
    library: str | None = None  # of a published tokenizer
    pattern: str | None = None  # of BPE
    end_of_text: int | None = None


@dataclass(frozen=True)
class StoredConfig:
    """All that is not a tensor."""

    format: int
    version: str
    model: StoredModel
    class_names: list[str]
    text_encoder: StoredEncoder
    data: dict[str, Any]  # settings of the data that it was trained with
    decision: Decision
    crc32: str | None = None
    base_sha256: str | None = None  # of an adapter


def check_config(config: Any) -> None:
    """Raises ``InputError`` for what this package never wrote."""
    check(StoredConfig, config)


@contextmanager
def no_more_than(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Networks that are built in this context have about as many parameters as there are tensors, and none is larger.

    Otherwise ``ValueError`` is raised, before a network is built that takes all memory or all day.
    """
    thread, maximum = threading.get_ident(), 2 * len(tensors) + SPARE
    largest = max((tensor.numel() for tensor in tensors.values()), default=0)
    parameters = modules = 0

    def count_parameter(owner: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal parameters
        if parameter is None or threading.get_ident() != thread:
            return
        parameters += 1
        if parameters > maximum:
            raise ValueError(f"it describes a network of more parameters than the {len(tensors)} tensors")
        if parameter.numel() > largest:
            raise ValueError(f"it describes a {name} of shape {tuple(parameter.shape)}, larger than any tensor")

    def count_module(owner: nn.Module, name: str, module: nn.Module | None) -> None:
        nonlocal modules
        modules += threading.get_ident() == thread
        if modules > MODULES * maximum:
            raise ValueError(f"it describes a network of more layers than {len(tensors)} tensors are for")

    handles = [
        torch_modules.register_module_parameter_registration_hook(count_parameter),
        torch_modules.register_module_module_registration_hook(count_module),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
