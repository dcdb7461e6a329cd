"""The commands ``fit``, ``validate``, ``test`` and ``predict``."""

from gpt_classifier.training.build_run import run


def main(words: list[str]) -> None:
    """Runs the command that the first word names, with the others."""
    run(words)
