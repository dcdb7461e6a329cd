"""Texts are texts: what is read is what stood there, in its row, or is refused by type, wherever it comes from."""

import datetime
import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_classifier import TextDataModule
from gpt_classifier.data.datasets import Columns, load
from gpt_classifier.data.values import is_missing, to_list, to_names, to_text
from gpt_classifier.errors import InputError

TEXT = ["See you at five", "WIN a car", "later", "CALL now"]
LABEL = ["ham", "spam", "ham", "spam"]


def written(tmp_path, kind: str, columns: dict[str, list]):
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize("value", [["a"], {"a": 1}, 5, 5.5, True, datetime.date(2026, 1, 1), b"\xff", math.inf])
def test_what_is_no_text_is_refused_by_its_type_its_row_and_its_source(value, tmp_path):
    with pytest.raises(InputError, match=rf"text.* row 1 of .* train table .*\({type(value).__name__}\)"):
        TextDataModule.from_lists([TEXT[0], value, *TEXT[2:]], LABEL, tokenizer="bytes")
    if isinstance(value, list | dict | int | float) and value != math.inf:
        path = written(tmp_path, "jsonl", {"text": [TEXT[0], value, *TEXT[2:]], "label": LABEL})
        with pytest.raises(InputError, match=rf"text.* row 1 of \S+a\.jsonl .*\({type(value).__name__}\)"):
            load(path)


def test_bytes_are_read_as_utf8_or_refused(tmp_path):
    path = written(tmp_path, "parquet", {"text": ["ünï".encode(), b"b", None], "label": [b"x", b"y", b"x"]})
    table = load(path)["train"]
    assert table["text"].tolist() == ["ünï", "b", None]
    assert table["label"].tolist() == ["x", "y", "x"]
    path = written(tmp_path, "parquet", {"text": [b"a", b"caf\xe9"], "label": ["x", "y"]})
    with pytest.raises(InputError, match=r"text.* row 1 of .*UTF-8.* byte 3"):
        load(path)


def test_a_row_is_counted_over_files_and_chunks(tmp_path):
    for name, extra in (("a", []), ("b", [["no text"]])):
        rows = [{"text": text, "label": "x"} for text in ["a"] * 10_500 + extra]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match="text in row 21000 of"):
        load([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")])


@pytest.mark.parametrize("orient", ["columns", "list"])
def test_a_file_of_columns_is_not_taken_for_one_row(orient, tmp_path):
    frame = pd.DataFrame({"text": TEXT, "label": LABEL})
    content = frame.to_json() if orient == "columns" else json.dumps(frame.to_dict("list"))
    (tmp_path / "a.json").write_text(json.dumps(json.loads(content), indent=2))
    with pytest.raises(InputError, match=r"several lines.* object for each row"):
        load(str(tmp_path / "a.json"))
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=r"columns.* object for each row"):
            load(str(tmp_path / name))


def test_of_two_columns_or_keys_of_one_name_none_is_taken(tmp_path):
    table = pa.table([pa.array(TEXT), pa.array(LABEL), pa.array(LABEL)], names=["text", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has two columns 'text'"):
        load(str(tmp_path / "a.parquet"))
    (tmp_path / "a.jsonl").write_text('{"text": "a", "text": "b", "label": "x"}\n')
    with pytest.raises(InputError, match="'text' twice"):
        load(str(tmp_path / "a.jsonl"))
    twice = pd.DataFrame([["a", "b", "x"]], columns=["text", "text", "label"])
    for frame in (twice, table):
        with pytest.raises(InputError, match="two columns 'text'"):
            TextDataModule.from_tables(frame)


class PolarsColumn(list):
    """A column as polars has it, as far as it is used."""

    shape = property(lambda self: (len(self),))
    to_list = list.copy


class Polars:
    """A table as polars has it."""

    columns = property(lambda self: list(self.values))

    def __init__(self, values):
        self.values = values

    def __getitem__(self, name):
        return PolarsColumn(self.values[name])


KINDS = {
    "list": list,
    "tuple": tuple,
    "iterator": iter,
    "numpy": lambda values: np.array(values, dtype=object),
    "pandas": pd.Series,
    "pandas string": lambda values: pd.Series(values, dtype="string"),
    "pandas category": lambda values: pd.Series(values, dtype="category"),
    "pandas arrow": lambda values: pd.Series(values, dtype=pd.ArrowDtype(pa.string())),
    "pyarrow": pa.array,
    "pyarrow chunks": lambda values: pa.chunked_array([values[:2], values[2:]]),
    "polars": PolarsColumn,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_any_library_is_the_same_list_everywhere(kind, trained):
    from gpt_classifier import TextClassifier

    texts, labels = [*TEXT, None], [*LABEL, "ham"]
    data = TextDataModule.from_lists(KINDS[kind](texts), KINDS[kind](labels), tokenizer="bytes", empty="keep")
    table = data.sources.tables["train"]
    assert table["text"].tolist() == texts
    assert table["label"].tolist() == labels
    classifier = TextClassifier.load(trained / "model")
    expected = classifier.predict_proba([*TEXT, ""])
    assert classifier.predict_proba(KINDS[kind](texts)).tolist() == expected.tolist()


@pytest.mark.parametrize("make", [pd.DataFrame, pa.table, Polars])
def test_a_table_of_any_library_is_the_same_table(make):
    data = TextDataModule.from_tables(make({"text": [*TEXT, None], "label": [*LABEL, "ham"]}), tokenizer="bytes")
    assert data.sources.tables["train"]["text"].tolist() == [*TEXT, None]
    with pytest.raises(InputError, match="expected a DataFrame"):
        TextDataModule.from_tables({"text": TEXT, "label": LABEL})


@pytest.mark.parametrize(
    "values", ["abc", b"abc", {"a": 1}, {"a"}, 5, np.zeros((2, 1)), torch.zeros(2, 2), pd.DataFrame({"a": [1]}), None]
)
def test_what_is_no_list_is_refused_everywhere(values, trained):
    from gpt_classifier import TextClassifier
    from gpt_classifier.training.estimator import TextClassifierEstimator

    with pytest.raises(InputError, match="the texts are"):
        TextDataModule.from_lists(values, LABEL)
    with pytest.raises(InputError, match="the labels are"):
        TextDataModule.from_lists(TEXT, values)
    with pytest.raises(InputError, match="the texts are"):
        TextClassifierEstimator().fit(values, LABEL)
    if not isinstance(values, str):
        with pytest.raises(InputError, match="the texts are"):
            TextClassifier.load(trained / "model").predict(values)


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("numbers", [[1, 0, 1, 0], [1.0, 0.0, 1.0, 0.0], [1.0, 0, 1, 0.0]])
def test_a_whole_number_is_one_class_however_it_is_stored(numbers, tmp_path):
    expected = ["1", "0", "1", "0"]
    assert load(written(tmp_path, "jsonl", {"text": TEXT, "label": numbers}))["train"]["label"].tolist() == expected
    assert load(written(tmp_path, "parquet", {"text": TEXT, "label": numbers}))["train"]["label"].tolist() == expected
    for labels in (numbers, np.array(numbers), torch.tensor(numbers), pd.Series(numbers), pa.array(numbers)):
        data = TextDataModule.from_lists(TEXT, labels, class_names=[1.0, 0], tokenizer="bytes")
        assert data.sources.tables["train"]["label"].tolist() == expected
        assert data.class_names == ["1", "0"]


def test_a_missing_label_makes_no_other_class_of_the_rest(tmp_path):
    for kind in ("jsonl", "parquet"):
        path = written(tmp_path, kind, {"text": TEXT, "label": [1, None, 0, 1]})
        assert load(path)["train"]["label"].tolist() == ["1", None, "0", "1"]
    frame = pd.DataFrame({"text": TEXT, "label": [1, None, 0, 1]})  # pandas makes floats of it
    assert Columns().table(frame)["label"].tolist() == ["1", None, "0", "1"]
    assert Columns().table(frame.astype({"label": "Int64"}))["label"].tolist() == ["1", None, "0", "1"]


def test_labels_of_a_csv_file_stay_as_they_are_written(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,1\nb,1.0\nc,01\nd,True\n")
    assert load(str(tmp_path / "a.csv"))["train"]["label"].tolist() == ["1", "1.0", "01", "True"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.5, 1.0], ["0.5", "1.0"]),
        ([1, 1.0, np.int8(1), np.float32(1), Decimal("1.0"), torch.tensor(1.0), math.nan], ["1"] * 6 + [None]),
        ([-0.0, 1e20], ["0", str(10**20)]),
        ([1.0, "x"], ["1.0", "x"]),
        ([True, False, None], ["True", "False", None]),
        ([np.str_("a"), b"a", "1.0"], ["a", "a", "1.0"]),
        ([math.inf, 1], ["inf", "1"]),
        ([datetime.date(2026, 1, 2)], ["2026-01-02"]),
        ([], []),
    ],
)
def test_names_of_a_column(values, names):
    assert to_names(values, str) == names


def test_numbers_meet_the_classes_that_are_known(tmp_path):
    assert to_names([1, 0.0, 2], str, {"1.0", "0"}) == ["1.0", "0", "2"]
    assert to_names([0.5, 1.0], str, {"1", "0.5"}) == ["0.5", "1"]
    train = written(tmp_path, "jsonl", {"text": TEXT, "label": ["1.0", "0.0"] * 2})
    test = written(tmp_path, "parquet", {"text": TEXT, "label": [1, 0, 1, 0]})
    data = TextDataModule(train, test_source=test, tokenizer="bytes", splitting={"fractions": [1.0, 0.0, 0.0]})
    assert data.read_tables()["test"]["label"].tolist() == ["1.0", "0.0"] * 2


def test_whether_a_column_is_of_whole_numbers_is_told_by_all_its_rows(tmp_path):
    rows = 10_500  # more than are read together
    labels = [1.0, 0.0] * (rows // 2)
    whole = load(written(tmp_path, "jsonl", {"text": ["a"] * rows, "label": labels}))["train"]["label"]
    mixed = load(written(tmp_path, "jsonl", {"text": ["a"] * rows, "label": [*labels[:-1], "x"]}))["train"]["label"]
    assert set(whole) == {"0", "1"}
    assert set(mixed) == {"0.0", "1.0", "x"}


@pytest.mark.parametrize("value", [["a"], {"a": 1}, np.zeros(2), torch.zeros(2), ("a",)])
def test_a_list_is_no_label(value):
    with pytest.raises(InputError, match=r"label.* row 3 .*one name"):
        to_names([value], lambda n: "label in row 3")


def test_the_estimator_refuses_what_names_no_class():
    from gpt_classifier.training.estimator import _encode_classes

    for y in ([None, "x"], [1.0, math.nan], pd.Series([1, None], dtype="Int64")):
        with pytest.raises(InputError, match=r"y\[\d\] is missing"):
            _encode_classes(y)
    for y in ([[1, 2], [3]], [{"a": 1}, {}], [0.5, 1.5]):
        with pytest.raises(InputError):
            _encode_classes(y)
    for y in (
        np.array([[1], [0]]),
        [1, 0],
        np.array([1.0, 0.0]),
        torch.tensor([1, 0]),
        pd.Series([1, 0], dtype=object),
    ):
        classes, names = _encode_classes(y)
        assert (classes.tolist(), names) == ([1, 0], ["1", "0"])
    assert _encode_classes(["a", 1])[0].tolist() == ["a", "1"]


# ---------------------------------------------------------------- tables of everything

texts = st.text(st.characters(codec="utf-16", exclude_categories=()), max_size=6)
good = st.one_of(texts, texts.map(lambda text: text.encode()), st.none())
missing = st.sampled_from([None, math.nan, pd.NA, pd.NaT, np.float32("nan"), np.datetime64("NaT"), Decimal("nan")])
bad = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.lists(st.text(max_size=2), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.dates(),
    st.sampled_from([b"\xff", Decimal("1.5"), np.int64(3), np.float32(2.5), pd.Timestamp("2026-01-01"), object()]),
)
columns_of = st.one_of(
    st.lists(st.one_of(good, missing), min_size=1, max_size=6),
    st.lists(st.one_of(good, missing, bad), min_size=1, max_size=6),
)


def check_table(values, tmp_path):
    """A table of ``values`` is read as it is, from memory and from files, or one row of it is refused."""
    frame = pd.DataFrame({"text": pd.Series(values, dtype=object), "label": ["x"] * len(values)})
    readings = [lambda: Columns().table(frame)]
    plain = [None if is_missing(value) else value for value in values]
    try:
        (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": v, "label": "x"}) for v in plain))
        readings.append(lambda: load(str(tmp_path / "a.jsonl"))["train"])
    except TypeError:
        pass  # what JSON has no way to write
    try:
        pq.write_table(pa.table({"text": plain, "label": ["x"] * len(plain)}), tmp_path / "a.parquet")
        readings.append(lambda: load(str(tmp_path / "a.parquet"))["train"])
    except (pa.ArrowException, UnicodeError, TypeError, OverflowError):
        pass  # columns of one type only
    wrong = [
        n
        for n, v in enumerate(plain)
        if not (v is None or isinstance(v, str) or (isinstance(v, bytes) and v != b"\xff"))
    ]
    for read in readings:
        if wrong:
            with pytest.raises(InputError, match=rf"text in row {wrong[0]} of |date value out of range"):
                read()
            continue
        decoded = [value.decode() if isinstance(value, bytes) else value for value in plain]
        expected = [
            None if v is None else v.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for v in decoded
        ]
        table = read()
        assert table["text"].tolist() == expected
        assert table["row"].tolist() == list(range(len(values)))


@pytest.mark.parametrize("examples", [30, pytest.param(5000, marks=pytest.mark.nightly)])
def test_a_table_of_any_values_is_read_as_it_is_or_refused(tmp_path, examples):
    @settings(max_examples=examples, deadline=None)
    @given(columns_of)
    def check(values):
        check_table(values, tmp_path)

    check()


def test_a_text_keeps_what_is_no_surrogate():
    assert to_text("a\ud83d\U0001f600\0\u2028", str) == "a\N{REPLACEMENT CHARACTER}\U0001f600\0\u2028"
    assert to_list(pa.array(["a", None]), "the texts") == ["a", None]
