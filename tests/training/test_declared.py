"""The checked-in settings are those that the classes declare; run as a program, it writes them: ``make settings``."""

import inspect
import json
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from lightning.pytorch import Trainer

from gpt_classifier import GPTClassifier, TextDataModule
from gpt_classifier.files import PACKAGE
from gpt_classifier.pretraining.datamodule import PretrainingData
from gpt_classifier.pretraining.module import LanguageModel

FILE = Path(PACKAGE) / "training/declared.json"


def declared_settings(kind: type) -> dict[str, Any]:
    """The arguments of a class with their defaults; those of a group, a dataclass of ours, have dotted keys."""
    init = inspect.unwrap(kind.__init__)
    hints = get_type_hints(init) if kind is not Trainer else {}
    found: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(init).parameters.items())[1:]:
        hint = hints.get(name)
        group = next((one for one in (hint, *get_args(hint)) if is_dataclass(one)), None)
        if group is None:
            found[name] = plain(parameter.default)
        else:
            found |= {f"{name}.{field.name}": plain(field.default) for field in fields(group)}
    return found


def plain(value: Any) -> Any:
    """A default as JSON has it; None for one that is no plain value."""
    if value in (inspect.Parameter.empty, MISSING) or not isinstance(value, str | int | float | list | tuple | None):
        return None
    return list(value) if isinstance(value, tuple) else value


def all_settings() -> str:
    """The contents of the file."""
    kinds = {"TextDataModule": TextDataModule, "GPTClassifier": GPTClassifier, "Trainer": Trainer}
    kinds |= {"PretrainingData": PretrainingData, "LanguageModel": LanguageModel}
    found = {name: declared_settings(kind) for name, kind in kinds.items()}
    found["Trainer"] = dict.fromkeys(found["Trainer"])  # Lightning knows its defaults
    return json.dumps(found, indent=1) + "\n"


def test_the_settings_of_the_file_are_those_of_the_classes():
    assert FILE.read_text(encoding="utf-8") == all_settings(), "write it again: make settings"


if __name__ == "__main__":
    FILE.write_text(all_settings(), encoding="utf-8")
