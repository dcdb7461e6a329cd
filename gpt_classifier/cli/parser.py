"""Looks at a command line before anything slow is imported: configurations by name, misspelt settings, missing files.

Refuses only what the parser and the data module would refuse some seconds later.
"""

from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from gpt_classifier import files
from gpt_classifier.cli.short_help import HELPS, short_help
from gpt_classifier.errors import InputError, closest, did_you_mean
from gpt_classifier.files import BUILT_IN_MODEL
from gpt_classifier.training.declared import (
    COMMAND,
    OF_COMMANDS,
    SECTIONS,
    YAML_FILES,
    by_dotted_key,
    groups,
    is_configuration,
    is_setting,
    settings,
    unknown_setting,
    unrecognized,
)
from gpt_classifier.training.yaml_check import check_yaml

CONFIGURED = ("fit", "test", "predict", "pretrain", "audit", "cache", "study")  # the commands that take --config
COLUMNS = ("text_column", "label_column", "splitting.group_column", "splitting.split_column")


def prepared(command: str, words: list[str]) -> list[str]:
    """The words after ``command`` with the paths of built-in configurations in place of their names.

    Raises ``InputError`` for what the command would not take.
    """
    COMMAND.set(command)
    if command not in CONFIGURED:
        return words
    if command == "cache":
        return ["download", *_prepared("download", words[1:])] if words[:1] == ["download"] else words
    if command == "study" and words[:1] == ["table"]:
        return words
    if not words or words[0].startswith("-"):
        return _prepared(command, words)
    first, *others = words
    if command in ("test", "predict") and (_is_like_model(first) or not is_configuration(first)):
        return [first, *_prepared(command, others)]
    if command == "audit" and not is_configuration(first):
        _check_alone(first, others, "--data.source")
        # Last, as it has precedence over a configuration.
        return _prepared(command, [*others, f"--data.source={first}"])
    if command == "fit" and _is_like_model(first):
        _check_alone(first, others, "--model.weights")
        return _prepared(command, [*others, f"--model.weights={first}"])
    raise InputError(unrecognized(first))


def _check_alone(first: str, words: list[str], option: str) -> None:
    """Raises ``InputError`` if an option says what the first word says."""
    if any(word.partition("=")[0] == option for word in words):
        raise InputError(f"{first} and {option} say the same: give one of them")


def take_split(words: list[str]) -> tuple[str, list[str]]:
    """The split that ``test`` scores, ``--on test`` or ``--on val``, and the other words."""
    given = _values(words, "--on")
    if words[-1:] == ["--on"]:
        raise InputError("--on needs a value: test or val")
    if any(split not in ("test", "val") for split in given):
        raise InputError(f"--on is {given[-1]!r}, expected test or val")
    rest = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before != "--on" and word.partition("=")[0] != "--on"
    ]
    return (given[-1] if given else "test"), rest


def _check_has_use(command: str, words: list[str]) -> None:
    """Raises ``InputError`` for an option of another of the trainer's commands; one on val rows has none of them."""
    used = "test --on val" if command == "test" and take_split(words)[0] == "val" else command
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        if (owner := OF_COMMANDS.get(option[2:], used)) != used:
            raise InputError(f"{option} is an option of {owner}, and {used} has no use for it")


def asks_for_help(words: list[str]) -> bool:
    """Whether ``--help`` stands there without a word such as ``all`` or ``trainer``."""
    return any(
        word in ("-h", "--help") and (following == "" or following.startswith("-"))
        for word, following in zip(words, [*words[1:], ""], strict=False)
    )


def _is_like_model(word: str) -> bool:
    """Whether it is a model folder, a run or a checkpoint, or the name of one that is not there."""
    path = Path(word)
    absent = path.name != word and path.suffix == "" and not is_configuration(word)
    return path.is_dir() or path.suffix == ".ckpt" or absent or word == BUILT_IN_MODEL


def _prepared(command: str, words: list[str]) -> list[str]:
    """The options with paths in place of names; raises ``InputError`` as :func:`prepared` does."""
    if command in HELPS and asks_for_help(words):
        print(short_help(command), end="")
        raise SystemExit(0)
    words = _with_paths(command, words)
    if command in ("fit", "test", "predict"):
        _check_has_use(command, words)
    for word in words:
        own = command == "study" and word.partition("=")[0] in ("--folds", "--fractions")  # elsewhere those of data
        if not own:
            _check_option(word, whole=command == "study")
        _check_value(word)
    data: dict[str, Any] = {}
    for path in map(Path, _values(words, "--config", "-c")):
        if path.is_file():
            root, content = _read(path)
            if command != "study":
                _check_settings(path, root)
                given = content.get("data") or {}
                data = data | by_dotted_key("data", given) if isinstance(given, dict) else {"elsewhere": given}
    asked = {word.partition("=")[0] for word in words}
    # audit finds out about columns by itself
    if command not in ("download", "pretrain", "audit") and not asked & {
        "-h",
        "--help",
        "--print_config",
        "--data",
        "--smoke",
    }:
        split = take_split(words)[0] if command == "test" else None
        _check_files(command, split, data, dict(_data_options(words)))
    return words


# ---------------------------------------------------------------- configurations by name


def _with_paths(command: str, words: list[str]) -> list[str]:
    replaced, value_next = [], False
    for word in words:
        name, equals, value = word.partition("=")
        if value_next:
            replaced.append(_find_path(command, word))
        elif name in ("--config", "-c") and equals:
            replaced.append(f"{name}={_find_path(command, value)}")
        else:
            replaced.append(word)
        value_next = not value_next and word in ("--config", "-c")
    return replaced


def _find_path(command: str, given: str) -> str:
    """A file as it is given; else the built-in configuration of that name, for studies and searches first their own."""
    known, path = files.built_in_configurations(), Path(given)
    if not given:
        raise InputError("--config needs a value")
    if any(sign in given for sign in "{\n") or given == "-" or ": " in given or "://" in given:
        return given  # not a path but the settings themselves
    if path.is_file():
        if path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json", ".parquet"):
            raise InputError(f"{given} is no configuration but data: --config csv --data.source {given} trains on it")
        return given
    for name in (f"{command}/{given}", given):  # a search is named with its folder, as in search/spam
        if name in known:
            return str(known[name])
    if path.is_dir():
        raise InputError(f"--config {given} is a folder, expected a YAML file")
    name = path.with_suffix("").as_posix().removeprefix("configs/") if path.suffix in YAML_FILES else given
    if close := did_you_mean(name, known, ask="--config {}"):
        raise InputError(f"no file {given}{close}")
    raise InputError(f"no file {given}, and no configuration of that name comes with the package: {', '.join(known)}")


# ---------------------------------------------------------------- settings


def _check_option(word: str, whole: bool) -> None:
    """Raises ``InputError`` for an option that is none; the trainer's parser also takes the beginning of a name."""
    if not word.startswith("--"):
        return
    section, _, key = word[2:].partition("=")[0].rstrip("+").partition(".")
    if section in SECTIONS:
        wrong = bool(key) and not is_setting(section, key, whole)
    elif key:  # --modle.trainable
        wrong = closest(section, SECTIONS) is not None
    else:  # --learning_rate, --weight_decay
        wrong = any(section == known.rpartition(".")[2] for name in SECTIONS for known in settings(name))
    if wrong:
        raise InputError(unrecognized(word))


def _check_value(word: str) -> None:
    """Raises ``InputError`` for a mapping or list on the command line that should not be parsed."""
    name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    value = value if equals or not name else ""
    if value.startswith(("{", "[")):
        with suppress(yaml.YAMLError):  # the parser says what is wrong
            check_yaml(value, name or value[:30])


def _read(path: Path) -> tuple[yaml.MappingNode, dict[str, Any]]:
    """A configuration with the place of every key, and what it says."""
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text, str(path))
        root, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except InputError:
        raise
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        if mark is not None and mark.buffer is not None and mark.buffer[mark.pointer : mark.pointer + 1] == "\t":
            problem = "there is a tab where YAML has spaces"
        where = path if mark is None else f"{path}, line {mark.line + 1}"
        raise InputError(f"{where}, is not YAML: {' '.join(str(problem).split())}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid UTF-8: save it as UTF-8") from error
    except ValueError as error:  # a day that no month has, for example
        raise InputError(f"{path} has a value that is none: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(root, yaml.MappingNode):
        what = "is empty" if root is None else "is no configuration"
        raise InputError(f"{path} {what}: expected keys such as data, model and trainer with settings below them")
    return root, content


def _check_settings(path: Path, root: yaml.MappingNode) -> None:
    """Raises ``InputError`` for a key that is none of the settings."""
    keys = {key.value for key, _ in root.value}
    for kind, marks in {"study": {"base", "rows"}, "search": {"base", "space"}}.items():
        if marks <= keys:
            raise InputError(f"{path} is a {kind}: gpt-classifier study --config {path}")
    for key, value in root.value:
        if key.value in SECTIONS:
            _check_is_mapping(path, key.value, value)
            for group, inner in value.value if isinstance(value, yaml.MappingNode) else ():
                if group.value in groups(key.value):
                    _check_is_mapping(path, f"{key.value}.{group.value}", inner)
            for name, line in _keys(value, groups(key.value)):
                if not is_setting(key.value, name.rstrip("+")):
                    raise InputError(f"{path}, line {line}: {unknown_setting(f'{key.value}.{name}')}")
        elif close := did_you_mean(key.value, SECTIONS):
            raise InputError(f"{path}, line {key.start_mark.line + 1}: there is no section {key.value}{close}")


def _check_is_mapping(path: Path, name: str, node: yaml.Node) -> None:
    if not isinstance(node, yaml.MappingNode) and node.tag != "tag:yaml.org,2002:null":
        given = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list"
        raise InputError(f"{path}, line {node.start_mark.line + 1}: {name} is {given}, expected settings below it")


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


def _check_files(command: str, split: str | None, configured: dict[str, Any], typed: dict[str, Any]) -> None:
    """Reads the first rows of each file that a fit would read; for other commands, those that are typed must exist."""
    defaults = settings("data")
    if "elsewhere" in configured or not typed.keys() <= defaults.keys():  # as in --data.class_names+ or --data.sour
        return
    if command in ("fit", "audit"):
        data = {**defaults, **configured, **typed}
        wanted = [] if data["split"] in ("chapter6", "article_table") else ["source", "val_source", "test_source"]
        wanted.append("unlabelled_source")
    else:
        data = {**defaults, **typed}
        scored = "source" if split is None else f"{split}_source"
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
            columns = columns.without_labels() if name == "unlabelled_source" else columns
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
