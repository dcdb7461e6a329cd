"""Fits GPT-2 with the Trainer of ``transformers``, and measures it."""

import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from benchmarks.fits import accuracies, measurements, prepared_data
from benchmarks.measures import Steps, computing, flops_per_step, now
from benchmarks.runner import Result
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.export.onnx import import_library
from gpt_classifier.export.transformers import build_transformers
from gpt_classifier.models.freezing import trainable_blocks
from gpt_classifier.training.network import build_network

if TYPE_CHECKING:
    from benchmarks.train import Training


def train_transformers(job: "Training") -> Result:
    """GPT2ForSequenceClassification under the Trainer of ``transformers``: dynamic padding, texts grouped by length."""
    hf = import_library("transformers")

    class Clock(hf.TrainerCallback):  # type: ignore[name-defined]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.end()

    data = prepared_data(job)
    data.setup("fit")
    model = _model(job, data)
    rows = {
        name: [
            {"input_ids": texts.ids(i).tolist(), "labels": int(labels[i]), "length": int(texts.lengths[i])}
            for i in range(len(texts))
        ]
        for name, texts in data.encoded.items()
        if (labels := texts.labels) is not None
    }

    def collate(batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        padded = data.text_encoder.batch([row["input_ids"] for row in batch])
        mask = (torch.arange(padded.inputs.shape[1]) < padded.lengths[:, None]).long()
        labels = torch.tensor([row["labels"] for row in batch])
        return {"input_ids": padded.inputs, "attention_mask": mask, "labels": labels}

    steps = Steps(job.device)
    with tempfile.TemporaryDirectory() as folder:
        trainer = hf.Trainer(
            model,
            _arguments(job, folder),
            data_collator=collate,
            train_dataset=rows["train"],
            callbacks=[Clock()],
        )
        began = now(job.device)
        trainer.train()
        fitted = now(job.device)

        def predictions(name: str) -> Iterator[tuple[Tensor, Tensor]]:
            output = trainer.predict(rows[name])
            yield torch.from_numpy(output.predictions).argmax(-1), torch.from_numpy(output.label_ids)

        accuracy = accuracies(job, predictions)
        ended = now(job.device)

        def loss(batch: dict[str, Tensor]) -> Tensor:
            with computing(job.device, job.precision):
                return model(**move_data_to_device(batch, torch.device(job.device))).loss

        flops = flops_per_step(trainer.get_train_dataloader(), loss)
    return measurements(job, steps, fitted - began, ended - fitted, flops, accuracy, data)


def _model(job: "Training", data: TextDataModule) -> Any:
    """GPT2ForSequenceClassification with our initial weights, its parts trainable as ``job.policy`` says."""
    hf = import_library("transformers")
    gpt = build_network({"gpt": job.gpt}, job.weights, len(data.class_names), data.text_encoder).backbone
    hf.set_seed(job.seed)
    model = build_transformers(gpt, data.text_encoder.padding_id, len(data.class_names))
    blocks = trainable_blocks(job.policy, gpt.config.n_layer)
    if blocks is not None:
        model.requires_grad_(False)
        for part in [model.score, *list(model.transformer.h)[gpt.config.n_layer - blocks :]]:
            part.requires_grad_(True)
        model.transformer.ln_f.requires_grad_(blocks > 0)
    return model


def _arguments(job: "Training", folder: str) -> Any:
    hf = import_library("transformers")
    return hf.TrainingArguments(
        folder,
        per_device_train_batch_size=job.batch_size,
        per_device_eval_batch_size=32,
        num_train_epochs=job.epochs,
        max_steps=job.max_steps or -1,
        learning_rate=5e-5,
        weight_decay=0.1,
        lr_scheduler_type="constant",
        train_sampling_strategy="group_by_length",
        remove_unused_columns=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=job.device == "cpu",
        bf16=job.precision == "bf16-mixed",
        seed=job.seed,
    )
