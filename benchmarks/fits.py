"""Fits a model and measures it: with gpt_classifier, and with the plain loop of the article."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measures import PEAK_SIZE, Steps, computing, flops_per_step, now
from benchmarks.runner import Result
from benchmarks.textbook import TextbookClassifier
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.samplers import BatchingConfig, TrainingBatches
from gpt_classifier.models.build import gpt_config
from gpt_classifier.models.freezing import trainable_blocks
from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.weights import load_weights
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.text.encoder import Batch, batch_tokens
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.state_cache import HiddenStateCache
from gpt_classifier.training.text_states import CacheConfig

if TYPE_CHECKING:
    from benchmarks.train import Training

SPLITS = ("train", "val", "test")


class _Clock(L.Callback):
    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.end()


def prepared_data(job: "Training", **settings: Any) -> TextDataModule:
    settings = {"source": job.source, "split": job.split, "tokenizer": job.tokenizer} | settings
    data = TextDataModule(batch_size=job.batch_size, max_length=job.max_length, **settings)
    data.prepare_data()
    return data


def _to(device: str, batch: Batch) -> Batch:
    return move_data_to_device(batch, torch.device(device))


def train_ours(job: "Training") -> Result:
    """gpt_classifier, its Lightning module and trainer, with or without the hidden-state cache."""
    L.seed_everything(job.seed, verbose=False)
    # If all blocks are trainable, texts are grouped by length, as in the Trainer of transformers.
    data = prepared_data(job, batching=BatchingConfig(group_by_length=job.policy == "all"))
    data.setup("fit")
    model = GPTClassifier(
        pooling="last_token",  # as the other systems: no probe chooses, and none solves the head
        probe=False,
        gpt=job.gpt,
        weights=job.weights,
        trainable=job.policy,
        cache=CacheConfig(job.system == "cached"),
    )
    steps = Steps(job.device)
    trainer = L.Trainer(
        max_epochs=job.epochs,
        max_steps=job.max_steps or -1,
        accelerator=job.device,
        devices=1,
        precision=job.precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[_Clock(steps)],
    )
    began = now(job.device)
    trainer.fit(model, data)
    fitted = now(job.device)
    model.to(job.device)  # Lightning takes it back to the CPU
    accuracy = accuracies(job, lambda name: _our_predictions(job, model, data, name))
    ended = now(job.device)

    def loss(batch: Batch) -> Tensor:
        batch = _to(job.device, batch)
        assert batch.labels is not None
        with computing(job.device, job.precision):
            return model.loss(model.logits(batch), batch.labels)

    flops = flops_per_step(data.train_dataloader(), loss)
    result = measurements(job, steps, fitted - began, ended - fitted, flops, accuracy, data)
    result["bare_step_seconds"] = _bare_steps(job, model, data, loss)
    if model.state_cache is not None and model.state_cache.seconds:
        result["frozen_layers"] = {"seconds": model.state_cache.seconds} | _speed_beside_peak(
            job, model.state_cache, data
        )
    return result


def _speed_beside_peak(job: "Training", cache: HiddenStateCache, data: TextDataModule, max_batches: int = 24) -> Result:
    """FLOP/s of the frozen layers and of a matrix product, in turn, for the same load of the machine."""
    encoded, config = data.encoded["train"], cache.model.backbone.config
    batches = cache.text_encoder.rows_by_length(encoded.lengths, batch_tokens(job.device))
    size = PEAK_SIZE[job.device]
    a, b = torch.randn(
        2, size, size, device=job.device, dtype=torch.bfloat16 if job.precision == "bf16-mixed" else torch.float32
    )
    spent = {"frozen_layers": 0.0, "peak": 0.0}
    tokens, chosen = 0, batches[:: max(1, len(batches) // max_batches)]
    for rows in chosen:
        ids = [encoded.ids(row) for row in rows]
        moments = [now(job.device)]
        cache.run_batch(ids)
        moments.append(now(job.device))
        torch.mm(a, b)
        moments.append(now(job.device))
        spent["frozen_layers"] += moments[1] - moments[0]
        spent["peak"] += moments[2] - moments[1]
        tokens += sum(map(len, ids))
    products = 2 * 12 * config.n_embd**2 * cache.start_layer  # FLOPs per token, without attention
    peak = 2 * size**3 * len(chosen) / spent["peak"]
    return {"flops_per_second": products * tokens / spent["frozen_layers"], "peak_flops_per_second": peak}


def _bare_steps(
    job: "Training", model: GPTClassifier, data: TextDataModule, loss: Callable[[Batch], Tensor], max_steps: int = 60
) -> float:
    """Median seconds of the same steps without trainer, metrics and logging, to measure their overhead."""
    model.train()
    optimizer = model.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer), "without a schedule"
    steps = Steps(job.device)
    for batch, _ in zip(data.train_dataloader(), range(max_steps), strict=False):
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()
        steps.end()
    return steps.median()


@torch.inference_mode()
def _our_predictions(
    job: "Training", model: GPTClassifier, data: TextDataModule, name: str
) -> Iterator[tuple[Tensor, Tensor]]:
    model.eval()
    for batch in data.evaluation_dataloader(name):
        with computing(job.device, job.precision):
            yield model.logits(_to(job.device, batch)).argmax(-1).cpu(), batch.labels


def train_plain(job: "Training") -> Result:
    """The article's loop: every text padded to the longest training text, every block computed for all positions.

    As in the article, five batches of train and of val are evaluated every 50 steps.
    """
    L.seed_everything(job.seed, verbose=False)
    data = prepared_data(job, batching=BatchingConfig(pad_to="longest_train"))
    data.setup("fit")
    gpt = GPT(gpt_config(job.gpt, data.text_encoder.vocab_size))
    if job.weights != "random":
        load_weights(gpt, job.weights)
    model = TextbookClassifier(gpt, len(data.class_names)).to(job.device)
    model.train_last_blocks(trainable_blocks(job.policy, gpt.config.n_layer))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-5, weight_decay=0.1)
    encoded = data.encoded
    steps, epoch = Steps(job.device), 0
    order = TrainingBatches(encoded["train"].lengths, job.batch_size, job.seed, lambda: epoch)

    def logits(batch: Batch) -> Tensor:
        with computing(job.device, job.precision):
            every = model(batch.inputs.to(job.device))
        return every[torch.arange(len(batch.lengths)), batch.lengths - 1]

    def loss(batch: Batch) -> Tensor:
        assert batch.labels is not None
        return F.cross_entropy(logits(batch), batch.labels.to(job.device))

    @torch.no_grad()
    def predictions(name: str, max_batches: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        rows, size = list(range(len(encoded[name]))), job.batch_size
        for start in range(0, len(rows) if max_batches is None else max_batches * size, size):
            batch = encoded[name][rows[start : start + size]]
            assert batch.labels is not None
            yield logits(batch).argmax(-1).cpu(), batch.labels

    began = now(job.device)
    for epoch in range(job.epochs):  # noqa: B007 - used by ``order``
        for rows in order:
            optimizer.zero_grad()
            loss(encoded["train"][rows]).backward()
            optimizer.step()
            steps.end()
            if len(steps.ends) % 50 == 0 and not job.max_steps:
                _ = [list(predictions(name, 5)) for name in ("train", "val")]
            if len(steps.ends) == job.max_steps:
                break
        if len(steps.ends) == job.max_steps:
            break
    fitted = now(job.device)
    accuracy = accuracies(job, predictions)
    ended = now(job.device)
    flops = flops_per_step((encoded["train"][rows] for rows in order), loss, max_batches=2)
    return measurements(job, steps, fitted - began, ended - fitted, flops, accuracy, data)


def accuracies(job: "Training", predictions: Callable[[str], Iterable[tuple[Tensor, Tensor]]]) -> dict[str, str]:
    if job.max_steps:  # not trained to the end, so accuracies would not be comparable
        return {}
    result = {}
    for name in SPLITS:
        pairs = list(predictions(name))
        correct = sum(int((predicted == labels).sum()) for predicted, labels in pairs)
        result[name] = str(wilson(correct, sum(len(labels) for _, labels in pairs)))
    return result


def measurements(
    job: "Training",
    steps: Steps,
    fit: float,
    evaluation: float,
    flops: float,
    accuracy: dict[str, str],
    data: TextDataModule,
) -> Result:
    step = steps.median()
    tokens = data.encoded["train"].lengths.sum() / len(data.encoded["train"]) * job.batch_size
    return {
        "seconds": fit + evaluation,
        "fit_seconds": fit,
        "evaluation_seconds": evaluation,
        "step_seconds": step,
        "tokens_per_second": float(tokens / step),
        "flops_per_second": flops / step,
        "accuracy": accuracy,
    }
