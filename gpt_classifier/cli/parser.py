"""Looks at a command line before anything slow is imported: configurations by name, misspelt settings, missing files.

Refuses only what the parser and the data module would refuse some seconds later; knows nothing about their values.
"""

import ast
from collections.abc import Container, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from gpt_classifier import files
from gpt_classifier.errors import InputError, closest, did_you_mean

TRAINER_COMMANDS = ("fit", "validate", "test", "predict")
CONFIGURED = (*TRAINER_COMMANDS, "pretrain", "audit", "download", "study", "search")  # the commands that take --config
SECTIONS = ("data", "model", "trainer")
DASHES = ("-", "\N{EN DASH}", "\N{EM DASH}")  # word processors make one long dash of two
YAML_FILES = (".yaml", ".yml")
COLUMNS = ("text_column", "label_column", "splitting.group_column", "splitting.split_column")
OF_COMMANDS = ("output", "keep", "ray", "baselines", "report")  # options that one of the commands uses
OPTIONS = ("config", "model", "data", "trainer", "ckpt_path", "seed_everything", "print_config", *OF_COMMANDS)
CLASSIFICATION = {"data": ("data/datamodule.py", "TextDataModule"), "model": ("training/module.py", "GPTClassifier")}
PRETRAINING = {
    "data": ("pretraining/datamodule.py", "PretrainingData"),
    "model": ("pretraining/module.py", "LanguageModel"),
}
COMMAND = ContextVar("command", default="fit")  # whose settings are meant
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


def prepared(command: str, words: list[str]) -> list[str]:
    """The words after ``command`` with the paths of shipped configurations in place of their names.

    Raises ``InputError`` for what the command would not take.
    """
    COMMAND.set(command)
    if command not in CONFIGURED:
        return words
    if command == "audit" and words and not words[0].startswith("-") and not _is_configuration(words[0]):
        words = [*words[1:], f"--data.source={words[0]}"]  # last, as it has precedence over a configuration
    if words and not words[0].startswith("-") and words[:1] != ["table"]:
        raise InputError(unrecognized(words[0]))
    words = _with_paths(command, words)
    for word in words:
        own = command == "study" and word.partition("=")[0] in ("--folds", "--fractions")  # elsewhere those of data
        if not own:
            _check_option(word, whole=command in ("study", "search"))
    data: dict[str, Any] = {}
    for path in map(Path, _values(words, "--config", "-c")):
        if path.is_file():
            root = _read(path)
            if command not in ("study", "search"):
                content = _check_settings(path, root)
                given = content.get("data") or {}
                data = data | by_dotted_key("data", given) if isinstance(given, dict) else {"elsewhere": given}
    asked = {word.partition("=")[0] for word in words}
    if command not in ("download", "pretrain") and not asked & {"-h", "--help", "--print_config", "--data", "--smoke"}:
        _check_files(command, data, dict(_data_options(words)))
    return words


# ---------------------------------------------------------------- configurations by name


def _with_paths(command: str, words: list[str]) -> list[str]:
    replaced, value_next = [], False
    for word in words:
        name, equals, value = word.partition("=")
        if value_next:
            replaced.append(_path_of(command, word))
        elif name in ("--config", "-c") and equals:
            replaced.append(f"{name}={_path_of(command, value)}")
        else:
            replaced.append(word)
        value_next = not value_next and word in ("--config", "-c")
    return replaced


def _path_of(command: str, given: str) -> str:
    """A file as it is given; else the shipped configuration of that name, for studies and searches first their own."""
    known, path = files.built_in_configurations(), Path(given)
    if not given:
        raise InputError("--config needs a value")
    if any(sign in given for sign in "{\n") or given == "-" or ": " in given or "://" in given:
        return given  # not a path but the settings themselves
    if path.is_file():
        if path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json", ".parquet"):
            raise InputError(f"{given} is no configuration but data: --config csv --data.source {given} trains on it")
        return given
    for name in (f"{command}/{given}", given):
        if name in known:
            return str(known[name])
    if path.is_dir():
        raise InputError(f"--config {given} is a folder, expected a YAML file")
    name = path.with_suffix("").as_posix().removeprefix("configs/") if path.suffix in YAML_FILES else given
    if close := did_you_mean(name, known, ask="--config {}"):
        raise InputError(f"no file {given}{close}")
    raise InputError(f"no file {given}, and no configuration of that name comes with the package: {', '.join(known)}")


# ---------------------------------------------------------------- settings


def settings(section: str) -> Mapping[str, Any]:
    """The settings of ``data``, ``model`` or ``trainer`` of the current command, as :func:`_declared` reads them."""
    if section == "trainer":
        lightning = find_spec("lightning")
        assert lightning is not None
        assert lightning.origin is not None
        return _declared(Path(lightning.origin).parent / "pytorch" / "trainer" / "trainer.py", "Trainer")
    file, name = (PRETRAINING if COMMAND.get() == "pretrain" else CLASSIFICATION)[section]
    return _declared(Path(__file__).parent / file, name)


@cache
def _declared(file: Path, name: str) -> Mapping[str, Any]:
    """The settings of a class with their defaults, None where they are no plain values.

    Those of a group have dotted keys: ``optimizer.weight_decay``. All are read from the source of the constructor and
    of the groups' dataclasses, which declare them: importing these takes seconds.
    """
    module = ast.parse(file.read_text(encoding="utf-8"))
    body = next(n for n in module.body if isinstance(n, ast.ClassDef) and n.name == name).body
    arguments = next(n for n in body if isinstance(n, ast.FunctionDef) and n.name == "__init__").args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = dict(zip([a.arg for a in positional[::-1]], arguments.defaults[::-1], strict=False))
    defaults |= {a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None}
    found: dict[str, Any] = {}
    for argument in [*positional, *arguments.kwonlyargs][1:]:  # without self
        if (group := _group(module, argument.annotation)) is None:
            found[argument.arg] = _plain(defaults.get(argument.arg))
        else:
            found |= {f"{argument.arg}.{name}": value for name, value in group.items()}
    return found


def groups(section: str) -> Mapping[str, tuple[str, ...]]:
    """The groups of settings in a section, each with the names of its fields."""
    found: dict[str, tuple[str, ...]] = {}
    for group, _, field in (key.partition(".") for key in settings(section)):
        if field:
            found[group] = (*found.get(group, ()), field)
    return found


def _group(module: ast.Module, annotation: ast.expr | None) -> dict[str, Any] | None:
    """Fields and defaults of the dataclass of the package that an argument of this type takes, if it takes one."""
    names = {n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)} if annotation is not None else set()
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("gpt_classifier."):
            for name in names & {alias.name for alias in node.names}:
                path = Path(__file__).parent.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
                for defined in ast.parse(path.read_text(encoding="utf-8")).body:
                    if isinstance(defined, ast.ClassDef) and defined.name == name:
                        declared = [n for n in defined.body if isinstance(n, ast.AnnAssign)]
                        return {n.target.id: _plain(n.value) for n in declared if isinstance(n.target, ast.Name)}
    return None


def _plain(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def unrecognized(word: str) -> str:
    """What to say of a word on the command line that means nothing."""
    name, equals, _ = word.partition("=")
    if word.startswith(DASHES):
        return f"no option {name}{_close(name.lstrip(''.join(DASHES)), '--{}') or ': --help lists them'}"
    if _is_configuration(word):
        return f"{word} stands alone: give it as --config {word}"
    if equals and name.split(".")[0] in OPTIONS:
        return f"{word} is no option: did you mean --{word}?"
    if Path(word).is_file():
        return f"{word} stands alone: give a data file as --data.source {word}"
    return f"{word!r} stands alone: give values behind their options, and quote those that have spaces"


def _is_configuration(word: str) -> bool:
    return Path(word).suffix in YAML_FILES or word in files.built_in_configurations()


def unknown_setting(key: str) -> str:
    """What to say of a key of a configuration that is none."""
    return f"there is no setting {key}{_close(key, '{}') or f': {COMMAND.get()} --help lists them'}"


def _close(key: str, ask: str) -> str:
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


def _check_option(word: str, whole: bool) -> None:
    """Raises ``InputError`` for an option that is none; the trainer's parser also takes the beginning of a name."""
    if not word.startswith("--"):
        return
    section, _, key = word[2:].partition("=")[0].rstrip("+").partition(".")
    if section in SECTIONS:
        wrong = bool(key) and not _is_setting(section, key, whole)
    elif key:  # --modle.trainable
        wrong = closest(section, SECTIONS) is not None
    else:  # --learning_rate, --weight_decay
        wrong = any(section == known.rpartition(".")[2] for name in SECTIONS for known in settings(name))
    if wrong:
        raise InputError(unrecognized(word))


def _is_setting(section: str, key: str, whole: bool = True) -> bool:
    """Whether it is a setting, a group of settings, or something within a setting, such as ``gpt.dropout``.

    Or ``help``, which the parser offers for some of them, or, if not ``whole``, the beginning of one of these.
    """
    known = {"help", *settings(section), *groups(section), *(f"{group}.help" for group in groups(section))}
    within = any(key.startswith(f"{setting}.") for setting in settings(section))
    return key in known or within or (not whole and any(name.startswith(key) for name in known))


def by_dotted_key(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a section with those of groups by dotted key."""
    nested = {key: value for key, value in given.items() if key in groups(section) and isinstance(value, dict)}
    found = {key: value for key, value in given.items() if key not in nested}
    return found | {f"{group}.{key}": value for group, inner in nested.items() for key, value in inner.items()}


def _read(path: Path) -> yaml.MappingNode:
    """A configuration with the place of every key."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        if mark is not None and mark.buffer is not None and mark.buffer[mark.pointer : mark.pointer + 1] == "\t":
            problem = "there is a tab where YAML has spaces"
        where = path if mark is None else f"{path}, line {mark.line + 1}"
        raise InputError(f"{where}, is not YAML: {' '.join(str(problem).split())}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid UTF-8: save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(root, yaml.MappingNode):
        what = "is empty" if root is None else "is no configuration"
        raise InputError(f"{path} {what}: expected keys such as data, model and trainer with settings below them")
    return root


def _check_settings(path: Path, root: yaml.MappingNode) -> dict[str, Any]:
    """What a configuration says. Raises ``InputError`` for a key that is none of the settings."""
    keys = {key.value for key, _ in root.value}
    for command, marks in {"study": {"base", "rows"}, "search": {"base", "space"}}.items():
        if marks <= keys:
            raise InputError(f"{path} is a {command}: gpt-classifier {command} --config {path}")
    for key, value in root.value:
        if key.value in SECTIONS:
            for name, line in _keys(value, groups(key.value)):
                if not _is_setting(key.value, name.rstrip("+")):
                    raise InputError(f"{path}, line {line}: {unknown_setting(f'{key.value}.{name}')}")
        elif close := did_you_mean(key.value, SECTIONS):
            raise InputError(f"{path}, line {key.start_mark.line + 1}: there is no section {key.value}{close}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def _keys(node: yaml.Node, groups: Container[str] = ()) -> Iterator[tuple[str, int]]:
    """The keys of a mapping with their lines, and the dotted ones of the mappings of ``groups`` in it."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        if key.tag != "tag:yaml.org,2002:merge":
            yield key.value, key.start_mark.line + 1
            if key.value in groups:
                yield from ((f"{key.value}.{name}", line) for name, line in _keys(value))


# ---------------------------------------------------------------- files


def _data_options(words: list[str]) -> Iterator[tuple[str, Any]]:
    """The settings of data on a command line, in order."""
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("--data.") and (equals or number + 1 < len(words)):
            value = value if equals else words[number + 1]
            try:
                as_yaml = value.startswith("[") or value in ("null", "") or name == "--data.file_format.header"
                parsed = yaml.safe_load(value) if as_yaml else value
            except yaml.YAMLError:
                parsed = None
            yield name.removeprefix("--data."), parsed


def _check_files(command: str, configured: dict[str, Any], typed: dict[str, Any]) -> None:
    """Reads the first rows of each file that a fit would read; for other commands, those that are typed must exist."""
    defaults = settings("data")
    if "elsewhere" in configured or not typed.keys() <= defaults.keys():  # as in --data.class_names+ or --data.sour
        return
    if command in ("fit", "audit"):
        data = {**defaults, **configured, **typed}
        wanted = [] if data["split"] in ("chapter6", "article_table") else ["source", "val_source", "test_source"]
    else:
        data = {**defaults, **typed}
        scored = {"validate": "val_source", "test": "test_source"}.get(command, "source")
        wanted = [scored if typed.get(scored) else "source"]
        wanted = [name for name in wanted if name in typed]
    if not all(_is_names(data[name]) for name in (*wanted, *COLUMNS, "file_format.delimiter", "file_format.encoding")):
        return  # of a value of another type the parser speaks
    for name in wanted:
        from gpt_classifier.data import datasets, readers

        if (source := data[name]) is None or datasets.is_named(source):
            continue
        if command in ("fit", "audit"):
            text, label, group, split = (data[column] for column in COLUMNS)
            if name != "source":
                group = split = None  # one file for one split
            delimiter, encoding, header = (data[f"file_format.{field}"] for field in groups("data")["file_format"])
            file_format = readers.FileFormat(delimiter, encoding, bool(header))
            columns = datasets.Columns(text, label, group, split, multi_label=data["multi_label"])
            next(datasets.read_chunks(source, columns, file_format, rows=2), None)
        else:  # which columns are read follows from the model
            datasets.check_files(source)


def _is_names(value: Any) -> bool:
    """Whether it is a name, a list of names, or nothing."""
    return value is None or all(isinstance(name, str) for name in (value if isinstance(value, list) else [value]))


def _values(words: list[str], *options: str) -> list[str]:
    pairs = zip(words, [*words[1:], ""], strict=False)
    return [
        word.partition("=")[2] or following
        for word, following in pairs
        if word.partition("=")[0] in options and (word not in options or following)
    ]
