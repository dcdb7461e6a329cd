"""Parses options and configurations, and reports an error in them in one readable line."""

import argparse
import ast
import inspect
import re
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from os.path import basename, isfile
from typing import Any, NoReturn, get_args

import jsonargparse
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.cli import LightningArgumentParser

from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.training import declared

TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list such as [a, b]",
    "dict": "a mapping such as {a: 1}",
    "Iterable": "a list",
    "NoneType": "null",
}
EXPECTED = r"Expected an? typing\.Literal\[([^\]]*)\]|Expected (?:an? )?<class '([^']+)'>"
CLASSES = {"trainer.callbacks": callbacks.__all__, "trainer.logger": loggers.__all__}


ORDER = ("--data", "--model", "--data.", "--model.", "-", "--trainer")  # order of the parts of --help
ABOUT_TRAINER = (
    "Lightning's Trainer has settings too, such as --trainer.max_epochs 5 and --trainer.precision bf16-mixed: "
    "%(prog)s --help trainer explains them."
)


class Help(argparse.Action):
    """``--help all`` of the settings of data and model, and ``--help trainer``."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, values: object, option: str | None = None
    ) -> None:
        assert isinstance(parser, Parser)
        parser.explains_trainer = values == "trainer"
        parser.print_help()
        parser.exit()


class Parser(LightningArgumentParser):
    """Raises ``InputError`` for an error in the arguments, instead of printing a page of usage first.

    Its help begins with the settings of data and model; the settings of Lightning's Trainer have a page of their own.
    """

    explains_trainer = False  # whether --help explains the trainer's settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, add_help=False, **kwargs)
        about = "Explain the settings and exit."
        self.add_argument(
            "-h", "--help", action=Help, nargs="?", choices=["all", "trainer"], default="==SUPPRESS==", help=about
        )

    def add_lightning_class_args(self, lightning_class: Any, *args: Any, **settings: Any) -> list[str]:
        _try_whole_numbers_first(inspect.unwrap(lightning_class.__init__))
        return super().add_lightning_class_args(lightning_class, *args, **settings)

    def format_help(self, *args: Any) -> str:
        everything = self._action_groups
        self.prog = self.prog.replace(" [options]", "").replace(" validate", " test --on val")
        self.usage = "%(prog)s [--config CONFIG] [--SECTION.SETTING VALUE ...]"
        self.epilog = None if self.explains_trainer else ABOUT_TRAINER
        parts = [(_place(group), group) for group in everything if group._group_actions]
        chosen = [part for part in parts if (ORDER[part[0]] == "--trainer") == self.explains_trainer]
        self._action_groups = [group for _, group in sorted(chosen, key=lambda part: part[0])]
        try:
            return super().format_help(*args)
        finally:
            self._action_groups = everything

    def parse_path(self, path: str, *args: Any, **settings: Any) -> jsonargparse.Namespace:
        """Reads a file as UTF-8, in which this package writes configurations; jsonargparse asks the system."""
        if not isfile(path):  # an address, or - for standard input
            return super().parse_path(path, *args, **settings)
        with jsonargparse.Path(path, mode="fr").relative_path_context(), open(basename(path), encoding="utf-8") as file:
            return self.parse_string(file.read(), basename(path), *args, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise InputError(readable(" ".join(message.split()))) from ex


def _try_whole_numbers_first(function: Callable[..., Any]) -> None:
    """Reads 1 as a whole number where int and float are accepted: limit_test_batches=1 is one batch, 1.0 is all.

    ``typing`` keeps one ``Union[int, float]`` for both orders, the one that any library happened to write first.
    """
    for name, hint in function.__annotations__.items():
        kinds = get_args(hint)
        if int in kinds and float in kinds:
            function.__annotations__[name] = reduce(or_, sorted(kinds, key=lambda kind: kind is not int))


def _place(group: argparse._ArgumentGroup) -> int:
    """Position of a group of options in ORDER."""
    for action in group._group_actions:
        if action.help == "Path to a configuration file." and "-c" not in action.option_strings:
            action.help = argparse.SUPPRESS  # --data FILE and similar options, as --config FILE does the same
    section, _, rest = group._group_actions[-1].option_strings[0].partition(".")
    start = f"{section}." if rest.count(".") and section != "--trainer" else section
    return ORDER.index(start if start in ORDER else "-")


def readable(message: str) -> str:
    """The meaning of jsonargparse's ``message``, in plain words."""
    if match := re.fullmatch(r"unrecognized arguments: (\S+).*", message):
        return declared.unrecognized(match[1])
    if match := re.fullmatch(r"argument (?:-\w/)?(--[\w.]+)\S*: expected (?:at least )?one argument", message):
        return f"{match[1]} needs a value"
    if match := re.fullmatch(r"ambiguous option: (--[\w.]+).* could match (.*)", message):
        names = dict.fromkeys(name.rstrip("+") for name in match[2].split(", "))
        return f"no option {match[1]}: did you mean {' or '.join(names)}?"
    if match := re.search(r"does not accept option '([^']+)'", message):
        return declared.unknown_setting(match[1])
    if match := re.fullmatch(r'Parser key "([^"]+)": (.*)', message):
        return _explain_value(match[1], match[2])
    return message


def _explain_value(key: str, message: str) -> str:
    """The message for a setting whose value has none of the accepted types."""
    section, _, group = key.partition(".")
    if section in declared.SECTIONS and (fields := declared.groups(section).get(group)):
        return _explain_group(key, fields, message)
    complaint, _, given = re.sub(r"Given value type: .*?Given value: ", "Got value: ", message).rpartition(
        "Got value: "
    )
    if found := re.search(r"Expected a dot import path string: (\S+)", complaint):
        known = CLASSES.get(key, [])
        expected = f": expected one of {', '.join(known)}, or a path such as package.module.Class" if known else ""
        return f"{key}: there is no class {found[1]}{did_you_mean(found[1], known) or expected}"
    if found := re.search(r"Problem with given class_path '[^']*': [^-]*", complaint):
        return f"{key}: {found[0].strip()}"
    if found := re.search(r"Option '([^']+)' is not accepted", complaint):
        return f"{key}: {_has_no(found[1], given)}"
    if found := re.search(r"the following arguments are required: ([\w, ]*\w)", complaint):
        names = re.findall(r"class_path='([\w.]+)'", given)
        return f"{key}: {names[0] if len(names) == 1 else 'a class'} needs a value for {found[1]}"
    literals: list[str] = []
    types: list[str] = []
    for literal, kind in re.findall(EXPECTED, message):
        literals += map(str, ast.literal_eval(f"[{literal}]"))
        types += [TYPES.get(name, f"a {name}") for name in [kind.rpartition(".")[2]] if name]
    choices = list(dict.fromkeys(literals + types))
    if found := re.fullmatch(r"NestedArg\(key='(\w+)', val='?(.*?)'?\)", given):  # within a mapping, --key.name
        key, given, choices = f"{key}.{found[1]}", found[2], [c for c in choices if c != TYPES["str"]]
    if not choices or not given:
        return f"{key}: {message}"
    listed = " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    return f"{key} is {given!r}, expected {listed}{did_you_mean(given, literals)}"


def _explain_group(key: str, fields: Sequence[str], message: str) -> str:
    """The message for a group of settings that is not a mapping, or for one of its fields."""
    if found := re.search(rf'Parser key "({key}\.[^"]+)": (.*)', message):
        return _explain_value(found[1], found[2])
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        return declared.unknown_setting(f"{key}.{found[1]}")
    if found := re.search(rf"Errors: - ((?:{'|'.join(fields)})\b.*?) - Expected a <class 'NoneType'>", message):
        return f"{key}.{found[1]}"  # this part is readable already
    given = re.search(r"Unable to load config '(.*?)'|Given value: (.*)", message)
    value = next(filter(None, given.groups()), "") if given else ""
    return f"{key} is {value!r}, expected a mapping with fields {', '.join(fields)}"


def _has_no(argument: str, given: str) -> str:
    """The message for an unknown argument: which class in the given value has it, and the closest argument."""
    try:
        value: object = ast.literal_eval(given)
    except (ValueError, SyntaxError):
        value = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and argument in (item.get("init_args") or {}):
            name = str(item.get("class_path")).rpartition(".")[2]
            known = getattr(callbacks, name, None) or getattr(loggers, name, None)
            names = inspect.signature(known).parameters if known is not None else ()
            return f"{name} has no argument {argument}{did_you_mean(argument, names)}"
    return f"no class of it has an argument {argument}"
