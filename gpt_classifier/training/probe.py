"""Solves a linear head on a frozen network: which blocks, which pooling and how strong a penalty.

A text's pooled states behind each block are computed once. Behind each, the head is the minimum of the penalised loss
(multinomial, or logistic for each label of multi-label data), which scikit-learn finds; the best on rows that it was
not solved on is kept (G. Alain and Y. Bengio, "Understanding intermediate layers using linear classifier probes",
2016, arXiv:1610.01644). It may be the whole training, or where fine-tuning begins (A. Kumar et al., "Fine-Tuning can
Distort Pretrained Features and Underperform Out-of-Distribution", 2022, arXiv:2202.10054).

Shapes: N rows, K classes, C hidden size, L blocks, P poolings.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gpt_classifier.data.task import Task
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.evaluation.probe_results import ProbeTrial
from gpt_classifier.models.heads import StandardizedLinear
from gpt_classifier.training.monitor import compute_logged_scores, mode

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C: the sum of losses in units of half the squared weights
FINER = (1 / 3, 3.0)  # factors of the best of them that are tried too
CHOICE_ROWS = 5_000  # training rows that the choice is made on at most
ENOUGH_ROWS = 1_000  # validation rows that suffice for the choice; with fewer, folds of training rows are scored
FOLDS = 5
FEW_BLOCKS = 12  # up to which the head is solved behind each
# A feature that varies less than this fraction of the usual size of one is not enlarged to a deviation of 1: half
# precision rounds to about as much, so that its variation would be that of other batches or another machine.
STEADY = 1e-2
TOLERANCE, ITERATIONS = 1e-3, 500  # of the gradient and of L-BFGS while choosing; the head itself is solved further


class Linear(NamedTuple):
    """A linear layer on standardised inputs."""

    weight: Tensor  # (K, C)
    bias: Tensor  # (K,)
    mean: Tensor  # (C,)
    deviation: Tensor  # (C,)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, K)."""
        return (x - self.mean) / self.deviation @ self.weight.T + self.bias

    def head(self) -> StandardizedLinear:
        """A layer that starts here."""
        head = StandardizedLinear(self.weight.shape[1], len(self.bias))
        for name, value in self._asdict().items():
            getattr(head, {"weight": "start_weight", "bias": "start_bias"}.get(name, name)).copy_(value)
        return head


@dataclass(frozen=True)
class Rows:
    """What the head is solved on, or scored on."""

    labels: Tensor  # (N,) or (N, K), as the task has them
    groups: np.ndarray  # (N,) rows with the same number stay in one fold
    weights: np.ndarray | None = None  # (N,) factors of the rows' losses


# The poolings of a network of so many blocks, each with its states (N, C) of training and validation rows.
Read = Callable[[int], Iterable[tuple[str, Tensor, Tensor | None]]]
Score = Callable[[Tensor, Tensor], tuple[float, float]]  # logits (N, K), labels -> the monitored score and the loss


def build_scorer(monitor: str, names: Sequence[str], class_weights: Tensor | None) -> Score:
    """Scores logits by the run's ``monitor`` and its loss."""

    def score(logits: Tensor, labels: Tensor) -> tuple[float, float]:
        scores = compute_logged_scores(EpochOutputs.of(logits, labels), "val", names, class_weights, {})
        return scores.get(monitor, float("nan")), scores["val/loss"]

    return score


class Solver:
    """Solves heads for K classes with these weights of the classes."""

    def __init__(self, num_classes: int, task: Task, class_weights: Tensor | None) -> None:
        self.num_classes, self.task = num_classes, task
        self.class_weights = None if class_weights is None else class_weights.tolist()

    def path(
        self,
        x: Tensor,
        labels: Tensor,
        strengths: Sequence[float],
        tolerance: float = TOLERANCE,
        weights: np.ndarray | None = None,
    ) -> Iterator[Linear]:
        """The heads for these strengths, in ascending order; each starts from the one before.

        Args:
            x: (N, C) pooled states.
            labels: (N,) or (N, K).
            strengths: Weights of the loss, relative to that of half the squared weights; ascending.
            tolerance: Largest component of the gradient at which L-BFGS ends.
            weights: (N,) factors of the texts' losses.
        """
        deviation, mean = torch.std_mean(x.double(), 0, correction=0)
        usual = float(x.double().square().mean(0).sqrt().median())  # size of a feature, whatever a few large ones are
        deviation = deviation.clamp_min(max(1e-12, STEADY * usual))
        inputs = ((x.double() - mean) / deviation).float().numpy()
        solve = self._each_label if self.task.multi_label else self._multinomial
        for weight, bias in solve(inputs, labels, strengths, tolerance, weights):
            yield Linear(weight, bias, mean.float(), deviation.float())

    def _each_label(
        self, inputs: np.ndarray, labels: Tensor, strengths: Sequence[float], tolerance: float, rows: np.ndarray | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        columns = [self._binary(inputs, column, k, strengths, tolerance, rows) for k, column in enumerate(labels.T)]
        for solved in zip(*columns, strict=True):
            weights, biases = zip(*solved, strict=True)
            yield torch.stack(weights), torch.stack(biases)

    def _multinomial(
        self, inputs: np.ndarray, labels: Tensor, strengths: Sequence[float], tolerance: float, rows: np.ndarray | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        there = labels.unique().tolist()
        if len(there) == 1:  # all rows of a fold's rest may be of one class
            bias = torch.full((self.num_classes,), -10.0)
            bias[there] = 0.0
            yield from [(torch.zeros(self.num_classes, inputs.shape[1]), bias)] * len(strengths)
            return
        weights = None if self.class_weights is None else {k: self.class_weights[k] for k in there}
        # A class without rows is never the most probable one.
        for coefficients, intercepts in _solve(inputs, labels, strengths, tolerance, weights, rows):
            weight = torch.zeros(self.num_classes, inputs.shape[1])
            bias = torch.full((self.num_classes,), float(intercepts.min()) - 10)
            weight[there], bias[there] = coefficients, intercepts
            yield weight, bias

    def _binary(
        self,
        inputs: np.ndarray,
        labels: Tensor,
        k: int,
        strengths: Sequence[float],
        tolerance: float,
        rows: np.ndarray | None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The weights (C,) and bias () of one label of multi-label data."""
        positive = float(labels.sum())
        if positive in (0, len(labels)):  # the odds of one row more of either kind
            odds = torch.tensor((positive + 0.5) / (len(labels) - positive + 0.5)).log()
            yield from [(torch.zeros(inputs.shape[1]), odds)] * len(strengths)
            return
        weights = None if self.class_weights is None else {0: 1.0, 1: self.class_weights[k]}
        for weight, bias in _solve(inputs, labels.long(), strengths, tolerance, weights, rows):
            yield weight[1] - weight[0], bias[1] - bias[0]


def _solve(
    inputs: np.ndarray,
    labels: Tensor,
    strengths: Sequence[float],
    tolerance: float,
    class_weight: dict[int, float] | None,
    sample_weight: np.ndarray | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights (K, C) and biases (K,) of logistic regression for the K classes that occur."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    solver = LogisticRegression(tol=tolerance, max_iter=ITERATIONS, warm_start=True, class_weight=class_weight)
    for strength in strengths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.set_params(C=strength).fit(inputs, labels.numpy(), sample_weight)
        weight, bias = torch.tensor(solver.coef_).float(), torch.tensor(solver.intercept_).float()
        if len(weight) == 1:  # of two classes it has the second only, in units of the difference
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        yield weight, bias


class Probe:
    """Tries heads behind each block, pooling and strength.

    Args:
        solver: Solves a head.
        score: Scores its logits.
        monitor: Name of the score, which says what is better.
        train: The rows that heads are solved on.
        val: The rows that they are scored on; None for folds of ``train``.
    """

    def __init__(self, solver: Solver, score: Score, monitor: str, train: Rows, val: Rows | None) -> None:
        self.solver, self.score, self.monitor = solver, score, monitor
        self.train, self.val = train, val
        self.folds = [] if val is not None else folds(train, solver.task)
        self.trials: list[ProbeTrial] = []

    def try_places(
        self, blocks: Sequence[int], read: Callable[[int], Iterable[tuple[str, Tensor, Tensor | None]]]
    ) -> None:
        """Tries coarse strengths behind these blocks: of many every third, then those beside the best.

        Args:
            blocks: Numbers of blocks that the network may keep, ascending.
            read: See ``Read``.
        """
        coarse = blocks if len(blocks) <= FEW_BLOCKS else blocks[::-1][::3][::-1]
        for number in coarse:
            self._try_poolings(number, read(number))
        near = [n for n in blocks if 0 < abs(blocks.index(n) - blocks.index(self.best.blocks)) < 3]
        for number in near:
            if number not in coarse:
                self._try_poolings(number, read(number))

    def _try_poolings(self, blocks: int, read: Iterable[tuple[str, Tensor, Tensor | None]]) -> None:
        for pooling, train, val in read:
            self._try(blocks, pooling, STRENGTHS, train, val)

    def refine(self, train: Tensor, val: Tensor | None) -> ProbeTrial:
        """Tries finer strengths for the best trial, whose states these are, and returns that of the lowest loss."""
        best = self.best
        self._try(best.blocks, best.pooling, sorted(best.strength * factor for factor in FINER), train, val)
        place = (best.blocks, best.pooling)
        return min((t for t in self.trials if (t.blocks, t.pooling) == place), key=lambda trial: trial.loss)

    @property
    def best(self) -> ProbeTrial:
        """The best trial: of each block and pooling the strength of the lowest loss, and of these the best score.

        The loss, which the head minimises, distinguishes regularization strengths whose scores are equal or random. Of
        equal scores, the one with the fewest blocks is the best.
        """
        sign = 1 if mode(self.monitor) == "min" else -1
        by_place: dict[tuple[int, str], ProbeTrial] = {}
        for trial in sorted(self.trials, key=lambda trial: -trial.loss):
            by_place[trial.blocks, trial.pooling] = trial

        def rank(trial: ProbeTrial) -> tuple[bool, float, int, float]:
            if math.isnan(trial.score):  # of no row of a class there is no recall: the loss decides
                return True, 0.0, 0, trial.loss
            return False, sign * trial.score, trial.blocks, trial.loss

        return min(by_place.values(), key=rank)

    def _try(self, blocks: int, pooling: str, strengths: Sequence[float], train: Tensor, val: Tensor | None) -> None:
        """Tries one strength after the other, until the loss rises: weaker penalties take longer to solve."""
        labels, weights = self.train.labels, self.train.weights
        if self.val is not None and val is not None:
            parts, truth = [(torch.arange(len(train)), val, torch.arange(len(val)))], self.val.labels
        else:
            parts, truth = [(rest, train[fold], fold) for rest, fold in self.folds], labels
        paths = [
            self.solver.path(train[on], labels[on], strengths, weights=None if weights is None else weights[on])
            for on, _, _ in parts
        ]
        lowest = math.inf
        for strength in strengths:
            logits = torch.zeros(len(truth), self.solver.num_classes)
            for path, (_, scored, rows) in zip(paths, parts, strict=True):
                logits[rows] = next(path)(scored)
            score, loss = self.score(logits, truth)
            trial = ProbeTrial(blocks=blocks, pooling=pooling, strength=strength, score=score, loss=loss)
            self.trials.append(trial)
            if trial.loss > lowest:
                return
            lowest = trial.loss


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread: of two, which each step of a small solver divides its work among, most only wait."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def folds(rows: Rows, task: Task) -> list[tuple[Tensor, Tensor]]:
    """FOLDS pairs of row numbers, to solve on and to score on; rows of a group are never on both sides.

    Where all rows are of one group, it is divided all the same.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    groups = rows.groups if len(np.unique(rows.groups)) > 1 else np.arange(len(rows.labels))
    several = task.multi_label or int(rows.labels.unique(return_counts=True)[1].min()) < FOLDS
    number = min(FOLDS, len(np.unique(groups)))
    divide = GroupKFold(number) if several else StratifiedGroupKFold(number, shuffle=True, random_state=0)
    labels = np.zeros(len(rows.labels)) if several else rows.labels.numpy()
    return [(torch.from_numpy(rest), torch.from_numpy(fold)) for rest, fold in divide.split(labels, labels, groups)]


def sampled(labels: Tensor, number: int) -> np.ndarray:
    """Numbers of so many rows, ascending, drawn at random; of each class or label FOLDS rows at least, if it has them.

    Args:
        labels: (N,) or (N, K) of all rows.
        number: How many rows are drawn; those that a class lacks come on top.
    """
    if len(labels) <= number:
        return np.arange(len(labels))
    drawn = np.random.default_rng(0).permutation(len(labels))
    has = labels.numpy() > 0 if labels.ndim == 2 else labels.numpy()[:, None] == np.unique(labels.numpy())
    rare = [drawn[has[drawn, k]][:FOLDS] for k in range(has.shape[1])]
    return np.unique(np.concatenate([drawn[:number], *rare]))
