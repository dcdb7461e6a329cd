"""Files are read as people have them, and what was decided about their format is said."""

import csv
import gzip
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier.data.readers import AS_NAMED, FileFormat, describe_files, expand_paths, read_columns
from gpt_classifier.errors import InputError

ROWS = [["hi; you", "ham"], ["naïve, 5 €", "spam"], ["", "ham"]]


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return str(path)


def read(source, columns=("text", "label"), file_format=AS_NAMED, rows=10_000):
    frames = list(read_columns(source, columns, rows, file_format=file_format))
    assert all(0 < len(frame) <= rows for frame in frames)
    return pd.concat(frames).to_numpy().tolist()


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ":", "\N{SECTION SIGN}"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_a_delimiter_that_is_given_holds_for_every_name(tmp_path, name, delimiter):
    content = "\n".join(delimiter.join(f'"{field}"' for field in fields) for fields in [["text", "label"], *ROWS])
    path = write(tmp_path / name, content)
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(content.encode()))
    assert read(path, file_format=FileFormat(delimiter)) == ROWS


def test_a_tab_may_be_typed_as_backslash_t(tmp_path):
    assert read(write(tmp_path / "a.csv", "text\tlabel\na,b\tham\n"), file_format=FileFormat("\\t")) == [["a,b", "ham"]]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_the_delimiter_of_a_header_without_comma_is_guessed_and_said(tmp_path, mark):
    path = write(tmp_path / "a.csv", f"text{mark}label\na, b{mark}ham\n")
    assert read(path) == [["a, b", "ham"]]
    assert describe_files(path, AS_NAMED) == [f"{path}: columns are separated by {mark!r}, as its header has no comma"]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ('"a;b"\n1;2\n', ["a;b"]),
        ('"a\tb"\n1;2\n', ["a\tb"]),
        ('"a;\nb",c\n1;2,x\n', ["a;\nb", "c"]),
        ('"a,b";c\n"1,2";3\n', ["a,b", "c"]),
        ('"a\r\nb,";c\n1;3\n', ["a\r\nb,", "c"]),
    ],
)
def test_between_quotation_marks_a_name_separates_no_columns(tmp_path, content, names):
    (table,) = read_columns(str(write(tmp_path / "a.csv", content)), None)
    assert table.columns.tolist() == names


@pytest.mark.parametrize("header", ["text,label", "text,label;x", '"text","label"'])
def test_a_header_with_a_comma_is_that_of_an_ordinary_csv_file(tmp_path, header):
    path = write(tmp_path / "a.csv", f"{header}\na;b,ham\n")
    assert read(path, ["text"]) == [["a;b"]]
    assert describe_files(path, AS_NAMED) == []


def test_without_header_columns_are_numbered_and_no_delimiter_is_guessed(tmp_path):
    plain = FileFormat(header=False)
    assert read(write(tmp_path / "a.csv", "hi; you,ham\n\nbye,spam\n"), ["0", "1"], plain) == [
        ["hi; you", "ham"],
        ["bye", "spam"],
    ]
    assert read(write(tmp_path / "b.csv", "\n\nhi; you\n\n"), ["0"], plain) == [[""], [""], ["hi; you"], [""]]
    assert read(write(tmp_path / "c.tsv", "ham\thi\n"), ["1", "0"], plain) == [["hi", "ham"]]
    with pytest.raises(InputError, match=r"column 'text'.* 0, 1\."):
        read(str(tmp_path / "a.csv"), ["text"], plain)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "UTF8", "utf_8_sig"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_other_encodings_are_read_by_their_names(tmp_path, name, encoding):
    if name.startswith("a.json"):
        objects = [dict(zip(["text", "label"], fields, strict=True)) for fields in ROWS]
        lines = [json.dumps(item, ensure_ascii=False) for item in objects]
        content = "\n".join(lines) if name == "a.jsonl" else f"[{','.join(lines)}]"
    else:
        mark = "," if name == "a.csv" else "\t"
        content = "\n".join(mark.join(f'"{field}"' for field in fields) for fields in [["text", "label"], *ROWS])
    path = write(tmp_path / name, content, encoding)
    assert read(path, file_format=FileFormat(encoding=encoding)) == ROWS


def test_a_file_that_is_read_in_another_encoding_although_it_seems_to_be_utf_8_is_named(tmp_path):
    old = FileFormat(encoding="cp1252")
    for number, (content, encoding, seems) in enumerate(
        [("naïve", "utf-8", True), ("naïve", "cp1252", False), ("naive", "utf-8", False), ("é" * 2**20, "utf-8", True)]
    ):
        path = write(tmp_path / f"{number}.csv", f"text,label\n{content},ham\n", encoding)
        said = [f"{path}: read as cp1252, but it seems to be UTF-8 (--data.file_format.encoding utf-8)"]
        assert describe_files(path, old) == (said if seems else [])


def test_a_file_in_another_encoding_is_told_how_to_name_it(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nnaïve,ham\n", "latin-1")
    with pytest.raises(InputError, match=r"not valid UTF-8 in line 2 .*file_format.encoding cp1252"):
        read(path)
    with pytest.raises(InputError, match="not valid ascii"):
        read(path, file_format=FileFormat(encoding="ascii"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"delimiter": "||"}, r"delimiter is '\|\|', expected one character"),
        ({"delimiter": ""}, "delimiter is ''"),
        ({"delimiter": '"'}, "expected one character"),
        ({"encoding": "latin-99"}, "encoding is 'latin-99'"),
        ({"encoding": "base64"}, "encoding is 'base64'"),
        ({"encoding": "a\0"}, "encoding is"),
    ],
    ids=str,
)
def test_a_format_that_cannot_be_meant_is_named(setting, message):
    with pytest.raises(InputError, match=message):
        FileFormat(**setting)


def test_a_file_that_may_have_another_delimiter_is_told_so(tmp_path):
    with pytest.raises(InputError, match=r"column 'text'.* text\|label\. .*file_format.delimiter"):
        read(write(tmp_path / "a.csv", "text|label\nhi|ham\n"))


QUOTED = {  # content after the header, its rows, whether quotation marks enclose fields
    "balanced": ('"say ""hi"""\tham\nplain\tspam\n', [['say "hi"', "ham"], ["plain", "spam"]], True),
    "several lines": ('"two\nlines"\tham\n', [["two\nlines", "ham"]], True),
    "a delimiter inside": ('"a\tb"\tham\n', [["a\tb", "ham"]], True),
    "windows lines": ('"hi"\t"ham"\r\n', [["hi", "ham"]], True),
    "one that opens": ('"open\tham\n"hi"\tham\n', [['"open', "ham"], ['"hi"', "ham"]], False),
    "one inside": ('5" wide\tham\n"hi"\tham\n', [['5" wide', "ham"], ['"hi"', "ham"]], False),
    "a part": ('"all" of it\tham\n', [['"all" of it', "ham"]], False),
    "a speech of several rows": ('"Come\tham\nnow"\tspam\n', [['"Come', "ham"], ['now"', "spam"]], False),
    "none": ("hi\tham\n", [["hi", "ham"]], None),
}


@pytest.mark.parametrize("case", QUOTED)
@pytest.mark.parametrize("rows", [1, 10_000])
def test_quotation_marks_of_a_tsv_file_enclose_fields_where_they_balance_and_it_is_said(tmp_path, case, rows):
    content, expected, quoted = QUOTED[case]
    path = write(tmp_path / "a.tsv", f"text\tlabel\n{content}")
    assert read(path, rows=rows) == expected
    said = {True: "enclose fields, as in a CSV file", False: "are ordinary characters"}
    assert describe_files(path, AS_NAMED) == ([] if quoted is None else [f"{path}: quotation marks {said[quoted]}"])


def test_a_mark_that_is_never_closed_does_not_make_a_large_file_one_text(tmp_path):
    path = write(tmp_path / "a.tsv", "text\tlabel\n" + '"open\tham\n' + "hi\tham\n" * 20_000 + 'there"\tham\textra\n')
    assert describe_files(path, AS_NAMED) == [f"{path}: quotation marks are ordinary characters"]


FIELD = st.text('ab "\N{NO-BREAK SPACE},', max_size=6)


@given(rows=st.lists(st.tuples(FIELD | st.text('a"\n', max_size=6), st.sampled_from(["ham", "spam"])), min_size=1))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_quoted_tsv_file_of_the_csv_module_is_read_as_it_was_written(tmp_path, quoting, rows):
    with open(tmp_path / "a.tsv", "w", newline="") as stream:
        csv.writer(stream, delimiter="\t", quoting=quoting).writerows([["text", "label"], *rows])
    assert read(str(tmp_path / "a.tsv")) == [list(row) for row in rows]


@given(rows=st.lists(st.tuples(FIELD, st.sampled_from(["ham", "spam"])), min_size=1))
def test_a_tsv_file_without_line_ends_in_texts_has_a_row_for_each_line_whatever_its_quotation_marks(tmp_path, rows):
    path = write(tmp_path / "a.tsv", "".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *rows]))
    found = read(path)
    assert [label for _, label in found] == [label for _, label in rows]
    plain = [text for text, _ in found] == [text for text, _ in rows]
    assert plain == (not describe_files(path, AS_NAMED) or "ordinary" in describe_files(path, AS_NAMED)[0])


@pytest.mark.parametrize("rows", [1, 2, 10_000])
def test_json_files_hold_an_array_of_objects_or_an_object_in_each_line(tmp_path, rows):
    objects = [{"text": "a", "label": 1}, {}, {"text": "b\nc", "label": None}]
    expected = [["a", 1], [None, None], ["b\nc", None]]
    for number, content in enumerate(
        [
            json.dumps(objects),
            json.dumps(objects, indent=2),
            "\n\n" + json.dumps(objects),
            "\n".join(map(json.dumps, objects)),
        ]
    ):
        assert read(write(tmp_path / f"{number}.json", content), rows=rows) == expected


@pytest.mark.parametrize("content", ["[1, 2]", '[{"text": "a"}', '{"a": 1', "[]", "hello"])
def test_json_that_is_no_array_of_objects_is_refused_by_name(tmp_path, content):
    with pytest.raises(InputError, match=r"a\.json"):
        read(write(tmp_path / "a.json", content))


def test_several_files_are_those_of_a_list_in_its_order_or_of_a_pattern_sorted(tmp_path):
    names = [write(tmp_path / name, f"label,text\nham,{name}\n") for name in ("b.csv", "a.csv", "c.csv")]
    other = write(tmp_path / "d.jsonl", '{"text": "d.jsonl", "label": "spam"}\n')
    assert [text for text, _ in read([*names, other])] == ["b.csv", "a.csv", "c.csv", "d.jsonl"]
    assert [text for text, _ in read(str(tmp_path / "*.csv"))] == ["a.csv", "b.csv", "c.csv"]
    assert [text for text, _ in read([other, str(tmp_path / "[ab].csv")])] == ["d.jsonl", "a.csv", "b.csv"]
    assert expand_paths(str(tmp_path / "**" / "*.jsonl")) == [other]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    assert expand_paths(write(tmp_path / "a[1].csv", "text\n")) == [str(tmp_path / "a[1].csv")]


@pytest.mark.parametrize(
    ("source", "message"),
    [("*.tsv", "no file matches"), (["a.csv", "*.csv"], "named twice"), ([], "empty"), (["no.csv"], "no file no.csv")],
)
def test_sources_that_cannot_be_meant_are_named(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", "text,label\na,ham\n")
    with pytest.raises(InputError, match=message):
        read(source)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_json_that_nests_too_deep_is_one_line(ending, tmp_path):
    path = tmp_path / f"deep.{ending}"
    path.write_text('{"text": "a", "label": "b"}\n' * (ending == "jsonl") + "[" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match="nested too deep"):
        list(read_columns(str(path), None))
