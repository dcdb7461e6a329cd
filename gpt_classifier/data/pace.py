"""How often a long computation reports its progress without a progress bar."""

import time


class Pace:
    """Tells whether it is time for the next line: ``SECONDS`` after the last one, or after the start."""

    SECONDS = 30.0

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.SECONDS:
            return False
        self.last = now
        return True

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def tell(self, what: str) -> None:
        """Says that ``what`` goes on, if it is time for a line."""
        if self.due():
            from lightning.pytorch.utilities.rank_zero import rank_zero_info  # which takes seconds to import

            rank_zero_info(f"{what}, {self.elapsed():.0f} s")
