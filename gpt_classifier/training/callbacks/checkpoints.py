"""Which checkpoints a run keeps and when it stops early, according to the model's setting ``monitor``."""

import sys
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

from gpt_classifier.training.callbacks.classifier import classifier
from gpt_classifier.training.monitor import DEFAULT_MONITOR, is_better, mode


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, the checkpoint with the best validation score ``monitor``; of equal scores, the last."""

    def __init__(self) -> None:
        super().__init__(filename="best", enable_version_counter=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":  # the model is not known before
            monitor = classifier(pl_module).hparams["monitor"]
            super().__init__(self.dirpath, "best", monitor, mode=mode(monitor), enable_version_counter=False)
        super().setup(trainer, pl_module, stage)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        if current is None or self.monitor is None:
            return False
        best = self.best_k_models.get(self.kth_best_model_path)
        return is_better(self.monitor, float(current), None if best is None else float(best))


class LastCheckpoint(ModelCheckpoint):
    """Saves ``last.ckpt``, from which ``fit --ckpt_path last`` continues.

    It is a separate callback because ``save_last`` of a ModelCheckpoint writes only when the monitored score improved.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False, save_on_train_epoch_end=True)

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
