"""Inspects a file of labelled texts and writes a configuration for it, with the reasons in comments."""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gpt_classifier import files
from gpt_classifier.audit import networks
from gpt_classifier.audit.columns import FoundColumns, found_columns, labels_in, sample, texts_in
from gpt_classifier.audit.findings import MARKUP, MARKUP_ADVICE
from gpt_classifier.data.splits import SplittingConfig
from gpt_classifier.errors import InputError
from gpt_classifier.files import tokenizer_folder
from gpt_classifier.models.sentence_folder import usual_length

UNEQUAL = 5  # ratio of the largest to the smallest class above which classes are called unequal
CONTEXT = 1024  # GPT-2's
LEARNED = {"train": 4096}  # tokenizer for scripts that GPT-2's does not know
CHARACTERS_OF_A_TOKEN = 4  # of English, in GPT-2's tokens
FOREIGN = (
    "most letters are not Latin: GPT-2 was hardly trained on them and needs a token for every byte or two; compare "
    "with init --weights random, and with an encoder for the language (model.backbone and data.tokenizer)"
)
RECIPES = {"pretrained": "csv", "random": "scratch"}  # the configuration that comes with the package, by weights
INSPECTED = 2000  # texts whose script and language are counted, evenly spaced
UNREACHED = "no published network lies on this machine or can be reached"
FROM_SCRATCH = (
    f"{UNREACHED}, so a small one is trained from scratch, which usually does worse than the classical models of a "
    "test. Copy the folder of a network here and name it, --config encoder --model.backbone FOLDER, or let "
    f"{networks.FOLDER} name a folder of such folders"
)
NO_NETWORK = f"{UNREACHED}: the configuration names GPT-2, which fit has to download"


# ---------------------------------------------------------------- inspecting the file


@dataclass
class Seen:
    """Properties of a file, for a model that is trained from ``weights``."""

    file: str
    weights: str
    unreached: bool  # whether no network lies here or can be reached
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
        if self.found.multi_label is not None:
            return False
        return len(self.kept) < len(self.classes) or self.inspected < self.rows

    @property
    def equal(self) -> bool:
        return len(set(self.classes.values())) == 1

    @property
    def unequal(self) -> bool:
        return max(self.kept.values()) > UNEQUAL * min(self.kept.values())


def look_at(file: str, weights: str | None, text_column: str | None = None, label_column: str | None = None) -> Seen:
    """Inspects rows of a file, evenly spaced. Raises ``InputError`` if no column can be the text or the label.

    ``weights`` are ``pretrained`` or ``random``; None for the former where there are any.
    """
    import numpy as np

    from gpt_classifier.data.duplicates import near_duplicate_key
    from gpt_classifier.text import scripts

    seen = sample(file)
    found = found_columns(seen, text_column, label_column)
    texts, labels = texts_in(seen, found), labels_in(seen, found)
    if labels.nunique() < 2:
        raise InputError(f"{found.label} of {file} has {labels.nunique()} distinct values, expected two or more")
    keys = texts.map(near_duplicate_key).rename("key")
    both = labels.rename("label").to_frame().join(keys, how="inner").dropna()
    distinct = both.groupby("label")["key"].nunique()
    some = texts[:: max(1, len(texts) // INSPECTED)]
    shares = scripts.shares(scripts.letters([text[:1000] for text in some]))
    network = networks.proposed(some) if weights != "random" else None
    unreached = weights != "random" and network is None and not networks.has_gpt2_weights()
    weights = weights or ("random" if unreached else "pretrained")
    # A small network from scratch can have tokens of its own; pretrained weights need their own.
    own = weights == "random" and (_is_foreign(shares) or (unreached and not _has_gpt2()))
    tokenizer: str | dict[str, int] = network or (LEARNED if own else "gpt2")
    lengths, unit = _token_counts(list(texts), tokenizer)
    inspected = len(next(iter(seen.columns.values())))
    return Seen(
        file=file,
        weights=weights,
        unreached=unreached,
        rows=seen.rows,
        inspected=inspected,
        columns=seen.names,
        found=found,
        classes={str(name): int(count) for name, count in labels.value_counts().items()},
        rare=[str(name) for name in labels.unique() if distinct.get(name, 0) < SplittingConfig().count_parts(found.given)],
        without_text=inspected - len(texts),
        without_label=inspected - labels.index.nunique(),
        markup=int(texts.str.contains(MARKUP).sum()),
        scripts=shares,
        network=network,
        tokenizer=tokenizer,
        unit=unit,
        lengths={q: int(np.percentile(lengths, q, method="higher")) for q in (50, 90, 99, 100)},
    )


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
    counts, found = seen.classes.values(), seen.found
    sizes = f"{len(counts)}, of {min(counts):,} {'rows each' if seen.equal else f'to {max(counts):,} rows'}"
    scripts = [f"{fraction:.0%} {name}" for name, fraction in seen.scripts.items() if fraction >= 0.005]
    lines = [
        f"{seen.file}: {seen.rows:,} rows, columns {_names(seen.columns)}",
        f"  texts    {_names(found.text)}: {_lengths(seen)}",
        f"  script   {', '.join(scripts[:3]) or 'no letters'}",
        f"  classes  {_line(found.label)}: {sizes}: {_classes(seen)}",
    ]
    if seen.inspected < seen.rows:
        lines.insert(1, f"  sample   {seen.inspected:,} rows, evenly spaced, were inspected: numbers are theirs")
    if found.multi_label is not None:
        lines.append(f"  labels   a text may have several, with {found.multi_label} between them")
    if found.split is not None:
        lines.append(f"  splits   {_line(found.split)} names {_names(sorted(found.given))}")
    lines += [f"  {split:8} {_line(file)}" for split, file in found.beside.items()]
    if seen.markup:
        share = seen.markup / max(1, seen.inspected - seen.without_text)
        lines.append(f"  markup   {seen.markup:,} texts ({share:.1%}) have entities or tags of HTML: {MARKUP_ADVICE}")
    if seen.without_text or seen.without_label:
        what = f"{seen.without_text:,} rows without text, {seen.without_label:,} without label"
        refused = ": label these, or take them out, before you fit" if seen.without_label else ""
        lines.append(f"  missing  {what}{refused}")
    if seen.rare:
        what = "left out" if seen.drops else "fit will refuse them"
        lines.append(f"  rare     too few distinct texts to be split, {what}: {_names(seen.rare)}")
    if seen.network is not None:
        lines.append(f"  network  {seen.network}: its probe first, which takes seconds")
    elif seen.unreached:
        lines.append(f"  note     {NO_NETWORK if seen.weights == 'pretrained' else FROM_SCRATCH}")
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


def _rare(seen: Seen) -> str:
    return _names(seen.rare) or "none of the inspected rows, perhaps of the others"


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
        **{name: value for name, value in seen.found.settings().items() if name != "splitting"},
        "rare_classes": "drop" if seen.drops else "error",
        "balance": "none",
        "tokenizer": seen.tokenizer,
        "max_length": max_length,
        "truncation": "head+tail" if p99 > context else "head",
        "batch_size": recipe["data"]["batch_size"],
        "splitting": {"fractions": [0.7, 0.1, 0.2], **seen.found.settings().get("splitting", {})},
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
    if seen.tokenizer == LEARNED and _is_foreign(seen.scripts):
        tokenizer = "learned from the training rows: most letters are not Latin, which GPT-2's splits into bytes"
    elif seen.tokenizer == LEARNED:
        tokenizer = "learned from the training rows, as GPT-2's is not on this machine"
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
        "rare_classes": f"too few distinct texts to be split: {_rare(seen)}; or merge" if seen.drops else "",
        "splitting": "of train, val and test" + (", where these are not given" if len(seen.found.given) > 1 else ""),
        "balance": "or class_weights, undersample" + (f": {unequal}" if seen.unequal else ""),
        "batching": "saves padding",
        "tokenizer": tokenizer,
        "max_length": f"99 % of the texts have up to {seen.lengths[99]:,} {seen.unit}; longer ones are truncated",
        "truncation": "the part of a longer text that is kept: head, tail or head+tail; data.windows reads all of it",
        "multi_label": "what stands between the labels of a text",
        "weights": "OpenAI's, 0.5 GB to download" if seen.weights == "pretrained" else "random initial weights",
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
