"""Writes a model card: what the model is, what it was trained on, how well it did, how it is used."""

import re
from collections.abc import Mapping
from typing import Any

from gpt_classifier import __version__
from gpt_classifier.bundle import Bundle

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
The interval is a 95 % Wilson interval. The validation rows chose the epoch, so a test on rows that took no part is
the figure to trust.
"""
DATA = """
## Data

```
{summary}
```
"""
TEST = re.compile("<!-- test -->.*?<!-- end of test -->\n+", re.DOTALL)


def model_card(
    contents: Bundle, training: Mapping[str, Any] | None = None, accuracy: str = "", summary: str = ""
) -> str:
    """The card in Markdown.

    Args:
        contents: The model.
        training: The settings that it was trained with, if they are known.
        accuracy: That of the validation rows, with its interval.
        summary: What the data were.
    """
    network, text_encoder = contents.model.backbone.config, contents.text_encoder.settings()
    size = f"{network.n_layer} blocks, {network.n_embd} channels, {network.n_head} heads"
    rows = {
        "classes": ", ".join(contents.class_names),
        "network": f"{network.model_type}: {size}, context {network.context_length} tokens",
        "tokenizer": "{tokenizer}, at most {max_length} tokens ({truncation} kept)".format_map(text_encoder),
        "pooling": contents.model.pooling,
    }
    if training is not None:
        how = "{trainable}, learning rate {learning_rate:g}, {optimizer[name]}".format_map(training)
        rows |= {"initial weights": training["weights"] or "those of an earlier model", "trained": how}
        rows["validation accuracy"] = accuracy or "not measured"
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    card = CARD.format(classes=rows["classes"], version=__version__, rows=table)
    return card + (ACCURACY if accuracy else "") + (DATA.format(summary=summary) if summary else "")


def with_test_results(card: str, results: str) -> str:
    """The card with these results of a test, in place of earlier ones, before what it says of the data."""
    section = f"<!-- test -->\n## Test\n\n```\n{results}\n```\n<!-- end of test -->\n\n"
    before, data, after = TEST.sub("", card).partition("## Data\n")
    return f"{before.rstrip()}\n\n{section}{data}{after}"
