"""What labels mean, one class a text or any number of labels, in loss, prediction and probability.

Shapes: N texts, K classes. Single labels are class numbers (N,) in int64; multi-labels are 1.0 for each label that a
text has and else 0.0, (N, K).
"""

from enum import Enum

from torch import Tensor
from torch.nn import functional as F

UNLABELLED = -1  # stands for the label of a text that has none, for each of its labels where there may be several


class Task(Enum):
    """For single-label data the most probable class is predicted, for multi-label data each label with p >= 0.5.

    A text is correct where all its labels are: for multi-label data this accuracy is the subset accuracy.
    """

    SINGLE_LABEL = "single-label"
    MULTI_LABEL = "multi-label"

    @classmethod
    def of(cls, multi_label: bool) -> "Task":
        return cls.MULTI_LABEL if multi_label else cls.SINGLE_LABEL

    @classmethod
    def from_labels(cls, labels: Tensor) -> "Task":
        """The task of labels of which nothing else is known."""
        return cls.of(labels.is_floating_point())

    @property
    def multi_label(self) -> bool:
        return self is Task.MULTI_LABEL

    def loss(
        self, logits: Tensor, labels: Tensor, class_weights: Tensor | None, sample_weights: Tensor | None = None
    ) -> Tensor:
        """The mean over texts of weight times cross entropy; ``sample_weights`` (N,) are further factors, of the texts.

        Divided by the number of texts and not by the sum of their weights, so that the gradient of a batch is the mean
        of its texts' gradients however they are divided into smaller batches. For labels (N, K) it is the mean over
        texts and labels of binary cross entropy, as in ``torch.nn.BCEWithLogitsLoss``; weights are those of texts with
        the label. The loss of a text without label is 0.
        """
        if self.multi_label:
            known, wanted = labels != UNLABELLED, labels.clamp(min=0)
            losses = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=class_weights, reduction="none")
            losses = losses * known
        else:
            losses = F.cross_entropy(logits, labels, class_weights, ignore_index=UNLABELLED, reduction="none")
        if sample_weights is not None:
            losses = (losses.T * sample_weights).T
        return losses.mean()

    def labelled(self, labels: Tensor) -> Tensor:
        """(N,), whether a text has a label, or is known to have none of several."""
        return (labels != UNLABELLED).all(-1) if self.multi_label else labels != UNLABELLED

    def probabilities(self, logits: Tensor) -> Tensor:
        """(N, K) in float64; those of a single label sum to 1."""
        return logits.double().sigmoid() if self.multi_label else logits.double().softmax(-1)

    def predicted(self, logits: Tensor) -> Tensor:
        """(N, K), whether each class is predicted."""
        return logits >= 0 if self.multi_label else F.one_hot(logits.argmax(-1), logits.shape[1]).bool()

    def truth(self, labels: Tensor, k: int) -> Tensor:
        """(N, K), whether a text is of each of ``k`` classes."""
        return labels.bool() if self.multi_label else F.one_hot(labels, k).bool()

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N,), whether what is predicted for a text is what is true."""
        if self.multi_label:
            return (self.predicted(logits) == labels.bool()).all(-1)
        return logits.argmax(-1) == labels

    def confidence(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N,) probability of the predicted class; for multi-label data that of the most confident wrong decision."""
        if self.multi_label:
            wrong = self.predicted(logits) != labels.bool()
            return logits.abs().sigmoid().where(wrong, 0).max(-1).values
        return logits.softmax(-1).max(-1).values
