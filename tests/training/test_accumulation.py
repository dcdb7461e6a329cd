"""A step's gradient is the mean over its texts, however they are divided into batches, windows and processes."""

import copy
import subprocess
import sys
from collections.abc import Sequence
from math import ceil
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from gpt_classifier.cli.main import main
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.task import Task
from gpt_classifier.training.optimization import OptimizerConfig, build_optimizer

GPT = {"n_layer": 2, "n_head": 2, "n_embd": 16, "context_length": 64, "vocab_size": 257}
# Eleven texts, of different lengths and unevenly of two classes.
TRAIN = pd.DataFrame(
    {"text": [f"text {'x' * n}" for n in range(11)], "label": ["ham"] * 8 + ["spam"] * 3}, dtype=object
)
SGD = {"gpt": GPT, "optimizer": {"name": "SGD"}, "learning_rate": 0.1}


def eleven_texts(**settings) -> TextDataModule:
    defaults = {"tokenizer": "bytes", "max_length": 64, "splitting": {"fractions": [0.5, 0.5, 0.0]}}
    return TextDataModule.from_tables(TRAIN, TRAIN, **defaults | settings)


def windows_of(batches: Sequence[Any], accumulate: int) -> list[list[Any]]:
    return [list(batches[start : start + accumulate]) for start in range(0, len(batches), accumulate)]


class Witness(Callback):
    """Keeps the model as it was when fitting began, and the rows of every batch."""

    def on_fit_start(self, trainer, pl_module) -> None:
        self.model = copy.deepcopy(pl_module.model)
        self.rows: list[list[int]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.rows.append(batch.rows.tolist())


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("balance", ["none", "class_weights"])
@pytest.mark.parametrize("grouped", [False, True], ids=["", "grouped"])
@pytest.mark.parametrize(
    ("policy", "batch_size", "accumulate"),
    [("all", 8, 1), ("all", 1, 8), ("all", 2, 3), ("all", 3, 2), ("last_block", 2, 3), ("lora", 2, 3)],
)
def test_two_epochs_are_full_batch_steps_over_the_rows_of_each_window(
    policy, batch_size, accumulate, grouped, balance, quick_trainer, tiny_model
):
    """By hand: the texts of a window in one batch, its mean loss, one step."""
    data = eleven_texts(batch_size=batch_size, balance=balance, batching={"group_by_length": grouped})
    module, witness = tiny_model(**SGD, trainable=policy), Witness()
    quick_trainer(max_epochs=2, accumulate_grad_batches=accumulate, callbacks=[witness]).fit(module, data)

    epoch = ceil(11 / batch_size)
    windows = [rows for start in (0, epoch) for rows in windows_of(witness.rows[start : start + epoch], accumulate)]
    assert len(windows) == 2 * ceil(epoch / accumulate)
    optimizer = build_optimizer(witness.model, 0.1, OptimizerConfig("SGD"))
    encoded = data.encoded["train"]
    for window in windows:
        batch = encoded[[row for rows in window for row in rows]]
        optimizer.zero_grad()
        logits = witness.model(batch.inputs, batch.lengths)
        Task.SINGLE_LABEL.loss(logits, batch.labels, data.class_weights).backward()
        optimizer.step()
    assert sorted(row for window in windows[: len(windows) // 2] for rows in window for row in rows) == list(range(11))
    assert_same_weights(module.model, witness.model)


@pytest.mark.parametrize("ways", [[(8, 1), (1, 8), (4, 2), (2, 4)], [(6, 1), (2, 3), (3, 2), (1, 6)]], ids=str)
@pytest.mark.parametrize("balance", ["none", "class_weights"])
def test_batch_size_and_accumulation_are_one_setting(ways, balance, quick_trainer, tiny_model):
    """As many texts a step: the same weights, also behind the last step, which has fewer texts."""
    models = []
    for batch_size, accumulate in ways:
        torch.manual_seed(1)
        module = tiny_model(**SGD | {"optimizer": {"name": "SGD", "schedule": "cosine", "warmup": 0.3}})
        trainer = quick_trainer(max_epochs=2, accumulate_grad_batches=accumulate)
        trainer.fit(module, eleven_texts(batch_size=batch_size, balance=balance))
        assert trainer.global_step == 4
        models.append(module.model)
    for model in models[1:]:
        assert_same_weights(model, models[0])


def test_a_shortened_epoch_ends_in_the_mean_over_its_texts_too(quick_trainer, tiny_model):
    module, witness, data = tiny_model(**SGD), Witness(), eleven_texts(batch_size=2)
    quick_trainer(accumulate_grad_batches=3, limit_train_batches=4, callbacks=[witness]).fit(module, data)
    assert [len(rows) for rows in witness.rows] == [2, 2, 2, 2]
    optimizer = build_optimizer(witness.model, 0.1, OptimizerConfig("SGD"))
    for window in windows_of(witness.rows, 3):
        batch = data.encoded["train"][[row for rows in window for row in rows]]
        optimizer.zero_grad()
        Task.SINGLE_LABEL.loss(witness.model(batch.inputs, batch.lengths), batch.labels, None).backward()
        optimizer.step()
    assert_same_weights(module.model, witness.model)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_run_resumed_within_an_epoch_goes_on_with_the_same_steps(step, quick_trainer, tiny_model, tmp_path):
    """Epochs have two steps here, the second one of fewer texts."""
    keep = ModelCheckpoint(every_n_train_steps=1, save_top_k=-1, filename="{step}")
    ways = {"max_epochs": 2, "accumulate_grad_batches": 3}
    whole, resumed = tiny_model(**SGD), tiny_model(**SGD)
    quick_trainer(**ways, enable_checkpointing=True, callbacks=[keep]).fit(whole, eleven_texts(batch_size=2))
    path = tmp_path / "checkpoints" / f"step={step}.ckpt"
    quick_trainer(**ways).fit(resumed, eleven_texts(batch_size=2), ckpt_path=path, weights_only=True)
    assert_same_weights(resumed.model, whole.model)


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("balance", ["none", "class_weights"])
@pytest.mark.parametrize("grouped", [False, True], ids=["", "grouped"])
@pytest.mark.parametrize(("batch_size", "accumulate"), [(2, 1), (2, 2), (1, 2), (2, 4)])
@pytest.mark.parametrize("lm_loss", [pytest.param(0.0, marks=pytest.mark.nightly), 0.5])
def test_the_mean_over_processes_is_the_mean_over_texts(
    world_size, balance, grouped, batch_size, accumulate, lm_loss, tiny_model
):
    """What each process contributes to a step, put together as DDP would: the mean over processes."""
    module = tiny_model(**SGD, class_names=["ham", "spam"], lm_loss=lm_loss)
    module.configure_model()

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(module.model.parameters()))])

    processes = []
    for rank in range(world_size):
        data = eleven_texts(batch_size=batch_size, balance=balance, batching={"group_by_length": grouped})
        data.trainer = SimpleNamespace(
            global_rank=rank,
            world_size=world_size,
            accumulate_grad_batches=accumulate,
            lightning_module=None,
            num_training_batches=float("inf"),
            global_step=0,
            training=True,
        )
        data.setup("fit")
        module.class_weights = data.class_weights
        loader = data.train_dataloader()
        data.trainer.num_training_batches = len(loader)
        parts = []
        for batch in loader:
            batch = data.on_after_batch_transfer(batch, 0)  # as Lightning calls it
            loss = module.training_step(batch, 0) / accumulate  # Lightning divides
            parts.append((batch.rows.tolist(), gradient(loss)))
        processes.append(windows_of(parts, accumulate))

    for step in zip(*processes, strict=True):
        together = sum(part for window in step for _, part in window) / world_size
        batch = data.encoded["train"][[row for window in step for rows, _ in window for row in rows]]
        expected = gradient(module.training_step(batch, 0) / batch.loss_weight)
        torch.testing.assert_close(together, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("lm_loss", [pytest.param(0.0, marks=pytest.mark.nightly), 0.5])
def test_two_processes_learn_what_one_does(lm_loss, tmp_path):
    source = tmp_path / "eleven.csv"
    TRAIN.to_csv(source, index=False)
    weights = []
    for devices, batch_size, accumulate in ((1, 8, 1), (2, 2, 2)):
        root = tmp_path / str(devices)
        settings = {
            "model.gpt": GPT,
            "model.weights": "random",
            "model.trainable": "all",
            "model.optimizer.name": "SGD",
            "model.learning_rate": 0.1,
            "model.lm_loss": lm_loss,
            "data.source": source,
            "data.val_source": source,
            "data.splitting.fractions": [0.5, 0.5, 0.0],
            "data.tokenizer": "bytes",
            "data.max_length": 64,
            "data.batch_size": batch_size,
            "data.balance": "class_weights",
            "trainer.accumulate_grad_batches": accumulate,
            "trainer.max_epochs": 2,
            "trainer.accelerator": "cpu",
            "trainer.devices": devices,
            "trainer.strategy": "auto" if devices == 1 else "ddp",
            "trainer.default_root_dir": root,
        }
        arguments = ["fit", *(f"--{name}={value}" for name, value in settings.items())]
        if devices == 1:
            assert main(arguments) == 0
        else:
            command = [sys.executable, "-m", "gpt_classifier", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=90)
            assert done.returncode == 0, done.stderr
        checkpoint = torch.load(root / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
        assert checkpoint["global_step"] == 4
        weights.append(checkpoint["state_dict"])
    torch.testing.assert_close(*weights, rtol=1e-4, atol=5e-6)


def test_any_loader_of_batches_trains_a_model(quick_trainer, tiny_model):
    """With no data module in sight, and the same steps as from one."""
    data = eleven_texts(batch_size=8)
    data.setup("fit")
    with_module, with_loader = tiny_model(**SGD), tiny_model(**SGD, class_names=data.class_names)
    with_loader.text_encoder = data.text_encoder
    quick_trainer(max_epochs=1).fit(with_module, eleven_texts(batch_size=8))
    loaders = {"train_dataloaders": data.train_dataloader(), "val_dataloaders": data.val_dataloader()}
    quick_trainer(max_epochs=1).fit(with_loader, **loaders)
    scores = quick_trainer().validate(with_loader, data.val_dataloader(), verbose=False)
    assert scores[0]["val/accuracy"] >= 0
    assert len(data.train_dataloader()) == 2


def test_a_second_fit_with_the_same_data_sees_the_same_batches(quick_trainer, tiny_model):
    data, orders = eleven_texts(batch_size=2), []
    for _ in range(2):
        witness = Witness()
        quick_trainer(max_epochs=2, callbacks=[witness]).fit(tiny_model(**SGD), data)
        orders.append(witness.rows)
    assert orders[0] == orders[1]
    assert orders[0][:6] != orders[0][6:]
