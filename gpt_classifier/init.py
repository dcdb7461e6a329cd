"""The command ``init``: looks at a file and writes a configuration that suits it, with the reasons beside the values."""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpt_classifier.errors import CommandParser, InputError
from gpt_classifier.files import keep_tokenizer_files, whole_file

LABEL_NAMES = ("label", "labels", "class", "category", "target", "topic", "sentiment", "intent", "tag", "y")
TEXT_NAMES = ("text", "message", "sentence", "review", "content", "body", "document", "comment", "tweet", "question")
NOT_LABELS = ("id", "index", "idx", "row", "split", "date", "time")
ROWS = 100_000  # that are looked at
MOST_CLASSES = 1000
UNEQUAL = 5  # so many times as many rows of the largest class as of the smallest are very unequal
CONTEXT = 1024  # GPT-2's
CHARACTERS_OF_A_TOKEN = 4  # of English, in GPT-2's tokens
LATIN_BLOCKS = ("LATIN", "DIGIT", "FULLWIDTH LATIN")


@dataclass
class Seen:
    """What was found in a file."""

    rows: int
    columns: list[str]
    text_column: str
    label_column: str
    classes: dict[str, int]  # rows of each, the largest first
    without_text: int
    without_label: int
    scripts: dict[str, float]  # share of the letters
    lengths: dict[int, int] = field(default_factory=dict)  # tokens by percentile
    unit: str = "tokens"

    @property
    def foreign(self) -> bool:
        return self.scripts.get("Latin", 1.0) < 0.5

    @property
    def unequal(self) -> bool:
        return max(self.classes.values()) > UNEQUAL * min(self.classes.values())


def main(words: list[str]) -> None:
    """``init FILE ...``."""
    parser = CommandParser(
        "gpt-classifier init", description="Look at a file of labelled texts and write a configuration for it."
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="a .csv, .tsv, .json, .jsonl or .parquet file, or a pattern in quotes")
    add("--output", help="file to write; by default FILE's name with .yaml, in the working folder")
    add("--force", action="store_true", help="write even where there is a file of that name")
    add("--print", action="store_true", help="print the configuration instead of writing a file")
    add("--weights", choices=["pretrained", "random"], default="pretrained", help="what to begin with")
    add("--text_column", help="column with the texts; by default the one with the longest")
    add("--label_column", help="column with the class names; by default one with few different values")
    options = parser.parse_args(words)
    output = Path(options.output or re.sub(r"[*?\[\]]+", "", Path(options.file).name).split(".")[0] + ".yaml")
    if not options.print and not options.force and output.exists():
        raise InputError(f"{output} exists: give another name with --output, or --force to replace it")
    tokenizer = "gpt2" if options.weights == "pretrained" else "bytes"
    seen = look_at(options.file, tokenizer, options.text_column, options.label_column)
    content = configuration(options.file, seen, options.weights, output.stem)
    if options.print:
        print(content, end="")
        return
    with whole_file(output) as path:
        path.write_text(content, encoding="utf-8")
    print("\n".join(summary(options.file, seen)))
    print(f"{output} is written\nnext: gpt-classifier fit --config {output}")


# ---------------------------------------------------------------- looking


def look_at(file: str, tokenizer: str, text_column: str | None = None, label_column: str | None = None) -> Seen:
    """What the first rows of a file hold. Raises ``InputError`` where no column can be the text or the label."""
    import numpy as np
    import pandas as pd

    from gpt_classifier.data import sources
    from gpt_classifier.data.reading import read_columns

    if sources.is_named(file):
        raise InputError(f"{file} is a data set of the package, which has its configuration: fit --config spam or imdb")
    sources.check_files(file)
    frames, rows = [], 0
    for frame in read_columns(file, None):
        frames.append(frame)
        if (rows := rows + len(frame)) >= ROWS:
            break
    table = pd.concat(frames, ignore_index=True)
    columns = [str(name) for name in table.columns]
    table.columns = pd.Index(columns)
    for option, column in (("text", text_column), ("label", label_column)):
        if column is not None and columns.count(column) != 1:
            raise InputError(f"--{option}_column is {column!r}; the columns of {file} are {', '.join(columns)}")
    values = {name: table[name].map(_text) for name in columns if columns.count(name) == 1}
    text_column = text_column or _text_column(file, {n: v for n, v in values.items() if n != label_column})
    label_column = label_column or _label_column(file, {n: v for n, v in values.items() if n != text_column})
    texts = values[text_column].dropna()
    labels = values[label_column].dropna()
    classes = {str(name): int(count) for name, count in labels.value_counts().items()}
    if len(classes) < 2:
        raise InputError(f"{label_column} of {file} has one class, {next(iter(classes), None)!r}: expected two or more")
    numbers, unit = _token_counts(list(texts), tokenizer)
    return Seen(
        rows=len(table),
        columns=columns,
        text_column=text_column,
        label_column=label_column,
        classes=classes,
        without_text=len(table) - len(texts),
        without_label=len(table) - len(labels),
        scripts=scripts(texts.head(2000)),
        lengths={share: int(np.percentile(numbers, share)) for share in (50, 90, 99, 100)},
        unit=unit,
    )


def _text(value: Any) -> str | None:
    text = "" if value is None or value != value else str(value)
    return None if not text or text.isspace() else text


def _text_column(file: str, values: dict[str, Any]) -> str:
    """The column with the longest texts on average; of columns much alike, one that is called so."""
    means = {name: float(column.dropna().str.len().mean()) for name, column in values.items() if column.notna().any()}
    if not means:
        raise InputError(f"{file} has no column with texts in it: name one with --text_column")
    long = [name for name, mean in means.items() if mean >= 0.5 * max(means.values())]
    named = [name for name in long if name.strip().lower() in TEXT_NAMES]
    return max(named or long, key=means.__getitem__)


def _label_column(file: str, values: dict[str, Any]) -> str:
    """A column that repeats few values; one that is called so comes first, then the one with the fewest."""
    candidates = []
    for name, column in values.items():
        count, rows = column.nunique(), column.notna().sum()
        word = name.strip().lower()
        called = next((n for n, known in enumerate(LABEL_NAMES) if word == known or known in re.split(r"\W|_", word)), 99)
        if 2 <= count <= min(MOST_CLASSES, rows / 2) and (called < 99 or word not in NOT_LABELS):
            candidates.append((called, count, name))
    if not candidates:
        raise InputError(
            f"no column of {file} repeats a few values as classes do; its columns are {', '.join(values)}, and the "
            "text: name one with --label_column"
        )
    return str(min(candidates)[2])


def scripts(texts: Any) -> dict[str, float]:
    """Shares of the letters of ``texts`` by script, the largest first."""
    counts: Counter[str] = Counter()
    for character, count in Counter("".join(text[:1000] for text in texts)).items():
        if character.isalpha():
            counts[unicodedata.name(character, "OTHER").removeprefix("FULLWIDTH ").split()[0].title()] += count
    total = counts.total()
    return {name: count / total for name, count in counts.most_common()}


def _token_counts(texts: list[str], tokenizer: str) -> tuple[Sequence[int], str]:
    """The length of each text in tokens, and how it is known. Nothing is downloaded."""
    if tokenizer == "bytes":
        return [len(text.encode("utf-8", "replace")) for text in texts], "bytes"
    if _has_gpt2():
        from gpt_classifier.tokenizer import tokenizer_named

        gpt2, some = tokenizer_named("gpt2"), texts[:: max(1, len(texts) // 5000)]
        return [len(gpt2.ids(text)) for text in some], "tokens of GPT-2"
    # GPT-2 has hardly any pair of bytes beyond ASCII, so such a letter takes as many tokens as bytes.
    counts = [sum(map(str.isascii, t)) / CHARACTERS_OF_A_TOKEN + sum(len(c.encode("utf-8", "replace")) for c in t if not c.isascii()) for t in texts]
    return [int(count) + 1 for count in counts], "tokens, estimated from characters as GPT-2's tokenizer files are not here"


def _has_gpt2() -> bool:
    """Whether GPT-2's tokenizer files lie where tiktoken keeps them."""
    import hashlib

    urls = [f"https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/{f}" for f in ("vocab.bpe", "encoder.json")]
    return all((keep_tokenizer_files() / hashlib.sha1(url.encode()).hexdigest()).is_file() for url in urls)
