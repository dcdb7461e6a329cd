"""Reads labelled text from named data sets and files into tables; knows nothing about splits or tokens.

A table is a DataFrame with the columns ``text`` (None where there is none), ``label`` (likewise) and ``row``,
the row's number in its source, counted from 0.
"""

import hashlib
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from gpt_classifier.data.reading import FORMATS, read_columns
from gpt_classifier.errors import InputError
from gpt_classifier.files import fetch

Tables = dict[str, pd.DataFrame]  # "train", and where the source has them "val" and "test"

SMS_SPAM_SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
SMS_SPAM_URLS = (
    "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
    "https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
)
IMDB_MD5 = "7c2ac02c03563afcf9b574c7e56c153a"
IMDB_URLS = (
    "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    "https://d2l-data.s3-accelerate.amazonaws.com/aclImdb_v1.tar.gz",
)
NO_DOWNLOAD = "use `--data.source sample` or a file of your own, which need no download"


def load(source: str, text_column: str = "text", label_column: str = "label") -> Tables:
    """All labelled rows of a named data set or of a CSV, TSV, JSON, JSONL or Parquet file."""
    if source in NAMED:
        return NAMED[source]()
    return {"train": pd.concat(read_chunks(source, text_column, label_column), ignore_index=True)}


def prepare(source: str) -> None:
    """Downloads what :func:`load` will need."""
    if source in DOWNLOADS:
        DOWNLOADS[source]()


def read_chunks(
    path: str, text_column: str, label_column: str | None = None, rows: int = 10_000
) -> Iterator[pd.DataFrame]:
    """A file's rows in order, ``rows`` at a time, so that a file of any size can be read.

    Without ``label_column`` the label is None.
    """
    if not Path(path).is_file():
        raise InputError(f"no file {path}: expected {', '.join(NAMED)}, or a {', '.join(FORMATS)} file")
    count = 0
    hint = "Name yours with --data.text_column and --data.label_column"
    for frame in read_columns(path, list(filter(None, (text_column, label_column))), rows, hint):
        labels = frame[label_column] if label_column else [None] * len(frame)
        yield table(frame[text_column], labels, count)
        count += len(frame)


def table(texts: Iterable[Any], labels: Iterable[Any], first_row: int = 0) -> pd.DataFrame:
    """A table of texts and labels of any kind, as strings or None."""
    columns = {"text": [_text(value) for value in texts], "label": [_text(value) for value in labels]}
    frame = pd.DataFrame(columns, dtype=object)  # or pandas would make NaN of None
    return frame.assign(row=range(first_row, first_row + len(frame)))


def _text(value: Any) -> str | None:
    if value is None or value is pd.NA or value != value:  # NaN differs from itself
        return None
    return str(value)


def load_sample() -> Tables:
    """410 SMS-like messages that the authors of this package made up: a toy that shows the road, not a benchmark."""
    text = resources.files("gpt_classifier.data").joinpath("sample.tsv").read_text(encoding="utf-8")
    return {"train": _label_tab_text(text)}


def fetch_sms_spam() -> Path:
    return fetch("sms+spam+collection.zip", SMS_SPAM_URLS, _sms_spam_bytes, NO_DOWNLOAD)


def load_sms_spam() -> Tables:
    """The SMS Spam Collection v.1 (Almeida and Hidalgo, UCI 228): 5,574 messages, 747 of them spam."""
    return {"train": _label_tab_text(_sms_spam_bytes(fetch_sms_spam()).decode("utf-8"))}


def load_sms_spam_as_the_book() -> Tables:
    """The same file in the book's reading: pandas' default quoting merges three lines, which leaves 5,572 rows."""
    with zipfile.ZipFile(fetch_sms_spam()) as archive, archive.open("SMSSpamCollection") as stream:
        frame = pd.read_csv(stream, sep="\t", header=None, names=["label", "text"], dtype=object)
    return {"train": frame.assign(row=range(len(frame)))[["text", "label", "row"]]}


def _label_tab_text(text: str) -> pd.DataFrame:
    rows = [line.split("\t", 1) for line in text.removesuffix("\n").split("\n")]
    frame = pd.DataFrame(rows, columns=["label", "text"], dtype=object)
    return frame.assign(row=range(len(frame)))[["text", "label", "row"]]


def _sms_spam_bytes(path: Path) -> bytes:
    """The one file inside the zip. Mirrors pack it anew, so the checksum is that of the file and not of the zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read("SMSSpamCollection")
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{path} is not the SMS Spam Collection ({error}): delete it and fetch it again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SMS_SPAM_SHA256:
        raise InputError(
            f"SMSSpamCollection in {path} has SHA-256 {found}, expected {SMS_SPAM_SHA256}: delete it and fetch it again"
        )
    return content


def fetch_imdb() -> Path:
    def verify(path: Path) -> None:
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != IMDB_MD5:
            raise InputError(f"{path} has MD5 {found}, expected {IMDB_MD5}: delete it and fetch it again")

    return fetch("aclImdb_v1.tar.gz", IMDB_URLS, verify, NO_DOWNLOAD)


def load_imdb() -> Tables:
    """The Large Movie Review Dataset v1.0 (Maas et al., 2011): 25,000 reviews to train on, 25,000 to test."""
    return read_imdb(fetch_imdb())


def read_imdb(path: Path) -> Tables:
    """Reads the archive's members straight from the tar stream: nothing is extracted, so no path in it matters."""
    rows: dict[str, list[tuple[str, str, str]]] = {"train": [], "test": []}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            if member.isfile() and len(parts) == 4 and parts[1] in rows and parts[2] in ("pos", "neg"):
                stream = archive.extractfile(member)
                assert stream is not None  # it is a file
                rows[parts[1]].append((parts[2], parts[3], stream.read().decode("utf-8")))
    return {
        split: pd.DataFrame(
            [(text, label, row) for row, (label, _, text) in enumerate(sorted(members))],
            columns=["text", "label", "row"],
        ).astype({"text": object, "label": object})
        for split, members in rows.items()
    }


NAMED: dict[str, Callable[[], Tables]] = {"sample": load_sample, "sms_spam": load_sms_spam, "imdb": load_imdb}
DOWNLOADS: dict[str, Callable[[], Path]] = {"sms_spam": fetch_sms_spam, "imdb": fetch_imdb}
