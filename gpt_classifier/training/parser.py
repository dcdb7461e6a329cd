"""Parses options and configurations, and says in one readable line what is wrong with them."""

import ast
import inspect
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from lightning.pytorch import callbacks, loggers
from lightning.pytorch.cli import LightningArgumentParser

from gpt_classifier import commandline
from gpt_classifier.errors import InputError, did_you_mean

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
GIVEN = "Got value: "
EXPECTED = r"Expected an? typing\.Literal\[([^\]]*)\]|Expected (?:an? )?<class '([^']+)'>"
CLASSES = {"trainer.callbacks": callbacks.__all__, "trainer.logger": loggers.__all__}


class Parser(LightningArgumentParser):
    """Reports what is wrong as an ``InputError``, instead of behind a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise InputError(readable(" ".join(message.split()))) from ex


def readable(message: str) -> str:
    """What jsonargparse's ``message`` means."""
    if found := re.fullmatch(r"unrecognized arguments: (\S+).*", message):
        return commandline.unrecognized(found[1])
    if found := re.fullmatch(r"argument (?:-\w/)?(--[\w.]+)\S*: expected (?:at least )?one argument", message):
        return f"{found[1]} needs a value"
    if found := re.fullmatch(r"ambiguous option: (--[\w.]+).* could match (.*)", message):
        names = dict.fromkeys(name.rstrip("+") for name in found[2].split(", "))
        return f"no option {found[1]}: did you mean {' or '.join(names)}?"
    if found := re.search(r"does not accept option '([^']+)'", message):
        return commandline.unknown_setting(found[1])
    if found := re.fullmatch(r'Parser key "([^"]+)": (.*)', message):
        return _of_value(found[1], found[2])
    return message


def _of_value(key: str, message: str) -> str:
    """Of the value of one setting, which is none of the types that it may have."""
    section, _, group = key.partition(".")
    if section in commandline.SECTIONS and (fields := commandline.groups(section).get(group)):
        return _of_group(key, fields, message)
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
    if not choices or not given:
        return f"{key}: {message}"
    listed = " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    return f"{key} is {given!r}, expected {listed}{did_you_mean(given, literals)}"


def _of_group(key: str, fields: Sequence[str], message: str) -> str:
    """Of a group of settings that is no mapping, or of one of its fields."""
    if found := re.search(rf'Parser key "({key}\.[^"]+)": (.*)', message):
        return _of_value(found[1], found[2])
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        return commandline.unknown_setting(f"{key}.{found[1]}")
    if found := re.search(rf"Errors: - ((?:{'|'.join(fields)})\b.*?) - Expected a <class 'NoneType'>", message):
        return f"{key}.{found[1]}"  # which was made readable before
    given = re.search(r"Unable to load config '(.*?)'|Given value: (.*)", message)
    value = next(filter(None, given.groups()), "") if given else ""
    return f"{key} is {value!r}, expected a mapping with fields {', '.join(fields)}"


def _has_no(argument: str, given: str) -> str:
    """Of the class among those of a value that was given this argument."""
    try:
        value: Any = ast.literal_eval(given)
    except (ValueError, SyntaxError):
        value = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and argument in (item.get("init_args") or {}):
            name = str(item.get("class_path")).rpartition(".")[2]
            known = getattr(callbacks, name, None) or getattr(loggers, name, None)
            names = inspect.signature(known).parameters if known is not None else ()
            return f"{name} has no argument {argument}{did_you_mean(argument, names)}"
    return f"no class of it has an argument {argument}"
