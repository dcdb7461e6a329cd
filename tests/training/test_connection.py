"""What a model and its data hand to each other, each by itself knowing nothing of the other."""

import logging

import torch

from gpt_classifier.data.encoded import UNFITTED


def test_what_an_audit_warns_of_is_said_once_below_the_summary(tiny_data, tiny_model, quick_trainer, caplog):
    caplog.set_level(logging.INFO)
    data = tiny_data()
    data.sources.tables["train"].loc[0, "text"] = "caf\ufffd at five, mum"  # a letter that was lost
    for _ in range(2):
        quick_trainer(limit_train_batches=1).fit(tiny_model(), data)
    lines = [line for record in caplog.records for line in record.getMessage().splitlines()]
    (warning,) = [number for number, line in enumerate(lines) if "U+FFFD" in line]
    assert warning > max(number for number, line in enumerate(lines) if line.startswith("  test "))


def test_data_encode_as_the_model_they_are_used_with(tiny_data, tiny_model, quick_trainer):
    model, data, others = tiny_model(), tiny_data(), tiny_data(tokenizer={"train": 300}, max_length=32)
    assert data.fitted == others.fitted == UNFITTED
    quick_trainer(limit_train_batches=1).fit(model, data)
    quick_trainer().test(model, others)
    assert others.text_encoder is model.text_encoder is data.text_encoder
    assert others.fitted.class_names == model.class_names
    assert torch.equal(others.fitted.trained_on, model.trained_on)


def test_data_are_set_up_without_a_model_and_a_model_without_data(tiny_data, tiny_model):
    data = tiny_data()
    data.setup("fit")
    model = tiny_model(class_names=data.class_names)
    model.configure_model()
    batch = next(iter(data.train_dataloader()))
    assert model.logits(batch).shape == (len(batch.labels), len(data.class_names))
