"""The scores of an epoch as they are logged, and the monitored one that selects the best epoch."""

import math
from collections.abc import Iterable, Sequence

from lightning.pytorch import Callback
from torch import Tensor, nn

from gpt_classifier.data.task import Task
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.metrics import classification_scores
from gpt_classifier.evaluation.outputs import EpochOutputs, Predictions
from gpt_classifier.text.encoder import Batch

STAGES = ("train", "val", "test")

# It selects the best epochs. November 2026: small GPTs from scratch on the SMS messages, BBC news and 1,500 film
# reviews, with a cosine and with a constant learning rate, three seeds each. Mean test accuracy of the epoch selected
# by val/f1_macro, val/accuracy or val/mcc: 87.3 %, by val/auroc 87.0 %, by val/loss 85.4 %; of the last epoch 86.5 %,
# of the best of eight epochs 87.6 %. The loss rises with the confidence in wrong predictions long before accuracy
# falls. Among the first three, macro-F1 is sensitive to rare classes.
DEFAULT_MONITOR = "val/f1_macro"
CLASS_SCORES = ("recall_", "precision_", "f1_")  # beginnings of scores that end with the name of a class


def mode(monitor: str) -> str:
    """``min`` for losses, ``max`` for all other scores, also that of a class called ``loss``."""
    score = monitor.partition("/")[2] or monitor
    return "min" if score.endswith("loss") and not score.startswith(CLASS_SCORES) else "max"


def is_better(monitor: str, value: float, best: float | None, probe_score: float | None = None) -> bool:
    """Whether a validation becomes the best one: the first always does, a later one if it is not worse and not NaN.

    Of equal scores, the later one is better: a model that still predicts only the largest class has the same score for
    several epochs. But none is better than that of a probe which it only equals.
    """
    if value == best == probe_score:
        return False
    if best is None or math.isnan(value) or math.isnan(best):
        return best is None or not math.isnan(value)
    return value <= best if mode(monitor) == "min" else value >= best


def check_monitors(callbacks: Iterable[Callback], monitor: str, names: Iterable[str]) -> None:
    """Raises ``InputError`` if the ``monitor`` of the model or of a callback is not among the logged ``names``."""
    known = list(names)
    if monitor not in known:
        raise InputError(f"monitor is {monitor!r}, expected one of {', '.join(n for n in known if n[:4] == 'val/')}")
    for callback in callbacks:
        if (other := getattr(callback, "monitor", None)) not in (None, monitor, *known):
            raise InputError(f"monitor of {type(callback).__name__} is {other!r}, expected one of {', '.join(known)}")


class StagePredictions(nn.Module):
    """The predictions of each stage so far; a submodule, so that they are collected on the network's device."""

    def __init__(self) -> None:
        super().__init__()
        self.of_stages = nn.ModuleList(Predictions() for _ in STAGES)

    def __getitem__(self, stage: str) -> Predictions:
        predictions = self.of_stages[STAGES.index(stage)]
        assert isinstance(predictions, Predictions)
        return predictions

    def add(self, stage: str, logits: Tensor, batch: Batch) -> None:
        """Keeps the logits (B, K) of a batch."""
        assert batch.labels is not None, "only prediction does without labels"
        assert batch.rows is not None
        self[stage].update(logits, batch.labels, batch.rows)

    def end_epoch(self, stage: str, task: Task) -> EpochOutputs:
        """All that was collected, over all processes; the next epoch begins with nothing."""
        outputs = self[stage].gathered(task)
        self[stage].reset()
        return outputs


def compute_logged_scores(
    outputs: EpochOutputs,
    stage: str,
    names: Sequence[str],
    class_weights: Tensor | None,
    token_scores: dict[str, float],
) -> dict[str, float]:
    """The loss and the scores of an epoch, by the names that they are logged under.

    Args:
        outputs: Outputs of the epoch.
        stage: ``train``, ``val`` or ``test``.
        names: (K,) of the classes.
        class_weights: (K,) of the loss.
        token_scores: Scores of next tokens, where these are predicted too.
    """
    weights = None if class_weights is None else class_weights.cpu()
    scores = {"loss": float(outputs.task.loss(outputs.logits, outputs.labels, weights))}
    scores |= classification_scores(outputs, names) | token_scores
    # train/loss is the loss of a step, so the loss of a training epoch has another name.
    others = {"loss": "train/epoch_loss", "lm_loss": "train/epoch_lm_loss"} if stage == "train" else {}
    return {others.get(name, f"{stage}/{name}"): value for name, value in scores.items()}
