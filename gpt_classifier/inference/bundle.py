"""A classifier with everything that is needed to turn a text into a class name, and restoring one from plain values."""

from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt_classifier import __version__
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError, reason
from gpt_classifier.inference.formats import FORMAT, up_to_date
from gpt_classifier.inference.stored import check_config, no_more_than
from gpt_classifier.models.build import Specification, build
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.tensor_file import check_finite
from gpt_classifier.text.encoder import TextEncoder

VOCABULARY = "tokenizer"  # name of the vocabulary's tensor

TRAINED_ON = "trained_on"  # name of the tensor of fingerprints


@dataclass
class Bundle:
    """A classifier with everything that is needed to turn a text into a class name."""

    model: SequenceClassifier
    text_encoder: TextEncoder
    class_names: list[str]  # in the order of the logits
    data: dict[str, Any] = field(default_factory=dict)  # settings of the TextDataModule that it was trained with
    trained_on: Tensor | None = None  # (M,) int64 of data/fingerprints.py, or None if unknown
    decision: Decision = field(default_factory=Decision)  # how its logits become predictions
    card: str = ""  # the model card in Markdown, if it has one already
    version: str = __version__  # of the package that trained it

    def config(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": self.version,
            "model": asdict(Specification.of(self.model)),
            "class_names": self.class_names,
            "text_encoder": self.text_encoder.settings(),
            "data": self.data,
            "decision": asdict(self.decision),
        }

    def tensors(self) -> dict[str, Tensor]:
        """The tensors besides the weights: the tokenizer's vocabulary and the fingerprints of the training texts."""
        kept = {} if self.trained_on is None else {TRAINED_ON: self.trained_on}
        return {VOCABULARY: self.text_encoder.tokenizer.vocabulary()} | kept

    def merged(self) -> "Bundle":
        """Itself, or a copy in which low-rank updates and a standardized head are merged into plain layers."""
        if self.model.lora is None and self.model.head_settings != "standardized":
            return self
        model = deepcopy(self.model)
        if model.lora is not None:
            model.merge_lora()
        model.fold_head()
        return replace(self, model=model)


def restore(config: dict[str, Any], tensors: dict[str, Tensor], where: Path) -> Bundle:
    """The bundle that gave this ``config`` and these weights. ``where`` only serves messages."""
    config = up_to_date(config, where)
    if "pretrained_on" in config:
        raise InputError(
            f"{where} is a pretrained network without a classification head: fit --model.weights {where} trains one"
        )
    try:
        check_config(config)
    except InputError as error:
        raise InputError(f"the config in {where} is not one that this package wrote: {error}") from error
    try:
        vocabulary, trained_on = tensors.pop(VOCABULARY), tensors.pop(TRAINED_ON, None)
        text_encoder = TextEncoder.restore(config["text_encoder"], vocabulary)
        specification, class_names = Specification.restore(config["model"]), list(config["class_names"])
        decision, data, version = Decision(**config["decision"]), dict(config["data"]), str(config["version"])
        if len(class_names) != specification.num_classes:
            raise ValueError(f"{specification.num_classes} classes, but the names {class_names}")
        decision.check_classes(len(class_names))
        with no_more_than(tensors):
            model = build(specification, weights=None)
        # Copies: tensors of a file map it, and on Windows nobody can replace or remove a file that is mapped. PyTorch
        # also aligns them, without which some kernels add numbers in another order than when the model was trained.
        model.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
        trained_on = None if trained_on is None else trained_on.clone()
        if trained_on is not None and (trained_on.dtype != torch.int64 or trained_on.ndim != 1):
            raise ValueError(f"{TRAINED_ON} is {trained_on.dtype} of shape {tuple(trained_on.shape)}")
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"the config in {where} is not one that this package wrote ({reason(error)})") from error
    except RuntimeError as error:
        raise InputError(
            f"the weights in {where} do not fit its config: {str(error).splitlines()[-1].strip()}"
        ) from error
    contents = Bundle(model.eval(), text_encoder, class_names, data, trained_on, decision, version=version)
    try:
        check_probabilities(contents, where)
    except InputError:
        raise
    except Exception as error:  # each architecture raises errors of its own
        raise InputError(f"the config in {where} does not fit its weights ({reason(error)})") from error
    return contents


def check_probabilities(contents: Bundle, where: Path) -> None:
    """Raises ``InputError`` if the model gives no probabilities, because weights are not finite or numbers overflow."""
    check_finite(contents.model.state_dict(), where)
    encoder, network = contents.text_encoder, contents.model.backbone.config
    width = encoder.pad_to or encoder.max_length
    if width > network.context_length or encoder.vocab_size > network.vocab_size:
        raise InputError(
            f"the config in {where} does not fit its weights: texts have up to {width} tokens of {encoder.vocab_size} "
            f"kinds, but the network reads {network.context_length} of {network.vocab_size}"
        )
    model, batch = contents.model, contents.text_encoder.batch([contents.text_encoder.encode("a text")[0]])
    device, trains = next(model.parameters()).device, model.training
    with torch.inference_mode():
        logits = model.eval()(batch.inputs.to(device), batch.lengths.to(device)).double().cpu().numpy()
    model.train(trains)
    if not np.isfinite(contents.decision.probabilities(logits)).all():
        raise InputError(
            f"the model in {where} gives probabilities that are not finite, as after a fit that diverged: use another "
            "checkpoint of its run, or train again at a lower learning rate"
        )
