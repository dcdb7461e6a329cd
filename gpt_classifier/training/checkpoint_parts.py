"""What a fit keeps in Lightning's checkpoint besides weights and optimizer, and reading it again."""

from typing import Any, NamedTuple

from torch import Tensor

from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.inference.bundle import TRAINED_ON, VOCABULARY, Bundle
from gpt_classifier.inference.formats import up_to_date
from gpt_classifier.text.encoder import TextEncoder

KEY = "gpt_classifier"  # of these parts in a checkpoint


class Parts(NamedTuple):
    """What a checkpoint tells of the model besides its weights."""

    text_encoder: TextEncoder
    decision: Decision
    data_settings: dict[str, Any]
    version: str  # of the package
    trained_on: Tensor | None  # fingerprints of the training texts
    seconds: float | None  # of training
    first_score: float | None  # the monitored one of the probe that the fit began with


def parts_to_save(contents: Bundle, seconds: float | None, first_score: float | None) -> dict[str, Any]:
    """Plain values and tensors."""
    of_fit = {"seconds": seconds, "first_score": first_score}
    return {"config": contents.config(), "tensors": contents.tensors()} | of_fit


def saved_parts(checkpoint: dict[str, Any]) -> Parts:
    """Raises ``InputError`` for a checkpoint of another program, or of another version that cannot be read."""
    if KEY not in checkpoint:
        raise InputError("the checkpoint was not written by gpt_classifier")
    saved = checkpoint[KEY]
    config, tensors = up_to_date(saved["config"], "the checkpoint"), saved["tensors"]
    encoder = TextEncoder.restore(config["text_encoder"], tensors[VOCABULARY])
    decision = Decision(**config["decision"])
    of_fit = saved.get("seconds"), saved.get("first_score")
    return Parts(encoder, decision, config["data"], config["version"], tensors.get(TRAINED_ON), *of_fit)
