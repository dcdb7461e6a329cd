"""Inspects a file of labelled texts and writes a configuration for it, with the reasons in comments."""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from gpt_classifier import files
from gpt_classifier.audit import networks
from gpt_classifier.errors import InputError, did_you_mean
from gpt_classifier.files import tokenizer_folder
from gpt_classifier.models.sentence_folder import usual_length

LABEL_NAMES = ("label", "labels", "class", "category", "target", "topic", "sentiment", "intent", "tag", "y")
TEXT_NAMES = ("text", "message", "sentence", "review", "content", "body", "document", "comment", "tweet", "question")
NO_LABELS = ("id", "index", "idx", "row", "split", "date", "time")
ROWS = 100_000  # maximum number of rows that are read
MAX_CLASSES = 1000
UNEQUAL = 5  # ratio of the largest to the smallest class above which classes are called unequal
CONTEXT = 1024  # GPT-2's
LEARNED = {"train": 4096}  # tokenizer for scripts that GPT-2's does not know
CHARACTERS_OF_A_TOKEN = 4  # of English, in GPT-2's tokens
FOREIGN = (
    "most letters are not Latin: GPT-2 was hardly trained on them and needs a token for every byte or two; compare "
    "with init --weights random, and with an encoder for the language (model.backbone and data.tokenizer)"
)
RECIPES = {"pretrained": "csv", "random": "scratch"}  # the configuration that comes with the package, by weights
SEPARATORS = ("|", ";", ",")  # that may stand between the labels of a text
SEVERAL = 0.02  # share of the rows that have a separator in their label, from which texts have several
NO_NETWORK = (
    "no published network lies on this machine or can be reached: the configuration names GPT-2, which fit downloads. "
    "A small network from scratch (init --weights random) usually does worse than the classical models of a test"
)


# ---------------------------------------------------------------- inspecting the file


@dataclass
class Seen:
    """Properties of a file, for a model that is trained from ``weights``."""

    file: str
    weights: str
    rows: int
    more: bool  # whether there are more rows than were read
    columns: list[str]
    text_column: str
    label_column: str
    classes: dict[str, int]  # number of rows of each, the largest first
    rare: list[str]  # classes with too few distinct texts for three splits
    without_text: int
    without_label: int
    scripts: dict[str, float]  # fractions of the letters, the largest first
    network: str | None  # a network of transformers, by name or folder
    multi_label: str | None  # what stands between the labels of a text; None if each has exactly one
    tokenizer: str | dict[str, int]
    unit: str  # unit of the lengths: tokens or estimated tokens
    lengths: dict[int, int]  # length by percentile: 50, 90, 99, 100

    @property
    def kept(self) -> dict[str, int]:
        """The classes that remain without the rare ones; all of them if fewer than two would remain."""
        kept = {name: count for name, count in self.classes.items() if name not in self.rare}
        return kept if len(kept) > 1 else self.classes

    @property
    def drops(self) -> bool:
        return len(self.kept) < len(self.classes)

    @property
    def equal(self) -> bool:
        return len(set(self.classes.values())) == 1

    @property
    def unequal(self) -> bool:
        return max(self.kept.values()) > UNEQUAL * min(self.kept.values())


def look_at(file: str, weights: str, text_column: str | None = None, label_column: str | None = None) -> Seen:
    """Inspects the first rows of a file. Raises ``InputError`` if no column can be the text or the label."""
    import numpy as np

    from gpt_classifier.data import datasets
    from gpt_classifier.data.duplicates import near_duplicate_key
    from gpt_classifier.data.values import names_of, texts_of
    from gpt_classifier.text import scripts

    if datasets.is_named(file):
        raise InputError(f"{file} is a data set of the package, which has configurations for it: gpt-classifier --help")
    datasets.check_files(file)
    table = _first_rows(file)
    columns = [str(name) for name in table.columns]
    values = {name: table.iloc[:, n] for n, name in enumerate(columns) if columns.count(name) == 1}
    for option, column in (("text", text_column), ("label", label_column)):
        if column is not None and column not in values:
            close = did_you_mean(column, values) or f"; the columns of {file} are {', '.join(columns)}"
            raise InputError(f"--{option}_column is {column!r}{close}")
    if text_column is None:
        others = {name: column for name, column in values.items() if name != label_column}
        text_column = _text_column(file, _readable(texts_of, others, file))
    if label_column is None:
        others = {name: column for name, column in values.items() if name != text_column}
        label_column = _label_column(file, _readable(names_of, others, file))
    texts = _read(texts_of, values[text_column], text_column, file).dropna()
    labels = _read(names_of, values[label_column], label_column, file).dropna()
    if (separator := _separator(labels)) is not None:
        labels = labels.str.split(separator, regex=False).explode().str.strip()
        labels = labels[labels != ""]
    if labels.nunique() < 2:
        raise InputError(f"{label_column} of {file} has {labels.nunique()} distinct values, expected two or more")
    keys = texts.map(near_duplicate_key).rename("key")
    both = labels.rename("label").to_frame().join(keys, how="inner").dropna()
    distinct = both.groupby("label")["key"].nunique()
    shares = scripts.shares(scripts.letters([text[:1000] for text in texts.head(2000)]))
    # A small network from scratch can have tokens of its own; pretrained weights need GPT-2's.
    tokenizer: str | dict[str, int] = LEARNED if weights == "random" and _is_foreign(shares) else "gpt2"
    network = networks.proposed(texts.head(2000)) if weights == "pretrained" else None
    tokenizer = tokenizer if network is None else network
    lengths, unit = _token_counts(list(texts), tokenizer)
    return Seen(
        file=file,
        weights=weights,
        rows=len(table),
        more=len(table) >= ROWS,
        columns=columns,
        text_column=text_column,
        label_column=label_column,
        classes={str(name): int(count) for name, count in labels.value_counts().items()},
        rare=[str(name) for name in labels.unique() if distinct.get(name, 0) < 3],
        without_text=len(table) - len(texts),
        without_label=len(table) - labels.index.nunique(),
        scripts=shares,
        network=network,
        multi_label=separator,
        tokenizer=tokenizer,
        unit=unit,
        lengths={q: int(np.percentile(lengths, q, method="higher")) for q in (50, 90, 99, 100)},
    )


def _first_rows(file: str) -> Any:
    import pandas as pd

    from gpt_classifier.data.readers import read_columns

    frames: list[Any] = []
    for frame in read_columns(file, None):
        frames.append(frame)
        if sum(map(len, frames)) >= ROWS:
            break
    return pd.concat(frames, ignore_index=True)


def _separator(labels: Any) -> str | None:
    """What stands between labels in a column of class names, if that makes fewer names of them, none of them empty."""
    for separator in SEPARATORS:
        having = labels.str.contains(separator, regex=False)
        if having.mean() < SEVERAL:
            continue
        parts = labels.str.split(separator, regex=False).explode().str.strip()
        alone = set(labels[~having])
        often = parts[parts != ""].value_counts()
        if len(often) < labels.nunique() and often.min() > 1 and len(alone & set(often.index)) >= len(often) / 2:
            return str(separator)
    return None


def _readable(read: Callable[..., list[str | None]], columns: dict[str, Any], file: str) -> dict[str, Any]:
    """The columns of which all values are texts, or names, as ``read`` has it."""
    found = {}
    for name, column in columns.items():
        with suppress(InputError):
            found[name] = _read(read, column, name, file)
    return found


def _read(read: Callable[..., list[str | None]], column: Any, name: str, file: str) -> Any:
    """The column as texts, or names; what is blank is missing."""
    texts = read(column, lambda position: f"{name} in row {position} of {file}")
    return type(column)([text if text and not text.isspace() else None for text in texts], dtype=object)


def _text_column(file: str, values: dict[str, Any]) -> str:
    """The column with the longest texts on average; among columns of similar length, one with a typical name."""
    means = {name: float(column.dropna().str.len().mean()) for name, column in values.items() if column.notna().any()}
    if not means:
        raise InputError(f"{file} has no column with texts in it")
    long = [name for name, mean in means.items() if mean >= 0.5 * max(means.values())]
    return max([name for name in long if name.strip().lower() in TEXT_NAMES] or long, key=means.__getitem__)


def _label_column(file: str, values: dict[str, Any]) -> str:
    """A column with few distinct values: one with a typical name, else the one with the fewest values."""
    candidates = []
    for name, column in values.items():
        word = name.strip().lower()
        words = [word, *re.split(r"\W|_", word)]
        rank = next((n for n, known in enumerate(LABEL_NAMES) if known in words), len(LABEL_NAMES))
        count = column.nunique()
        repeats = count <= column.notna().sum() / 2
        if 2 <= count <= MAX_CLASSES and (repeats or word in LABEL_NAMES) and word not in NO_LABELS:
            candidates.append((rank, count, name))
    if not candidates:
        raise InputError(
            f"no column of {file} has few distinct values, as class names do: name one with --label_column; apart from "
            f"the text there are {', '.join(values) or 'none'}"
        )
    return min(candidates)[2]


def _is_foreign(shares: dict[str, float]) -> bool:
    return bool(shares) and shares.get("Latin", 0.0) < 0.5


def _token_counts(texts: list[str], tokenizer: str | dict[str, int]) -> tuple[Sequence[int], str]:
    """The length of each text, or of 5,000 of them, and its unit. Nothing is downloaded."""
    if tokenizer == LEARNED or tokenizer != "gpt2" or _has_gpt2():
        from gpt_classifier.text.bpe import TrainTokenizer, tokenizer_for

        some = texts[:: max(1, len(texts) // 5000)]
        known = tokenizer_for(tokenizer if isinstance(tokenizer, str) else TrainTokenizer(**tokenizer), some)
        return [len(known.ids(text)) for text in some], "tokens"
    return [_estimate(text) for text in texts], "estimated tokens"


def _estimate(text: str) -> int:
    """Estimated number of GPT-2's tokens: characters beyond ASCII are often encoded as single bytes."""
    plain = sum(map(str.isascii, text))
    return 1 + plain // CHARACTERS_OF_A_TOKEN + len(text.encode("utf-8", "replace")) - plain


def _has_gpt2() -> bool:
    """Whether GPT-2's tokenizer files are in tiktoken's cache."""
    folder, url = tokenizer_folder(), "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
    names = (hashlib.sha1(f"{url}{name}".encode()).hexdigest() for name in ("vocab.bpe", "encoder.json"))
    return all((folder / name).is_file() for name in names)


# ---------------------------------------------------------------- summary and configuration


def summary(seen: Seen) -> list[str]:
    """A few lines on the properties of the file."""
    counts = seen.classes.values()
    sizes = f"{len(counts)}, of {min(counts):,} {'rows each' if seen.equal else f'to {max(counts):,} rows'}"
    scripts = [f"{fraction:.0%} {name}" for name, fraction in seen.scripts.items() if fraction >= 0.005]
    lines = [
        f"{seen.file}: {seen.rows:,} rows{' read' if seen.more else ''}, columns {_names(seen.columns)}",
        f"  texts    {_line(seen.text_column)}: {_lengths(seen)}",
        f"  script   {', '.join(scripts[:3]) or 'no letters'}",
        f"  classes  {_line(seen.label_column)}: {sizes}: {_classes(seen)}",
    ]
    if seen.without_text or seen.without_label:
        lines.append(f"  missing  {seen.without_text:,} rows without text, {seen.without_label:,} without label")
    if seen.rare:
        what = "left out" if seen.drops else "fit will refuse them"
        lines.append(f"  rare     too few distinct texts to be split, {what}: {_names(seen.rare)}")
    if seen.network is not None:
        lines.append(f"  network  {seen.network}: its probe first, which takes seconds")
    elif seen.weights == "pretrained":
        lines.append(f"  note     {NO_NETWORK}")
    if seen.unit == "estimated tokens":
        lines.append("  note     GPT-2's tokenizer files are not on this machine: lengths are estimates")
    if _is_foreign(seen.scripts) and seen.tokenizer == "gpt2":
        lines.append(f"  note     {FOREIGN}")
    return lines


def _lengths(seen: Seen) -> str:
    median, p90, p99, maximum = seen.lengths.values()
    return f"half have up to {median:,} {seen.unit}, 90 % up to {p90:,}, 99 % up to {p99:,}, all up to {maximum:,}"


def _classes(seen: Seen, limit: int = 10) -> str:
    return _names([name if seen.equal else f"{_line(name)} {count:,}" for name, count in seen.classes.items()], limit)


def _names(names: Sequence[str], limit: int = 10) -> str:
    return ", ".join(map(_line, names[:limit])) + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def _line(text: str) -> str:
    """A name from a file, in one short line."""
    words = "".join(c if c.isprintable() else " " for c in text[:60]).split()
    return " ".join(words) + ("..." if len(text) > 60 else "")


def configuration(seen: Seen, name: str) -> str:
    """A YAML configuration with the reasons in comments; ``name`` is the name of the folder for its runs."""
    scratch = seen.weights == "random"
    name_of_recipe = RECIPES[seen.weights]
    if seen.network is not None:
        name_of_recipe = "decoder" if networks.is_decoder(seen.network) else "encoder"
    recipe = yaml.safe_load(files.built_in_configurations()[name_of_recipe].read_text(encoding="utf-8"))
    p99 = seen.lengths[99]
    context = CONTEXT if seen.network is None else usual_length(seen.network)
    max_length = min(context, max(32, math.ceil(p99 / 32) * 32))
    data = {
        "source": seen.file,
        "text_column": seen.text_column,
        "label_column": seen.label_column,
        **({} if seen.multi_label is None else {"multi_label": seen.multi_label}),
        "rare_classes": "drop" if seen.drops else "error",
        "balance": "none",
        "tokenizer": seen.tokenizer,
        "max_length": max_length,
        "truncation": "head+tail" if p99 > context else "head",
        "batch_size": recipe["data"]["batch_size"],
        "splitting": {"fractions": [0.7, 0.1, 0.2]},
        **{key: value for key, value in recipe["data"].items() if key == "batching"},
    }
    model = recipe["model"] if seen.network is None else recipe["model"] | {"backbone": seen.network}
    if scratch:
        model["gpt"]["context_length"] = max_length
    trainer = {**recipe["trainer"], "default_root_dir": f"checkpoints/{name}"}
    del trainer["callbacks"]  # added below
    reasons = _reasons(seen)
    lines = [
        f"# Made by gpt-classifier init from {_line(seen.file)}. Change settings here or on the command line;",
        "# gpt-classifier fit --help explains them.",
        "seed_everything: 123",
    ]
    for section, settings in (("data", data), ("model", model), ("trainer", trainer)):
        lines += ["", f"{section}:"]
        for key, value in settings.items():
            reason = reasons.get(key)
            lines.append(f"  {key}: {_yaml(value)}" + (f" # {reason}" if reason else ""))
    return "\n".join([*lines, "  callbacks:", "    - class_path: LearningRateMonitor", ""])


def _reasons(seen: Seen) -> dict[str, str]:
    """What the comments of a configuration say, by setting."""
    counts = seen.kept.values()
    unequal = f"the largest class has {max(counts):,} rows, the smallest {min(counts):,}"
    if seen.tokenizer == LEARNED:
        tokenizer = "learned from the training rows: most letters are not Latin, which GPT-2's splits into bytes"
    elif _is_foreign(seen.scripts):
        tokenizer = FOREIGN
    else:
        tokenizer = (
            "GPT-2's; or {train: 4096}, one's own, or bytes"
            if seen.weights == "random"
            else "the tokenizer of the weights"
        )
    reasons = {
        "text_column": _lengths(seen),
        "label_column": f"{len(seen.classes)} classes: {_classes(seen, 3)}",
        "rare_classes": f"too few distinct texts to be split: {_names(seen.rare)}; or merge" if seen.drops else "",
        "splitting": "of train, val and test",
        "balance": "or class_weights, undersample" + (f": {unequal}" if seen.unequal else ""),
        "batching": "saves padding",
        "tokenizer": tokenizer,
        "max_length": f"99 % of the texts have up to {seen.lengths[99]:,} {seen.unit}; longer ones are truncated",
        "truncation": "the part of a longer text that is kept: head, tail or head+tail; data.windows reads all of it",
        "multi_label": "what stands between the labels of a text",
        "weights": "random initial weights" if seen.weights == "random" else "OpenAI's, 0.5 GB to download",
        "trainable": "a number of blocks, or head, last_block, last_two_blocks, all, lora",
        "monitor": "selects the best epoch; or val/loss, val/accuracy, val/auroc, ...",
        "patience": "epochs without improvement after which training stops; null for all epochs",
    }
    if seen.network is not None:
        reasons |= {
            "backbone": "an encoder or decoder of transformers, by name or folder",
            "weights": "as published",
            "pooling": "chosen by the probe",
            "blocks": "chosen by the probe where the head or last blocks train; else all",
            "trainable": "head: the probe alone. Then lora or all, which begin from it and keep the better of both",
            "learning_rate": "of fine-tuning: the usual one for what trains and how wide the network is",
            "dropout": "halves the time of a step on a CPU; null for that of the network",
        }
    return reasons


def _yaml(value: Any) -> str:
    """A value as YAML in one line; strings are in quotes unless they are plain words."""
    word = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_+./-]*", value)
    quoted = isinstance(value, str) and not (word and isinstance(yaml.safe_load(value), str))
    style = '"' if quoted else None
    text: str = yaml.safe_dump(
        value, default_flow_style=True, default_style=style, allow_unicode=True, width=10**9, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")
