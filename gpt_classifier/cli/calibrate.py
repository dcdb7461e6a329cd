"""The command ``calibrate``: fits temperature and rule of a trained model on validation rows, and keeps them in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_classifier.errors import CommandParser, InputError

if TYPE_CHECKING:
    import pandas as pd

    from gpt_classifier.inference.bundle import Bundle

DESCRIPTION = (
    "Fits how a trained model decides, on the validation rows of its data: the temperature of its probabilities, and "
    "the rule by which they become an answer. Both are written into the model folder, and followed by classify, "
    "predict and TextClassifier. Nothing is trained; each call replaces the last one."
)


def main(arguments: list[str]) -> None:
    parser = CommandParser(
        "gpt-classifier calibrate", "gpt-classifier calibrate FOLDER [options] [--data.KEY VALUE ...]", DESCRIPTION
    )
    add = parser.add_argument
    add("--model", help="model folder or run folder; without it, the first argument is the model")
    add("--decide", metavar="RULE", help=f"{_examples()}; the probabilities are calibrated with each")
    add(
        "--prevalence",
        metavar="SHARES",
        help="share of each class where the model will be used, as {spam: 0.13, ham: 0.87}; after balanced training by "
        "default that of the validation rows",
    )
    add(
        "--early",
        metavar="LEVELS",
        help="also print what the answers score if a text is read only until a class has this probability, and how "
        "much of it that is, as [0.9, 0.99]; for models that classify --trace can follow; changes nothing in the model",
    )
    add("folder", nargs="?", help="the model, if --model does not name it")
    data, others = _of_data(arguments)
    options = parser.parse_args(others)
    if (options.model is None) == (options.folder is None):
        raise InputError("which model? Name one folder, as in calibrate checkpoints/spam")
    model = Path(options.model or options.folder)

    from gpt_classifier.files import whole_file
    from gpt_classifier.inference import model_folder
    from gpt_classifier.inference.calibration import calibrated
    from gpt_classifier.training.overrides import given_settings, parse_yaml

    folder = model_folder.model_folder(model)
    contents = model_folder.load(folder)
    decide, shares = (None if given is None else parse_yaml(given) for given in (options.decide, options.prevalence))
    prevalence = None if shares is None else _shares(shares, contents.class_names)
    levels = None if options.early is None else _levels(parse_yaml(options.early), contents)
    rows = _rows(contents, given_settings(data))
    contents, lines = calibrated(contents, rows, decide, prevalence)
    if levels is not None:
        lines += _early(contents, rows, levels)
    model_folder.save_config(folder, contents)
    if contents.card:
        with whole_file(folder / "README.md") as path:
            path.write_text(contents.card, encoding="utf-8")
    print("\n".join([*lines, f"kept in {folder}"]))


def _of_data(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The words of options such as ``--data.val_source FILE``, and all others."""
    data: list[str] = []
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if not word.startswith("--data."):
            others.append(word)
        else:
            data += [word] if "=" in word else [word, *[value for value in [next(words, None)] if value is not None]]
    return data, others


def _rows(contents: "Bundle", changes: Mapping[str, Any]) -> "pd.DataFrame":
    """Texts and class names of the validation rows that the model was not trained on."""
    from gpt_classifier.data.datamodule import TextDataModule
    from gpt_classifier.data.duplicates import trained_on
    from gpt_classifier.data.sources import IN_MEMORY
    from gpt_classifier.training import declared

    settings: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in contents.data.items()
    }
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if section != "data" or name not in declared.settings("data"):
            raise InputError(declared.unknown_setting(key))
        group, _, field = name.partition(".")
        if field:
            settings.setdefault(group, {})[field] = value
        else:
            settings[name] = value
    settings |= {"class_names": contents.class_names}
    if settings.get("val_source") is not None:  # all rows of that file
        whole = {"fractions": [1.0, 0.0, 0.0], "folds": 0, "fold": 0, "group_column": None, "split_column": None}
        settings |= {"source": settings["val_source"], "val_source": None, "test_source": None, "split": "random"}
        settings |= {"splitting": settings.get("splitting", {}) | whole, "balance": "none"}
        name = "train"
    else:
        name = "val"
    if settings.get("source", IN_MEMORY) == IN_MEMORY:
        raise InputError("the model was not trained on a file, so name one with labels: --data.val_source FILE")
    data = TextDataModule(**settings)
    data.prepare_data()
    tables = data.read_tables()
    if name not in tables:
        raise InputError("there are no validation rows: name a file with labels, --data.val_source FILE")
    table = tables[name]
    if contents.trained_on is not None:
        seen = trained_on(table["text"], contents.trained_on)
        if seen.any():
            print(f"left out: {int(seen.sum()):,} rows that the model was trained on, or near-duplicates of such")
            table = table[~seen]
    if len(table) < 2:
        raise InputError(f"{len(table)} validation rows are left, expected more: --data.val_source FILE")
    return table


def _levels(given: Any, contents: "Bundle") -> list[float]:
    """The levels of ``--early``; refuses what is none, and models whose answers cannot be followed."""
    from gpt_classifier.inference.classifier import TextClassifier
    from gpt_classifier.inference.trace import check_level

    levels = given if isinstance(given, list) else [given]
    if not levels or not all(isinstance(level, int | float) for level in levels):
        raise InputError(f"--early is {given!r}, expected probabilities, such as [0.9, 0.99]")
    for level in levels:
        check_level(level)
    TextClassifier(contents).check_traceable()
    return levels


def _early(contents: "Bundle", rows: "pd.DataFrame", levels: list[float]) -> list[str]:
    from gpt_classifier.inference.classifier import TextClassifier
    from gpt_classifier.inference.early import early_scores
    from gpt_classifier.reporting.test_tables import early_table

    classifier = TextClassifier(contents)
    scores = early_scores(map(classifier.trace, rows["text"]), rows["label"].tolist(), levels)
    return [f"answers before the end of a text, on these {len(rows):,} rows:", early_table(scores)]


def _shares(given: Any, names: list[str]) -> list[float]:
    values = {str(name): value for name, value in given.items()} if isinstance(given, Mapping) else {}
    if values.keys() != set(names) or not all(
        isinstance(value, int | float) and value > 0 for value in values.values()
    ):
        raise InputError(f"prevalence is {given!r}, expected a share above 0 for each of {', '.join(names)}")
    return [float(values[name]) for name in names]


def _examples() -> str:
    return (
        "argmax, '{max_fpr: 0.01}', '{min_recall: 0.99}', '{min_precision: 0.9}', '{min_precision: 0.9, of: each}', "
        "'{thresholds: {spam: 0.9, ham: 0.6}}', '{coverage: 0.95}', '{costs: ...}'; where a text may have several "
        "labels max_f1, or one of these rates of each label"
    )
