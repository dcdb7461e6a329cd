"""The commands ``fit``, ``test`` and ``predict``."""

from gpt_classifier.cli.parser import take_split
from gpt_classifier.training.build_run import run


def main(words: list[str]) -> None:
    """Runs the command that the first word names, with the others; ``test --on val`` is Lightning's ``validate``."""
    split, rest = take_split(words[1:])
    run(["validate" if split == "val" else words[0], *rest])
