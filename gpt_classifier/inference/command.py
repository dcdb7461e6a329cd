"""The command ``classify``: answers texts, or the lines of standard input as they come."""

import io
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from gpt_classifier.decision import SEPARATOR
from gpt_classifier.errors import CommandParser, InputError

if TYPE_CHECKING:
    from gpt_classifier.inference.classifier import Prediction

INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended

# What would break a line or steer a terminal, as Python writes it: \n, \t, \r, \x1b, \u2028.
ESCAPES = {c: chr(c).encode("unicode_escape").decode() for c in (*range(32), *range(127, 160), 0x2028, 0x2029)}

DESCRIPTION = """\
Classify the given texts, or the lines of standard input, each as it comes. A line of the output is the answer, its
probability and the text, separated by tabs; tabs and line breaks inside a text are written as \\t and \\n.
Where a text may have several labels, these stand in place of the class, and their probabilities, with | between them.
Input and output are UTF-8; what cannot be decoded counts as U+FFFD.
"""


def main(arguments: list[str]) -> None:
    """Runs the command; ends quietly when nobody reads its output any more, or at Ctrl-C."""
    try:
        _classify(arguments)
    except BrokenPipeError:  # "| head" has what it wanted: no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed when Python ends
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _classify(arguments: list[str]) -> None:
    parser = CommandParser(
        "gpt-classifier classify", "gpt-classifier classify FOLDER [options] [text ...]", description=DESCRIPTION
    )
    add = parser.add_argument
    add("--model", help="model folder, run folder or .ckpt file; without it, the first argument is the model")
    add(
        "--json",
        action="store_true",
        help="write a JSON object for each text: text, label (or labels), probability, probabilities",
    )
    add("--top-k", type=int, metavar="K", help="write the K most probable classes (default: the answer; all in JSON)")
    add("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"], help="auto is CUDA, MPS or else the CPU")
    add("--int8", action="store_true", help="quantize the network, for speed on CPUs with VNNI")
    add("--base", help="weights below an adapter folder: gpt2, or a .safetensors file")
    add("texts", nargs="*", metavar="text", help="texts; without any, lines of standard input")
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows it are texts, like "-5"
    options = parser.parse_intermixed_args(arguments[:end])
    if options.top_k is not None and options.top_k < 1:
        raise InputError(f"--top-k is {options.top_k}, expected at least 1")
    model, texts = options.model, [*options.texts, *arguments[end + 1 :]]
    if model is None:
        if not texts:
            raise InputError('which model? Name its folder first, classify FOLDER "a text", or with --model FOLDER')
        model, *texts = texts
    if not os.path.exists(model):  # known before PyTorch is imported
        raise InputError(
            f"no model at {model[:100]!r}: expected a model folder, a run or a .ckpt file first, "
            'as in classify FOLDER "a text", or with --model'
        )

    from gpt_classifier.inference.classifier import TextClassifier

    classifier = TextClassifier.load(model, options.device, options.int8, options.base)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    for together in [list(map(_decoded, texts))] if texts else _waiting_lines():
        for text, prediction in zip(together, classifier.predict(iter(together)), strict=True):
            write = _as_json if options.json else _as_line
            print(write(text, prediction, options.top_k, classifier.decision.multi_label), flush=True)


def _as_json(text: str, prediction: "Prediction", top_k: int | None, multi_label: bool) -> str:
    fields = prediction._asdict() | {"probabilities": dict(_ranked(prediction)[:top_k])}
    if multi_label:
        fields = {"labels": prediction.labels, "probabilities": fields["probabilities"]}
    elif not prediction.candidates:
        del fields["candidates"]  # of rules that make sets only
    return json.dumps({"text": text} | fields, ensure_ascii=False)


def _as_line(text: str, prediction: "Prediction", top_k: int | None, multi_label: bool) -> str:
    if multi_label and top_k is None:
        shares = SEPARATOR.join(f"{prediction.probabilities[name]:.3f}" for name in prediction.labels)
        return "\t".join(part.translate(ESCAPES) for part in (prediction.label, shares, text))
    answers = [(prediction.label, prediction.probability)] if top_k is None else _ranked(prediction)[:top_k]
    classes = [part for name, share in answers for part in (name, f"{share:.3f}")]
    return "\t".join(part.translate(ESCAPES) for part in (*classes, text))


def _ranked(prediction: "Prediction") -> list[tuple[str, float]]:
    return sorted(prediction.probabilities.items(), key=lambda item: -item[1])


def _decoded(argument: str) -> str:
    """A command-line argument; Python keeps bytes that are no UTF-8 as half surrogates."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _waiting_lines() -> Iterator[list[str]]:
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
