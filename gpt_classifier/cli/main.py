"""The commands of the package. Each command's code is imported when it is called, so that --help is instant."""

import io
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import NamedTuple

from gpt_classifier import __version__
from gpt_classifier.cli.signals import stopped_by_signals
from gpt_classifier.errors import ON_A_COMMAND_LINE, InputError, did_you_mean, lack_of_resources, reason


class Command(NamedTuple):
    """What a command is for and how it is called; its code is the module here of its name, or ``module``."""

    about: str
    example: str
    utf8: bool = False  # whether programs read what it prints, which is UTF-8 wherever it goes
    module: str = ""  # of several commands, which gets the command's name too

    def run(self, name: str, words: list[str]) -> None:
        """Runs it with the words behind its name; only now its code is imported."""
        module = import_module(f"gpt_classifier.cli.{self.module or name}")
        module.main([name, *words] if self.module else words)


GROUPS = {  # by what a person does
    "Data": {
        "init": Command("inspect a file, write its configuration", "init messages.csv"),
        "audit": Command("say whether labelled texts can be trusted", "audit messages.csv", utf8=True),
        "review": Command("correct labels that are probably wrong", "review export messages.csv"),
    },
    "Train": {
        "fit": Command("train a model", "fit --config spam", module="fit"),
        "pretrain": Command(
            "train a network on unlabelled texts", "pretrain --config pretrain --data.source texts.csv"
        ),
    },
    "Judge": {
        "test": Command("score a model on test rows", "test checkpoints/spam", module="fit"),
        "report": Command("render a test's report, compare two tests", "report version_0 version_1"),
        "calibrate": Command("choose how a model decides", "calibrate checkpoints/spam --decide '{max_fpr: 0.01}'"),
    },
    "Use": {
        "classify": Command("classify texts", 'classify checkpoints/spam "a text" ...', utf8=True),
        "predict": Command(
            "classify the rows of a file", "predict checkpoints/spam --data.source new.csv", module="fit"
        ),
        "app": Command("classify on a page and over HTTP", "app checkpoints/spam"),
        "export": Command("write a model for other programs", "export checkpoints/spam --to onnx --output spam-onnx"),
        "cache": Command("show, clear or download stored files", "cache download --config spam"),
    },
    "Research": {
        "study": Command("compare settings, or search for better ones", "study --config article"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
ALSO_CALLED = {  # what other programs call them
    "train": "fit",
    "validate": "test --on val",
    "evaluate": "test",
    "eval": "test",
    "score": "test",
    "infer": "predict",
    "compare": "report",
    "search": "study",
    "serve": "app",
    "download": "cache download",
}
MODEL_FIRST = ("test", "predict", "classify", "app", "calibrate", "export")  # and fit, where --model is a section


def usage() -> str:
    """The help of the program."""
    from gpt_classifier import files

    names = textwrap.fill(", ".join(files.built_in_configurations()), 78, break_on_hyphens=False)
    lines = list[str]()
    for group, commands in GROUPS.items():
        lines += [group, *(f"  {name:9} {command.about:43} {command.example}" for name, command in commands.items())]
    table = "\n".join(lines)
    return (
        "usage: gpt-classifier COMMAND ...\n\n"
        f"Train a GPT-style text classifier and use it.\n\n{table}\n\n"
        "A model is the first word behind a command: a model folder, a run, a folder of runs or a .ckpt file.\n"
        f"--config takes a file or the name of a built-in configuration:\n{textwrap.indent(names, '  ')}\n"
        "--import MODULE imports a module of yours first, such as one with the head of a model.\n"
        "gpt-classifier COMMAND --help explains a command; --version prints the version.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; 2 means that something given to it cannot be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments else ""
    return exit_code(partial(_run, arguments), "gpt-classifier", name in COMMANDS and COMMANDS[name].utf8)


def exit_code(run: Callable[[], None], program: str, utf8: bool = False) -> int:
    """Runs a program and returns its exit code; what is wrong with its input is one line that begins with its name.

    Args:
        run: Runs the program.
        program: Its name.
        utf8: Whether it prints UTF-8 wherever its output goes.
    """
    _prepare_output(utf8)
    before, threading.excepthook = threading.excepthook, _report_thread
    called = ON_A_COMMAND_LINE.set(True)
    told = partial(_told, program)
    try:
        try:
            with stopped_by_signals():
                return _attempt(run, told)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:  # a second one, while training ended a step
        return told("stopped by Ctrl-C", 128 + signal.SIGINT)
    except BrokenPipeError:  # "| head" has what it wanted
        _close_output()
        return 0
    except OSError as error:  # the output goes to a file on a full disk
        if (lack := lack_of_resources(error)) is None:
            raise
        _close_output()
        return told(lack)
    finally:
        threading.excepthook = before
        ON_A_COMMAND_LINE.reset(called)


def _report_thread(failed: threading.ExceptHookArgs) -> None:
    """Leaves it to the thread that waits for this one to say what the system lacks, as of TensorBoard's writer."""
    if failed.exc_value is None or lack_of_resources(failed.exc_value) is None:
        threading.__excepthook__(failed)


def _close_output() -> None:
    """For what is flushed when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_output(utf8: bool) -> None:
    """Lets both outputs take every text: what their encoding does not have is written as ``\\u65e5``."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the shell closed it (>&-), or it is a program without a console, as of pythonw
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as Python runs
        elif isinstance(stream, io.TextIOWrapper):
            encoding = "utf-8" if utf8 and name == "stdout" else stream.encoding
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _attempt(run: Callable[[], None], told: Callable[[str], int]) -> int:
    try:
        run()
    except InputError as error:
        return told(str(error))
    except Exception as error:  # of any library, which raise errors of their own
        if isinstance(error, BrokenPipeError) or (lack := lack_of_resources(error)) is None:
            raise
        return told(lack)
    return 0


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return
    if arguments[0] == "--version":
        print(f"gpt-classifier {__version__}")
        return
    name, *words = arguments
    if name not in COMMANDS:
        raise InputError(f"no command {name!r}{_meant(name, words)}")
    _check_model_is_first(name, words)
    from gpt_classifier.cli import parser

    COMMANDS[name].run(name, parser.prepared(name, _without_imports(words)))


def _check_model_is_first(name: str, words: list[str]) -> None:
    """Raises ``InputError`` for a model that is given as an option, as in earlier versions."""
    options = words[: words.index("--")] if "--" in words else words  # what follows are texts
    if name in MODEL_FIRST and any(word == "--model" or word.startswith("--model=") for word in options):
        raise InputError(f"there is no option --model: the model is the first word, as in {COMMANDS[name].example}")


def _without_imports(words: list[str]) -> list[str]:
    """The words without ``--import MODULE``, whose modules are imported: code is run that the user names, no file."""
    rest, waiting = list[str](), iter(words)
    for word in waiting:
        option, equals, value = word.partition("=")
        if option != "--import":
            rest.append(word)
            continue
        module = value if equals else next(waiting, "")
        if os.getcwd() not in sys.path and "" not in sys.path:  # as for python -m
            sys.path.insert(0, os.getcwd())
        try:
            import_module(module)
        except Exception as error:  # whatever that module does
            raise InputError(
                f"--import {module} cannot be imported ({reason(error)}): name one as Python does"
            ) from error
    return rest


def _told(program: str, message: str, code: int = 2) -> int:
    """Says what is wrong, and returns the exit code for it."""
    print(f"{program}: error: {message}", file=sys.stderr)
    return code


def _meant(name: str, words: list[str]) -> str:
    if name.lower() in ALSO_CALLED:
        return f": did you mean {ALSO_CALLED[name.lower()]}?"
    if name.startswith("-") and (command := next((word for word in words if word in COMMANDS), None)):
        return f": the command comes first, gpt-classifier {command} {name} ..."
    return did_you_mean(name, COMMANDS) or ": gpt-classifier --help lists them"
