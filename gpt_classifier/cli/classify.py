"""The command ``classify``: answers texts, or the lines of standard input as they come."""

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gpt_classifier import files
from gpt_classifier.decision.rule import SEPARATOR
from gpt_classifier.errors import CommandParser, InputError

if TYPE_CHECKING:
    from gpt_classifier.inference.classifier import Prediction
    from gpt_classifier.inference.trace import Trace

INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended

# What would break a line or steer a terminal, or turn the direction of writing beyond a text, as Python writes it: \n,
# \t, \r, \x1b, \u2028, \u202e.
STEERING = (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
ESCAPES = {c: chr(c).encode("unicode_escape").decode() for c in STEERING}

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
        "gpt-classifier classify", "gpt-classifier classify [FOLDER] [options] [text ...]", description=DESCRIPTION
    )
    add = parser.add_argument
    add(
        "--model",
        help="model folder, run folder or .ckpt file; without it, the first argument if it is one, else the model that "
        "comes with the package, which tells spam from other short messages in English",
    )
    add(
        "--json",
        action="store_true",
        help="write a JSON object for each text: text, label (or labels), probability, probabilities",
    )
    add("--top-k", type=int, metavar="K", help="write the K most probable classes (default: the answer; all in JSON)")
    add(
        "--trace",
        action="store_true",
        help="also show the answer as it comes about: the text in colours (on a terminal, unless NO_COLOR is set) or a "
        "table of its words, and where the answer was reached and never left again; for GPTs and other decoders "
        "that classify from the last token or the mean",
    )
    add("--explain", action="store_true", help="with --trace: what each word adds to the logit of the answer (captum)")
    add("--early", type=float, metavar="P", help="with --trace: where a class first had this probability, such as 0.95")
    add("--figure", metavar="FILE", help="with --trace: draw the probabilities over the words of the text, as .png")
    add("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"], help="auto is CUDA, MPS or else the CPU")
    add("--int8", action="store_true", help="quantize the network, for speed on CPUs with VNNI")
    add("--base", help="weights below an adapter folder: gpt2, or a .safetensors file")
    add("texts", nargs="*", metavar="text", help="texts; without any, lines of standard input")
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows it are texts, like "-5"
    options = parser.parse_intermixed_args(arguments[:end])
    if options.top_k is not None and options.top_k < 1:
        raise InputError(f"--top-k is {options.top_k}, expected at least 1")
    for name in ("explain", "early", "figure"):
        if getattr(options, name) not in (None, False) and not options.trace:
            raise InputError(f"--{name} is about a trace: add --trace")
    model, texts = options.model, [*options.texts, *arguments[end + 1 :]]
    if model is None:
        model, texts = _model_and_texts(texts)
    if not os.path.exists(model):  # known before PyTorch is imported
        raise InputError(
            f"no model at {str(model)[:100]!r}: expected a model folder, a run or a .ckpt file first, "
            'as in classify FOLDER "a text", or with --model'
        )
    if options.figure is not None and len(texts) != 1:
        raise InputError(f"--figure draws one text, got {len(texts)}: give one on the command line")

    from gpt_classifier.inference.classifier import TextClassifier
    from gpt_classifier.inference.trace import check_level
    from gpt_classifier.reporting.plots import trace_figure

    if options.early is not None:
        check_level(options.early)
    if options.figure is not None:
        trace_figure.check_path(Path(options.figure))
    classifier = TextClassifier.load(model, options.device, options.int8, options.base)
    for together in [list(map(_decoded, texts))] if texts else _waiting_lines():
        for text, prediction in zip(together, classifier.predict(iter(together)), strict=True):
            trace = classifier.trace(text, options.explain) if options.trace else None
            if options.json:
                answer = {"text": text} | fields(prediction, options.top_k, classifier.decision.multi_label)
                traced = {} if trace is None else {"trace": trace.to_dict(options.early)}
                print(json.dumps(answer | traced, ensure_ascii=False), flush=True)
            elif trace is None:
                parts = _parts(prediction, options.top_k, classifier.decision.multi_label)
                print("\t".join(part.translate(ESCAPES) for part in (*parts, text)), flush=True)
            else:
                _show(trace, _parts(prediction, options.top_k, False), options.early)
            if trace is not None and options.figure is not None:
                trace_figure.save(trace, Path(options.figure))


def _model_and_texts(words: list[str]) -> tuple[str | Path, list[str]]:
    """The model that the first word names, or the shipped one, which is said; and the texts."""
    first = words[0] if words else ""
    path_like = not any(map(str.isspace, first)) and (os.path.dirname(first) != "" or first.endswith(".ckpt"))
    if first and (os.path.exists(first) or (path_like and len(words) > 1)):
        return first, words[1:]
    print(f"model: {files.BUILT_IN_MODEL}, which comes with the package; --model FOLDER takes yours", file=sys.stderr)
    return files.built_in_model(), words


def fields(prediction: "Prediction", top_k: int | None, multi_label: bool) -> dict[str, Any]:
    """A prediction as plain values, with the probabilities of the ``top_k`` most probable classes, or of all."""
    probabilities = dict(_ranked(prediction)[:top_k])
    if multi_label:
        return {"labels": prediction.labels, "probabilities": probabilities}
    found = prediction._asdict() | {"probabilities": probabilities}
    if not prediction.candidates:
        del found["candidates"]  # of rules that make sets only
    return found


def _parts(prediction: "Prediction", top_k: int | None, multi_label: bool) -> list[str]:
    """The answer and its probability, or the most probable classes with theirs."""
    if multi_label and top_k is None:
        shares = SEPARATOR.join(f"{prediction.probabilities[name]:.3f}" for name in prediction.labels)
        return [prediction.label, shares]
    answers = [(prediction.label, prediction.probability)] if top_k is None else _ranked(prediction)[:top_k]
    return [part for name, share in answers for part in (name, f"{share:.3f}")]


def _show(trace: "Trace", parts: list[str], early: float | None) -> None:
    """The answer and the text, in colours where there are any, else with a table; and what is to be said of it."""
    from rich.console import Console
    from rich.text import Text

    from gpt_classifier.inference import trace_text

    console = Console(highlight=False)
    answer = [part.translate(ESCAPES) for part in parts]
    if sys.stdout.isatty() and console.color_system is not None and not os.environ.get("NO_COLOR"):
        console.print(Text("  ").join([*map(Text, answer), trace_text.coloured(trace)]), soft_wrap=True)
        console.print(trace_text.legend(trace), soft_wrap=True)
    else:
        print("\n".join(["\t".join([*answer, trace.text.translate(ESCAPES)]), *trace_text.table(trace)]))
    print("\n".join(trace_text.sentences(trace, early)), flush=True)


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
