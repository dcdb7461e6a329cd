"""One SMS on its way from a file to a label: what it is at every step, and where each step stands."""

import math

import pytest
import torch

from gpt_classifier import TextClassifier
from gpt_classifier.data.datasets import load
from gpt_classifier.data.splits import split_rows
from gpt_classifier.data.task import Task
from gpt_classifier.models.gpt import GPT, GPTConfig
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.text.encoder import Batch, TextEncoder


def test_one_message_from_row_to_label(tmp_path, trained):
    # A row: data/sources.py
    file = tmp_path / "messages.tsv"
    ham = [f"ham\tSee you at {when}" for when in ("five", "six", "noon", "dawn")]
    spam = [f"spam\tWIN a {what}" for what in ("car", "cruise", "phone")]
    file.write_text("\n".join(["label\ttext", *ham, *spam]))
    table = load(str(file))["train"]
    assert table.iloc[0].to_dict() == {"text": "See you at five", "label": "ham", "row": 0}

    # A split: data/splits.py. Every row is in exactly one part, the same every time.
    parts = split_rows(table, "grouped", (0.4, 0.3, 0.3), seed=1)
    assert sorted(row for part in parts.values() for row in part["row"]) == list(range(7))
    assert all(part.equals(split_rows(table, "grouped", (0.4, 0.3, 0.3), seed=1)[name]) for name, part in parts.items())

    # Ids: encoding.py. With the bytes tokenizer, an id is a byte.
    text_encoder = TextEncoder("bytes", max_length=12)
    ids, cut = text_encoder.encode(table["text"][0])
    assert (ids, cut) == (list(b"See you at f"), True)

    # A batch: encoding.py. B = 2 messages, T = 12 tokens; the shorter one is padded on the right.
    batch = text_encoder.batch([ids, list(b"WIN")], labels=torch.tensor([0, 1]), rows=torch.tensor([0, 5]))
    assert isinstance(batch, Batch)
    assert batch.inputs.shape == (2, 12)
    assert batch.inputs.dtype == torch.int64
    assert batch.inputs[1].tolist() == [*b"WIN", *[text_encoder.padding_id] * 9]
    assert batch.lengths.tolist() == [12, 3]

    # Hidden states: model/gpt.py. C = 32.
    gpt = GPT(GPTConfig(vocab_size=text_encoder.vocab_size, context_length=16, n_embd=32, n_layer=2, n_head=4))
    embedded = gpt.embed(batch.inputs)
    hidden = gpt.finish(gpt.run_blocks(embedded))
    assert embedded.shape == hidden.shape == (2, 12, 32)

    # One vector, and from it logits: model/classification.py. K = 2 classes.
    model = SequenceClassifier(gpt, num_classes=2)
    logits = model(batch.inputs, batch.lengths)
    last = torch.stack([hidden[0, 11], hidden[1, 2]])  # (B, C), of each message's last real token
    assert logits.shape == (2, 2)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, model.head(last), atol=1e-6)

    # The fork. On one side the loss: training/module.py.
    loss = Task.SINGLE_LABEL.loss(logits, batch.labels, None)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(math.log(2), abs=0.5)  # nothing is learnt yet

    # On the other the label: inference/classifier.py.
    label, probability, probabilities, _ = TextClassifier.load(trained / "model").predict(table["text"][0])
    assert label in ("ham", "spam")
    assert probability == max(probabilities.values()) >= 0.5
