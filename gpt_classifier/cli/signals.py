"""Ctrl-C and SIGTERM end a command at once, with one line; what is half-written is removed on the way out."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stopped(SystemExit):
    """Raised where the signal finds the command; its exit code is that of a process which the signal has ended."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raises ``Stopped`` on either signal, unless it is ignored, as in a shell's background.

    Training, which goes on to the end of a step, and a service have handlers of their own meanwhile.
    """
    former = {}
    if threading.current_thread() is threading.main_thread():
        for number in NAMES:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                former[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for each in NAMES:  # a second one would end what the first one has left to do
        signal.signal(each, signal.SIG_IGN)
    print(f"stopped by {NAMES[signal.Signals(number)]}", file=sys.stderr, flush=True)
    raise Stopped(number)
