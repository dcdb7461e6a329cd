"""Saves a pretrained network as a folder that ``fit --model.weights`` takes."""

from pathlib import Path
from typing import Any

from torch import Tensor

from gpt_classifier import __version__
from gpt_classifier.files import whole_file
from gpt_classifier.inference.bundle import TRAINED_ON, VOCABULARY
from gpt_classifier.inference.formats import FORMAT, write_config
from gpt_classifier.inference.model_folder import WEIGHTS
from gpt_classifier.models.backbone import Backbone
from gpt_classifier.models.heads import BACKBONE
from gpt_classifier.models.tensor_file import write_tensors
from gpt_classifier.text.encoder import TextEncoder

CARD = """\
# Pretrained network: {model_type}

A language model without a classification head, pretrained with gpt_classifier {version}. Train a classifier with it:

```
gpt-classifier fit --model.weights path/to/this/folder --data.source messages.csv
```

The folder has the weights, the tokenizer and hashes of the training texts, by which `fit` recognises them in its test.

| | |
|---|---|
{rows}
"""


def save_network(
    folder: Path, backbone: Backbone, text_encoder: TextEncoder, trained_on: Tensor, results: dict[str, Any]
) -> None:
    """Writes the three files, each whole or not at all; the weights last.

    ``trained_on`` are fingerprints of the training texts; ``results`` says, in plain values, what the network was
    trained on and how well it predicts.
    """
    config = backbone.config
    size = f"{config.n_layer} blocks, hidden size {config.n_embd}, {config.n_head} heads"
    told = {"network": f"{size}, context {config.context_length} tokens"} | results
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in told.items())
    with whole_file(folder / "README.md") as path:
        card = CARD.format(model_type=config.model_type, version=__version__, rows=rows)
        path.write_text(card, encoding="utf-8")
    contents = {
        "format": FORMAT,
        "version": __version__,
        "model": {"family": config.family, "backbone": config.fields},
        "text_encoder": text_encoder.settings(),
        "pretrained_on": results,
    }
    write_config(folder, contents)
    tensors = {f"{BACKBONE}{name}": tensor for name, tensor in backbone.state_dict().items()}
    write_tensors(folder / WEIGHTS, tensors | {VOCABULARY: text_encoder.tokenizer.vocabulary(), TRAINED_ON: trained_on})
