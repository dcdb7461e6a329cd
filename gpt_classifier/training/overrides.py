"""Applies settings to a configuration, up to the data, model and trainer that the two describe.

The rows of a study and the trials of a search are such variants of one configuration.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import get_loader

from gpt_classifier.errors import InputError
from gpt_classifier.training.declared import SECTIONS, groups, is_setting, unknown_setting
from gpt_classifier.training.yaml_check import check_yaml

if TYPE_CHECKING:
    from gpt_classifier.training.build_run import ClassifierCLI

Settings = dict[str, Any]  # dotted keys of a configuration, such as model.pooling
QUIET: Settings = {"trainer.enable_checkpointing": False, "trainer.enable_progress_bar": False}
# For fits in this process, so on one device: with several, Lightning would start this program again for each.
ONE_PROCESS: Settings = {**QUIET, "trainer.devices": 1}


def build(base: str, settings: Settings, scratch: Path) -> "ClassifierCLI":
    """Data module, model and trainer of ``base`` changed by ``settings``. The trainer writes to ``scratch`` only.

    Args:
        base: Contents of a configuration.
        settings: Values by dotted key, such as model.pooling.
        scratch: Folder of the trainer's files and of the configuration itself.
    """
    from gpt_classifier.training.build_run import ClassifierCLI

    warnings.filterwarnings("ignore", message="LightningCLI.s args parameter")  # Lightning's advice for notebooks
    settings = settings | QUIET | {"trainer.default_root_dir": str(scratch)}
    return ClassifierCLI(arguments(base, settings, scratch), run=False)


def arguments(base: str, settings: Mapping[str, Any], folder: Path) -> list[str]:
    """Command-line arguments of ``base`` changed by ``settings``, which are written to two files of ``folder``."""
    first, second = folder / "base.yaml", folder / "settings.yaml"
    first.write_text(base, encoding="utf-8")
    second.write_text(yaml.safe_dump(overrides(base, settings), sort_keys=False), encoding="utf-8")
    return [f"--config={first}", f"--config={second}"]


def overrides(base: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration to pass after ``base`` so that ``settings`` apply.

    The parser replaces a mapping of the first configuration, such as model.gpt, as a whole. So a setting within one,
    such as model.gpt.dropout, is returned together with the rest of the mapping. The fields of a group, such as
    model.optimizer, change one by one.

    Raises ``InputError`` for a setting within a value that is not a mapping.
    """
    both = deepcopy(parse_yaml(base))
    changed: dict[str, Any] = {}
    for key, value in spread(settings).items():
        *path, name = key.split(".")
        within = both
        for n, part in enumerate(path, 1):
            if within.get(part) is None:
                within[part] = {}
            if path[:n] == ["model", "gpt"] and isinstance(within[part], str):
                within[part] = {"size": within[part]}  # a name is short for this
            within = within[part]
            if not isinstance(within, dict):
                taken = ".".join(path[:n])
                raise InputError(f"{key} cannot be set, because {taken} is {within!r}: make {taken} a mapping")
        within[name] = value
        section, *field_ = key.split(".")[:2]
        if field_:
            changed.setdefault(section, {})[field_[0]] = both[section][field_[0]]
        else:
            changed[section] = value
    return changed


def spread(settings: Mapping[str, Any]) -> Settings:
    """The same settings with a group's fields by keys of their own, so that others can replace them one by one."""
    found: Settings = {}
    for key, value in settings.items():
        section, _, group = key.partition(".")
        if isinstance(value, dict) and section in SECTIONS and group in groups(section):
            found |= {f"{key}.{field}": inner for field, inner in value.items()}
        else:
            found[key] = value
    return found


def given_settings(words: Sequence[str]) -> Settings:
    """The settings in the words of a command line, ``--key value`` or ``--key=value``, parsed as YAML."""
    parts = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    keys, values = parts[::2], parts[1::2]
    if len(parts) % 2 or any(not key.startswith("--") or "." not in key for key in keys):
        raise InputError(f"{' '.join(words)}: expected pairs such as --model.weights random; --help explains more")
    return spread({key[2:]: parse_yaml(value, key) for key, value in zip(keys, values, strict=True)})


def check_settings(settings: Any, name: str) -> None:
    """Raises ``InputError`` unless ``settings``, which the message calls ``name``, map keys of settings to values."""
    if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
        raise InputError(f"{name} are {settings!r}, expected keys and values such as model.pooling: mean")
    for key in settings:
        section, _, rest = key.partition(".")
        if key != "seed_everything" and not (section in SECTIONS and is_setting(section, rest)):
            raise InputError(f"{name}: {unknown_setting(key)}")


def read_base(path: Path, base: Any) -> str:
    """The contents of the configuration ``base``, a path relative to the file ``path`` that names it."""
    if not isinstance(base, str):
        raise InputError(f"base of {path} is {base!r}, expected the path of a configuration")
    content = read_yaml(path.parent / base)
    if not isinstance(content, dict):
        raise InputError(f"{path.parent / base}, the base of {path}, is not a configuration: it has no keys")
    for section in SECTIONS:
        if not isinstance(content.get(section) or {}, dict):
            raise InputError(f"{section} of {path.parent / base} is {content[section]!r}, expected keys with settings")
    if not isinstance(seed := content.get("seed_everything", 0), int):
        raise InputError(f"seed_everything of {path.parent / base} is {seed!r}, expected a whole number")
    return (path.parent / base).read_text(encoding="utf-8")


def read_yaml(path: Path) -> Any:
    """The parsed contents of a file. Raises ``InputError`` if it is missing or not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, what: str = "the configuration") -> Any:
    """Parses YAML as the configurations are parsed: 1e-3 is a number, which it is not in YAML 1.1.

    Raises ``InputError``, which names ``what`` was parsed, for text that is not YAML.
    """
    try:
        check_yaml(text, what)
        return get_loader("yaml")(text)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError for a day that no month has, for example
        raise InputError(f"{what} cannot be read as YAML: {' '.join(str(error).split())}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Suppresses the log lines and warnings of Lightning, which ``fit`` with the same settings shows."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
