"""How mistakes are reported: in a single line, without a traceback."""

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import NoReturn


class InputError(ValueError):
    """Something the user gave cannot be used: the message names the value, what was expected and what to do."""


def reason(error: BaseException) -> str:
    """What another library's error says, in at most a line's length."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:200].rstrip(": ")


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
