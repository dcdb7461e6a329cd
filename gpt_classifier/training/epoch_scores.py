"""Collects the outputs of each stage's epoch and names their scores as they are logged."""

from collections.abc import Sequence

from torch import Tensor, nn

from gpt_classifier.data.task import Task
from gpt_classifier.evaluation.metrics import classification_scores
from gpt_classifier.evaluation.outputs import EpochOutputs, Predictions
from gpt_classifier.text.encoder import Batch

STAGES = ("train", "val", "test")


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


def logged_scores(
    outputs: EpochOutputs, stage: str, names: Sequence[str], class_weights: Tensor | None, of_tokens: dict[str, float]
) -> dict[str, float]:
    """The loss and the scores of an epoch, by the names that they are logged under.

    Args:
        outputs: Of the epoch.
        stage: ``train``, ``val`` or ``test``.
        names: (K,) of the classes.
        class_weights: (K,) of the loss.
        of_tokens: Scores of next tokens, where these are predicted too.
    """
    weights = None if class_weights is None else class_weights.cpu()
    scores = {"loss": float(outputs.task.loss(outputs.logits, outputs.labels, weights))}
    scores |= classification_scores(outputs, names) | of_tokens
    # train/loss is the loss of a step, so the loss of a training epoch has another name.
    others = {"loss": "train/epoch_loss", "lm_loss": "train/epoch_lm_loss"} if stage == "train" else {}
    return {others.get(name, f"{stage}/{name}"): value for name, value in scores.items()}
