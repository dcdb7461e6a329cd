"""Inspects a file of labelled texts and writes a configuration for it, with the reasons in comments."""

import hashlib
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from gpt_classifier import files
from gpt_classifier.audit import networks
from gpt_classifier.audit.columns import FoundColumns, find_columns, read_labels, read_texts, sample_rows
from gpt_classifier.audit.findings import MARKUP, MARKUP_ADVICE
from gpt_classifier.data.duplicates import near_duplicate_key
from gpt_classifier.data.splits import SplittingConfig
from gpt_classifier.errors import InputError
from gpt_classifier.models.transformers_config import usual_length
from gpt_classifier.text import scripts
from gpt_classifier.text.bpe import TrainTokenizer, tokenizer_for

UNEQUAL = 5  # ratio of the largest to the smallest class above which classes are called unequal
CONTEXT = 1024  # GPT-2's
TRAINED = {"train": 4096}  # tokenizer for scripts that GPT-2's does not know
CHARACTERS_OF_A_TOKEN = 4  # of English, in GPT-2's tokens
FOREIGN = (
    "most letters are not Latin: GPT-2 was hardly trained on them and needs a token for every byte or two; compare "
    "with init --weights random, and with an encoder for the language (model.backbone and data.tokenizer)"
)
INSPECTED = 2000  # texts whose script and language are counted, evenly spaced
UNREACHED = "no published network lies on this machine or can be reached"
FROM_SCRATCH = (
    f"{UNREACHED}, so a small one is trained from scratch, which usually does worse than the classical models of a "
    "test. Copy the folder of a network here and name it, --config encoder --model.backbone FOLDER, or let "
    f"{networks.FOLDER} name a folder of such folders"
)
NO_NETWORK = f"{UNREACHED}: the configuration names GPT-2, which fit has to download"


@dataclass
class FileStatistics:
    """Statistics of a file, for a model that is trained from ``weights``."""

    file: str
    weights: str
    has_no_network: bool  # whether no network lies here or can be reached
    rows: int
    inspected: int  # number of rows that were inspected, evenly spaced
    columns: list[str]
    found: FoundColumns
    classes: dict[str, int]  # number of inspected rows of each, the largest first
    rare: list[str]  # classes with too few distinct texts for the splits to be made
    without_text: int
    without_label: int
    markup: int  # inspected texts with entities or tags of HTML
    scripts: dict[str, float]  # fractions of the letters, the largest first
    network: str | None  # a network of transformers, by name or folder
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
        """Whether rare classes are left out: those that are known, or that may be among the other rows."""
        may_drop = len(self.kept) < len(self.classes) or self.inspected < self.rows
        return may_drop and self.found.multi_label is None

    @property
    def is_foreign(self) -> bool:
        return bool(self.scripts) and self.scripts.get("Latin", 0.0) < 0.5

    def describe_lengths(self) -> str:
        median, p90, p99, maximum = self.lengths.values()
        return f"half have up to {median:,} {self.unit}, 90 % up to {p90:,}, 99 % up to {p99:,}, all up to {maximum:,}"

    def name_classes(self, limit: int = 10) -> str:
        equal = len(set(self.classes.values())) == 1
        return _list(
            [name if equal else f"{_format_line(name)} {count:,}" for name, count in self.classes.items()], limit
        )


def inspect_file(
    file: str, weights: str | None, text_column: str | None = None, label_column: str | None = None
) -> FileStatistics:
    """Inspects rows of a file, evenly spaced. Raises ``InputError`` if no column can be the text or the label.

    ``weights`` are ``pretrained`` or ``random``; None for the former where there are any.
    """
    sample = sample_rows(file)
    found = find_columns(sample, text_column, label_column)
    texts, labels = read_texts(sample, found), read_labels(sample, found)
    if labels.nunique() < 2:
        raise InputError(f"{found.label} of {file} has {labels.nunique()} distinct values, expected two or more")
    labelled = labels.rename("label").to_frame().join(texts.map(near_duplicate_key).rename("key"), how="inner").dropna()
    distinct = labelled.groupby("label")["key"].nunique()
    some = texts[:: max(1, len(texts) // INSPECTED)]
    network = networks.propose_network(some) if weights != "random" else None
    has_no_network = weights != "random" and network is None and not networks.has_gpt2_weights()
    inspected = len(next(iter(sample.columns.values())))
    statistics = FileStatistics(
        file=file,
        weights=weights or ("random" if has_no_network else "pretrained"),
        has_no_network=has_no_network,
        rows=sample.rows,
        inspected=inspected,
        columns=sample.names,
        found=found,
        classes={str(name): count for name, count in labels.value_counts().items()},
        rare=[name for name in labels.unique() if distinct.get(name, 0) < SplittingConfig().count_parts(found.given)],
        without_text=inspected - len(texts),
        without_label=inspected - labels.index.nunique(),
        markup=int(texts.str.contains(MARKUP).sum()),
        scripts=scripts.compute_fractions(scripts.count_letters([text[:1000] for text in some])),
        network=network,
        tokenizer=network or "gpt2",
        unit="tokens",
        lengths={},
    )
    # A small network from scratch can have tokens of its own; pretrained weights need their own.
    if statistics.weights == "random" and (statistics.is_foreign or (has_no_network and not _has_gpt2())):
        statistics.tokenizer = TRAINED
    lengths, statistics.unit = _count_tokens(list(texts), statistics.tokenizer)
    statistics.lengths = {q: int(np.percentile(lengths, q, method="higher")) for q in (50, 90, 99, 100)}
    return statistics


def _count_tokens(texts: list[str], tokenizer: str | dict[str, int]) -> tuple[Sequence[int], str]:
    """The length of each text, or of 5,000 of them, and its unit. Nothing is downloaded."""
    if tokenizer != "gpt2" or _has_gpt2():
        some = texts[:: max(1, len(texts) // 5000)]
        known = tokenizer_for(tokenizer if isinstance(tokenizer, str) else TrainTokenizer(**tokenizer), some)
        return [len(known.ids(text)) for text in some], "tokens"
    return [_estimate_tokens(text) for text in texts], "estimated tokens"


def _estimate_tokens(text: str) -> int:
    """Estimated number of GPT-2's tokens: characters beyond ASCII are often encoded as single bytes."""
    plain = sum(map(str.isascii, text))
    return 1 + plain // CHARACTERS_OF_A_TOKEN + len(text.encode("utf-8", "replace")) - plain


def _has_gpt2() -> bool:
    """Whether GPT-2's tokenizer files are in tiktoken's cache."""
    folder, url = files.tokenizer_folder(), "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
    names = (hashlib.sha1(f"{url}{name}".encode()).hexdigest() for name in ("vocab.bpe", "encoder.json"))
    return all((folder / name).is_file() for name in names)


def summarize(statistics: FileStatistics) -> list[str]:
    """A few lines on the statistics of the file."""
    found, counts, inspected = statistics.found, statistics.classes.values(), statistics.inspected
    sizes = f"{len(counts)}, of {min(counts):,} {'rows each' if len(set(counts)) == 1 else f'to {max(counts):,} rows'}"
    scripts = [f"{fraction:.0%} {name}" for name, fraction in statistics.scripts.items() if fraction >= 0.005]
    marked = statistics.markup / max(1, inspected - statistics.without_text)
    missing = f"{statistics.without_text:,} rows without text, {statistics.without_label:,} without label"
    missing += ": label these, or take them out, before you fit" if statistics.without_label else ""
    rare = "left out" if statistics.drops else "fit will refuse them"
    foreign = statistics.is_foreign and statistics.tokenizer == "gpt2"
    estimated = statistics.unit == "estimated tokens"
    other = next(iter(found.others), "")
    parts = [  # their names, and whether there is something to say
        (
            "sample",
            inspected < statistics.rows,
            f"{inspected:,} rows, evenly spaced, were inspected: numbers are theirs",
        ),
        ("texts", True, f"{_list(found.text)}: {statistics.describe_lengths()}"),
        ("script", True, ", ".join(scripts[:3]) or "no letters"),
        ("classes", True, f"{_format_line(found.label)}: {sizes}: {statistics.name_classes()}"),
        (
            "note",
            found.others,
            f"{_list(found.others)} could hold the classes as well: --label-column {shlex.quote(other)}",
        ),
        ("labels", found.multi_label, f"a text may have several, with {found.multi_label} between them"),
        ("splits", found.split, f"{_format_line(found.split or '')} names {_list(sorted(found.given))}"),
        *((split, True, _format_line(file)) for split, file in found.beside.items()),
        (
            "markup",
            marked,
            f"{statistics.markup:,} texts ({marked:.1%}) have entities or tags of HTML: {MARKUP_ADVICE}",
        ),
        ("missing", statistics.without_text or statistics.without_label, missing),
        ("rare", statistics.rare, f"too few distinct texts to be split, {rare}: {_list(statistics.rare)}"),
        ("network", statistics.network, f"{statistics.network}: its probe first, which takes seconds"),
        ("note", statistics.has_no_network, NO_NETWORK if statistics.weights == "pretrained" else FROM_SCRATCH),
        ("note", estimated, "GPT-2's tokenizer files are not on this machine: lengths are estimates"),
        ("note", foreign, FOREIGN),
    ]
    head = f"{statistics.file}: {statistics.rows:,} rows, columns {_list(statistics.columns)}"
    return [head, *(f"  {name:8} {text}" for name, is_so, text in parts if is_so)]


def _list(names: Sequence[str], limit: int = 10) -> str:
    return ", ".join(map(_format_line, names[:limit])) + (
        f" and {len(names) - limit:,} more" if len(names) > limit else ""
    )


def _format_line(text: str) -> str:
    """A name from a file, in one short line."""
    words = "".join(c if c.isprintable() else " " for c in text[:60]).split()
    return " ".join(words) + ("..." if len(text) > 60 else "")


# ---------------------------------------------------------------- the configuration


def build_configuration(statistics: FileStatistics, name: str) -> str:
    """A YAML configuration with the reasons in comments; ``name`` is the name of the folder for its runs."""
    network = statistics.network
    recipe_name = {"pretrained": "csv", "random": "scratch"}[statistics.weights]
    if network is not None:
        recipe_name = "decoder" if networks.is_decoder(network) else "encoder"
    recipe = yaml.safe_load(files.built_in_configurations()[recipe_name].read_text(encoding="utf-8"))
    p99 = statistics.lengths[99]
    context = CONTEXT if network is None else usual_length(network)
    max_length = min(context, max(32, math.ceil(p99 / 32) * 32))
    found = statistics.found.settings()
    splitting = {"fractions": [0.7, 0.1, 0.2], **found.pop("splitting", {})}
    data = {
        "source": statistics.file,
        **found,
        "rare_classes": "drop" if statistics.drops else "error",
        "balance": "none",
        "tokenizer": statistics.tokenizer,
        "max_length": max_length,
        "truncation": "head+tail" if p99 > context else "head",
        "batch_size": recipe["data"]["batch_size"],
        "splitting": splitting,
        **{key: value for key, value in recipe["data"].items() if key == "batching"},
    }
    model = recipe["model"] | ({} if network is None else {"backbone": network})
    if statistics.weights == "random":
        model["gpt"]["context_length"] = max_length
    trainer = recipe["trainer"] | {"default_root_dir": f"checkpoints/{name}"}
    del trainer["callbacks"]  # added below
    reasons = _list_reasons(statistics)
    lines = [
        f"# Made by gpt-classifier init from {_format_line(statistics.file)}. "
        "Change settings here or on the command line;",
        "# gpt-classifier fit --help all explains them.",
        "seed_everything: 123",
    ]
    for section, settings in (("data", data), ("model", model), ("trainer", trainer)):
        lines += ["", f"{section}:"]
        for key, value in settings.items():
            lines.append(f"  {key}: {_format_yaml(value)}" + (f" # {reasons[key]}" if reasons.get(key) else ""))
    return "\n".join([*lines, "  callbacks:", "    - class_path: LearningRateMonitor", ""])


def _list_reasons(statistics: FileStatistics) -> dict[str, str]:
    """What the comments of a configuration say, by setting."""
    counts, p99 = statistics.kept.values(), statistics.lengths[99]
    unequal = f": the largest class has {max(counts):,} rows, the smallest {min(counts):,}"
    unequal = unequal if max(counts) > UNEQUAL * min(counts) else ""
    rare = _list(statistics.rare) or "none of the inspected rows, perhaps of the others"
    if statistics.tokenizer == TRAINED and statistics.is_foreign:
        tokenizer = "trained on the training rows: most letters are not Latin, which GPT-2's splits into bytes"
    elif statistics.tokenizer == TRAINED:
        tokenizer = "trained on the training rows, as GPT-2's is not on this machine"
    elif statistics.is_foreign:
        tokenizer = FOREIGN
    else:
        tokenizer = (
            "GPT-2's; or {train: 4096}, one's own, or bytes"
            if statistics.weights == "random"
            else "the tokenizer of the weights"
        )
    reasons = {
        "text_column": statistics.describe_lengths(),
        "label_column": f"{len(statistics.classes)} classes: {statistics.name_classes(3)}",
        "rare_classes": f"too few distinct texts to be split: {rare}; or merge" if statistics.drops else "",
        "splitting": "of train, val and test"
        + (", where these are not given" if len(statistics.found.given) > 1 else ""),
        "balance": f"or class_weights, undersample{unequal}",
        "batching": "saves padding",
        "tokenizer": tokenizer,
        "max_length": f"99 % of the texts have up to {p99:,} {statistics.unit}; longer ones than this are truncated",
        "truncation": "the part of a longer text that is kept: head, tail or head+tail; data.windows reads all of it",
        "multi_label": "what stands between the labels of a text",
        "weights": "OpenAI's, 0.5 GB to download" if statistics.weights == "pretrained" else "random initial weights",
        "trainable": "a number of blocks, or head, last_block, last_two_blocks, all, lora",
        "monitor": "selects the best epoch; or val/loss, val/accuracy, val/auroc, ...",
        "patience": "epochs without improvement after which training stops; null for all epochs",
    }
    if statistics.network is not None:
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


def _format_yaml(value: Any) -> str:
    """A value as YAML in one line; strings are in quotes unless they are plain words."""
    word = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_+./-]*", value)
    quoted = isinstance(value, str) and not (word and isinstance(yaml.safe_load(value), str))
    style = '"' if quoted else None
    text: str = yaml.safe_dump(
        value, default_flow_style=True, default_style=style, allow_unicode=True, width=10**9, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")
