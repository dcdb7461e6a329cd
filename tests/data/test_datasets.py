"""Every format gives the same table, and whatever cannot be read is refused by name."""

import csv
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from gpt_classifier.data import datasets, duplicates
from gpt_classifier.data.datasets import Columns
from gpt_classifier.data.readers import AS_NAMED
from gpt_classifier.errors import InputError

TEXTS = ["NA", "null", 'he said "hi"', "'quoted'", "a, b; c", "  spaces  ", "naïve 😀", "007", "1e5", "2020-01-01"]
TEXTS += ["#1", "+1"]
TABLE = pd.DataFrame({"text": TEXTS, "label": ["ham", "spam"] * 6, "row": range(12)})
TABLE = TABLE.astype({"text": object, "label": object})


def write(path):
    """Writes TABLE's texts and labels in the format that the name asks for, with a column that nobody reads."""
    frame = TABLE[["label", "text"]].assign(other=1)
    kind = next(suffix for suffix in path.suffixes if suffix in datasets.FORMATS)
    if kind == ".parquet":
        frame.to_parquet(path)
    elif kind == ".jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    elif kind == ".csv":
        frame.to_csv(path, index=False)
    else:
        quoting = {"sep": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None}
        frame.to_csv(path, index=False, **quoting)
    return path


def read(path, rows=10_000, text_column="text", label_column="label", file_format=AS_NAMED):
    source = [str(p) for p in path] if isinstance(path, list) else str(path)
    chunks = datasets.read_chunks(source, Columns(text_column, label_column), file_format, rows)
    return pd.concat(chunks, ignore_index=True)


def read_bytes(folder, name, content, **settings):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(folder / name, **settings)


@pytest.mark.parametrize("rows", [1, 2, 3, len(TEXTS), 10_000])
@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.csv.gz", "a.jsonl.gz", "a.tsv.xz", "a.csv.bz2", "A.b.CSV"]
)
def test_every_format_gives_the_same_table_in_chunks_of_any_size(tmp_path, name, rows):
    path = write(tmp_path / name.lower()).rename(tmp_path / name)
    assert_frame_equal(read(path, rows), TABLE)


def test_rows_are_numbered_through_all_chunks(tmp_path):
    chunks = list(datasets.read_chunks(str(write(tmp_path / "a.jsonl")), rows=4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 4]
    assert [row for chunk in chunks for row in chunk["row"]] == list(range(12))


def test_columns_may_have_other_names_and_labels_may_be_left_out(tmp_path):
    table = read_bytes(tmp_path, "a.csv", "message,class\nhello,7\n", text_column="message", label_column="class")
    assert table.to_numpy().tolist() == [["hello", "7", 0]]
    assert read(tmp_path / "a.csv", text_column="message", label_column=None)["label"].tolist() == [None]


AS_IT_STANDS = {  # name: content, the one text in it
    "byte_order_mark.csv": ("\ufefftext,label\nhi,ham\n", "hi"),
    "byte_order_mark_and_quotes.csv": ('\ufeff"text","label"\n"hi","ham"\n', "hi"),
    "byte_order_mark.tsv": ("\ufefftext\tlabel\nhi\tham\n", "hi"),
    "byte_order_mark.jsonl": ('\ufeff{"text": "hi", "label": "ham"}\n', "hi"),
    "line_in_text.csv": ('text,label\n"two\nlines",ham\n', "two\nlines"),
    "windows_lines.csv": ('text,label\r\n"two\r\nlines",ham\r\n', "two\r\nlines"),
    "quotes.csv": ('text,label\n"say ""hi""",ham\n', 'say "hi"'),
    "blank_lines.csv": ("text,label\n\nhi,ham\n\n", "hi"),
    "blank_lines.jsonl": ('{"text": "hi", "label": "ham"}\n\n\n', "hi"),
    "no_last_newline.csv": ("text,label\nhi,ham", "hi"),
    "beyond_the_limit_of_the_csv_module.csv": (f"text,label\n{'x' * 200_000},ham\n", "x" * 200_000),
}


@pytest.mark.parametrize("name", AS_IT_STANDS)
@pytest.mark.parametrize("rows", [1, 10_000])
def test_a_text_is_what_stands_in_the_file(tmp_path, name, rows):
    content, text = AS_IT_STANDS[name]
    table = read_bytes(tmp_path, name, content, rows=rows)
    assert table.to_numpy().tolist() == [[text, "ham", 0]]


ONE_COLUMN = {  # content, the texts in it
    "blank lines": ("text\n\nhi\n\n\nyou\n", ["", "hi", "", "", "you"]),
    "lines of spaces": ("text\n  \nhi\n \n", ["  ", "hi", " "]),
    "windows lines": ("text\r\n\r\nhi\r\n\r\n", ["", "hi", ""]),
    "no last newline": ("text\n\nhi", ["", "hi"]),
    "a blank last line of spaces": ("text\nhi\n ", ["hi", " "]),
    "quoted nothing": ('text\n""\nhi\n""\n', ["", "hi", ""]),
    "nothing but blank lines": ("text\n\n\n", ["", ""]),
    "blank lines within a text": ('text\n"a\n\nb"\n\n', ["a\n\nb", ""]),
}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("case", ONE_COLUMN)
@pytest.mark.parametrize("rows", [1, 2, 10_000])
def test_every_line_of_a_single_column_is_a_row_blank_or_of_spaces(tmp_path, name, case, rows):
    content, texts = ONE_COLUMN[case]
    if name == "a.tsv" and case == "blank lines within a text":
        texts = ['"a', "", 'b"', ""]  # without a tab nothing tells these lines from rows
    table = read_bytes(tmp_path, name, content, label_column=None, rows=rows)
    assert table["text"].tolist() == texts
    assert table["row"].tolist() == list(range(len(texts)))


FIELDS = st.text('a ,;"\t\n\r\N{NO-BREAK SPACE}é', max_size=5)


@given(content=FIELDS | st.text('a,"\n\r ', max_size=40), rows=st.integers(1, 4), width=st.integers(1, 2))
def test_a_csv_file_holds_what_the_csv_module_finds_in_it(tmp_path, content, rows, width):
    names = ["text", "label"][:width]
    content = f"{','.join(names)}\n{content}"
    found = list(csv.reader(io.StringIO(content, newline="")))[1:]
    expected = [[*(fields or [""]), None][:2] for fields in found if fields or width == 1]
    columns = {"text_column": "text", "label_column": "label" if width == 2 else None}
    too_wide = any(len(fields) > width for fields in found)
    longer = list(csv.reader(io.StringIO(f"{content}\nx", newline="")))[1:]
    never_closed = len(longer) == len(found)  # one more line would belong to the last record
    if too_wide or never_closed or not expected:
        with pytest.raises(InputError):
            read_bytes(tmp_path, "a.csv", content, rows=rows, **columns)
    else:
        table = read_bytes(tmp_path, "a.csv", content, rows=rows, **columns)
        assert table[["text", "label"]].to_numpy().tolist() == expected


@given(
    texts=st.lists(st.text('ab ,;"\n\N{NO-BREAK SPACE}', max_size=6), min_size=1, max_size=8), rows=st.integers(1, 4)
)
@pytest.mark.parametrize("lineterminator", ["\n", "\r\n"])
def test_what_pandas_and_the_csv_module_write_is_read_as_it_was(tmp_path, lineterminator, texts, rows):
    frame = pd.DataFrame({"text": texts})
    frame.to_csv(tmp_path / "pandas.csv", index=False, lineterminator=lineterminator)
    with open(tmp_path / "csv.csv", "w", newline="") as stream:
        csv.writer(stream, lineterminator=lineterminator).writerows([["text"], *([text] for text in texts)])
    for name in ("pandas.csv", "csv.csv"):
        assert read(tmp_path / name, rows, label_column=None)["text"].tolist() == texts


@pytest.mark.parametrize("rows", [1, 10_000])
def test_nulls_are_none(tmp_path, rows):
    frame = pd.DataFrame({"text": ["a", None, None], "label": [None, "ham", None]}, dtype=object)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    expected = [["a", None, 0], [None, "ham", 1], [None, None, 2]]
    for name in ("a.jsonl", "a.parquet"):
        assert read(tmp_path / name, rows).to_numpy().tolist() == expected


@pytest.mark.parametrize("rows", [1, 2, 10_000])
def test_a_key_that_a_jsonl_row_leaves_out_is_none(tmp_path, rows):
    content = '{"text": "a", "label": "ham"}\n{"text": "b"}\n\n{"label": "spam"}\n{}\n{"text": " "}\n'
    table = read_bytes(tmp_path, "a.jsonl", content, rows=rows)
    expected = [["a", "ham", 0], ["b", None, 1], [None, "spam", 2], [None, None, 3], [" ", None, 4]]
    assert table.to_numpy().tolist() == expected


PLAIN = b"text,label\n" + b"".join(b"%d,ham\n" % row**9 for row in range(500))
ZIPPED = gzip.compress(PLAIN)
TROUBLE = {
    "an empty file": ("a.csv", b"", "is empty"),
    "an empty compressed file": ("a.csv.gz", gzip.compress(b""), ""),
    "blank lines only": ("a.csv", b"\n\n", ""),
    "a header only": ("a.csv", b"text,label\n", "header but no rows"),
    "a header only, no newline": ("a.tsv", b"text\tlabel", "header but no rows"),
    "a missing column": ("a.csv", b"body,label,id\nhi,ham,1\n", "no column 'text'; its columns are body, label, id"),
    "a missing label": ("a.jsonl", b'{"text": "hi", "id": 1}\n', "no column 'label'; its columns are text, id"),
    "a repeated column": ("a.csv", b"text,label,text\na,b,c\n", "two columns 'text'"),
    "invalid UTF-8": ("a.csv", b"text,label\nhi,ham\nna\xefve,ham\n", "line 3"),
    "invalid UTF-8 in TSV": ("a.tsv", b"text\tlabel\nna\xefve\tham\n", "line 2"),
    "invalid UTF-8 in JSONL": ("a.jsonl", b'{"text": "a", "label": "b"}\n{"text": "\xff", "label": "b"}\n', "line 2"),
    "invalid compressed UTF-8": ("a.csv.gz", gzip.compress(b"text,label\n\xff,ham\n"), "line 2"),
    "an unknown suffix": ("a.txt", b"text,label\nhi,ham\n", ".csv, .tsv, .jsonl, .json, .parquet"),
    "too many fields": ("a.csv", b"text,label\nhi,ham\nhello, you,ham\n", "line 3"),
    "an open quotation mark": ("a.csv", b'text,label\n"hi,ham\nhello,ham\n', "not a readable .csv file"),
    "broken JSONL": ("a.jsonl", b'{"text": "a", "label": "b"}\n{"text": "a"\n', "not a readable .jsonl file"),
    "JSONL that is prose": ("a.jsonl", b"hello\n", "not a readable .jsonl file"),
    "broken Parquet": ("a.parquet", b"PAR1 and no more", "not a readable .parquet file"),
    "gzip that is not": ("a.csv.gz", PLAIN, "not a readable .csv file"),
    "truncated gzip": ("a.csv.gz", ZIPPED[:-50], "not a readable .csv file"),
    "gzip with a wrong checksum": ("a.csv.gz", ZIPPED[:-6] + bytes(6), "not a readable .csv file"),
    "gzip with broken content": ("a.csv.gz", ZIPPED[:10] + b"\xff" * 50, "not a readable .csv file"),
    "xz that is not": ("a.csv.xz", PLAIN, "not a readable .csv file"),
    "truncated xz": ("a.csv.xz", lzma.compress(PLAIN)[:-50], "not a readable .csv file"),
    "bz2 that is not": ("a.csv.bz2", PLAIN, "not a readable .csv file"),
    "an unknown compression": ("a.csv.zst", PLAIN, ".gz, .bz2, .xz"),
}


@pytest.mark.parametrize(("name", "content", "expected"), TROUBLE.values(), ids=TROUBLE.keys())
@pytest.mark.parametrize("rows", [1, 10_000])
def test_an_unreadable_file_is_named_together_with_what_is_wrong(tmp_path, name, content, expected, rows):
    with pytest.raises(InputError) as raised:
        read_bytes(tmp_path, name, content, rows=rows)
    assert str(tmp_path / name) in str(raised.value)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_a_missing_file_is_named_together_with_what_could_be_given(tmp_path, name):
    with pytest.raises(InputError) as raised:
        datasets.load(str(tmp_path / name))
    assert str(tmp_path / name) in str(raised.value)
    assert "sample, sms_spam, imdb" in str(raised.value)


def test_the_sample_is_1373_messages_of_two_classes_all_of_them_different():
    table = datasets.load("sample")["train"]
    assert len(table) == 1373
    assert set(table["label"]) == {"ham", "spam"}
    assert table["text"].map(duplicates.near_duplicate_key).is_unique
    assert table["row"].tolist() == list(range(1373))


def tar_of(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("aclImdb/train/pos/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../../secret.txt"
        archive.addfile(link)


def test_imdb_is_read_from_the_archive_and_nothing_is_extracted(tmp_path, monkeypatch):
    members = {
        "aclImdb/README": "not a review",
        "aclImdb/train/pos/0_9.txt": "good",
        "aclImdb/train/neg/1_2.txt": "bad",
        "aclImdb/train/neg/0_1.txt": "naïve",
        "aclImdb/train/unsup/0_0.txt": "no label",
        "aclImdb/train/urls_pos.txt": "http://example.com",
        "aclImdb/test/pos/0_10.txt": "great",
        "../evil.txt": "evil",
        "/var/gpt_classifier_evil.txt": "evil",
    }
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    tar_of(work / "aclImdb.tar.gz", members)
    tables = datasets.read_imdb(work / "aclImdb.tar.gz")
    assert tables["train"].to_numpy().tolist() == [["naïve", "neg", 0], ["bad", "neg", 1], ["good", "pos", 2]]
    assert tables["test"].to_numpy().tolist() == [["great", "pos", 0]]
    assert sorted(tmp_path.rglob("*")) == [work, work / "aclImdb.tar.gz"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("GPT_CLASSIFIER_CACHE", str(folder))
    monkeypatch.setattr(datasets, "SMS_SPAM_URLS", ("http://127.0.0.1:9/x",))
    monkeypatch.setattr(datasets, "IMDB_URLS", ("http://127.0.0.1:9/y", "http://127.0.0.1:9/z"))
    return folder


@pytest.mark.parametrize(
    ("member", "expected"), [("SMSSpamCollection", datasets.SMS_SPAM_SHA256), ("readme", "SMSSpamCollection")]
)
def test_a_zip_with_other_content_is_refused(cache, member, expected):
    cache.mkdir()
    with zipfile.ZipFile(cache / "sms+spam+collection.zip", "w") as archive:
        archive.writestr(member, "ham\tnot the collection\n")
    with pytest.raises(InputError, match=expected):
        datasets.load("sms_spam")


ARCHIVES = {"sms_spam": "sms+spam+collection.zip", "imdb": "aclImdb_v1.tar.gz"}


@pytest.mark.parametrize("source", ARCHIVES)
def test_a_cached_file_that_is_no_archive_is_refused(cache, source):
    cache.mkdir()
    (cache / ARCHIVES[source]).write_text("<html>Please log in</html>")
    with pytest.raises(InputError, match="delete it and fetch it again"):
        datasets.load(source)


@pytest.mark.parametrize("source", ARCHIVES)
def test_without_network_the_message_says_which_file_goes_where_and_what_needs_none(cache, source):
    with pytest.raises(InputError) as raised:
        datasets.prepare(source)
    for part in (ARCHIVES[source], str(cache), "source sample", "http://127.0.0.1:9/"):
        assert part in str(raised.value)
    assert list(cache.iterdir()) == []


def test_a_download_that_is_not_the_known_file_is_not_kept(cache, monkeypatch):
    def login_page(url, known_hash, fname, path, progressbar):
        file = Path(path) / fname
        file.write_text(f"<html>Please log in at {url}</html>")
        return str(file)

    monkeypatch.setattr("pooch.retrieve", login_page)
    with pytest.raises(InputError, match=r"download .*not the SMS Spam Collection"):
        datasets.prepare("sms_spam")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(), OSError("\n")])
def test_an_error_without_words_is_reported_too(cache, monkeypatch, error):
    def fail(*arguments, **settings):
        raise error

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(InputError, match="could not download"):
        datasets.prepare("sms_spam")
