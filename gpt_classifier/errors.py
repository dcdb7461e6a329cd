"""How mistakes are reported: in a single line, without a traceback."""

import argparse
import difflib
import errno
import os
import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import NoReturn

OPTION = re.compile(r"--(?:data|model|trainer)\.(?=\w)")
ON_A_COMMAND_LINE = ContextVar("ON_A_COMMAND_LINE", default=False)  # else in a program


class InputError(ValueError):
    """Something the user gave cannot be used: the message names the value, what was expected and what to do.

    What is an option of a command line, such as ``--data.splitting.folds``, is an argument in a program:
    ``splitting.folds``.
    """

    def __str__(self) -> str:
        said = super().__str__()
        return said if ON_A_COMMAND_LINE.get() else OPTION.sub("", said)


def reason(error: BaseException) -> str:
    """What another library's error says, in at most a line's length."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:200].rstrip(": ")


SPACE = "free space there, or write to another folder"
MEMORY = "use smaller batches (--data.batch_size), shorter texts (--data.max_length) or a smaller network"
LACKS = {  # what to do when the system refuses something, by the number of its error
    errno.ENOSPC: SPACE,
    getattr(errno, "EDQUOT", errno.ENOSPC): SPACE,
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EROFS: "write to another folder",
    errno.EACCES: "name a file or folder that you may use",
    errno.EPERM: "name a file or folder that you may use",
    errno.ENOMEM: MEMORY,
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENAMETOOLONG: "name it shorter",
    errno.EIO: "check that disk, or write to another folder",
}
NUMBER = re.compile(r"\b(?:os error|errno|error code:?) (\d+)", re.IGNORECASE)  # in messages of other libraries
OUT_OF_MEMORY = re.compile(r"out of memory|allocate memory|not enough memory", re.IGNORECASE)
NOT_WRITTEN = re.compile(
    r"PytorchStreamWriter|file write failed|iostream error|unexpected pos \d|disk is full", re.IGNORECASE
)


def lack_of_resources(error: BaseException) -> str | None:
    """A line on what the system lacks or refuses, such as disk space, if that is what ``error`` says; else None."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(said)):
        return f"there is not enough memory{f' ({said[:200]})' if said else ''}: {LACKS[errno.ENOMEM]}"
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := NUMBER.search(said)):
        number = int(found[1])
    if number is None and NOT_WRITTEN.search(said):
        return f"a file cannot be written ({said[:200]}): {SPACE}"
    if number is None or number not in LACKS:
        return None
    what = os.strerror(number)
    # Of two files, the second one is written.
    path = (error.filename2 or error.filename) if isinstance(error, OSError) else None
    return f"{what}{'' if path is None else f', {path}'}: {LACKS[number]}"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that is written most like ``word``, if any is."""
    lower = {name.lower(): name for name in known}
    # In a short word one wrong letter is much.
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6 if len(word) < 5 else 0.7)
    return lower[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str], ask: str = "{}") -> str:
    """The end of a message, ``: did you mean ...?``, where one of ``known`` is written like ``word``; else nothing."""
    close = closest(word, known)
    return "" if close is None else f": did you mean {ask.format(close)}?"


class CommandParser(argparse.ArgumentParser):
    """Reports a wrong option as all mistakes are reported."""

    def error(self, message: str) -> NoReturn:
        wrong = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
        if wrong and (close := did_you_mean(wrong[1], self._option_string_actions)):
            raise InputError(f"no option {wrong[1]}{close}")
        raise InputError(f"{message}; {self.prog} --help explains the options")
