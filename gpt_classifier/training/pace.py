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
