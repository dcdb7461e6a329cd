"""The command ``benchmark``: plans jobs, runs them in turn in fresh processes, prints a table and writes JSON."""

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from gpt_classifier.benchmark.runner import Precision, Runner, machine, say
from gpt_classifier.errors import CommandParser, InputError


def main(arguments: list[str]) -> None:
    """Parses the options of ``benchmark`` and runs it."""
    parser = CommandParser(
        "gpt-classifier benchmark",
        description="Compare the speed of training and classification with alternatives on this machine. Each job runs "
        "in a process of its own, in turn. Prints tables of medians and writes all measurements as JSON.",
    )
    add = parser.add_argument
    parts = ["train", "inference", "service", "start", "growth"]
    about = (
        "train; inference (messages per second); service (the app under load); start (cold starts); growth (time and "
        "memory for growing files)"
    )
    add("--parts", nargs="+", default=parts, choices=parts, metavar="PART", help=about)
    add("--policies", nargs="+", default=["head", "last_block", "all"], help="as model.trainable: head, all, ...")
    systems = ["cached", "again", "uncached", "plain", "transformers"]
    about = (
        "cached; again (a second run on the same trunk); uncached; plain (the article's loop); transformers (Trainer)"
    )
    add("--systems", nargs="+", default=systems, choices=systems, metavar="SYSTEM", help=about)
    add("--repeats", type=int, default=3, help="number of runs of each job, in turn; medians are shown")
    add("--epochs", type=int, default=5)
    add(
        "--max_steps",
        type=int,
        default=0,
        help="number of steps to time, without accuracies; less than an epoch is unfair to systems that begin with "
        "long texts",
    )
    add("--batch_size", type=int, default=8)
    add("--source", default="sms_spam", help="data to train on and to classify, as data.source")
    add("--split", default="article_table", help="as data.split")
    add("--tokenizer", default="gpt2", help="as data.tokenizer")
    add("--max_length", type=int, default=1024, help="as data.max_length")
    add("--gpt", default="gpt2", help="as model.gpt; a mapping is given in JSON")
    add("--weights", default="random", help="random (the same for all jobs), pretrained, or a folder or file")
    add("--model", help="a trained model to classify with and to score; by default an untrained one of --gpt")
    add("--messages", type=int, default=0, help="number of messages to classify; 0 for all of the source")
    about = "numbers of clients that ask the service at once"
    add("--clients", nargs="+", type=int, default=[1, 8, 50], metavar="N", help=about)
    add("--seconds", type=float, default=10.0, help="seconds of load on the service, for each number of clients")
    add("--rows", type=int, default=1_000_000, help="number of rows of the largest file of growth")
    add("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto is cuda where there is a GPU")
    about = "of train and inference, for all systems: as trainer.precision"
    add("--precision", default="32-true", choices=get_args(Precision), help=about)
    add("--output", default="benchmark.json", help="file for all measurements")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        raise InputError(f"--repeats is {options.repeats}, expected at least 1")
    if min(options.clients) < 1 or not 0 < options.seconds < 3600:
        expected = "clients of at least 1 and seconds above 0"
        raise InputError(f"--clients is {options.clients} and --seconds {options.seconds}, expected {expected}")
    with TemporaryDirectory() as scratch:
        runner = Runner(options, Path(scratch))
        say(f"{machine(runner.device)}; {options.precision}; {options.repeats} runs of each job in turn, medians")
        for part in options.parts:
            import_module(f"gpt_classifier.benchmark.{part}").measure(runner)
    print(f"\nall measurements: {options.output}")
