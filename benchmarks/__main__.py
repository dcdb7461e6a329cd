"""``python -m benchmarks``: plans jobs, runs them in turn in fresh processes, prints a table and writes JSON."""

import sys
from functools import partial
from typing import get_args

from benchmarks.runner import Precision, check_options, run_parts
from gpt_classifier.cli.main import exit_code
from gpt_classifier.errors import CommandParser

DESCRIPTION = (
    "Compare the speed of training and classification with alternatives on this machine. Each job runs in a process of "
    "its own, in turn. Prints tables of medians and writes all measurements as JSON."
)
PARTS = (
    "train; inference (messages per second); service (the app under load); start (cold starts); growth (time and "
    "memory for growing files)"
)
SYSTEMS = "cached; again (a second run on the same cache); uncached; plain (the article's loop); transformers (Trainer)"
MAX_STEPS = (
    "number of steps to time, without accuracies; less than an epoch is unfair to systems that begin with long texts"
)
CLIENTS = "numbers of clients that ask the service at once"
PRECISION = "of train and inference, for all systems: as trainer.precision"


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmarks and returns the exit code; 2 means that something given to them cannot be used."""
    return exit_code(partial(_run, sys.argv[1:] if arguments is None else arguments), "benchmarks")


def _run(arguments: list[str]) -> None:
    options = build_parser().parse_args(arguments)
    check_options(options)
    run_parts(options)
    print(f"\nall measurements: {options.output}")


def build_parser() -> CommandParser:
    parser = CommandParser("python -m benchmarks", description=DESCRIPTION)
    add = parser.add_argument
    parts = ["train", "inference", "service", "start", "growth"]
    add("--parts", nargs="+", default=parts, choices=parts, metavar="PART", help=PARTS)
    add("--policies", nargs="+", default=["head", "last_block", "all"], help="as model.trainable: head, all, ...")
    systems = ["cached", "again", "uncached", "plain", "transformers"]
    add("--systems", nargs="+", default=systems, choices=systems, metavar="SYSTEM", help=SYSTEMS)
    add("--repeats", type=int, default=3, help="number of runs of each job, in turn; medians are shown")
    add("--epochs", type=int, default=5)
    add("--max_steps", type=int, default=0, help=MAX_STEPS)
    add("--batch_size", type=int, default=8)
    add("--source", default="sms_spam", help="data to train on and to classify, as data.source")
    add("--split", default="article_table", help="as data.split")
    add("--tokenizer", default="gpt2", help="as data.tokenizer")
    add("--max_length", type=int, default=1024, help="as data.max_length")
    add("--gpt", default="gpt2", help="as model.gpt; a mapping is given in JSON")
    add("--weights", default="random", help="random (the same for all jobs), pretrained, or a folder or file")
    add("--model", help="a trained model to classify with and to score; by default an untrained one of --gpt")
    add("--messages", type=int, default=0, help="number of messages to classify; 0 for all of the source")
    add("--clients", nargs="+", type=int, default=[1, 8, 50], metavar="N", help=CLIENTS)
    add("--seconds", type=float, default=10.0, help="seconds of load on the service, for each number of clients")
    add("--rows", type=int, default=1_000_000, help="number of rows of the largest file of growth")
    add("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto is cuda where there is a GPU")
    add("--precision", default="32-true", choices=get_args(Precision), help=PRECISION)
    add("--output", default="benchmark.json", help="file for all measurements")
    return parser


if __name__ == "__main__":
    sys.exit(main())
