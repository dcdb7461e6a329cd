"""The command ``calibrate``: fits temperature and rule of a trained model on validation rows, and keeps them in it."""

from pathlib import Path

from gpt_classifier.errors import CommandParser, InputError

USAGE = "gpt-classifier calibrate MODEL [options] [--data.KEY VALUE ...]"
DESCRIPTION = (
    "Fits how a trained model decides, on the validation rows of its data: the temperature of its probabilities, and "
    "the rule by which they become predictions. Both are written into the model folder, and followed by classify, "
    "predict and TextClassifier. Nothing is trained; each call replaces the last one."
)
RULES = (
    "argmax, '{max_fpr: 0.01}', '{min_recall: 0.99}', '{min_precision: 0.9}', '{min_precision: 0.9, of: each}', "
    "'{thresholds: {spam: 0.9, ham: 0.6}}', '{coverage: 0.95}', '{costs: ...}'; for a multi-label "
    "model max_f1, or one of these rates of each label"
)
PREVALENCE = (
    "prevalence of each class where the model will be used, as {spam: 0.13, ham: 0.87}; after balanced training by "
    "default that of the validation rows"
)


def main(arguments: list[str]) -> None:
    parser = CommandParser("gpt-classifier calibrate", USAGE, DESCRIPTION)
    add = parser.add_argument
    add("--decide", metavar="RULE", help=f"{RULES}; the probabilities are calibrated with each")
    add("--prevalence", metavar="PREVALENCE", help=PREVALENCE)
    add("model", metavar="MODEL", nargs="?", help="model folder or run folder")
    data, others = split_data_options(arguments)
    options = parser.parse_args(others)
    if options.model is None:
        raise InputError("which model? Name it first, as in calibrate checkpoints/spam")

    from gpt_classifier.training.calibration import calibrate
    from gpt_classifier.training.overrides import given_settings

    o, changes = options, given_settings(data)
    print("\n".join(calibrate(Path(o.model), o.decide, o.prevalence, changes)))


def split_data_options(words: list[str]) -> tuple[list[str], list[str]]:
    """The words of options such as ``--data.val_source FILE``, and all others."""
    data: list[str] = []
    others: list[str] = []
    following = iter(words)
    for word in following:
        if not word.startswith("--data."):
            others.append(word)
        else:
            data += (
                [word] if "=" in word else [word, *[value for value in [next(following, None)] if value is not None]]
            )
    return data, others
