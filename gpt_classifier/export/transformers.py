"""Writes a classifier as a folder of ``transformers``, where a sequence classifier of that library computes the same.

Those of decoders read the last token that is not padding. Where a tokenizer adds no special tokens, it appends one of
padding to every text: nothing sees it, and an empty text is that token, as with ours.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gpt_classifier.errors import reason
from gpt_classifier.export.onnx import import_library, library_tokenizer
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


def write(contents: Bundle, folder: Path, notes: list[str]) -> str:
    """Writes configuration, weights, tokenizer and a README; returns the name of the class. Raises Inexpressible."""
    network, bias = sequence_classifier(contents)
    if bias is not None:
        raise Inexpressible(f"{type(network).__name__} has no bias, and this model's head has one")
    with errors_only():
        network.save_pretrained(folder)
    write_tokenizer(contents, folder)
    write_readme(folder, README, contents, notes, length=contents.text_encoder.max_length)
    return type(network).__name__


def write_readme(folder: Path, template: str, contents: Bundle, notes: list[str], **values: Any) -> None:
    said = "".join(f"\n{note}\n" for note in notes)
    text = template.format(classes=", ".join(contents.class_names), notes=said, **values)
    (folder / "README.md").write_text(text, encoding="utf-8")


def sequence_classifier(contents: Bundle) -> tuple[Any, Tensor | None]:
    """The sequence classifier of ``transformers`` that gives calibrated logits, and the bias that they still lack.

    The bias (K,) is None if there is none, or if the final norm adds something that amounts to it. Raises
    ``Inexpressible``.
    """
    _check_pooling(contents)
    is_own, left = contents.model.backbone.config.family == "gpt", None
    network = _own(contents) if is_own else build_published_network(contents, "AutoModelForSequenceClassification")
    weight, bias = compute_calibrated_head(contents)
    with torch.no_grad():
        if contents.model.backbone.config.causal:
            network.score.weight.copy_(weight)
            norm = network.transformer.ln_f if is_own else _final_norm(network, contents)
            left = _fold(weight, bias, norm)
        else:
            _fill_pooler(network, cast(Any, contents.model.head)[0], weight, bias)
    _check_same(network, contents, left)
    return network, left


def compute_calibrated_head(contents: Bundle) -> tuple[Tensor, Tensor]:
    """Weight (K, .) and bias (K,) of the head's last layer, in float64, with temperature and class prior in them."""
    head, decision = contents.model.head, contents.decision
    last = cast(nn.Linear, head[-1] if isinstance(head, nn.Sequential) else head)
    weight = last.weight.detach().double() / decision.temperature
    bias = torch.zeros(len(weight)).double() if last.bias is None else last.bias.detach().double()
    bias = bias / decision.temperature
    return weight, bias + torch.tensor(decision.log_priors, dtype=torch.float64) if decision.log_priors else bias


def build_label_settings(contents: Bundle) -> dict[str, Any]:
    """What a configuration of ``transformers`` says of the classes."""
    kind = "multi_label_classification" if contents.decision.multi_label else "single_label_classification"
    numbers = {name: number for number, name in enumerate(contents.class_names)}
    return {"id2label": dict(enumerate(numbers)), "label2id": numbers, "problem_type": kind}


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
    import_library("transformers").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=padding,
        model_max_length=length,
        truncation_side={"head": "right", "tail": "left"}[encoder.truncation],
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        split_special_tokens=True,  # written in a text, <|endoftext|> is ordinary text
    ).save_pretrained(folder)
    return length


def build_transformers(gpt: Backbone, padding_id: int, num_classes: int, **settings: Any) -> Any:
    """GPT2ForSequenceClassification with the weights of ``gpt``; ``settings`` are further ones of its GPT2Config.

    Positions beyond those of ``gpt`` are zero.
    """
    hf = import_library("transformers")
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


def compute_probabilities(folder: Path, texts: list[str], class_names: list[str]) -> np.ndarray:
    """(N, K) what the pipeline on ``folder`` says."""
    hf = import_library("transformers")
    with errors_only():
        classify = hf.pipeline("text-classification", model=str(folder), device="cpu", truncation=True, top_k=None)
    rows = [{each["label"]: each["score"] for each in scores} for scores in classify(texts)]
    return np.array([[row[name] for name in class_names] for row in rows])


def _check_pooling(contents: Bundle) -> None:
    """Raises ``Inexpressible`` if the library's class reads other states than the model, or has another head."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as NAMES

    model, encoder, config = contents.model, contents.text_encoder, contents.model.backbone.config
    model_type = "gpt2" if config.family == "gpt" else config.model_type
    if (name := NAMES.get(model_type)) is None:
        raise Inexpressible(f"transformers has no sequence classifier of type {model_type}")
    reads, linear = READS[model.pooling], type(model.head) is nn.Linear
    if config.family == "gpt" and not config.causal:
        raise Inexpressible(f"{name} has causal attention, and this model bidirectional")
    if config.causal:
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


def _own(contents: Bundle) -> Any:
    """Our GPT with a linear head to be filled in."""
    config, encoder = contents.model.backbone.config, contents.text_encoder
    return build_transformers(
        contents.model.backbone,
        encoder.padding_id,
        len(contents.class_names),
        n_positions=max(config.context_length, encoder.max_length + appends_padding(encoder)),
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        **build_label_settings(contents),
    ).eval()


def build_published_network(contents: Bundle, kind: str) -> Any:
    """A network of ``transformers`` with the weights of ours, made by its class ``kind``; a head is to be filled in."""
    from transformers.initialization import no_init_weights

    backbone = cast(WholeNetwork, contents.model.backbone)
    config = network_config(backbone.config.fields)
    config.update(build_label_settings(contents))
    if kind != "AutoModel" and backbone.config.causal:
        config.pad_token_id = contents.text_encoder.padding_id
    with no_init_weights(), errors_only():
        network = getattr(import_library("transformers"), kind).from_config(config, dtype=torch.float32)
    lacking = network.base_model.load_state_dict(backbone.network.state_dict(), strict=False)
    pooler = [name for name in lacking.missing_keys if name.startswith("pooler.")]  # we have none
    if lacking.unexpected_keys or len(pooler) != len(lacking.missing_keys):
        raise Inexpressible(f"{type(network.base_model).__name__} there has other layers than here")
    for name in pooler:
        nn.init.zeros_(network.base_model.get_parameter(name))
    return network.eval()


def _final_norm(network: Any, contents: Bundle) -> nn.LayerNorm | None:
    """The final norm, if it has a bias, which is added to every state."""
    backbone = cast(WholeNetwork, contents.model.backbone)
    for name, module in backbone.network.named_modules():
        has_bias = isinstance(module, nn.LayerNorm) and module.bias is not None
        if has_bias and backbone.block_of(f"network.{name}.bias") == backbone.config.n_layer:
            return cast(nn.LayerNorm, network.base_model.get_submodule(name))
    return None


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
    ordinary = sorted(set(range(encoder.vocab_size)) - tokenizer.never_text - {encoder.padding_id})
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
