"""The command ``cache``: shows, clears or downloads the files that are kept for later runs."""

import shutil

from gpt_classifier.errors import CommandParser

DESCRIPTION = (
    "Files that are kept for later runs: `show` (the default) and `clear` are about hidden states of frozen layers and "
    "tokens of pretraining; `download` fetches data, tokenizer and weights that a configuration needs, for machines "
    "without internet."
)


def main(arguments: list[str]) -> None:
    """``cache [show]``, ``cache clear`` or ``cache download --config CONFIG ...``."""
    if arguments[:1] == ["download"]:
        return download(arguments[1:])
    usage = "gpt-classifier cache [show | clear | download --config CONFIG]"
    parser = CommandParser("gpt-classifier cache", usage, DESCRIPTION)
    parser.add_argument("action", nargs="?", choices=["show", "clear", "download"], default="show")
    options = parser.parse_args(arguments)

    from gpt_classifier.files import PRETRAINING, computed_folder
    from gpt_classifier.training import state_store

    tokens = computed_folder() / PRETRAINING
    sizes = {state_store.folder(): state_store.size()}
    if tokens.is_dir():
        sizes[tokens] = sum(path.stat().st_size for path in tokens.rglob("*") if path.is_file())
    if options.action == "clear":
        state_store.clear()
        shutil.rmtree(tokens, ignore_errors=True)
    for folder, size in sizes.items():
        print(f"{folder}: {size / 2**20:,.1f} MB{' removed' if options.action == 'clear' else ''}")


def download(words: list[str]) -> None:
    """Downloads all files that a configuration needs."""
    from gpt_classifier.files import cache_folder, tokenizer_folder
    from gpt_classifier.training.build_run import ClassifierCLI

    cli = ClassifierCLI(words, run=False)
    cli.datamodule.prepare_data()
    cli.model.download()
    print(f"data sets: {cache_folder()}\ntokenizer: {tokenizer_folder()}")
    if cli.model.hparams["weights"] == "pretrained":
        from huggingface_hub.constants import HF_HUB_CACHE

        print(f"weights: {HF_HUB_CACHE}")
