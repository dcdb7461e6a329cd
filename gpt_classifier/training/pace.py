"""How often something long says how far it is, where no bar can move."""

import time


class Pace:
    """Says, whenever it is asked, whether it is time for another line: ``SECONDS`` after the last one, or the start."""

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
