"""What a linear probe tried on a frozen network, and what it chose."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ProbeTrial:
    """One head, and its scores on rows that it was not solved on."""

    blocks: int  # that the network keeps
    pooling: str
    strength: float  # of the loss, in units of half the squared weights (scikit-learn's C)
    score: float  # the monitored one
    loss: float


@dataclass(frozen=True, kw_only=True)
class ProbeResults:
    """The chosen trial among all.

    Args:
        best: What was chosen.
        trials: All, in the order in which they were tried.
        rows: Number of rows that the scores are of.
        by_folds: Whether these are training rows, each scored by a head not solved on it, else validation rows.
        monitor: Name of the score, such as ``val/f1_macro``.
        blocks: Of the whole network.
        seconds: Of the pass over the network and of all solutions.
    """

    best: ProbeTrial
    trials: list[ProbeTrial]
    rows: int
    by_folds: bool
    monitor: str
    blocks: int
    seconds: float

    @property
    def scored_on(self) -> str:
        """The rows that chose, in words."""
        return f"{self.rows:,} {'training rows, each scored by folds' if self.by_folds else 'validation rows'}"

    @property
    def places(self) -> dict[tuple[int, str], ProbeTrial]:
        """For each number of blocks and pooling the trial with the lowest loss, in ascending order."""
        found: dict[tuple[int, str], ProbeTrial] = {}
        for trial in sorted(self.trials, key=lambda trial: -trial.loss):
            found[trial.blocks, trial.pooling] = trial
        return dict(sorted(found.items()))

    def __str__(self) -> str:
        best = self.best
        return (
            f"probe: {best.pooling.replace('_', ' ')} behind block {best.blocks} of {self.blocks}, strength "
            f"{best.strength:.3g}: selected of {len(self.trials)} heads by {self.monitor.removeprefix('val/')} "
            f"{best.score:.4f} on {self.scored_on}; {self.seconds:.1f} s"
        )
