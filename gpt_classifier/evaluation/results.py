"""What a test found, as ``scores.json`` holds it; computes nothing, and needs neither the model nor the data.

A field without a default is always in the file, as null where it is unknown; others are left out.
"""

from dataclasses import dataclass, field
from typing import Any

from gpt_classifier.decision.prior import ScoresAtPrior
from gpt_classifier.decision.reliability import ReliabilityResults
from gpt_classifier.evaluation.groups import Group, LengthGroup, ScriptGroup
from gpt_classifier.evaluation.probe_results import ProbeResults
from gpt_classifier.evaluation.validation import Validation, describe_disagreement
from gpt_classifier.evaluation.verdict import BaselineResults
from gpt_classifier.records import INLINE
from gpt_classifier.statistics.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class TestResults:
    """The results of a test in which all logits were finite."""

    __test__ = False  # for pytest

    tested: "Tested | None" = field(default=None, metadata=INLINE)
    run: "TestedRun | None" = field(default=None, metadata=INLINE)
    scores: "Scores" = field(metadata=INLINE)
    loss: float | None
    training_seconds: float | None  # None for a model folder, which does not know
    test_seconds: float | None
    natural_mix: ScoresAtPrior | None  # None where the test rows have the natural class prior, or it is not known
    validation: Validation | None = None  # of the same weights, where the fit kept it
    baselines: "BaselineResults | Missing | None" = None
    decision: "DecisionResults | None" = None
    leaks: "Leaks | None" = None
    errors: "list[WrongText] | None" = None  # the most confident ones
    lengths: list[LengthGroup] | None = None
    truncation: "Truncation | None" = None
    scripts: list[ScriptGroup] | None = None

    @property
    def seconds(self) -> float | None:
        """Of training and testing; None if unknown."""
        trained, tested = self.training_seconds, self.test_seconds
        return None if trained is None or tested is None else trained + tested

    @property
    def disagreement(self) -> str:
        """A sentence if validation and test differ significantly, else ``""``."""
        if self.validation is None:
            return ""
        rows = self.scores.rows
        return describe_disagreement(self.validation, round(self.scores.accuracy * rows), rows)


@dataclass(frozen=True, kw_only=True)
class NotFinite:
    """All that is known of a network that diverged."""

    tested: "Tested | None" = field(default=None, metadata=INLINE)
    rows: int
    rows_with_logits_not_finite: int


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Why there is nothing."""

    missing: str


# ---------------------------------------------------------------- scores


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of all rows and of each class; None for what is undefined, and for intervals that the rows allow none of."""

    rows: int
    accuracy: float
    accuracy_interval: Interval
    distinct_rows: int | None = None  # with near-duplicates as one, where texts are known
    accuracy_interval_by_clusters: Interval | None = None  # of near-duplicates
    balanced_accuracy: float | None = None  # of a single label
    f1_macro: float | None
    precision_macro: float | None
    recall_macro: float | None
    mcc: float | None = None  # of a single label
    auroc: float | None
    average_precision: float | None
    multi_label_scores: "MultiLabelScores | None" = field(default=None, metadata=INLINE)
    f1_macro_interval: Interval | None
    auroc_interval: Interval | None = None  # of two classes that both occur; with more it would take minutes
    average_precision_interval: Interval | None = None  # likewise
    top_k: dict[str, float]
    classes: "list[ClassScores]"
    confusions: "list[Confusion]"


@dataclass(frozen=True, kw_only=True)
class MultiLabelScores:
    """What only texts with any number of labels have."""

    multi_label: bool
    f1_micro: float | None
    hamming_loss: float | None
    label_ranking_average_precision: float | None
    auroc_micro: float | None
    average_precision_micro: float | None
    precision_micro: float | None
    recall_micro: float | None
    f1_micro_interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    class_: str
    precision: float | None
    recall: float | None
    f1: float | None
    auroc: float | None
    average_precision: float | None
    rows: int
    predicted: int


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Rows of one class that were given another."""

    true: str
    predicted: str
    rows: int
    share_of_class: float


@dataclass(frozen=True, kw_only=True)
class DecisionResults:
    """What the model's own rule does on the test rows, a sentence each."""

    asked: dict[str, Any]
    on_these_rows: list[str]


# ---------------------------------------------------------------- the run


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Which model was tested on which rows."""

    version: str
    trained_steps: int | None  # a model folder does not know
    data: dict[str, Any] | None
    test_fingerprint: str | None
    rows_trained_on: int | None  # or near-duplicates of such


@dataclass(frozen=True, kw_only=True)
class TestedRun:
    """What the model is, what it was trained on and how, and how reliable its probabilities are."""

    __test__ = False  # for pytest

    network: "Network | None"
    training: "Training | None"
    configuration: dict[str, Any] | None
    versions: dict[str, str] | None
    machine: "Machine | None"  # of the test
    learning_curves: dict[str, list[tuple[int, float]]] | None
    calibration: "Calibration | None"
    probe: ProbeResults | None = None  # that the fit started from


@dataclass(frozen=True, kw_only=True)
class Network:
    type: str
    blocks: int
    channels: int  # the hidden size
    heads: int
    context: int
    pooling: str
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Training:
    seed: int | None
    fingerprint: str | None = None
    distinct_texts: int | None = None
    source: str | None = None
    rows: dict[str, dict[str, int]] | None = None  # of each class, by split


@dataclass(frozen=True, kw_only=True)
class Machine:
    processor: str
    cores: int | None
    gpus: list[str]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of the uncalibrated probabilities, and of those of the model's own decision where these are others."""

    before: ReliabilityResults
    after: ReliabilityResults | None = None
    temperature: float | None = None


# ---------------------------------------------------------------- the rows


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """Errors on rows that were trained on, or whose near-duplicates were, and on the others."""

    seen: Group
    unseen: Group


@dataclass(frozen=True, kw_only=True)
class WrongText:
    row: int
    text: str
    true: str
    predicted: str
    probability: float
    neighbour: "TrainingText | None" = None


@dataclass(frozen=True, kw_only=True)
class TrainingText:
    """The one that is most like a wrongly classified text."""

    text: str
    class_: str
    similarity: float
    near_duplicate: bool


@dataclass(frozen=True, kw_only=True)
class Truncation:
    max_length: int
    kept: str
    windows: dict[str, Any] | None  # settings
    longer: Group
    whole: Group
    otherwise: "ReadOtherwise | None"


@dataclass(frozen=True, kw_only=True)
class ReadOtherwise:
    """Errors on the longer texts, as they were read and in the other of both ways, truncated or in windows."""

    windows: dict[str, Any] | None
    as_read: Group
    otherwise: Group
    difference: tuple[float, float, float]  # of the accuracies, and its interval
