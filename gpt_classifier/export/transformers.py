"""Writes a classifier as a folder of ``transformers``.

GPT2ForSequenceClassification reads the last token that is not padding, as ours does. Its tokenizer appends one padding
token to every text: nothing sees it, and an empty text is that token, as with ours.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from gpt_classifier.errors import InputError
from gpt_classifier.export.onnx import library_tokenizer, one_pass
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.models.backbone import Backbone
from gpt_classifier.models.weights import TRANSPOSED

END = "<|endoftext|>"
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


def transformers_package() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InputError('transformers is not installed: pip install "gpt-classifier[export]"') from error
    return transformers


def as_transformers(gpt: Backbone, padding_id: int, num_classes: int, **settings: Any) -> Any:
    """GPT2ForSequenceClassification with the weights of ``gpt``; ``settings`` are further ones of its GPT2Config.

    Positions beyond those of ``gpt`` are zero.
    """
    hf = transformers_package()
    c = gpt.config
    defaults = {"n_positions": c.context_length, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    model = hf.GPT2ForSequenceClassification(
        hf.GPT2Config(
            vocab_size=c.vocab_size, n_embd=c.n_embd, n_layer=c.n_layer, n_head=c.n_head, attn_pdrop=0.0,
            num_labels=num_classes, pad_token_id=padding_id, bos_token_id=padding_id, eos_token_id=padding_id,
            **defaults | settings,
        )
    )  # fmt: skip
    state = {name: t.T if name.endswith(TRANSPOSED) else t for name, t in gpt.state_dict().items()}
    positions = torch.zeros_like(model.transformer.wpe.weight)
    positions[: c.context_length] = state["wpe.weight"]
    model.transformer.load_state_dict(state | {"wpe.weight": positions})
    return model


def write(contents: Bundle, folder: Path, notes: list[str]) -> None:
    """Writes configuration, weights, tokenizer and a README. Raises ``InputError`` for what GPT-2 there cannot do."""
    one_pass(contents, "hf")
    model, encoder, decision = contents.model, contents.text_encoder, contents.decision
    for what, value, wanted in (
        ("attention is", "bidirectional", model.backbone.config.causal),
        ("pooling is", model.pooling, model.pooling == "last_token"),
        ("head is", "not linear", type(model.head) is torch.nn.Linear),
        ("truncation is", encoder.truncation, encoder.truncation != "head+tail"),
    ):
        if not wanted:
            raise InputError(
                f"this model's {what} {value}, which GPT2ForSequenceClassification cannot express: use --to onnx"
            )
    tokenizer, length = library_tokenizer(encoder.tokenizer), encoder.max_length + 1  # and the padding token
    names = dict(enumerate(contents.class_names))
    network = as_transformers(
        model.backbone,
        encoder.padding_id,
        len(names),
        n_positions=max(model.backbone.config.context_length, length),
        resid_pdrop=model.backbone.config.dropout,
        embd_pdrop=model.backbone.config.dropout,
        id2label=names,
        label2id={name: number for number, name in names.items()},
        problem_type="multi_label_classification" if decision.multi_label else "single_label_classification",
    )
    head = cast(torch.nn.Linear, model.head)
    weight = head.weight.detach().double() / decision.temperature  # (K, C)
    bias = torch.zeros(len(names), dtype=torch.float64) if head.bias is None else head.bias.detach().double()
    bias = bias / decision.temperature
    if decision.log_priors:
        bias = bias + torch.tensor(decision.log_priors, dtype=torch.float64)
    with torch.no_grad():
        network.score.weight.copy_(weight)
        network.transformer.ln_f.bias.add_(_shift(weight, bias))
    network.save_pretrained(folder)
    _write_tokenizer(tokenizer, folder, length, encoder)
    (folder / "README.md").write_text(
        README.format(
            classes=", ".join(names.values()), length=encoder.max_length, notes="".join(f"\n{n}\n" for n in notes)
        ),
        encoding="utf-8",
    )


def _shift(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(C,) d with weight (K, C) @ d = bias (K,): what the final norm adds in place of the head's bias."""
    shift = torch.linalg.pinv(weight) @ bias
    if (missed := (weight @ shift - bias).abs().max().item()) > 1e-6:
        raise InputError(
            f"the head's bias cannot be folded into the final norm, as its rows are linearly dependent (off by "
            f"{missed:.2g}), and GPT2ForSequenceClassification has no bias: use --to onnx"
        )
    return shift


def _write_tokenizer(tokenizer: Any, folder: Path, length: int, encoder: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[(END, encoder.padding_id)])
    transformers_package().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=END,
        eos_token=END,
        model_max_length=length,
        truncation_side={"head": "right", "tail": "left"}[encoder.truncation],
        padding_side="right",
        split_special_tokens=True,  # written in a text, <|endoftext|> is ordinary text
    ).save_pretrained(folder)


def probabilities(folder: Path, texts: list[str], class_names: list[str]) -> np.ndarray:
    """(N, K) what the pipeline on ``folder`` says."""
    hf = transformers_package()
    classify = hf.pipeline("text-classification", model=str(folder), device="cpu", truncation=True, top_k=None)
    rows = [{answer["label"]: answer["score"] for answer in answers} for answers in classify(texts)]
    return np.array([[row[name] for name in class_names] for row in rows])
