"""The command ``pretrain``."""

from gpt_classifier.pretraining.build_run import run


def main(words: list[str]) -> None:
    """Runs the command."""
    run(words)
