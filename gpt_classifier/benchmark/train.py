"""The part ``train``: this package compared with the article's loop and the Trainer of ``transformers``."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.nn import functional as F

from gpt_classifier.benchmark.measures import PEAK_SIZE, Steps, computing, flops_per_step, now
from gpt_classifier.benchmark.runner import Job, Key, Result, Runner, installed, median, say
from gpt_classifier.benchmark.textbook import TextbookClassifier
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.samplers import BatchingConfig, TrainingBatches
from gpt_classifier.export.transformers import as_transformers, transformers_package
from gpt_classifier.models.build import gpt_config
from gpt_classifier.models.freezing import trainable_blocks
from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.weights import load_weights
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.text.encoder import Batch, batch_tokens
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.network import build_network
from gpt_classifier.training.state_cache import CacheConfig, TrunkCache

SPLITS = ("train", "val", "test")
NAMES = {
    "cached": "gpt_classifier",
    "again": "gpt_classifier, second run",
    "uncached": "gpt_classifier, no trunk cache",
    "plain": "plain loop, as in the article",
    "transformers": "transformers Trainer, grouped",
}


def measure(runner: Runner) -> None:
    """Trains with all policies and systems in turn and prints their table."""
    o = runner.options
    results = runner.run_in_turn(_jobs(runner))
    what = "steps only" if o.max_steps else f"{o.epochs} epochs, accuracy of train, val and test"
    say(f"\nTraining on {o.source} ({o.split}), {o.gpt}, batch {o.batch_size}, {o.precision}: {what}\n")
    _print_table(results, compared="step_seconds" if o.max_steps else "seconds")
    _print_notes(results)


@dataclass(frozen=True)
class Training(Job):
    """Fits one system and scores it on all splits; with ``max_steps`` it only fits."""

    policy: str  # which parameters are trainable
    seed: int
    epochs: int
    max_steps: int  # 0 for all
    batch_size: int
    source: str
    split: str
    tokenizer: str
    max_length: int
    gpt: str | dict[str, Any]
    weights: str

    def run(self) -> Result:
        train = {"plain": train_plain, "transformers": train_transformers}.get(self.system, train_ours)
        return train(self)


def _jobs(runner: Runner) -> dict[Key, Job]:
    o = runner.options
    jobs: dict[Key, Job] = {}
    systems = [s for s in o.systems if s != "transformers" or installed(NAMES[s], "transformers", "accelerate")]
    for policy in o.policies:
        for system in systems:
            if policy == "all" and system in ("cached", "again"):
                continue  # nothing is frozen
            jobs[policy, system] = Training(
                system="cached" if system == "again" else system,
                device=runner.device,
                precision=o.precision,
                policy=policy,
                seed=124 if system == "again" else 123,
                epochs=o.epochs,
                max_steps=o.max_steps,
                batch_size=o.batch_size,
                source=o.source,
                split=o.split,
                tokenizer=o.tokenizer,
                max_length=o.max_length,
                gpt=runner.gpt,
                weights=runner.weights,
            )
    return jobs


# ---------------------------------------------------------------- the table


def _print_table(results: dict[Key, list[Result]], compared: str) -> None:
    """Prints medians, with the ratio of each system's ``compared`` to that of the first system of its policy."""
    say("| trainable | system | total s | x | s/step | tokens/s | GFLOP/s (of peak) | peak GB | test accuracy |")
    say("|---|---|---|---|---|---|---|---|---|")
    for (policy, system), runs in results.items():
        first = next(others for (other, _), others in results.items() if other == policy)
        ratio = median(runs, compared) / median(first, compared)
        flops, peak = median(runs, "flops_per_second"), max(run["matrix_peak"] for run in runs)
        cells = [
            policy,
            NAMES[system],
            f"{median(runs, 'seconds'):.1f}",
            f"{ratio:.2f}",
            f"{median(runs, 'step_seconds'):.5f}",
            f"{median(runs, 'tokens_per_second'):,.0f}",
            f"{flops / 1e9:.0f} ({flops / peak:.0%})",
            f"{median(runs, 'peak_memory') / 2**30:.1f}",
            runs[0]["accuracy"].get("test", "-"),
        ]
        say(f"| {' | '.join(cells)} |")


def _print_notes(results: dict[Key, list[Result]]) -> None:
    """Prints the overhead of trainer and metrics, and the speed of the trunk's pass."""
    for (policy, system), runs in results.items():
        if runs[0].get("bare_step_seconds"):
            bare, step = median(runs, "bare_step_seconds"), median(runs, "step_seconds")
            say(f"\n{policy}, {NAMES[system]}: a step takes {step:.5f} s, without trainer and metrics {bare:.5f} s")
        if trunk := [run["trunk"] for run in runs if run.get("trunk")]:
            seconds, rate, peak = (
                median(trunk, key) for key in ("seconds", "flops_per_second", "peak_flops_per_second")
            )
            say(
                f"\n{policy}, {NAMES[system]}: trunk pass {seconds:.1f} s; batches reach {rate / 1e9:.0f} GFLOP/s, "
                f"{rate / peak:.0%} of a matrix product in turn with them ({peak / 1e9:.0f} GFLOP/s)"
            )


# ---------------------------------------------------------------- the jobs


class _Clock(L.Callback):
    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.end()


def _data(job: Training, **settings: Any) -> TextDataModule:
    settings = {"source": job.source, "split": job.split, "tokenizer": job.tokenizer} | settings
    data = TextDataModule(batch_size=job.batch_size, max_length=job.max_length, **settings)
    data.prepare_data()
    return data


def _to(device: str, batch: Batch) -> Batch:
    return move_data_to_device(batch, torch.device(device))


def train_ours(job: Training) -> Result:
    """This package, its Lightning module and trainer, with or without the trunk cache."""
    L.seed_everything(job.seed, verbose=False)
    # If all blocks are trainable, texts are grouped by length, as in the Trainer of transformers.
    data = _data(job, batching=BatchingConfig(group_by_length=job.policy == "all"))
    data.setup("fit")
    model = GPTClassifier(
        gpt=job.gpt, weights=job.weights, trainable=job.policy, cache=CacheConfig(job.system == "cached")
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
    accuracy = _accuracies(job, lambda name: _our_predictions(job, model, data, name))
    ended = now(job.device)

    def loss(batch: Batch) -> Tensor:
        batch = _to(job.device, batch)
        assert batch.labels is not None
        with computing(job.device, job.precision):
            return model.loss(model.logits(batch), batch.labels)

    flops = flops_per_step(data.train_dataloader(), loss)
    result = _result(job, steps, fitted - began, ended - fitted, flops, accuracy, data)
    result["bare_step_seconds"] = _bare_steps(job, model, data, loss)
    if model.trunk is not None and model.trunk.seconds:
        result["trunk"] = {"seconds": model.trunk.seconds} | _trunk_beside_peak(job, model.trunk, data)
    return result


def _trunk_beside_peak(job: Training, trunk: TrunkCache, data: TextDataModule, max_batches: int = 24) -> Result:
    """FLOP/s of batches of the trunk's pass and of a matrix product, in turn, for the same load of the machine."""
    encoded, config = data.encoded["train"], trunk.model.backbone.config
    batches = trunk.text_encoder.rows_by_length(encoded.lengths, batch_tokens(job.device))
    size = PEAK_SIZE[job.device]
    a, b = torch.randn(
        2, size, size, device=job.device, dtype=torch.bfloat16 if job.precision == "bf16-mixed" else torch.float32
    )
    spent = {"trunk": 0.0, "peak": 0.0}
    tokens, chosen = 0, batches[:: max(1, len(batches) // max_batches)]
    for rows in chosen:
        ids = [encoded.ids(row) for row in rows]
        moments = [now(job.device)]
        trunk.states_of(ids)
        moments.append(now(job.device))
        torch.mm(a, b)
        moments.append(now(job.device))
        spent["trunk"] += moments[1] - moments[0]
        spent["peak"] += moments[2] - moments[1]
        tokens += sum(map(len, ids))
    products = 2 * 12 * config.n_embd**2 * trunk.depth  # FLOPs per token, without attention
    peak = 2 * size**3 * len(chosen) / spent["peak"]
    return {"flops_per_second": products * tokens / spent["trunk"], "peak_flops_per_second": peak}


def _bare_steps(
    job: Training, model: GPTClassifier, data: TextDataModule, loss: Callable[[Batch], Tensor], max_steps: int = 60
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
    job: Training, model: GPTClassifier, data: TextDataModule, name: str
) -> Iterator[tuple[Tensor, Tensor]]:
    model.eval()
    for batch in data.evaluation_dataloader(name):
        with computing(job.device, job.precision):
            yield model.logits(_to(job.device, batch)).argmax(-1).cpu(), batch.labels


def train_plain(job: Training) -> Result:
    """The article's loop: every text padded to the longest training text, every block computed for all positions.

    As in the article, five batches of train and of val are evaluated every 50 steps.
    """
    L.seed_everything(job.seed, verbose=False)
    data = _data(job, batching=BatchingConfig(pad_to="longest_train"))
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
    accuracy = _accuracies(job, predictions)
    ended = now(job.device)
    flops = flops_per_step((encoded["train"][rows] for rows in order), loss, max_batches=2)
    return _result(job, steps, fitted - began, ended - fitted, flops, accuracy, data)


def train_transformers(job: Training) -> Result:
    """GPT2ForSequenceClassification under the Trainer of ``transformers``: dynamic padding, texts grouped by length."""
    hf = transformers_package()

    class Clock(hf.TrainerCallback):  # type: ignore[name-defined]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.end()

    data = _data(job)
    data.setup("fit")
    gpt = build_network({"gpt": job.gpt}, job.weights, len(data.class_names), data.text_encoder).backbone
    hf.set_seed(job.seed)
    model = as_transformers(gpt, data.text_encoder.padding_id, len(data.class_names))
    blocks = trainable_blocks(job.policy, gpt.config.n_layer)
    if blocks is not None:
        model.requires_grad_(False)
        for part in [model.score, *list(model.transformer.h)[gpt.config.n_layer - blocks :]]:
            part.requires_grad_(True)
        model.transformer.ln_f.requires_grad_(blocks > 0)
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
            hf.TrainingArguments(
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
            ),
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

        accuracy = _accuracies(job, predictions)
        ended = now(job.device)

        def loss(batch: dict[str, Tensor]) -> Tensor:
            with computing(job.device, job.precision):
                return model(**move_data_to_device(batch, torch.device(job.device))).loss

        flops = flops_per_step(trainer.get_train_dataloader(), loss)
    return _result(job, steps, fitted - began, ended - fitted, flops, accuracy, data)


def _accuracies(job: Training, predictions: Callable[[str], Iterable[tuple[Tensor, Tensor]]]) -> dict[str, str]:
    if job.max_steps:  # not trained to the end, so accuracies would not be comparable
        return {}
    result = {}
    for name in SPLITS:
        pairs = list(predictions(name))
        correct = sum(int((predicted == labels).sum()) for predicted, labels in pairs)
        result[name] = str(wilson(correct, sum(len(labels) for _, labels in pairs)))
    return result


def _result(
    job: Training,
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
