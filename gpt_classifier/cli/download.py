"""The command ``download``: fetches all that a run will need, for machines without internet."""

from gpt_classifier.files import cache_folder, tokenizer_folder
from gpt_classifier.training.build_run import ClassifierCLI


def main(words: list[str]) -> None:
    """Downloads all files that a configuration needs, for machines without internet."""
    cli = ClassifierCLI(words, run=False)
    cli.datamodule.prepare_data()
    cli.model.download()
    print(f"data sets: {cache_folder()}\ntokenizer: {tokenizer_folder()}")
    if cli.model.hparams["weights"] == "pretrained":
        from huggingface_hub.constants import HF_HUB_CACHE

        print(f"weights: {HF_HUB_CACHE}")
