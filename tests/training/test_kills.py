"""A training that is ended at any moment, by any signal, and continued ends at the weights of an undisturbed one."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

FIT = ["fit", "--config=toy", "--data.splitting.train_fraction=0.3", "--trainer.max_epochs=6"]
GPT = "--model.gpt={n_layer: 3, n_head: 4, n_embd: 64, context_length: 160, dropout: %s}"
AUGMENTED = "--data.augmentation={crop: 0.5, delete: 0.1, case: 0.2}"
PRETRAIN = ["pretrain", "--data.tokenizer=bytes", "--data.max_length=128", "--data.batch_size=8"]
VARIANTS = {
    "all layers, dropout, augmentation": [*FIT, GPT % 0.3, AUGMENTED],
    "the last block behind the cache": [*FIT, GPT % 0.0, "--model.trainable=last_block"],
    "LoRA, accumulation, dropout": [
        *FIT,
        GPT % 0.3,
        "--model.trainable=lora",
        "--model.lora={rank: 4, dropout: 0.2}",
        "--trainer.accumulate_grad_batches=3",
    ],
    "two processes, dropout": [*FIT, GPT % 0.3, "--trainer.devices=2", "--trainer.strategy=ddp"],
    "pretraining, dropout": [*PRETRAIN, GPT % 0.3, "--trainer.max_epochs=4", "--model.checkpoint_every=7"],
}


def start(root: Path, words: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "gpt_classifier", *words, f"--trainer.default_root_dir={root}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_until_it_trains(process: subprocess.Popen, root: Path) -> None:
    while process.poll() is None and not list(root.glob("version_*/events*")):
        time.sleep(0.02)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def final_weights(root: Path) -> tuple[int, dict[str, torch.Tensor]]:
    last = max(root.glob("version_*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    checkpoint = torch.load(last, weights_only=True)
    return checkpoint["global_step"], checkpoint["state_dict"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The steps, the weights and the seconds of each variant; each is trained once."""
    found = {}

    def train(variant: str):
        if variant not in found:
            root = tmp_path_factory.mktemp("undisturbed")
            process = start(root, VARIANTS[variant])
            wait_until_it_trains(process, root)
            began = time.monotonic()
            finish(process)
            found[variant] = (*final_weights(root), time.monotonic() - began)
        return found[variant]

    return train


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_that_is_killed_and_continued_ends_at_the_same_weights(variant, seed, undisturbed, tmp_path):
    steps, weights, seconds = undisturbed(variant)
    rng = random.Random(f"{variant} {seed}")
    number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    process = start(tmp_path, VARIANTS[variant])
    wait_until_it_trains(process, tmp_path)
    after = rng.uniform(0, seconds)
    time.sleep(after)
    process.send_signal(number)
    process.communicate()
    lasts = list(tmp_path.glob("version_*/checkpoints/last.ckpt"))
    done = torch.load(lasts[0], weights_only=True)["global_step"] if lasts else 0
    print(f"\n{variant}: signal {number.name} after {after:.1f} of {seconds:.1f} s, {done} of {steps} steps were saved")
    finish(start(tmp_path, [*VARIANTS[variant], *(["--ckpt_path=last"] if lasts else [])]))
    found_steps, found = final_weights(tmp_path)
    assert found_steps == steps
    assert found.keys() == weights.keys()
    assert [name for name in weights if not weights[name].equal(found[name])] == []
