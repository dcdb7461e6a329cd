"""A run that was killed ends as if it had not been, in whatever batches its rows come and however they are changed."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

CONFIG = Path(__file__).parents[2] / "configs" / "toy.yaml"
STEPS = 18  # of an epoch: 287 rows, 16 a batch
OFTEN = ["ModelCheckpoint", "every_n_train_steps=5", "save_top_k=-1", "filename={step}"]


def fit(root, *arguments):
    """A process that trains for three epochs and keeps a checkpoint of every fifth step."""
    size = "{n_layer: 2, n_head: 4, n_embd: 32, context_length: 160}"
    settings = [
        "--data.batching.group_by_length=true",
        "--data.splitting.train_fraction=0.299",
        "--data.augmentation={crop: 0.5, delete: 0.1, case: 0.2}",
        "--model.trainable=all",
        "--model.optimizer.warmup=0.2",
        f"--model.gpt={size}",
    ]
    trainer = [f"--trainer.default_root_dir={root}", "--trainer.max_epochs=3", f"--trainer.callbacks+={OFTEN[0]}"]
    often = [f"--trainer.callbacks.{setting}" for setting in OFTEN[1:]]
    command = [sys.executable, "-m", "gpt_classifier", "fit", f"--config={CONFIG}", *settings, *trainer, *often]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def final_weights(root):
    state = torch.load(root / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 3 * STEPS
    return state["state_dict"]


@pytest.mark.nightly
@pytest.mark.ci
@pytest.mark.slow
def test_a_fit_in_augmented_batches_of_like_length_that_is_killed_and_resumed_ends_with_the_same_weights(tmp_path):
    finish(fit(tmp_path / "whole"))
    process = fit(tmp_path / "killed")
    checkpoints = tmp_path / "killed" / "version_0" / "checkpoints"
    while process.poll() is None and not (checkpoints / "step=25.ckpt").exists():  # the second epoch has begun
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (checkpoints / f"step={3 * STEPS // 5 * 5}.ckpt").exists(), "it was killed too late to be resumed"
    whole = final_weights(tmp_path / "whole")
    for kept in ("step=25.ckpt", "last.ckpt"):  # of a step within an epoch, of the end of one
        root = shutil.copytree(tmp_path / "killed", tmp_path / kept)
        finish(fit(root, f"--ckpt_path={root / 'version_0' / 'checkpoints' / kept}"))
        resumed = final_weights(root)
        assert whole.keys() == resumed.keys()
        assert [name for name in whole if not whole[name].equal(resumed[name])] == []
