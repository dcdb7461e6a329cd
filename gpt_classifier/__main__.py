"""The commands of the package. Each command's code is imported when it is called, so that --help is instant."""

import sys

from gpt_classifier import __version__
from gpt_classifier.errors import CommandParser, InputError

USAGE = """\
usage: gpt-classifier COMMAND ...

Train a GPT-2 text classifier and use it. COMMAND is one of

  fit       train a model:              gpt-classifier fit --config configs/spam.yaml
  validate  score it on validation rows
  test      score it on test rows:      gpt-classifier test --config configs/spam.yaml
  predict   classify a file's rows:     gpt-classifier predict --ckpt_path FILE --data.source FILE --output FILE
  classify  classify texts:             gpt-classifier classify FOLDER "a text" ...
  study     compare settings fairly:    gpt-classifier study --config configs/study/article.yaml
  search    look for better settings:   gpt-classifier search --config configs/search/spam.yaml
  benchmark time training and classifying beside the alternatives on this machine
  cache     how much disk the states of frozen blocks take; "cache clear" removes them
  download  fetch what a run will need: gpt-classifier download --config configs/spam.yaml

gpt-classifier COMMAND --help explains a command; --version prints the version.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; 2 means that something given to it cannot be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if arguments[0] == "--version":
        print(f"gpt-classifier {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    try:
        if command == "classify":
            from gpt_classifier.inference import command as classify

            classify.main(rest)
        elif command == "benchmark":
            from gpt_classifier.benchmark import command as benchmark

            benchmark.main(rest)
        elif command == "study":
            from gpt_classifier.study import command as study

            study.main(rest)
        elif command == "search":
            from gpt_classifier.study import search

            search.main(rest)
        elif command == "cache":
            cache(rest)
        elif command == "download":
            from gpt_classifier.training import cli

            cli.download(rest)
        elif command in ("fit", "validate", "test", "predict"):
            run_trainer(arguments)
        else:
            raise InputError(f"no command {command!r}: gpt-classifier --help lists them")
    except InputError as error:
        print(f"gpt-classifier: error: {error}", file=sys.stderr)
        return 2
    return 0


def run_trainer(arguments: list[str]) -> None:
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from gpt_classifier.training import cli

    try:
        cli.main(arguments)
    except MisconfigurationException as error:  # an accelerator that is not there, options that exclude each other
        raise InputError(" ".join(str(error).split())) from error


def cache(arguments: list[str]) -> None:
    """Says how much room the cached states take, or removes them."""
    parser = CommandParser("gpt-classifier cache", description="Cached states of frozen blocks.")
    parser.add_argument("action", nargs="?", choices=["show", "clear"], default="show")
    options = parser.parse_args(arguments)

    from gpt_classifier.training import trunk_cache

    size = trunk_cache.size()
    if options.action == "clear":
        trunk_cache.clear()
    print(f"{trunk_cache.folder()}: {size / 2**20:,.1f} MB{' removed' if options.action == 'clear' else ''}")


if __name__ == "__main__":
    sys.exit(main())
