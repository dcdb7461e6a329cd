"""Reads texts as a shell gives them: its words, and the lines of standard input as they come."""

import io
import sys
from collections.abc import Iterator
from typing import cast


def decoded(argument: str) -> str:
    """A command-line argument; Python keeps bytes that are no UTF-8 as half surrogates."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def waiting_lines() -> Iterator[list[str]]:
    """The lines of standard input, each time all that wait there: one from a keyboard, many from a file."""
    if sys.stdin is None:  # the shell closed it: <&-
        return
    if sys.stdin.isatty():
        print("type a text and press Enter; Ctrl-D ends", file=sys.stderr)
    stream = cast(io.BufferedIOBase, sys.stdin.buffer)
    rest = bytearray()
    while piece := stream.read1(1 << 16):  # returns as soon as there is something
        whole, newline, unfinished = piece.rpartition(b"\n")
        rest += whole
        if newline:
            yield [_line(line) for line in rest.split(b"\n")]
            rest = bytearray()
        rest += unfinished
    if rest:
        yield [_line(rest)]


def _line(line: bytes | bytearray) -> str:
    return line.removesuffix(b"\r").decode("utf-8-sig", "replace")  # some editors begin a file with U+FEFF
