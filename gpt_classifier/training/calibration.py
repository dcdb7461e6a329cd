"""Calibrates a model folder on the validation rows of the data that its model was trained on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import find_trained_on
from gpt_classifier.data.sources import IN_MEMORY, find_sources
from gpt_classifier.errors import InputError
from gpt_classifier.files import folders_around, whole_file
from gpt_classifier.inference import model_folder
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.calibration import calibrated, read_prevalence
from gpt_classifier.records import check
from gpt_classifier.training import declared
from gpt_classifier.training.overrides import parse_yaml


def calibrate(model: Path, decide: str | None, prevalence: str | None, changes: Mapping[str, Any]) -> list[str]:
    """Writes how the model decides into its folder; returns what the validation rows say of it, a sentence each.

    Args:
        model: A model folder or run folder.
        decide: The rule in YAML; see :func:`gpt_classifier.decision.fitting.fit`.
        prevalence: Prevalence of each class where the model will be used, by name, in YAML.
        changes: Settings of the data that differ from those of the training, by dotted key.

    Raises:
        InputError: One of these cannot be used, or there are no validation rows.
    """
    folder = model_folder.model_folder(model)
    contents = model_folder.load(folder)
    rule = None if decide is None else parse_yaml(decide, "--decide")
    given = None if prevalence is None else parse_yaml(prevalence, "--prevalence")
    known = None if given is None else read_prevalence(given, contents.class_names)
    placed = replace(contents, data=find_sources(contents.data, folders_around(folder.parent)))
    rows = _read_validation_rows(placed, changes)
    contents, lines = calibrated(contents, rows, rule, known)
    model_folder.save_config(folder, contents)
    if contents.card:
        with whole_file(folder / "README.md") as path:
            path.write_text(contents.card, encoding="utf-8")
    return [*lines, f"kept in {folder}"]


def _read_validation_rows(contents: Bundle, changes: Mapping[str, Any]) -> pd.DataFrame:
    """Texts and class names of the validation rows that the model was not trained on."""
    settings: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in contents.data.items()
    }
    hints = get_type_hints(TextDataModule.__init__)
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if section == "data" and (fields := declared.groups("data").get(name)):
            raise InputError(f"{key} is {value!r}, expected a mapping with fields {', '.join(fields)}")
        if section != "data" or name not in declared.settings("data"):
            raise InputError(declared.unknown_setting(key))
        group, _, field = name.partition(".")
        if field:
            settings[group] = {**(settings.get(group) or {}), field: value}
        else:
            check(hints[name], value, key)
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
        seen = find_trained_on(table["text"], contents.trained_on)
        if seen.any():
            print(f"left out: {int(seen.sum()):,} rows that the model was trained on, or near-duplicates of such")
            table = table[~seen]
    if len(table) < 2:
        raise InputError(f"{len(table)} validation rows are left, expected more: --data.val_source FILE")
    return table
