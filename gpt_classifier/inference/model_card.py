"""Writes a model card: what the model is, what it was trained on, how well it did, how it is used."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt_classifier.inference.bundle import Bundle

CARD = """\
# Text classifier: {classes}

Trained with gpt_classifier {version}. This folder is complete: it needs no other file and no network.

```python
from gpt_classifier import TextClassifier

classifier = TextClassifier.load("path/to/this/folder")
classifier.predict("your text")
```

| | |
|---|---|
{rows}
"""
ACCURACY = """
The interval is a 95 % Wilson interval. The validation rows may have chosen the epoch or the probe, so a test on rows
that took no part is the score to trust.
"""
DATA = """
## Data

{summary}
"""
SHOWN = 20  # classes that the card names
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")  # what may mean something in it


def model_card(
    contents: Bundle, training: Mapping[str, Any] | None = None, accuracy: str = "", summary: str = "", probe: str = ""
) -> str:
    """The card in Markdown.

    Args:
        contents: The model.
        training: The settings that it was trained with, if they are known.
        accuracy: That of the validation rows, with its interval.
        summary: What the data were.
        probe: How the head was solved, where nothing else trained.
    """
    network, text_encoder = contents.model.backbone.config, contents.text_encoder.settings()
    size = f"{network.n_layer} blocks, hidden size {network.n_embd}, {network.n_head} heads"
    rows = {
        "classes": _listed(contents.class_names),
        "network": f"{network.model_type}: {size}, context {network.context_length} tokens",
        "tokenizer": f"{escaped(text_encoder['tokenizer'])}, {_room(contents)}",
        "pooling": contents.model.pooling,
    }
    if training is not None:
        how = "{trainable}, learning rate {learning_rate:g}, {optimizer[name]}".format_map(training)
        if (teacher := training.get("teacher")) is not None:
            weight = "weight {weight:g}, temperature {temperature:g}".format_map(teacher)
            how += f", with the predictions of the teacher {escaped(Path(teacher['folder']).name)} ({weight})"
        weights, backbone = training["weights"] or "those of an earlier model", training.get("backbone")
        if weights == "pretrained" and isinstance(backbone, str):
            weights = f"those of {escaped(Path(backbone).name)}"
        rows |= {"initial weights": weights, "trained": f"head alone, solved: {probe}" if probe else how}
        rows["validation accuracy"] = accuracy or "not measured"
    if contents.decision.multi_label:
        rows["labels of a text"] = "any number"
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    card = CARD.format(classes=rows["classes"], version=contents.version, rows=table)
    return card + (ACCURACY if accuracy else "") + (DATA.format(summary=fenced(summary)) if summary else "")


def escaped(text: str) -> str:
    """In one line, and without meaning in Markdown."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return MARKDOWN.sub(r"\\\1", " ".join(words))


def fenced(text: str) -> str:
    """As a block of plain text, whatever stands in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(escaped, names[:SHOWN])) + more


def with_section(card: str, title: str, text: str) -> str:
    """The card with this section, in place of an earlier one of the same title, before what it says of the data."""
    begin, end = (f"<!-- {mark}{title.lower()} -->\n" for mark in ("", "end of "))
    section = f"{begin}## {title}\n\n{fenced(text)}\n{end}\n"
    rest = re.sub(f"{begin}.*?{end}\n*", "", card, flags=re.DOTALL)
    before, data, after = rest.partition("## Data\n")
    return f"{before.rstrip()}\n\n{section}{data}{after}"


def _room(contents: Bundle) -> str:
    """How many tokens of a text the model reads."""
    encoder = contents.text_encoder
    if (windows := encoder.windows) is None:
        return f"at most {encoder.max_length} tokens ({encoder.truncation} kept)"
    number = "any number of" if windows.limit is None else f"at most {windows.limit}"
    steps = f"every {windows.stride}, {windows.aggregate} of their logits"
    return f"{number} windows of {encoder.max_length} tokens {steps}"
