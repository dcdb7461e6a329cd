"""Reads the configuration of a network of ``transformers``, and what sentence-transformers says beside it.

Code from the hub is never run, neither with published weights nor from a model folder.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import published_at

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Fields of a configuration that are dropped, like all names that begin with an underscore: its origin, the heads of
# transformers, and what could make transformers fetch code (auto_map, kernels as attn_implementation) or weights.
NOT_KEPT = {
    *("name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"),
    *("id2label", "label2id", "num_labels", "problem_type"),
    *("auto_map", "attn_implementation", "experts_implementation", "quantization_config"),
}
OF_HEADS = ("classifier_", "summary_")  # prefixes of dropout probabilities of heads that this package does not use
# Types that transformers lists as causal language models only, but which are bidirectional unless they say otherwise.
BIDIRECTIONAL = ("bert-generation", "xlnet")
MAX_USUAL_LENGTH = 512  # tokens of a text, which most encoders can read
POOLING_MODES = {"mean": "mean", "cls": "first_token", "lasttoken": "last_token"}  # of sentence-transformers


@dataclass(frozen=True)
class TransformersConfig:
    """Dimensions of a network of transformers, with the names of :class:`~gpt_classifier.models.gpt.GPTConfig`.

    Args:
        fields: The whole configuration of transformers as plain values, from which the network can be built again.
        dropout: The maximum of all dropout probabilities in it.
    """

    fields: dict[str, Any]
    vocab_size: int
    context_length: int
    n_embd: int
    n_layer: int
    n_head: int
    dropout: float
    causal: bool

    @property
    def family(self) -> str:
        return "decoder" if self.causal else "encoder"

    @property
    def model_type(self) -> str:
        return self.fields["model_type"]


def network_config(network: str | Mapping[str, Any], vocab_size: int | None = None) -> "PreTrainedConfig":
    """The configuration of transformers that ``network`` describes.

    Args:
        network: Name on the Hugging Face hub, folder with a ``config.json``, .gguf file, or fields of the
            configuration: ``{model_type: distilbert, dim: 64, n_layers: 2, n_heads: 2}``.
        vocab_size: Number of token ids, if the fields do not give it.

    Raises:
        InputError: There is no such configuration, or it is not that of an encoder or a decoder of texts.
    """
    transformers = import_transformers()
    try:
        with errors_only():
            if isinstance(network, str):
                place, told = published_at(network)
                if told:
                    fields = deepcopy(_read_fields(network, Path(network).stat().st_mtime_ns))
                else:
                    fields = plain(transformers.AutoConfig.from_pretrained(place, trust_remote_code=False))
            else:
                fields = ({} if vocab_size is None else {"vocab_size": vocab_size}) | _kept(network)
            config = transformers.AutoConfig.for_model(**fields)
    except InputError:
        raise
    except Exception as error:  # the hub's client and transformers raise many unrelated kinds
        raise InputError(
            f"backbone is {_shorten(network)}, expected a network of transformers: its name on the Hugging Face hub, "
            f"its folder, a .gguf file, or a mapping with a model_type and fields of that type ({reason(error)})"
            f"{_find_cache()}"
        ) from error
    needed = ("vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings")
    if config.is_encoder_decoder or not all(isinstance(getattr(config, name, None), int) for name in needed):
        raise InputError(
            f"backbone is {_shorten(network)}, whose type {config.model_type} is neither an encoder like BERT nor a "
            f"decoder like Llama: expected {', '.join(needed)} in its configuration, and not both in one"
        )
    if is_causal(config) and getattr(config, "layerdrop", None):
        raise InputError(
            f"backbone is {_shorten(network)}, which skips blocks at random (layerdrop {config.layerdrop}), and this "
            "package runs all of them: set layerdrop to 0 in its configuration"
        )
    return config


@lru_cache(maxsize=1)
def _read_fields(network: str, modified: int) -> dict[str, Any]:
    """Reads the fields of a .gguf file, which takes seconds; they are kept until the file is ``modified``."""
    place, told = published_at(network)
    return plain(import_transformers().AutoConfig.from_pretrained(place, trust_remote_code=False, **told))


def network_fields(network: str | Mapping[str, Any], vocab_size: int | None = None) -> dict[str, Any]:
    """The configuration that :func:`network_config` returns, as plain values."""
    return plain(network_config(network, vocab_size))


def is_causal(config: "PreTrainedConfig") -> bool:
    """Whether a token of this network attends only to itself and earlier tokens, as transformers says."""
    from transformers.models.auto import modeling_auto

    if getattr(config, "is_decoder", False):
        return True
    causal = config.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = config.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    bidirectional = getattr(config, "use_bidirectional_attention", None) is True  # EmbeddingGemma, for example
    bidirectional |= getattr(config, "is_causal", True) is False or config.model_type in BIDIRECTIONAL
    return causal and not masked and not bidirectional


def predicts_with_embeddings(config: "PreTrainedConfig") -> bool:
    """Whether the language model of transformers computes its logits as states times token embeddings, and no more."""
    if not getattr(config, "tie_word_embeddings", False):
        return False
    # Gemma 2 caps the logits (final_logit_softcapping); Cohere and Granite scale them (logit_scale, logits_scaling).
    if any(value not in (None, False, 1) for name, value in config.to_dict().items() if "logit" in name):
        return False
    with torch.device("meta"):
        model = import_transformers().AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head = model.get_output_embeddings()
    beside = [child for child in model.children() if child is not model.base_model]
    return beside == [head] and type(head) is nn.Linear and head.bias is None  # BERT as a decoder has more layers


def dropout(fields: Mapping[str, Any]) -> float:
    """The maximum of all dropout probabilities of the network itself, of whole blocks too."""
    return max((float(fields[name]) for name in _probabilities(fields)), default=0.0)


def with_dropout(fields: Mapping[str, Any], probability: float) -> dict[str, Any]:
    """The fields of a network that drops each state with this probability, and whole blocks as before."""
    names = (name for name in _probabilities(fields) if "layerdrop" not in name)
    return {**fields, **dict.fromkeys(names, probability)}


def _probabilities(fields: Mapping[str, Any]) -> list[str]:
    """The names of the dropout probabilities of the network itself, not of heads of transformers."""
    names = (name for name in fields if "drop" in name and not name.startswith(OF_HEADS))
    return [name for name in names if isinstance(fields[name], int | float) and not isinstance(fields[name], bool)]


def plain(config: "PreTrainedConfig") -> dict[str, Any]:
    """The fields of ``config`` as plain values, without those in NOT_KEPT."""
    return _kept(json.loads(config.to_json_string(use_diff=False)))


def _kept(value: Any) -> Any:
    """The fields without those in NOT_KEPT, also within mappings."""
    if not isinstance(value, Mapping):
        return value
    kept = (name for name in value if name not in NOT_KEPT and not str(name).startswith("_"))
    return {name: _kept(value[name]) for name in kept}


def _shorten(network: str | Mapping[str, Any]) -> str:
    return repr(network if isinstance(network, str) else dict(network))[:200]


def _find_cache() -> str:
    """The end of a message: the networks that lie on this machine, in the hub's cache and in $GPT_CLASSIFIER_MODELS."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    names: list[str] = []
    with suppress(CacheNotFound, OSError):
        names += sorted(repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model")
    if folder := os.environ.get("GPT_CLASSIFIER_MODELS"):
        names += sorted(str(path.parent) for path in Path(folder).glob("*/config.json"))
    return f"; on this machine there are {', '.join(names[:10])}" if names else ""


def sentence_pooling(name: str) -> str | None:
    """The pooling that a folder of sentence-transformers was trained with; None for others, and if it is another."""
    settings = _read_sentence_settings(name, "1_Pooling/config.json")
    if isinstance(mode := settings.get("pooling_mode"), str) and mode in POOLING_MODES:  # version 6 writes it
        return POOLING_MODES[mode]
    names = {"mean": "mean_tokens", "cls": "cls_token", "lasttoken": "lasttoken"}
    found = [POOLING_MODES[mode] for mode, name in names.items() if settings.get(f"pooling_mode_{name}")]
    return found[0] if len(found) == 1 else None


def usual_length(name: str) -> int:
    """The maximum number of tokens of a text for a published network, unless a number is given.

    It is that of a folder of sentence-transformers, and at most MAX_USUAL_LENGTH.
    """
    length = _read_sentence_settings(name, "sentence_bert_config.json").get("max_seq_length")
    return min(MAX_USUAL_LENGTH, length) if isinstance(length, int) and length > 0 else MAX_USUAL_LENGTH


def _read_sentence_settings(name: str, file: str) -> dict[str, Any]:
    """A file of a folder or of a network on the hub, read if it is there or can be fetched."""
    path = Path(name) / file
    if Path(name).is_file():  # .gguf
        return {}
    if not Path(name).is_dir():
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(name, file))
        except Exception:  # the hub's client raises many unrelated kinds: there is no such file, or no network
            return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def import_transformers() -> Any:
    """The library. Raises ``InputError`` if it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            'a network of transformers needs that library: pip install "gpt-classifier[transformers]"'
        ) from error
    return transformers


@contextmanager
def errors_only() -> Iterator[None]:
    """Suppresses what transformers says of things that are intended: a head that is left out, a small vocabulary.

    Also its progress bars of loading, which takes a second.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
