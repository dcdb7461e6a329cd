"""From a source to batches: classes in a fixed order, rows divided as asked, and everything that was done on record."""

import json
from itertools import permutations
from string import ascii_lowercase
from types import SimpleNamespace

import pandas as pd
import pytest

from gpt_classifier.audit.inspection import inspect
from gpt_classifier.cli.main import main
from gpt_classifier.data import duplicates
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.encoded import FittedText
from gpt_classifier.errors import InputError
from gpt_classifier.text.encoder import TextEncoder

# Of different lengths and without near-duplicates, three of four "ham".
TEXTS = [f"text {'x' * number}" for number in range(80)]
LABELS = ["spam" if number % 4 == 0 else "ham" for number in range(80)]
TABLE = pd.DataFrame({"text": TEXTS, "label": LABELS}, dtype=object)
WITH_EMPTY = [*TEXTS[:5], None, " \n", *TEXTS[7:]]
FRACTIONS = {"fractions": [0.5, 0.25, 0.25]}
SETTINGS = {"tokenizer": "bytes", "splitting": FRACTIONS, "batch_size": 4}


def set_up(data, stage="fit"):
    data.prepare_data()
    data.setup(stage)  # without a trainer, as anybody may
    return data


def from_table(table=TABLE, **settings):
    return set_up(TextDataModule.from_tables(table, **SETTINGS | settings))


def from_lists(texts=TEXTS, labels=LABELS, declared=None, **settings):
    return set_up(TextDataModule.from_lists(texts, labels, **SETTINGS | {"class_names": declared} | settings))


def save(path, frame, **settings):
    frame.to_csv(path, index=False, **settings)
    return str(path)


def from_file(path, table=TABLE, **settings):
    return set_up(TextDataModule(save(path, table), **SETTINGS | settings))


def predicted_ids(data):
    """The ids of each row in the batches for prediction, without padding."""
    rows = [
        (row, ids[:length].tolist())
        for batches in set_up(data, "predict").predict_dataloader()
        for batch in batches
        for ids, length, row in zip(batch.inputs, batch.lengths, batch.rows.tolist(), strict=True)
    ]
    return [ids for _, ids in sorted(rows)]


def loaders(data):
    return {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}


def rows_of(data):
    return {name: table["row"].tolist() for name, table in data.tables.items()}


def test_batches_hold_every_text_once_with_its_label_and_row():
    data = from_lists()
    seen = {}
    for loader in loaders(data).values():
        for batch in loader:
            for ids, length, label, row in zip(*(part.tolist() for part in batch[:4]), strict=True):
                assert row not in seen
                seen[row] = (bytes(ids[:length]).decode(), data.class_names[label])
    assert seen == {row: (text, label) for row, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))}


def test_lists_tables_and_files_give_the_same_data(tmp_path):
    renamed = TABLE.rename(columns={"text": "message", "label": "class"})
    ways = [from_lists(), from_table(), from_file(tmp_path / "a.csv")]
    ways.append(from_table(renamed, text_column="message", label_column="class"))
    assert all(rows_of(data) == rows_of(ways[0]) for data in ways)
    assert all(data.class_names == ["ham", "spam"] for data in ways)


@pytest.mark.parametrize("order", list(permutations(["ham", "spam", "eggs"])))
def test_inferred_classes_are_sorted_in_whatever_order_the_rows_come(order):
    texts = [f"{label} {text}" for label in order for text in TEXTS[:8]]
    assert from_lists(texts, [o for o in order for _ in range(8)]).class_names == ["eggs", "ham", "spam"]


def test_declared_classes_keep_their_order_and_may_be_more_than_those_there():
    data = from_table(class_names=["spam", "eggs", "ham"])
    assert data.class_names == ["spam", "eggs", "ham"]
    for loader in loaders(data).values():
        for batch in loader:
            assert [LABELS[row] for row in batch.rows] == [data.class_names[label] for label in batch.labels]


NOTHING = pd.DataFrame({"text": ["", " "], "label": ["ham", "spam"]})
EGGS = ["eggs", *["other"] * 9, *LABELS[10:]]


def labelled(labels):
    return {"train": TABLE.assign(label=pd.Series(labels, dtype=object))}


@pytest.mark.parametrize(
    ("tables", "settings", "message"),
    [
        ({}, {"class_names": ["ham", "eggs"]}, r"'spam' in train row 0 of .*ham, eggs"),
        ({"val": TABLE[:2].assign(label="eggs", row=0)}, {}, r"'eggs' in val row 0 of .*ham, spam"),
        *[
            (labelled([*LABELS[:3], missing, *LABELS[4:7], missing, *LABELS[8:]]), {}, r"2 train rows .*label.* row 3")
            for missing in (None, "", float("nan"))
        ],
        (labelled(["ham"] * 80), {}, r"training rows .*'ham'.*two classes"),
        ({"train": TABLE.assign(text=WITH_EMPTY)}, {"empty": "error"}, r"2 train rows .*text.* row 5"),
        *[({name: NOTHING}, {}, name) for name in ("train", "val", "test")],
        ({}, {"balance": "class_weights", "class_names": ["ham", "spam", "eggs"]}, r"'eggs' .*training row"),
        ({"train": TABLE.rename(columns={"text": "message"})}, {}, r"column 'text'.*message, label"),
        (labelled(EGGS), {"rare_classes": "merge"}, "class 'other'"),
        (labelled(["eggs", *LABELS[1:]]), {"rare_classes": "merge"}, "rare classes .*1 distinct texts.* 3 splits"),
    ],
)
def test_rows_that_cannot_be_meant_are_named(tables, settings, message):
    with pytest.raises(InputError, match=message):
        set_up(TextDataModule.from_tables(**{"train": TABLE} | tables, **SETTINGS | settings))
    with pytest.raises(InputError, match="80 texts and 79 labels"):
        from_lists(TEXTS, LABELS[1:])


@pytest.mark.parametrize(("empty", "rows"), [("drop", 78), ("keep", 80)])
def test_rows_without_text_are_dropped_or_kept_and_counted(empty, rows):
    data = from_lists(WITH_EMPTY, empty=empty)
    assert sum(map(len, data.tables.values())) == rows
    assert f"2 rows without text: {'dropped' if empty == 'drop' else 'kept'}" in data.summary()


def test_a_kept_row_without_text_is_one_end_of_text_token():
    data = from_lists(WITH_EMPTY, empty="keep")
    encoded = next(part for part in data.encoded.values() if 5 in part.rows)
    assert encoded.ids(encoded.rows.tolist().index(5)).tolist() == [data.text_encoder.padding_id]


def test_the_weights_of_training_rows_have_mean_1_and_the_classes_weigh_the_same():
    data = from_lists(balance="class_weights")
    labels = data.encoded["train"].labels
    weights = data.class_weights[labels]
    assert weights.mean().item() == pytest.approx(1)
    assert weights[labels == 0].sum().item() == pytest.approx(weights[labels == 1].sum().item())


def test_undersampling_touches_training_rows_alone_and_dropped_ones_are_counted():
    balanced, whole = from_lists(balance="undersample"), from_lists()
    assert balanced.class_weights is whole.class_weights is None
    assert balanced.tables["train"]["label"].value_counts().to_dict() == {"ham": 10, "spam": 10}
    assert set(rows_of(balanced)["train"]) < set(rows_of(whole)["train"])
    assert all(rows_of(balanced)[name] == rows_of(whole)[name] for name in ("val", "test"))
    assert "training rows dropped by undersampling: 20 ham\n" in f"{balanced.summary()}\n"
    assert "undersampling" not in from_lists(labels=["ham", "spam"] * 40, balance="undersample").summary()


def test_one_text_with_two_labels_is_counted_with_its_first_rows():
    texts = [*TEXTS[:70], "a b", "a b", "A  b", "x 1", "x 2", "c", "c", "c", "d", "d"]
    labels = [*LABELS[:70], "ham", "spam", "ham", "ham", "spam", "ham", "ham", "spam", "ham", "ham"]
    first = "the first is 'ham' in train row 70 and 'spam' in train row 71"
    assert (
        f"  2 texts with more than one label (5 rows), {first}\n"
        f"  3 texts (near-duplicates as one) with more than one label (8 rows), {first}"
    ) in from_lists(texts, labels, splitting={"fractions": [1.0, 0.0, 0.0]}).summary()
    assert "more than one label" not in from_lists().summary()
    test = pd.DataFrame({"text": ["new", TEXTS[1]], "label": ["spam", "spam"]})
    summary = set_up(TextDataModule.from_tables(TABLE, TABLE[:3], test, **SETTINGS)).summary()
    expected = "1 text with more than one label (3 rows), the first is 'ham' in train row 1 and 'spam' in test row 1"
    assert expected in summary


def test_the_summary_counts_classes_and_truncated_texts(tmp_path):
    path = save(tmp_path / "a.csv", TABLE, sep=";")
    data = set_up(TextDataModule(path, **SETTINGS | {"max_length": 30, "truncation": "tail"}))
    truncated = {name: int((table["text"].str.len() > 30).sum()) for name, table in data.tables.items()}
    for line in (
        "train      40 rows (30 ham, 10 spam)",
        "val        20 rows (15 ham, 5 spam)",
        f"texts truncated to 30 tokens (tail kept): {truncated['train']} in train, {truncated['val']} in val",
        f"  {path}: columns are separated by ';', as its header has no comma",
    ):
        assert line in data.summary()
    assert "texts truncated" not in from_lists().summary()


def widths_of(data):
    return {batch.inputs.shape[1] for loader in loaders(data).values() for batch in loader}


def test_the_longest_training_text_or_a_number_sets_the_width_of_all_batches():
    data = from_lists(batching={"pad_to": "longest_train"}, splitting=FRACTIONS | {"seed": 2})
    width = int(data.tables["train"]["text"].str.len().max())
    assert width < 84, "choose another seed: the longest text of all is meant to be truncated"
    assert widths_of(data) == {width}
    assert f"texts truncated to {width} tokens" in data.summary()
    for pad_to in (20, 200):
        assert widths_of(from_lists(batching={"pad_to": pad_to})) == {pad_to}
    for most in (100, 1000):
        data = from_lists(batching={"max_batch_tokens": most})
        assert all(batch.inputs.numel() <= most for batch in data.val_dataloader())


def test_given_files_are_validated_and_tested_on_and_all_of_the_source_is_trained_on(tmp_path):
    TABLE[4:12].to_json(tmp_path / "test.jsonl", orient="records", lines=True)
    others = {"val_source": save(tmp_path / "val.csv", TABLE[:4]), "test_source": str(tmp_path / "test.jsonl")}
    data = from_file(tmp_path / "train.csv", TABLE[12:], **others)
    texts = {name: table["text"].tolist() for name, table in data.tables.items()}
    assert texts == {"train": TEXTS[12:], "val": TEXTS[:4], "test": TEXTS[4:12]}


@pytest.mark.parametrize(("given", "other"), [("val", "test"), ("test", "val")])
def test_what_is_not_given_is_split_off(tmp_path, given, other):
    files = {f"{given}_source": save(tmp_path / "given.csv", TABLE[:8])}
    folds = [FRACTIONS, FRACTIONS | {"folds": 3}][: 1 + (given == "val")]
    for splitting in folds:
        data = from_file(tmp_path / "train.csv", TABLE[8:], splitting=splitting, **files)
        assert data.tables[given]["text"].tolist() == TEXTS[:8]
        assert len(data.tables["train"]) == 48  # of 72 rows, at 0.5 to 0.25, or two of three folds
        assert len(data.tables[other]) == 24
    column = from_table(
        TABLE.assign(part=["train"] * 60 + [given] * 20), splitting=FRACTIONS | {"split_column": "part"}
    )
    assert {name: len(table) for name, table in column.tables.items()} == {"train": 40, given: 20, other: 20}


def test_a_part_with_the_fraction_0_is_missed_when_it_is_needed():
    data = from_lists(splitting={"fractions": [0.8, 0.0, 0.2]})
    assert data.tables.keys() == {"train", "test"}
    with pytest.raises(InputError, match=r"no val rows.*val_source.* val fraction"):
        data.val_dataloader()


@pytest.mark.parametrize("split", ["grouped", "random"])
def test_over_all_folds_every_row_is_tested_on_once(split):
    tested = []
    for fold in range(4):
        data = from_lists(split=split, splitting=FRACTIONS | {"folds": 4, "fold": fold})
        rows = rows_of(data)
        assert sorted(rows["train"] + rows["val"] + rows["test"]) == list(range(80))
        assert len(rows["val"]) == 20  # a third of the rest, at 0.5 to 0.25
        tested += [row for batch in data.test_dataloader() for row in batch.rows.tolist()]
    assert sorted(tested) == list(range(80))


def test_near_duplicates_of_training_texts_are_reported_and_a_grouped_split_has_none():
    copies = [f"Call {number} {'x' * (number % 20)}" for number in range(80)]
    data = from_lists(copies, split="random")
    seen = set(data.tables["train"]["text"].map(duplicates.near_duplicate_key))
    count = data.tables["test"]["text"].map(duplicates.near_duplicate_key).isin(seen).sum()
    assert count > 0
    assert f"{count} test texts are near-duplicates of training texts" in data.summary()
    assert "near-duplicates" not in from_lists(copies, split="grouped").summary()


def test_the_split_has_a_seed_of_its_own_and_training_order_another(monkeypatch):
    def first_batch(data):
        return next(iter(data.train_dataloader())).rows.tolist()

    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    one = from_lists()
    first = first_batch(one)
    monkeypatch.setenv("PL_GLOBAL_SEED", "2")
    two = from_lists()
    assert rows_of(one) == rows_of(two) != rows_of(from_lists(splitting=FRACTIONS | {"seed": 7}))
    assert first_batch(two) != first


def test_prediction_gives_every_row_in_its_order_without_labels(tmp_path):
    path = save(tmp_path / "a.csv", TABLE.assign(text=WITH_EMPTY)[["text"]])
    data = TextDataModule(path, tokenizer="bytes", batching={"max_batch_tokens": 300})
    assert predicted_ids(data) == [list((text or "").encode()) or [256] for text in WITH_EMPTY]
    assert all(batch.labels is None for batches in data.predict_dataloader() for batch in batches)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "chapter6"}, "split .*chapter6.* sms_spam.* sample"),
        ({"split": "article_table"}, "split .*article_table.* sms_spam.* sample"),
        ({"splitting": {"fractions": [0.5, 0.5]}}, r"fractions are \[0.5, 0.5\]"),
        ({"splitting": {"fractions": [0.5, 0.5, 0.5]}}, "sum to 1"),
        ({"splitting": {"fractions": [1.2, -0.1, -0.1]}}, "sum to 1"),
        ({"splitting": {"fractions": [0.0, 0.5, 0.5]}}, "fractions are"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_length": 0}, "max_length"),
        ({"batching": {"pad_to": 0}}, "pad_to"),
        ({"batching": {"pad_to": "widest"}}, "widest"),
        ({"split": "sorted"}, "sorted"),
        ({"balance": "oversample"}, "oversample"),
        ({"empty": "ignore"}, "ignore"),
        ({"class_names": ["ham", "spam", "ham"]}, "distinct names"),
        ({"splitting": {"folds": 1}}, "folds are 1 .*fold is 0"),
        ({"splitting": {"folds": -2}}, "folds are -2"),
        ({"splitting": {"folds": 3, "fold": 3}}, "fold is 3.* 0 <= fold < folds"),
        ({"splitting": {"folds": 3, "fold": -1}}, "fold is -1"),
        ({"splitting": {"fold": 2}}, "folds are 0 and fold is 2"),
        (
            {"splitting": {"folds": 3}, "source": "sms_spam", "split": "chapter6"},
            "folds divide one source by split grouped or random",
        ),
        ({"splitting": {"folds": 3}, "test_source": "test.csv"}, "leave out test_source"),
        ({"splitting": {"folds": 600}}, "too few for 600 folds"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_meant_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        set_up(TextDataModule(**{"source": "sample", "tokenizer": "bytes"} | settings))


# ---------------------------------------------------------------- files as they come


def test_several_files_are_one_source_and_their_rows_are_numbered_through(tmp_path):
    files = [save(tmp_path / f"{n}.csv", TABLE[n * 20 : n * 20 + 20]) for n in range(4)]
    for source in (files, str(tmp_path / "*.csv")):
        data = set_up(TextDataModule(source, **SETTINGS))
        assert rows_of(data) == rows_of(from_table())
        assert pd.concat(data.tables.values()).sort_values("row")["text"].tolist() == TEXTS
    summary = set_up(TextDataModule(files, **SETTINGS)).summary()
    assert f"{files[0]}, {files[1]}, {files[2]} and 1 more, split grouped" in summary


def test_prediction_reads_a_file_as_training_would(tmp_path):
    frame = pd.DataFrame([["1", "café", "au lait"], ["2", "", "thé"], ["3", " ", ""]])
    path = save(tmp_path / "a.csv", frame, sep=";", encoding="cp1252", header=False)
    file_format = {"delimiter": ";", "encoding": "cp1252", "header": False}
    columns = {"text_column": ["1", "2"], "text_separator": " "}
    data = TextDataModule([path], file_format=file_format, tokenizer="bytes", **columns)
    assert predicted_ids(data) == [list("café au lait".encode()), list("thé".encode()), [256]]
    assert [value for frame in data.columns(["0"]) for value in frame["0"]] == ["1", "2", "3"]


def test_texts_of_several_columns_are_joined_and_a_missing_one_is_skipped():
    table = TABLE.assign(title=["title", None, "", " "] * 20)
    data = from_table(table, text_column=["title", "text"], split="random")
    texts = pd.concat(data.tables.values()).sort_values("row")["text"].tolist()
    assert texts == [f"title\n{text}" if row % 4 == 0 else text for row, text in enumerate(TEXTS)]


SPLIT = ["train"] * 40 + ["dev", "validation", "VAL", " val "] * 5 + ["test"] * 20


def test_a_split_column_divides_the_rows(tmp_path):
    table = TABLE.assign(part=SPLIT)
    expected = {"train": list(range(40)), "val": list(range(40, 60)), "test": list(range(60, 80))}
    settings = SETTINGS | {"splitting": FRACTIONS | {"split_column": "part"}}
    assert rows_of(set_up(TextDataModule(save(tmp_path / "a.csv", table), **settings))) == expected
    assert rows_of(set_up(TextDataModule.from_tables(table, **settings))) == expected


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        (["train", "hold-out"] * 40, {}, r"part .*'hold-out' .*row 1 .*train, val, validation, dev, test"),
        (["train", None] * 40, {}, "part is None in row 1"),
        (["test"] * 80, {}, "part is train in no row"),
        (SPLIT, {"test_source": "sample"}, "test rows .*part .*test_source"),
        (SPLIT, {"splitting": {"folds": 3, "split_column": "part"}}, "test_source .*split_column"),
    ],
)
def test_a_split_column_that_cannot_be_meant_is_named(tmp_path, part, settings, message):
    path = tmp_path / "a.jsonl"
    TABLE.assign(part=part).to_json(path, orient="records", lines=True)
    with pytest.raises(InputError, match=message):
        set_up(TextDataModule(str(path), **SETTINGS | {"splitting": FRACTIONS | {"split_column": "part"}} | settings))


def test_rows_of_a_group_stay_on_one_side(tmp_path):
    author = [f"author {number // 4}" for number in range(80)]
    path = save(tmp_path / "a.csv", TABLE.assign(author=author))
    settings = SETTINGS | {"splitting": FRACTIONS | {"group_column": "author"}}
    data = set_up(TextDataModule(path, **settings))
    sides = [{author[row] for row in rows} for rows in rows_of(data).values()]
    assert sum(map(len, sides)) == 20
    with pytest.raises(InputError, match=r"split random .*groups"):
        TextDataModule(path, split="random", **settings)
    with pytest.raises(InputError, match=r"sample .*column 'author'"):
        set_up(TextDataModule("sample", **settings))


RARE = ["toast", "toast", "eggs", *LABELS[3:]]  # two and one text, of which three splits need three


@pytest.mark.parametrize("labels", [None, ["spam", "toast", "ham", "eggs"]])
def test_rare_classes_are_an_error_dropped_or_merged(labels):
    with pytest.raises(InputError, match=r"'eggs' .*1 distinct texts.* 3 splits .*rare_classes"):
        from_lists(labels=RARE, declared=labels)
    dropped = from_lists(labels=RARE, rare_classes="drop", declared=labels)
    assert dropped.class_names == (["ham", "spam"] if labels is None else ["spam", "ham"])
    assert sum(map(len, dropped.tables.values())) == 77
    assert "3 rows of 2 rare classes dropped: 2 toast, 1 eggs" in dropped.summary()
    merged = from_lists(labels=RARE, rare_classes="merge", declared=labels)
    assert merged.class_names == ([*dropped.class_names, "other"])
    assert [(table["label"] == "other").sum() for table in merged.tables.values()] == [1, 1, 1]
    assert "3 rows of 2 rare classes merged into the class 'other': 2 toast, 1 eggs" in merged.summary()
    for rare_classes in ("drop", "merge"):
        none = from_lists(rare_classes=rare_classes)
        assert (rows_of(none), none.class_names) == (rows_of(from_lists()), ["ham", "spam"])
        assert "rare" not in none.summary()


@pytest.mark.parametrize(("rare_classes", "expected"), [("drop", 1), ("merge", 2)])
def test_a_trained_model_drops_or_merges_the_classes_that_it_does_not_know(rare_classes, expected):
    names = ["ham", "spam", "other"][: expected + 1]
    test = pd.DataFrame({"text": ["a", "b"], "label": ["ham", "toast"]})
    data = TextDataModule.from_tables(test=test, rare_classes=rare_classes, **SETTINGS)
    data.fitted = FittedText(from_lists().text_encoder, names)
    data.setup("test")
    assert data.class_names == names
    assert data.tables["test"]["label"].tolist() == ["ham", "other"][:expected]


def test_numbers_and_truth_values_are_class_names_too_and_numbers_are_sorted_as_such():
    labels = [str(number % 11) for number in range(80)]
    whole = from_lists(labels=labels, splitting={"fractions": [1.0, 0.0, 0.0]})
    assert whole.class_names == list(map(str, range(11)))
    numbers = [number % 2 for number in range(80)]
    assert from_lists(labels=numbers).class_names == ["0", "1"]
    assert from_lists(labels=[number == 0 for number in numbers]).class_names == ["False", "True"]
    assert from_lists(labels=numbers, declared=[1, 0]).class_names == ["1", "0"]
    with pytest.raises(InputError, match=r"yes .*no .*quotes"):
        TextDataModule(class_names=[True, False])


def test_settings_are_plain_values_that_make_the_same_data_again(tmp_path):
    path = save(tmp_path / "a.csv", TABLE.assign(part=SPLIT, author="me", title=""))
    settings = {
        "text_column": ["title", "text"],
        "splitting": FRACTIONS | {"split_column": "part"},
        "class_names": ["spam", "ham"],
        "file_format": {"delimiter": ","},
    }
    data = set_up(TextDataModule([path], **SETTINGS | settings))
    again = json.loads(json.dumps(dict(data.hparams)))
    assert rows_of(set_up(TextDataModule(**again))) == rows_of(data)


@pytest.mark.parametrize("model", [None, SimpleNamespace(class_names=["a", "b"], text_encoder="of images")])
def test_data_take_over_nothing_from_a_model_that_is_not_ours(model):
    data = from_lists()
    data.trainer = SimpleNamespace(lightning_module=model, global_step=0)
    data.setup("fit")
    assert data.class_names == sorted(set(LABELS))
    assert isinstance(data.text_encoder, TextEncoder)


def test_half_a_surrogate_pair_in_a_json_file_is_replaced(tmp_path):
    """Emoji that a program split in two: pandas' own strings cannot hold them, and the grouped split made such."""
    path = tmp_path / "surrogates.jsonl"
    lines = [
        f'{{"text": "text {letter} {letter * n} \\ud83d", "label": "{"ab"[n % 2]}"}}'
        for n, letter in enumerate(ascii_lowercase)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    data = TextDataModule(str(path), tokenizer="bytes")
    data.setup("fit")
    assert inspect(data).rows == len(ascii_lowercase)
    assert all(text.endswith("\N{REPLACEMENT CHARACTER}") for text in data.tables["train"]["text"])


def test_an_error_names_arguments_in_python_and_options_on_a_command_line(tmp_path, monkeypatch, capsys):
    table = pd.DataFrame({"text": ["a", *(f"text {chr(97 + n)}" for n in range(20))], "label": ["x", *["y", "z"] * 10]})
    data = TextDataModule.from_tables(table, tokenizer="bytes")
    with pytest.raises(InputError) as error:
        data.read_tables()
    assert "set a fraction in splitting.fractions to 0, or leave such classes out with rare_classes" in str(error.value)
    assert "--" not in str(error.value)
    table.to_csv(tmp_path / "a.csv", index=False)
    words = [f"--data.source={tmp_path / 'a.csv'}", "--data.tokenizer=bytes", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["fit", "--config=toy", *words]) == 2
    assert "leave such classes out with --data.rare_classes drop or merge" in capsys.readouterr().err
