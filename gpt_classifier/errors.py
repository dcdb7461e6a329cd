"""How mistakes are reported: in a single line, without a traceback."""

import argparse
from typing import NoReturn


class InputError(ValueError):
    """Something the user gave cannot be used: the message names the value, what was expected and what to do."""


def reason(error: BaseException) -> str:
    """What another library's error says, in at most a line's length."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:200].rstrip(": ")


class CommandParser(argparse.ArgumentParser):
    """Reports a wrong option as all mistakes are reported."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; {self.prog} --help explains the options")
