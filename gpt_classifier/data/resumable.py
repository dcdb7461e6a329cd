"""Continues the batches of a stopped fit where they ended, or refuses to."""

import os
from abc import abstractmethod
from typing import Any

import lightning as L
import numpy as np
import torch

from gpt_classifier.data.samplers import TrainingBatches
from gpt_classifier.errors import InputError
from gpt_classifier.settings import check_resumed

# Settings of the trainer that decide what is learnt, or which epoch is the best.
OF_THE_TRAINER = (
    *("accumulate_grad_batches", "gradient_clip_val", "precision", "limit_train_batches", "limit_val_batches"),
    *("val_check_interval", "check_val_every_n_epoch"),
)


def training_seed() -> int:
    """The seed of the order of training rows, of augmentation and of dropout: that of ``seed_everything``, else 0."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def seed_batch(process: int, epoch: int, batch: int) -> None:
    """Seeds what a training batch draws, such as dropout, by its place: a resumed fit then draws what an uninterrupted
    one does, without the state of a generator in the checkpoint."""
    seeds = np.random.SeedSequence([training_seed(), process, epoch, batch])
    torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))


class ResumableDataModule(L.LightningDataModule):
    """A data module that keeps its place among the training batches, and what these batches depend on.

    A resumed fit goes on with the next batch. It has the very batches of the stopped fit, so it refuses other rows and
    other settings of batches: with them, the optimizer's state would belong to something else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.training_batches: TrainingBatches
        self.batches_begun = 0  # training batches so far, over all epochs
        self.fit_identity: dict[str, object] = {}

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """What decides the training batches, besides the trainer's settings, as plain values by a name for messages."""

    def begin_fit(self) -> None:
        """Starts with the first batch; called by ``setup``. The place of a resumed fit is loaded after this."""
        if self.trainer is None or self.trainer.global_step == 0:
            self.batches_begun = 0
        if getattr(self.trainer, "overfit_batches", 0):  # Lightning sets it but does not declare it
            raise InputError("trainer.overfit_batches replaces the batches: use --trainer.limit_train_batches instead")
        self.fit_identity = self.identity() | {"seed_everything": training_seed()}
        if isinstance(trainer := self.trainer, L.Trainer):
            settings = {name: str(getattr(trainer, name)) for name in OF_THE_TRAINER}  # 1 is not 1.0 here
            self.fit_identity |= {f"trainer.{name}": value for name, value in settings.items()}
            algorithm = trainer.gradient_clip_algorithm
            self.fit_identity["trainer.gradient_clip_algorithm"] = None if algorithm is None else algorithm.value
            self.fit_identity["the number of processes"] = trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        return {"batches_begun": self.batches_begun, "identity": self.fit_identity}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises ``InputError`` if a fit is resumed with other batches than it was stopped with."""
        if self.trainer is not None and not self.trainer.training:
            return
        if then := state_dict.get("identity"):  # an earlier version of the package did not keep it
            check_resumed(self.fit_identity, then)
        self.batches_begun = state_dict["batches_begun"]

    def new_training_batches(self, lengths: np.ndarray, batch_size: int, pool: int = 1) -> TrainingBatches:
        """Every row of ``lengths`` (N,) tokens once per epoch, from the next batch of the epoch on."""
        self.training_batches = TrainingBatches(
            lengths, batch_size, training_seed(), self.epoch_now, *self.process(), pool=pool, done=self.batches_done
        )
        return self.training_batches

    def count_rows_of_step(self) -> int:
        """Counts a training batch; the number of rows, over all processes, of the optimizer step that it is part of.

        Lightning averages over ``accumulate_grad_batches`` batches even if the last step of an epoch has fewer or
        smaller ones (transformers #34191 is the same bug), and over processes with batches of unequal size. So a
        batch's loss is weighted by its part of these rows.
        """
        assert self.trainer is not None, "batches are counted in a fit"
        batches = self.trainer.accumulate_grad_batches
        start = self.batches_done() // batches * batches
        end = min(start + batches, self.epoch_length())
        self.batches_begun += 1
        return sum(self.training_batches.round_lengths[start:end])

    def batches_done(self) -> int:
        """Number of batches of this epoch that are done."""
        return self.batches_begun % self.epoch_length()

    def epoch_now(self) -> int:
        return self.batches_begun // self.epoch_length()

    def epoch_length(self) -> int:
        batches = len(self.training_batches)
        return max(1, batches if self.trainer is None else int(min(batches, self.trainer.num_training_batches)))

    def process(self) -> tuple[int, int]:
        """The rank of this process and the number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
