"""The command ``cache``: shows or clears what was computed to be kept, such as states of frozen blocks."""

from gpt_classifier.errors import CommandParser


def main(arguments: list[str]) -> None:
    """Says how much room the cached states take, or removes them."""
    parser = CommandParser(
        "gpt-classifier cache", description="Cached states of frozen blocks, and tokens of pretraining."
    )
    parser.add_argument("action", nargs="?", choices=["show", "clear"], default="show")
    options = parser.parse_args(arguments)

    import shutil

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
