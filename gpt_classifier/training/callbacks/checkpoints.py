"""Which checkpoints a run keeps and when it stops early, according to the model's setting ``monitor``."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from gpt_classifier.files import whole_file
from gpt_classifier.models.tensor_file import check_records
from gpt_classifier.training.callbacks.classifier import classifier
from gpt_classifier.training.monitor import DEFAULT_MONITOR, is_better, mode
from gpt_classifier.training.runs import run_folder


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, and reads none that is damaged.

    Lightning's own is copied if temporary files lie on another disk, and a process that is killed leaves half of it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with whole_file(path) as scratch:
            super().save_checkpoint(checkpoint, scratch, storage_options)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = lambda storage, loc: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if "://" not in str(path):
            check_records(Path(path))
        return super().load_checkpoint(path, map_location, weights_only)


def write_whole_files(trainer: Trainer) -> None:
    """Has the trainer write checkpoints by :class:`WholeFiles`, unless the user gave it something else."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeFiles()


def lie_in_the_run(callback: ModelCheckpoint, trainer: Trainer) -> None:
    """Has checkpoints written into the run's folder, whatever logger is the first; called in all processes."""
    if callback.dirpath is None and (run := run_folder(trainer)) is not None:
        callback.dirpath = str(run / "checkpoints")


def is_before_first_step(trainer: Trainer) -> bool:
    """Whether what a probe has solved is validated; Lightning's callbacks wait for the end of an epoch."""
    return trainer.state.fn == "fit" and trainer.global_step == 0 and not trainer.sanity_checking


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, the checkpoint with the best validation score ``monitor``; of equal scores, the last."""

    def __init__(self) -> None:
        super().__init__(filename="best", enable_version_counter=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        lie_in_the_run(self, trainer)
        if stage == "fit":  # the model is not known before
            monitor = classifier(pl_module).hparams["monitor"]
            super().__init__(self.dirpath, "best", monitor, mode=mode(monitor), enable_version_counter=False)
            write_whole_files(trainer)
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the best checkpoint of a run that was moved or copied, which lies in the folder of this one."""
        before = Path(state_dict["best_model_path"])
        if self.dirpath is not None and before.name and before.absolute().parent != Path(self.dirpath).absolute():
            moved = Path(self.dirpath) / before.name
            there = str(moved) if moved.is_file() else ""
            scores = list(state_dict["best_k_models"].values())
            best = {there: scores[0]} if there and scores else {}
            paths = dict.fromkeys(("best_model_path", "kth_best_model_path"), there)
            state_dict = state_dict | paths | {"dirpath": self.dirpath, "best_k_models": best}
        super().load_state_dict(state_dict)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        kept = is_before_first_step(trainer) and not getattr(trainer, "fast_dev_run", False)
        if kept and self.monitor in trainer.callback_metrics:
            assert self.dirpath is not None, "set when fitting starts"
            path, score = str(Path(self.dirpath) / "best.ckpt"), trainer.callback_metrics[self.monitor]
            self.best_model_path = self.kth_best_model_path = path
            self.best_model_score = self.kth_value = self.current_score = score
            self.best_k_models = {path: score}
            trainer.save_checkpoint(path, weights_only=False)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        if current is None or self.monitor is None:
            return False
        best = self.best_k_models.get(self.kth_best_model_path)
        first = classifier(trainer.lightning_module).first_score
        return is_better(self.monitor, float(current), None if best is None else float(best), first)


class LastCheckpoint(ModelCheckpoint):
    """Saves ``last.ckpt``, from which ``fit --ckpt_path last`` continues.

    It is a separate callback because ``save_last`` of a ModelCheckpoint writes only when the monitored score improved.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False, save_on_train_epoch_end=True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        lie_in_the_run(self, trainer)
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            write_whole_files(trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {"dirpath": self.dirpath})  # of a moved run, Lightning would warn

    def save(self, trainer: Trainer) -> None:
        """Writes ``last.ckpt`` now."""
        assert self.dirpath is not None, "set when fitting starts"
        trainer.save_checkpoint(Path(self.dirpath) / "last.ckpt", weights_only=False)  # with the optimizer's state


class StopEarly(EarlyStopping):
    """Stops a fit if the model's ``monitor`` has not improved for ``patience`` validations, unless that is None."""

    def __init__(self) -> None:
        super().__init__(DEFAULT_MONITOR, patience=sys.maxsize, check_finite=False, strict=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        settings = classifier(pl_module).hparams
        monitor, patience = settings["monitor"], settings["patience"]
        if stage == "fit" and patience is not None:
            super().__init__(monitor, patience=patience, mode=mode(monitor), strict=False)
        super().setup(trainer, pl_module, stage)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if is_before_first_step(trainer):  # of the two hooks, one checks: that at the end of an epoch, or this one
            self.on_train_epoch_end(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.wait_count >= self.patience:  # a fit that had stopped early is resumed
            trainer.should_stop = True
