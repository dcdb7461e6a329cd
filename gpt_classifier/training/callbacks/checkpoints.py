"""Which checkpoints a run keeps."""

from lightning.pytorch.callbacks import ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, the checkpoint with the lowest validation loss."""

    def __init__(self) -> None:
        super().__init__(filename="best", monitor="val/loss", enable_version_counter=False)


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``, from which ``fit --ckpt_path last`` continues.

    A callback of its own: ``save_last`` of a monitored ModelCheckpoint writes only when the monitored figure improved.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
