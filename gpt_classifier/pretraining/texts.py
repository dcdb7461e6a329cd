"""Streams the documents to pretrain on from tables and plain text files."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from gpt_classifier.data import datasets, readers
from gpt_classifier.data.datasets import Columns
from gpt_classifier.data.duplicates import near_duplicate_key
from gpt_classifier.data.readers import FileFormat
from gpt_classifier.errors import InputError

PLAIN = ".txt"
SOURCES = f"a {', '.join(readers.FORMATS)} or {PLAIN} file, or a folder of {PLAIN} files"


def find_files(source: str | Sequence[str]) -> list[str]:
    """The files of a source, in order: a folder means all .txt files below it."""
    found: list[str] = []
    for name in [source] if isinstance(source, str) else source:
        path = Path(name)
        if not path.is_dir():
            found += readers.expand_paths(name)
            continue
        inside = sorted(str(file) for file in path.rglob(f"*{PLAIN}") if file.is_file())
        if not inside:
            raise InputError(f"the folder {name} has no {PLAIN} file: expected {SOURCES}")
        found += inside
    if not found:
        raise InputError(f"data.source is an empty list: expected {SOURCES}")
    if repeated := [path for path in found if found.count(path) > 1]:
        raise InputError(f"{repeated[0]} is named twice as a source: its texts would be read twice")
    for path in map(Path, found):
        if not path.is_file():
            raise InputError(f"no file {path}: expected {SOURCES}")
        if not is_plain(path) and not any(ending in readers.FORMATS for ending in path.suffixes):
            raise InputError(f"{path} has no known format: expected {SOURCES}")
    return found


def is_plain(path: str | Path) -> bool:
    return Path(path).suffix.lower() == PLAIN


def read_documents(source: str | Sequence[str], columns: Columns, file_format: FileFormat) -> Iterator[str]:
    """All texts of a source, file by file, without empty ones."""
    for path in find_files(source):
        if is_plain(path):
            yield from read_plain_documents(path, file_format.encoding)
        else:
            for table in datasets.read_chunks(path, columns, file_format):
                yield from (text for text in table["text"] if text and not text.isspace())


def read_plain_documents(path: str, encoding: str = "utf-8") -> Iterator[str]:
    """The documents of a text file: a blank line ends each."""
    lines: list[str] = []
    try:
        with open(path, encoding=encoding) as stream:
            for line in stream:
                if "\0" in line:
                    raise InputError(f"{path} is no text file: it has a NUL character")
                if line.strip():
                    lines.append(line)
                elif lines:
                    yield "".join(lines).rstrip("\n")
                    lines = []
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no {encoding} text (byte {error.start}): save it as UTF-8, or give --data.file_format.encoding"
        ) from error
    if lines:
        yield "".join(lines).rstrip("\n")


def is_held_out(text: str, fraction: float) -> bool:
    """Whether a text validates: a hash of its near-duplicate key decides, so that near-duplicates stay together."""
    key = near_duplicate_key(text).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(key, digest_size=8, person=b"validation").digest(), "big") < fraction * 2**64


def has_labels(source: str | Sequence[str], label_column: str | list[str] | None, file_format: FileFormat) -> bool:
    """Whether the texts have labels, so that ``fit`` would divide them.

    Raises ``InputError`` if the column of labels is not the default and a file lacks it.
    """
    if datasets.is_named(source):
        return True
    if label_column is None:
        return False
    wanted = [label_column] if isinstance(label_column, str) else label_column
    for path in find_files(source):
        frame = None if is_plain(path) else next(readers.read_columns(path, None, 1, file_format=file_format))
        columns = () if frame is None else frame.columns
        if missing := [name for name in wanted if name not in columns]:
            if wanted != ["label"]:
                raise InputError(f"{path} has no column {missing[0]!r}: correct --data.label_column, or give null")
            return False
    return True
