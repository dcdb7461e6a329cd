"""The commands ``fit``, ``test`` and ``predict``."""

from gpt_classifier.cli.parser import take_split
from gpt_classifier.training.build_run import run


def main(words: list[str]) -> None:
    """Runs the command that the first word names, with the others; ``test --on val`` is Lightning's ``validate``."""
    if words[0] == "test":
        split, rest = take_split(words[1:])
        words = ["validate" if split == "val" else "test", *rest]
    run(words)
