"""The command ``pretrain``: trains a network on texts without labels."""

from gpt_classifier.pretraining.build_run import run


def main(words: list[str]) -> None:
    """Runs the command."""
    run(words)
