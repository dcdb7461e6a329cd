"""Work of libraries that do not return to Python for minutes, in a thread, so that a signal ends the process."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from gpt_classifier.data.pace import Pace

Result = TypeVar("Result")
TURN = 0.2  # seconds in which the main thread sees a signal


def interruptibly(work: Callable[[], Result], what: str) -> Result:
    """What ``work`` returns or raises; every half minute, a line says how long ``what`` has taken.

    Python handles a signal between two of its own steps, in the main thread, which here only waits. The thread is a
    daemon: a process that ends does not wait for it.
    """
    done: dict[str, Any] = {}

    def run() -> None:
        try:
            done["result"] = work()
        except BaseException as error:
            done["error"] = error

    pace, thread = Pace(), threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(TURN)
        if thread.is_alive():
            pace.tell(what)
    if "error" in done:
        raise done["error"]
    result: Result = done["result"]
    return result
