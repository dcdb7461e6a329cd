"""Texts with none or several labels are read however these are written, and each label occurs in every split."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from gpt_classifier.audit.inspection import inspect
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import near_duplicate_key
from gpt_classifier.data.splits import iterative_stratification
from gpt_classifier.errors import InputError

TEXTS = [f"text {word}" for word in ("one", "two", "three", "four", "five", "six")]
LABELS = [("b", "c"), (), ("a",), ("a", "b"), (), ("c",)]
WHOLE = {"fractions": [1.0, 0.0, 0.0]}


def made(**settings):
    return TextDataModule(tokenizer="bytes", splitting=WHOLE, **settings)


def as_columns(labels, names="abc"):
    return {name: [int(name in row) for row in labels] for name in names}


def write(path, frame):
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")), encoding="utf-8")
    return str(path)


FILES = [(e, w) for e in (".csv", ".jsonl", ".parquet") for w in ("|", ", ", "lists", "columns", "words")]
FILES.remove((".csv", "lists"))


@pytest.mark.parametrize(("ending", "written"), FILES)
def test_labels_are_read_however_they_are_written(ending, written, tmp_path):
    settings = {"multi_label": written}
    if written == "lists":
        columns = {"label": [list(reversed(row)) for row in LABELS]}
    elif written in ("columns", "words"):
        columns = as_columns(LABELS)
        if written == "words":
            columns = {name: [["False", "True"][value] for value in values] for name, values in columns.items()}
        settings = {"multi_label": "columns", "label_column": ["a", "b", "c"]}
    else:
        columns = {"label": [written.join([*row, *row[:1]]) for row in LABELS]}  # one of them twice
    source = write(tmp_path / f"rows{ending}", pd.DataFrame({"text": TEXTS} | columns))
    data = made(source=source, **settings)
    data.setup("fit")
    assert data.tables["train"]["label"].tolist() == LABELS
    assert data.class_names == ["a", "b", "c"]
    batch = data.encoded["train"][[0, 1, 3]]
    assert batch.labels.dtype == torch.float32
    assert batch.labels.tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 0]]
    assert "(2 a, 2 b, 2 c, 2 without label)" in data.summary()


def test_the_order_of_columns_is_that_of_the_logits_and_class_names_change_it():
    frame = pd.DataFrame({"text": TEXTS} | as_columns(LABELS))
    for settings, expected in (({}, ["c", "a", "b"]), ({"class_names": ["b", "a", "c"]}, ["b", "a", "c"])):
        columns = {"multi_label": "columns", "label_column": ["c", "a", "b"]} | settings
        data = TextDataModule.from_tables(frame, tokenizer="bytes", splitting=WHOLE, **columns)
        data.setup("fit")
        assert data.class_names == expected
        assert data.encoded["train"].labels[0].tolist() == [name in LABELS[0] for name in expected]


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"label": ["a|b", None]}, {"multi_label": "|"}, "1 train rows have no label, the first is row 1"),
        ({"label": ["a|b", "a"]}, {"multi_label": "lists"}, "labels of row 0 are 'a|b': name the separator"),
        ({"label": [["a"], []]}, {"multi_label": "|"}, r"label in row 0 of .* is \['a'\]: use lists"),
        ({"label": ["", ""]}, {"multi_label": "|"}, r"all training rows have the label \(\)"),
        ({"a": [0, 2]}, {"multi_label": "columns", "label_column": ["a"]}, "a in row 1 of .* is 2, expected 0 or 1"),
        ({"a": [0, None]}, {"multi_label": "columns", "label_column": "a"}, "a in row 1 of .* is nan, expected 0 or 1"),
        ({"label": ["a", "b"]}, {"label_column": ["label", "text"]}, "label_column names 2 columns: set multi_label"),
        ({"label": ["a", "b"]}, {"multi_label": ""}, "multi_label is empty"),
        ({"label": ["a", "b"]}, {"multi_label": "|", "balance": "undersample"}, "undersample is for single-label"),
        ({"label": ["a", "b"]}, {"multi_label": "|", "rare_classes": "drop"}, "rare_classes drop is for single-label"),
        ({"label": ["a|b", "b"]}, {"multi_label": "|", "balance": "class_weights"}, "training rows have the label 'b'"),
        ({"label": ["a|b", "c"]}, {"multi_label": "|", "class_names": ["a", "b"]}, "unknown label 'c' in train row 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_as_labels_is_one_line(columns, settings, message):
    frame = pd.DataFrame({"text": TEXTS[:2]} | columns)
    with pytest.raises(InputError, match=message):
        TextDataModule.from_tables(frame, tokenizer="bytes", splitting=WHOLE, **settings).setup("fit")


def test_a_single_label_data_set_is_refused():
    with pytest.raises(InputError, match="sample is a single-label data set"):
        TextDataModule("sample", multi_label="|")


def test_class_weights_are_texts_without_a_label_over_those_with_it():
    labels = [("a",), ("a", "b"), ("a",), (), ("b",), ("b",)]
    settings = {"multi_label": "lists", "balance": "class_weights", "tokenizer": "bytes", "splitting": WHOLE}
    data = TextDataModule.from_lists(TEXTS, labels, **settings)
    data.setup("fit")
    assert data.class_weights.tolist() == [1, 1]
    data = TextDataModule.from_lists(TEXTS, LABELS, **settings)
    data.setup("fit")
    assert data.class_weights.tolist() == [2, 2, 2]


# ---------------------------------------------------------------- splits


def random_labels(n: int, k: int, seed: int) -> list[tuple[str, ...]]:
    """Labels from common to rare; many rows have none."""
    rng = np.random.default_rng(seed)
    has = rng.random((n, k)) < 0.4 / (1 + np.arange(k))
    return [tuple(f"label {c:02}" for c in np.flatnonzero(row)) for row in has]


@pytest.mark.parametrize("split", ["grouped", "random"])
@pytest.mark.parametrize("k", [1, 4, 50])
def test_every_split_has_about_its_fraction_of_every_label(split, k):
    labels = random_labels(2000, k, seed=k)
    words = [f"number {'abcdefghij'[n % 10]} {'x' * (n // 10)}" for n in range(2000)]
    data = TextDataModule.from_lists(words, labels, multi_label="lists", tokenizer="bytes", split=split, max_length=8)
    tables = data.read_tables()
    assert sorted(pd.concat(tables.values())["row"]) == list(range(2000))
    counts = {name: table["label"].explode().value_counts() for name, table in tables.items()}
    total = sum(counts.values())
    for name, fraction in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert abs(len(tables[name]) - fraction * 2000) <= 2 + 0.2 * k
        assert (tables[name]["label"].map(len) == 0).any()
        for label in data.class_names:
            assert abs(counts[name][label] - fraction * total[label]) <= 2
    again = TextDataModule.from_lists(words, labels, multi_label="lists", tokenizer="bytes", split=split, max_length=8)
    assert all(again.read_tables()[name].equals(table) for name, table in tables.items())


def test_a_label_of_as_many_texts_as_there_are_splits_is_in_each():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        has = np.zeros((60, 6), dtype=bool)
        for label in range(6):
            has[rng.choice(60, 3 + 4 * label, replace=False), label] = True
        part = iterative_stratification(has, [0.7, 0.1, 0.2], seed)
        assert all(has[part == number].any(0).all() for number in range(3))


def test_fewer_texts_of_a_label_than_splits_are_no_error_but_an_audit_names_them():
    labels = [("rare",), *[("a",), ("b",), ("a", "b"), ()] * 10]
    texts = [f"text {'abcdefghijk'[n % 11] * (1 + n // 11)}" for n in range(len(labels))]
    data = TextDataModule.from_lists(texts, labels, multi_label="lists", tokenizer="bytes", max_length=8)
    data.setup("fit")
    assert data.class_names == ["a", "b", "rare"]
    assert "1 rare" in data.summary()
    assert "0 rare" in data.summary()
    found = {finding.kind: finding for finding in inspect(data).findings}
    assert str(found["rare_classes"]).startswith("class 'rare' has too few distinct texts for 3 splits")
    assert [row.number for row in found["rare_classes"].rows] == [0]


def test_near_duplicates_stay_together_whatever_their_labels():
    texts = [f"see you at {n} {word}" for word in ("mum", "dad", "tom", "ann", "kim", "bob") for n in range(5)]
    labels = [("a",) if n % 2 else ("b", "c") for n in range(30)]
    data = TextDataModule.from_lists(texts, labels, multi_label="lists", tokenizer="bytes")
    keys = [set(table["text"].map(near_duplicate_key)) for table in data.read_tables().values()]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 6
    assert "6 texts (near-duplicates as one) with labels that differ (30 rows)" in " ".join(data.rows.notes)


def test_every_text_is_in_one_fold_and_every_label_in_each():
    labels = random_labels(300, 5, seed=0)
    texts = [f"text {'abcdefghij'[n % 10] * (1 + n // 10)}" for n in range(300)]
    tested = []
    for fold in range(5):
        settings = {"multi_label": "lists", "tokenizer": "bytes", "splitting": {"folds": 5, "fold": fold}}
        tables = TextDataModule.from_lists(texts, labels, **settings).read_tables()
        tested += tables["test"]["row"].tolist()
        assert all(table["label"].explode().nunique() == 5 for table in tables.values())
        assert sum(map(len, tables.values())) == 300
    assert sorted(tested) == list(range(300))


# ---------------------------------------------------------------- audit


def test_an_audit_counts_a_text_for_each_of_its_labels():
    rng = np.random.default_rng(0)
    words = {"food": "bread", "music": "piano", "Music": "drums"}
    texts, labels = [], []
    for n in range(400):
        has = [name for name, p in zip(words, (0.5, 0.3, 0.05), strict=True) if rng.random() < p]
        texts.append(" ".join([*(words[name] for name in has), *rng.choice(["so", "and", "on", "we"], 4), "y" * n]))
        labels.append(tuple(sorted(has)))
    labels[1] = () if labels[0] else ("food",)
    texts[1] = texts[0]
    data = TextDataModule.from_lists(texts, labels, multi_label="lists", tokenizer="bytes", max_length=512)
    audit = inspect(data)
    tables = data.tables
    for name in words:
        counted = {split: (table["label"].explode() == name).sum() for split, table in tables.items()}
        assert {split: audit.classes[name][split] for split in tables} == counted
        assert audit.words[name].word == words[name]
        assert audit.words[name].precision > 0.97  # also where texts have other labels beside
    kinds = {finding.kind: finding for finding in audit.findings}
    assert kinds["label_conflicts"].sentence == "1 text has labels that differ, near-duplicates counting as one"
    assert kinds["class_names"].count == sum("Music" in row for row in labels)
    assert "the word 'bread' tells the class 'food'" in " ".join(map(str, audit.findings))
    most_frequent = tables["train"]["label"].mode()[0]
    assert audit.baselines["nothing"] == np.mean([row == most_frequent for row in tables["test"]["label"]])
