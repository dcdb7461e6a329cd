"""The settings of data, model and trainer with their defaults, known without importing what declares them."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from gpt_classifier.errors import closest, did_you_mean
from gpt_classifier.files import PACKAGE, built_in_configurations

SECTIONS = ("data", "model", "trainer")

OF_COMMANDS = {  # options that one of the commands uses
    **dict.fromkeys(("output", "keep", "ray"), "predict"),
    **dict.fromkeys(("baselines", "report"), "test"),
}

OPTIONS = ("config", "model", "data", "trainer", "ckpt_path", "seed_everything", "print_config", *OF_COMMANDS)

CLASSIFICATION = {"data": "TextDataModule", "model": "GPTClassifier"}
PRETRAINING = {"data": "PretrainingData", "model": "LanguageModel"}

COMMAND = ContextVar("command", default="fit")  # whose settings are meant

DASHES = ("-", "\N{EN DASH}", "\N{EM DASH}")  # word processors make one long dash of two
YAML_FILES = (".yaml", ".yml")

OTHER_NAMES = {  # what users of other programs type
    "epochs": "trainer.max_epochs",
    "gpus": "trainer.devices",
    "lr": "model.learning_rate",
    "seed": "seed_everything",
    "checkpoint": "ckpt_path",
    "encoder": "model.backbone",
    "decoder": "model.backbone",
    "gradient_checkpointing": "model.compute.activation_checkpointing",
}


def settings(section: str) -> Mapping[str, Any]:
    """The settings of ``data``, ``model`` or ``trainer`` of the current command with their defaults.

    None stands for a default that is no plain value. Settings of a group have dotted keys: ``optimizer.weight_decay``.
    """
    if section == "trainer":
        return _declared()["Trainer"]
    return _declared()[(PRETRAINING if COMMAND.get() == "pretrain" else CLASSIFICATION)[section]]


@cache
def _declared() -> dict[str, dict[str, Any]]:
    """The settings by the class that declares them, from a file that ``make settings`` writes and a test compares.

    To import the classes takes seconds.
    """
    declared: dict[str, dict[str, Any]] = json.loads((PACKAGE / "training/declared.json").read_text(encoding="utf-8"))
    return declared


def groups(section: str) -> Mapping[str, tuple[str, ...]]:
    """The groups of settings in a section, each with the names of its fields."""
    found: dict[str, tuple[str, ...]] = {}
    for group, _, field in (key.partition(".") for key in settings(section)):
        if field:
            found[group] = (*found.get(group, ()), field)
    return found


def is_setting(section: str, key: str, whole: bool = True) -> bool:
    """Whether it is a setting, a group of settings, or something within a setting, such as ``gpt.dropout``.

    Or ``help``, which the parser offers for some of them, or, if not ``whole``, the beginning of one of these.
    """
    known = {"help", *settings(section), *groups(section), *(f"{group}.help" for group in groups(section))}
    within = any(key.startswith(f"{setting}.") for setting in settings(section))
    return key in known or within or (not whole and any(name.startswith(key) for name in known))


def unknown_setting(key: str) -> str:
    """What to say of a key of a configuration that is none."""
    return f"there is no setting {key}{suggest_setting(key, '{}') or f': {_full_help()} lists them'}"


def _full_help() -> str:
    """The command that explains all settings."""
    return f"{COMMAND.get() if COMMAND.get() in ('fit', 'pretrain', 'test', 'predict') else 'fit'} --help all"


def suggest_setting(key: str, ask: str) -> str:
    """A question after what ``key`` may mean: a setting written like it, in its section or in another."""
    section, _, path = key.partition(".") if "." in key else ("", "", key)
    group, _, setting = path.rpartition(".")
    candidates = sorted(SECTIONS, key=lambda name: name != closest(section, SECTIONS))
    for candidate in candidates[: bool(section)]:  # the right word at the wrong place
        if moved := [known for known in settings(candidate) if known.rpartition(".")[2] == setting]:
            return f": did you mean {ask.format(f'{candidate}.{moved[0]}')}?"
    if setting in OTHER_NAMES:
        return f": did you mean {ask.format(OTHER_NAMES[setting])}?"
    if not section and (close := did_you_mean(key, OPTIONS, ask)):
        return close
    for candidate in candidates:
        by_word = {known.rpartition(".")[2]: known for known in settings(candidate)}
        near = closest(group, groups(candidate)) if group else None
        if near and (field := closest(setting, groups(candidate)[near])):
            return f": did you mean {ask.format(f'{candidate}.{near}.{field}')}?"
        if word := closest(setting, [*by_word, *groups(candidate)]):
            return f": did you mean {ask.format(f'{candidate}.{by_word.get(word, word)}')}?"
    return ""


def by_dotted_key(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a section with those of groups by dotted key."""
    nested = {key: value for key, value in given.items() if key in groups(section) and isinstance(value, dict)}
    found = {key: value for key, value in given.items() if key not in nested}
    return found | {f"{group}.{key}": value for group, inner in nested.items() for key, value in inner.items()}


def unrecognized(word: str) -> str:
    """What to say of a word on the command line that means nothing."""
    name, equals, _ = word.partition("=")
    if word.startswith(DASHES):
        hint = suggest_setting(name.lstrip("".join(DASHES)), "--{}") or f": {_full_help()} lists them"
        return f"no option {name}{hint}"
    if is_configuration(word):
        return f"{word} stands alone: give it as --config {word}"
    if equals and name.split(".")[0] in OPTIONS:
        return f"{word} is no option: did you mean --{word}?"
    if Path(word).is_file():
        return f"{word} stands alone: give a data file as --data.source {word}"
    return f"{word!r} stands alone: give values behind their options, and quote those that have spaces"


def is_configuration(word: str) -> bool:
    return Path(word).suffix in YAML_FILES or word in built_in_configurations()
