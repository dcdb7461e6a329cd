"""Counts the seconds of fits, also over fits that were stopped and continued."""

import time


class FitClock:
    """Runs during a fit; between fits it stands at their total."""

    def __init__(self) -> None:
        self._total: float | None = None  # seconds of the fits that ended
        self._began: float | None = None  # a time of time.perf_counter, less the seconds of earlier fits

    def set(self, seconds: float | None) -> None:
        """Sets the total, which a checkpoint has kept; None if nothing is known of earlier fits."""
        self._total = seconds

    def start(self) -> None:
        """Runs from now on, or goes on where it runs already, since a probe that came before the fit."""
        if self._began is None:
            self._began = time.perf_counter() - (self._total or 0.0)

    def stop(self) -> None:
        self._total, self._began = self.seconds(), None

    def seconds(self) -> float | None:
        """Total so far; None if unknown."""
        return self._total if self._began is None else time.perf_counter() - self._began
