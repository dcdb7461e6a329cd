"""Settings of data that a finding may be mended with: as options of a command line, and put in force."""

import shlex
from dataclasses import replace
from typing import Any

import yaml

from gpt_classifier.audit.findings import Options
from gpt_classifier.data.datamodule import TextDataModule


def text_of(options: Options) -> str:
    """The options as they are typed.

    >>> text_of({"splitting.folds": 5, "file_format.encoding": "utf-8"})
    '--data.splitting.folds 5 --data.file_format.encoding utf-8'
    """
    words = ((name, yaml.safe_dump(value, default_flow_style=True).splitlines()[0]) for name, value in options.items())
    return " ".join(f"--data.{name} {shlex.quote(value)}" for name, value in words)


def with_options(data: TextDataModule, options: Options) -> TextDataModule:
    """A data module of the same sources with other settings. Raises ``InputError`` if there can be none."""
    settings: dict[str, Any] = dict(data.hparams)
    for name, value in options.items():
        group, _, field = name.partition(".")
        settings[group] = {**(settings[group] or {}), field: value} if field else value
    other = TextDataModule(**settings)
    other.sources = replace(other.sources, tables=data.sources.tables)
    other.fitted = data.fitted
    return other
