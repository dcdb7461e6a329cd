"""Writes a classifier as a folder of ``transformers``, where a sequence classifier of that library computes the same.

Those of decoders read the last token that is not padding. Where a tokenizer adds no special tokens, it appends one of
padding to every text: nothing sees it, and an empty text is that token, as with ours.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gpt_classifier.errors import InputError, reason
from gpt_classifier.export.onnx import library_tokenizer
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.models.backbone import Backbone
from gpt_classifier.models.transformers_config import errors_only, network_config
from gpt_classifier.models.weights import TRANSPOSED
from gpt_classifier.models.whole_network import WholeNetwork
from gpt_classifier.text.encoder import TextEncoder

READS = {"last_token": "the last one", "first_token": "the first one", "mean": "the mean over all"}  # by pooling
README = """\
---
library_name: transformers
pipeline_tag: text-classification
---

# Text classifier: {classes}

Exported from a model of gpt_classifier. Give `truncation=True`: without it, a text of more than {length} tokens is not
truncated, and fails.

```python
from transformers import pipeline

classify = pipeline("text-classification", model="path/to/this/folder", truncation=True)
print(classify("your text"))
```
{notes}"""


class Inexpressible(Exception):
    """No sequence classifier of ``transformers`` computes what a model does; says why, as a clause."""


def transformers_package() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InputError('transformers is not installed: pip install "gpt-classifier[export]"') from error
    return transformers


def write(contents: Bundle, folder: Path, notes: list[str]) -> str:
    """Writes configuration, weights, tokenizer and a README; returns the name of the class. Raises Inexpressible."""
    network, bias = sequence_classifier(contents)
    if bias is not None:
        raise Inexpressible(f"{type(network).__name__} has no bias, and this model's head has one")
    with errors_only():
        network.save_pretrained(folder)
    write_tokenizer(contents, folder)
    (folder / "README.md").write_text(
        README.format(
            classes=", ".join(contents.class_names),
            length=contents.text_encoder.max_length,
            notes="".join(f"\n{note}\n" for note in notes),
        ),
        encoding="utf-8",
    )
    return type(network).__name__


def sequence_classifier(contents: Bundle) -> tuple[Any, Tensor | None]:
    """The sequence classifier of ``transformers`` that gives calibrated logits, and the bias that they still lack.

    The bias (K,) is None if there is none, or if the final norm adds something that amounts to it. Raises
    ``Inexpressible``.
    """
    model = contents.model
    name = _class_of(model.backbone)
    _check_pooling(contents, name)
    network, norm = (_own if model.backbone.config.family == "gpt" else _published)(contents)
    weight, bias = calibrated(contents)
    with torch.no_grad():
        if not model.backbone.config.causal:
            inner = cast(nn.Linear, cast(nn.Sequential, model.head)[0])
            _fill_pooler(network, inner, weight, bias)
            left = None
        else:
            network.score.weight.copy_(weight)
            left = _fold(weight, bias, norm)
    _check_same(network, contents, left)
    return network, left


def calibrated(contents: Bundle) -> tuple[Tensor, Tensor]:
    """Weight (K, .) and bias (K,) of the head's last layer, in float64, with temperature and class prior in them."""
    head, decision = contents.model.head, contents.decision
    last = cast(nn.Linear, head[-1] if isinstance(head, nn.Sequential) else head)
    weight = last.weight.detach().double() / decision.temperature
    bias = torch.zeros(len(weight)).double() if last.bias is None else last.bias.detach().double()
    bias = bias / decision.temperature
    return weight, bias + torch.tensor(decision.log_priors, dtype=torch.float64) if decision.log_priors else bias


def answers(contents: Bundle) -> dict[str, Any]:
    """What a configuration of ``transformers`` says of the classes."""
    names = dict(enumerate(contents.class_names))
    several = contents.decision.multi_label
    return {
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
        "problem_type": "multi_label_classification" if several else "single_label_classification",
    }


def appends_padding(encoder: TextEncoder) -> bool:
    """Whether an empty text is one padding token, as the tokenizer adds no special tokens."""
    return not (encoder.tokenizer.before or encoder.tokenizer.after)


def write_tokenizer(contents: Bundle, folder: Path) -> int:
    """Writes the files of the tokenizer; returns how many tokens a text has at most."""
    from tokenizers.processors import TemplateProcessing

    encoder = contents.text_encoder
    tokenizer, number = library_tokenizer(encoder.tokenizer), encoder.padding_id
    padding, length = tokenizer.id_to_token(number), encoder.max_length
    if appends_padding(encoder):
        tokenizer.post_processor = TemplateProcessing(single=["$A", padding], special_tokens=[(padding, number)])
        length += 1
    transformers_package().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=padding,
        model_max_length=length,
        truncation_side={"head": "right", "tail": "left"}[encoder.truncation],
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        split_special_tokens=True,  # written in a text, <|endoftext|> is ordinary text
    ).save_pretrained(folder)
    return length


def as_transformers(gpt: Backbone, padding_id: int, num_classes: int, **settings: Any) -> Any:
    """GPT2ForSequenceClassification with the weights of ``gpt``; ``settings`` are further ones of its GPT2Config.

    Positions beyond those of ``gpt`` are zero.
    """
    hf = transformers_package()
    c = gpt.config
    defaults = {"n_positions": c.context_length, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "num_labels": num_classes}
    model = hf.GPT2ForSequenceClassification(
        hf.GPT2Config(
            vocab_size=c.vocab_size, n_embd=c.n_embd, n_layer=c.n_layer, n_head=c.n_head, attn_pdrop=0.0,
            pad_token_id=padding_id, bos_token_id=padding_id, eos_token_id=padding_id, **defaults | settings,
        )
    )  # fmt: skip
    state = {name: t.T if name.endswith(TRANSPOSED) else t for name, t in gpt.state_dict().items()}
    positions = torch.zeros_like(model.transformer.wpe.weight)
    positions[: c.context_length] = state["wpe.weight"]
    model.transformer.load_state_dict(state | {"wpe.weight": positions})
    return model


def probabilities(folder: Path, texts: list[str], class_names: list[str]) -> np.ndarray:
    """(N, K) what the pipeline on ``folder`` says."""
    hf = transformers_package()
    with errors_only():
        classify = hf.pipeline("text-classification", model=str(folder), device="cpu", truncation=True, top_k=None)
    rows = [{answer["label"]: answer["score"] for answer in answers} for answers in classify(texts)]
    return np.array([[row[name] for name in class_names] for row in rows])


def _class_of(backbone: Backbone) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as NAMES

    model_type = "gpt2" if backbone.config.family == "gpt" else backbone.config.model_type
    if model_type not in NAMES:
        raise Inexpressible(f"transformers has no sequence classifier of type {model_type}")
    return NAMES[model_type]


def _check_pooling(contents: Bundle, name: str) -> None:
    """Raises ``Inexpressible`` if the class ``name`` reads other states than the model, or has another head."""
    model, encoder = contents.model, contents.text_encoder
    reads, linear = READS[model.pooling], type(model.head) is nn.Linear
    if model.backbone.config.family == "gpt" and not model.backbone.config.causal:
        raise Inexpressible(f"{name} has causal attention, and this model bidirectional")
    if model.backbone.config.causal:
        if model.pooling != "last_token":
            raise Inexpressible(f"{name} reads the last token, and this model {reads}")
        if not linear:
            raise Inexpressible(f"{name} has a linear head, and this model another")
        never = encoder.padding_id in encoder.tokenizer.never_text
        if not never or encoder.tokenizer.after[-1:] == [encoder.padding_id]:
            raise Inexpressible(f"{name} takes for padding what may end this model's texts")
    elif model.pooling != "first_token":
        raise Inexpressible(f"{name} reads the first token through a layer of its own, and this model {reads}")
    elif model.head_settings != "mlp":
        kind = "linear" if linear else "another"
        raise Inexpressible(f"{name} reads the first token through a layer of its own, and this model's head is {kind}")


def _own(contents: Bundle) -> tuple[Any, nn.LayerNorm]:
    """Our GPT with a linear head to be filled in, and its final norm."""
    config, encoder = contents.model.backbone.config, contents.text_encoder
    network = as_transformers(
        contents.model.backbone,
        encoder.padding_id,
        len(contents.class_names),
        n_positions=max(config.context_length, encoder.max_length + appends_padding(encoder)),
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        **answers(contents),
    )
    return network.eval(), network.transformer.ln_f


def _published(contents: Bundle) -> tuple[Any, nn.LayerNorm | None]:
    """A network of ``transformers`` with a head to be filled in, and its final norm if that has a bias."""
    from transformers.initialization import no_init_weights

    backbone = cast(WholeNetwork, contents.model.backbone)
    config = network_config(backbone.config.fields)
    config.update(answers(contents))
    if backbone.config.causal:
        config.pad_token_id = contents.text_encoder.padding_id
    with no_init_weights():
        network = transformers_package().AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    fill(network.base_model, backbone)
    final = (
        name
        for name, module in backbone.network.named_modules()
        if isinstance(module, nn.LayerNorm) and module.bias is not None  # which is added to every state
        if backbone.block_of(f"network.{name}.bias") == backbone.config.n_layer
    )
    name = next(final, None)
    return network.eval(), None if name is None else network.base_model.get_submodule(name)


def fill(network: nn.Module, backbone: WholeNetwork) -> None:
    """Copies the weights of ``backbone`` into a network of its kind; a pooler gets zeros, as we have none."""
    lacking = network.load_state_dict(backbone.network.state_dict(), strict=False)
    pooler = [name for name in lacking.missing_keys if name.startswith("pooler.")]
    if lacking.unexpected_keys or len(pooler) != len(lacking.missing_keys):
        raise Inexpressible(f"{type(network).__name__} there has other layers than here")
    for name in pooler:
        nn.init.zeros_(network.get_parameter(name))


def _fill_pooler(network: Any, inner: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Fills in a head of two layers with tanh between them, where the class has one like this."""
    pooler: Any = getattr(network.base_model, "pooler", None)
    outer: Any = getattr(network, "classifier", None)
    layers = getattr(pooler, "dense", pooler), outer  # in BERT; ALBERT's pooler is the layer itself
    if hasattr(outer, "out_proj"):  # in RoBERTa
        layers = getattr(outer, "dense", None), outer.out_proj
    for layer, (matrix, vector) in zip(layers, ((inner.weight, inner.bias), (weight, bias)), strict=True):
        if not isinstance(layer, nn.Linear) or layer.weight.shape != matrix.shape or layer.bias is None:
            raise Inexpressible(f"{type(network).__name__} has another head than two layers with tanh between them")
        layer.weight.copy_(matrix)
        layer.bias.copy_(vector)


def _fold(weight: Tensor, bias: Tensor, norm: nn.LayerNorm | None) -> Tensor | None:
    """Has the final norm add d (C,) with weight (K, C) @ d = bias (K,). Returns the bias if that is not possible."""
    if not bias.any():
        return None
    shift = torch.linalg.pinv(weight) @ bias
    if norm is None or norm.bias.shape != shift.shape:  # in OPT, a projection may come after it
        return bias
    if (weight @ shift - bias).abs().max() > 1e-6:  # rows that are linearly dependent
        return bias
    norm.bias.add_(shift)
    return None


@torch.inference_mode()
def _check_same(network: Any, contents: Bundle, bias: Tensor | None) -> None:
    """Raises ``Inexpressible`` unless ``network`` gives our calibrated logits, less ``bias``, for some ids."""
    encoder, tokenizer = contents.text_encoder, contents.text_encoder.tokenizer
    ordinary = [
        number for number in range(encoder.vocab_size) if number not in {*tokenizer.never_text, encoder.padding_id}
    ]
    room = encoder.max_length - len(tokenizer.before) - len(tokenizer.after)
    lengths = sorted({min(room, length) for length in (1, 4, 9)})
    rng = np.random.default_rng(0)
    rows = [[*tokenizer.before, *rng.choice(ordinary, length), *tokenizer.after] for length in lengths]
    batch = encoder.unpadded().batch(rows)
    mask = (torch.arange(batch.inputs.shape[1]) < batch.lengths[:, None]).long()
    decision = contents.decision
    expected = contents.model(batch.inputs, batch.lengths).double() / decision.temperature
    expected += torch.tensor(decision.log_priors or [0.0], dtype=torch.float64)
    try:
        found = network(input_ids=batch.inputs, attention_mask=mask).logits.double() + (0.0 if bias is None else bias)
    except Exception as error:  # each architecture raises errors of its own
        raise Inexpressible(f"{type(network).__name__} cannot be run ({reason(error)})") from error
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise Inexpressible(f"{type(network).__name__} computes something else")
