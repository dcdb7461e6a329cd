"""A split gives every row to one side, the same one every time, and never a near-duplicate of a text to two."""

import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from gpt_classifier.data import balance, datasets, duplicates, splits
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.errors import InputError
from gpt_classifier.text.encoder import TextEncoder

ASSETS = Path(__file__).resolve().parents[3] / "shared" / "assets"
FRACTIONS = (0.7, 0.1, 0.2)
SPLITS = pytest.mark.parametrize("split", ["grouped", "random"])


def table_of(rows):
    return pd.DataFrame(rows, columns=["text", "label"], dtype=object).assign(row=range(len(rows)))


@st.composite
def tables(draw):
    """Ten texts of each class, and on top of them a few that are copies of each other more often than not."""
    enough = [(f"{label} {chr(ord('a') + number)}", label) for label in ("ham", "spam") for number in range(10)]
    copies = st.tuples(st.text("aA12 ", max_size=4), st.sampled_from(["ham", "spam"]))
    return table_of(draw(st.permutations(enough + draw(st.lists(copies, max_size=30)))))


def rows_of(parts):
    return {name: part["row"].tolist() for name, part in parts.items()}


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("Call 08001", "call 7"),
        ("a  b\n", " A B"),
        ("WIN 1,000", "win 2,345"),
        ("x1y22", "X9Y8"),
        ("\ufefffree call", "free call"),
        ("fr\u200bee\u2060 ca\u00adll\u200d", "free call"),
        ("free\u00a0call\u3000now\u2028", "free call now"),
        ("free\x00 \x07call\x7f", "free call"),
        ("cafe\u0301", "caf\u00e9"),
        ("cafe\u200d\u0301", "caf\u00e9"),
        ("\uff26\uff32\uff25\uff25 \ufb01ne", "free fine"),
        ("\U0001d405ree", "free"),
        ("call \u2460\uff12", "call 9"),
        ("I \u2764\ufe0f U", "i \u2764 u"),
        ("\u0130x", "i\u0307x"),
    ],
)
def test_near_duplicates_have_the_same_key(text, copy):
    assert duplicates.near_duplicate_key(text) == duplicates.near_duplicate_key(copy)


@pytest.mark.parametrize(("text", "other"), [("call me", "call you"), ("call", "call 7"), ("a b", "ab")])
def test_different_texts_have_different_keys(text, other):
    assert duplicates.near_duplicate_key(text) != duplicates.near_duplicate_key(other)


INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad\u200e\u202e\x00\x07\x7f\ufe0f"
SPACES = "\t\n\r\x0b\x0c\x85\u00a0\u1680\u2003\u2009\u2028\u2029\u202f\u205f\u3000"


@given(text=st.text(), data=st.data())
def test_invisible_characters_spaces_and_normal_forms_do_not_change_the_key(text, data):
    key = duplicates.near_duplicate_key(text)
    places = data.draw(st.lists(st.tuples(st.integers(0, len(text)), st.sampled_from(INVISIBLE)), max_size=5))
    hidden = text
    for place, character in places:
        hidden = hidden[:place] + character + hidden[place:]
    assert duplicates.near_duplicate_key(hidden) == key
    spaced = "".join(data.draw(st.sampled_from(SPACES)) if c == " " else c for c in text)
    assert duplicates.near_duplicate_key(f"{spaced} ") == key
    assert duplicates.near_duplicate_key(key) == key
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert duplicates.near_duplicate_key(unicodedata.normalize(form, text)) == key


@st.composite
def grouped_tables(draw):
    """The same, with authors who wrote one text or several, and rows of nobody."""
    table = draw(tables())
    authors = st.sampled_from([f"author {number}" for number in range(30)] + [None, ""])
    return table.assign(
        group=pd.Series(draw(st.lists(authors, min_size=len(table), max_size=len(table))), dtype=object)
    )


@given(table=grouped_tables())
def test_rows_are_one_unit_exactly_when_texts_and_groups_link_them(table):
    units = splits.linked_rows(table)
    rows = list(zip(table["text"].map(duplicates.near_duplicate_key), table["group"], strict=True))
    linked = [{number} for number in range(len(rows))]
    for one, (key, group) in enumerate(rows):  # the slow way: sets that grow together
        for two in range(one):
            other_key, other_group = rows[two]
            if (key == other_key or (group and group == other_group)) and linked[one] is not linked[two]:
                linked[one] |= linked[two]
                for member in linked[one]:
                    linked[member] = linked[one]
    for one in range(len(rows)):
        assert {two for two in range(len(rows)) if units.iloc[two] == units.iloc[one]} == linked[one]


@given(table=grouped_tables(), seed=st.integers(0, 9), fold=st.sampled_from([None, splits.Fold(1, 3)]))
def test_a_grouped_split_keeps_an_author_and_near_duplicates_on_one_side(table, seed, fold):
    try:
        parts = splits.split_rows(table, "grouped", (0.5, 0.25, 0.25), seed, fold)
    except InputError:  # the rows of a class hang together too much
        event("refused")
        return
    assert_frame_equal(pd.concat(parts.values()).sort_values("row"), table)
    for values in (
        [set(part["group"]) - {None, ""} for part in parts.values()],
        [set(part["text"].map(duplicates.near_duplicate_key)) for part in parts.values()],
    ):
        assert sum(map(len, values)) == len(set.union(*values))


def test_classes_are_divided_although_every_author_wrote_of_all():
    labels = ["ham", "spam", "eggs"]
    rows = [(f"{author} {'x' * n}", labels[n % 3], f"author {author}") for author in "abcdefghij" for n in range(6)]
    table = pd.DataFrame(rows, columns=["text", "label", "group"], dtype=object).assign(row=range(60))
    parts = splits.split_rows(table, "grouped", FRACTIONS, 0)
    assert {name: part["group"].nunique() for name, part in parts.items()} == {"train": 7, "val": 1, "test": 2}
    assert all(set(part["label"]) == set(labels) for part in parts.values())


def test_a_class_that_few_groups_have_is_named():
    rows = [(f"text {'x' * n}", "spam" if n < 20 else "ham", f"thread {n // 10}") for n in range(100)]
    table = pd.DataFrame(rows, columns=["text", "label", "group"], dtype=object).assign(row=range(100))
    message = r"'spam' has 2 distinct texts, too few for 3 splits .*rows of one group count once.*rare_classes"
    with pytest.raises(InputError, match=message):
        splits.split_rows(table, "grouped", FRACTIONS, 0)


def check_parts(parts, table, split):
    """Every row is in one part, in its former order, and with a grouped split no near-copies are in two."""
    assert list(parts) == ["train", "val", "test"]
    assert_frame_equal(pd.concat(parts.values()).sort_values("row"), table)
    assert all(part["row"].is_monotonic_increasing for part in parts.values())
    if split == "grouped":
        sides = [set(part["text"].map(duplicates.near_duplicate_key)) for part in parts.values()]
        assert sum(map(len, sides)) == len(set.union(*sides))


@SPLITS
@given(table=tables(), seed=st.integers(0, 9))
def test_every_row_is_in_one_part_the_same_every_time(split, table, seed):
    parts = splits.split_rows(table, split, FRACTIONS, seed)
    check_parts(parts, table, split)
    assert rows_of(splits.split_rows(table.copy(), split, FRACTIONS, seed)) == rows_of(parts)


@SPLITS
@pytest.mark.parametrize("fractions", [FRACTIONS, (0.5, 0.25, 0.25), (0.8, 0.0, 0.2), (0.9, 0.1, 0.0), (1.0, 0.0, 0.0)])
@settings(max_examples=10, deadline=None)
@given(order=st.integers(0, 999))
def test_every_split_has_its_fraction_of_every_class_in_whatever_order_the_rows_come(split, fractions, order):
    labels = ["ham"] * 100 + ["spam"] * 40 + ["eggs"] * 20
    table = table_of([("x" * number, label) for number, label in enumerate(labels)]).sample(frac=1, random_state=order)
    parts = splits.split_rows(table, split, fractions, 123)
    assert parts.keys() == {name for name, fraction in zip(splits.NAMES, fractions, strict=True) if fraction}
    for fraction, name in zip(fractions, splits.NAMES, strict=True):
        for label, count in table["label"].value_counts().items() if fraction else ():
            assert abs((parts[name]["label"] == label).sum() - fraction * count) <= 1  # whole rows only


@SPLITS
@given(table=tables(), seed=st.integers(0, 9), folds=st.integers(2, 5))
def test_over_all_folds_every_row_is_tested_once(split, table, seed, folds):
    tested = []
    for number in range(folds):
        parts = splits.split_rows(table, split, FRACTIONS, seed, splits.Fold(number, folds))
        check_parts(parts, table, split)
        tested.append(parts["test"])
    assert_frame_equal(pd.concat(tested).sort_values("row"), table)


@SPLITS
@pytest.mark.parametrize(
    ("fractions", "val_fraction"), [(FRACTIONS, 1 / 8), ((0.6, 0.2, 0.2), 1 / 4), ((0.8, 0.0, 0.2), 0.0)]
)
def test_a_fold_and_val_have_their_fractions_of_every_class(split, fractions, val_fraction):
    table = table_of([("x" * number, "ham" if number < 100 else "spam") for number in range(140)])
    for number in range(5):
        parts = splits.split_rows(table, split, fractions, 123, splits.Fold(number, 5))
        assert ("val" in parts) == (val_fraction > 0)
        for label, count in (("ham", 100), ("spam", 40)):
            assert (parts["test"]["label"] == label).sum() == count / 5
            if val_fraction:
                assert (parts["val"]["label"] == label).sum() == pytest.approx(0.8 * count * val_fraction, abs=1)


@SPLITS
@pytest.mark.parametrize("fold", [None, splits.Fold(1, 3)])
def test_another_seed_is_another_split(split, fold):
    table = table_of([(f"{label} {'x' * number}", label) for label in ("ham", "spam") for number in range(30)])
    first, again, other = (rows_of(splits.split_rows(table, split, FRACTIONS, seed, fold)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("seed", [1, 2])
def test_undersampling_keeps_as_many_rows_of_each_class_as_of_the_smallest_in_their_order(seed):
    table = table_of([(str(number), "ham" if number % 5 else "spam") for number in range(50)])
    sample = balance.undersample(table, seed)
    assert sample["label"].value_counts().to_dict() == {"ham": 10, "spam": 10}
    assert sample["row"].is_monotonic_increasing
    assert_frame_equal(sample, table.loc[sample.index])
    assert_frame_equal(sample, balance.undersample(table, seed))


@pytest.mark.parametrize(
    ("split", "fold", "message"),
    [
        ("grouped", None, r"'spam' .*2 distinct texts.* 3 splits"),
        ("grouped", splits.Fold(0, 3), r"'spam' .*2 distinct texts.* 3 folds"),
        ("random", splits.Fold(0, 4), r"'spam' .*3 distinct texts.* 4 folds"),
    ],
)
def test_a_class_with_fewer_texts_than_parts_is_named(split, fold, message):
    table = table_of([(f"ham {'x' * n}", "ham") for n in range(9)] + [(t, "spam") for t in ("Win 1", "win 2", "call")])
    with pytest.raises(InputError, match=message):
        splits.split_rows(table, split, FRACTIONS, 0, fold)


@SPLITS
def test_fractions_too_small_for_one_row_of_each_class_are_refused(split):
    table = table_of([(f"{label} {'x' * number}", label) for label in ("ham", "spam") for number in range(4)])
    with pytest.raises(InputError, match=r"8 distinct texts .*2 classes .*fractions \[0.9, 0.05, 0.05\]"):
        splits.split_rows(table, split, (0.9, 0.05, 0.05), 0)


# The numbers below are those of FACTS.md: published with the book, or counted in the collection.


@pytest.fixture
def collection(monkeypatch):
    """The real SMS Spam Collection: its loader for the strict reading and for the book's."""
    if not (ASSETS / "cache" / "sms+spam+collection.zip").is_file():
        pytest.skip(f"the SMS Spam Collection is not in {ASSETS / 'cache'}")
    monkeypatch.setenv("GPT_CLASSIFIER_CACHE", str(ASSETS / "cache"))
    return datasets


@pytest.fixture
def book(collection):
    return collection.load_sms_spam_as_the_book()["train"]


def test_the_collection_has_5574_messages_and_the_book_reads_5572(collection, book):
    table = collection.load("sms_spam")["train"]
    assert (len(table), (table["label"] == "spam").sum(), table["text"].nunique()) == (5574, 747, 5171)
    assert (len(book), (book["label"] == "ham").sum()) == (5572, 4825)
    balanced = splits.balance_as_the_book(book)
    assert balanced["label"].value_counts().to_dict() == {"ham": 747, "spam": 747}
    assert balanced["row"].tolist()[:5] == [4307, 4138, 4831, 4461, 5440]
    parts = splits.split_as_the_book(book, "chapter6")
    assert parts["train"]["row"].tolist()[:3] == [2087, 4694, 881]
    assert parts["test"]["text"].isin(set(parts["train"]["text"])).sum() == 37, "exact copies of training texts"


def test_the_class_mix_before_balancing_is_known(book):
    data = TextDataModule("sms_spam", split="chapter6", tokenizer="bytes")
    data.read_tables()
    assert data.rows.natural_counts == {"ham": 4825, "spam": 747} == book["label"].value_counts().to_dict()


@pytest.mark.parametrize("split", splits.OF_THE_BOOK)
def test_the_splits_of_the_book_have_1045_149_and_300_rows_of_the_balanced_table(split, book):
    parts = splits.split_as_the_book(book, split)
    assert {name: len(part) for name, part in parts.items()} == {"train": 1045, "val": 149, "test": 300}
    assert sorted(pd.concat(parts.values())["row"]) == sorted(splits.balance_as_the_book(book)["row"])


@pytest.mark.parametrize("split", splits.OF_THE_BOOK)
def test_the_longest_training_text_of_the_book_has_120_tokens(split, book, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(ASSETS / "tiktoken"))
    text_encoder = TextEncoder("gpt2")
    lengths = [len(text_encoder.encode(text)[0]) for text in splits.split_as_the_book(book, split)["train"]["text"]]
    assert max(lengths) == 120
    if split == "article_table":
        assert round(sum(lengths) / len(lengths), 1) == 30.7
