"""Writes a model card: what the model is, what it was trained on, how well it did, how it is used."""

import re
from collections.abc import Mapping
from typing import Any

from gpt_classifier import __version__
from gpt_classifier.bundle import Bundle

CARD = """\
# Text classifier: {labels}

Trained with gpt_classifier {version}. This folder is complete: it needs no other file and no network.

```python
from gpt_classifier import TextClassifier

classifier = TextClassifier.load("path/to/this/folder")
classifier.predict("your text")
```

| | |
|---|---|
| classes | {labels} |
| network | {gpt.model_type}: {size} |
| tokenizer | {encoder[tokenizer]}, at most {encoder[max_length]} tokens ({encoder[truncation]} kept) |
| pooling | {pooling} |
| initial weights | {weights} |
| trained | {trainable}, learning rate {learning_rate:g}, {optimizer} |
| validation accuracy | {accuracy} |

The interval is a 95 % Wilson interval. The validation rows chose the epoch, so a test on rows that took no part is
the figure to trust.

## Data

```
{summary}
```
"""


TEST = re.compile("<!-- test -->.*?<!-- end of test -->\n+", re.DOTALL)


def with_test_results(card: str, results: str) -> str:
    """The card with these results of a test, in place of earlier ones, before what it says of the data."""
    section = f"<!-- test -->\n## Test\n\n```\n{results}\n```\n<!-- end of test -->\n\n"
    before, data, after = TEST.sub("", card).partition("## Data\n")
    return f"{before.rstrip()}\n\n{section}{data}{after}"


def model_card(contents: Bundle, summary: str, settings: Mapping[str, Any], accuracy: str) -> str:
    """The card in Markdown. ``accuracy`` is that of the validation rows, with its interval, or empty."""
    gpt = contents.model.backbone.config
    return CARD.format(
        labels=", ".join(contents.labels),
        version=__version__,
        gpt=gpt,
        size=f"{gpt.n_layer} blocks, {gpt.n_embd} channels, {gpt.n_head} heads, context {gpt.context_length} tokens",
        encoder=contents.encoder.settings(),
        pooling=contents.model.pooling,
        weights=settings["weights"] or "those of an earlier model",
        trainable=settings["trainable"],
        learning_rate=settings["learning_rate"],
        optimizer=settings["optimizer"]["name"],
        accuracy=accuracy or "not measured",
        summary=summary,
    )
