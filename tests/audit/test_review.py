"""From labels of low quality through a file that a person edits to new training data; test rows never change."""

import csv
import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from gpt_classifier.cli.main import main
from gpt_classifier.data import spreadsheet
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.spreadsheet import COLUMNS, class_name

ODD = [
    "=HYPERLINK(A1)", "+49 30 1234", "-1", "@home", "'quoted", '"', 'say "hi", then go', "a;b\tc", "line\nbreak",
    "line\r\nbreak", "line\rbreak", " leading", "trailing ", "\ufeffmark", "ünïcödé 🎉", "1/2", "01", "\uff1dA1", 
    "x" * 40_000, "\u200b=1+1", "\0=2", "\t=3", "\r=4\r", "\u00a0@a", "\u2060\u202e-x", "\ufe62x",
    "a\u2028b\x85c\u2029d", "",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def messages(tmp_path):
    """A file of 60 messages of two classes."""
    texts = [f"{'win a free' if n % 2 else 'see you at'} {chr(97 + n // 2) * 3}{'!' * (n % 3)}" for n in range(60)]
    pd.DataFrame({"body": texts, "topic": ["ham", "spam"] * 30}).to_csv("messages.csv", index=False)
    return tmp_path / "messages.csv"


WORDS = ["messages.csv", "--data.text_column=body", "--data.label_column=topic"]
SETTINGS = {"text_column": "body", "label_column": "topic"}


def lines(path="review.csv"):
    with open(path, newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def save(rows, path="review.csv", columns=COLUMNS, encoding="utf-8", **settings):
    with open(path, "w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", **settings)
        writer.writeheader()
        writer.writerows(rows)


def edit(labels, **settings):
    """Writes new labels, by row number, into review.csv."""
    save([row | {"new_label": labels.get(row["row"], "")} for row in lines()], **settings)


def applied(capsys, *words):
    """What review apply prints, with the options of fit that it ends with."""
    capsys.readouterr()
    assert main(["review", "apply", "review.csv", *words]) == 0
    out = capsys.readouterr().out
    said, options = out.splitlines()[-1].split(" with ", 1)
    assert said == "fit takes the same settings"
    return out, shlex.split(options)


def refused(capsys, *words):
    capsys.readouterr()
    assert main(["review", *words]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message.removeprefix("gpt-classifier: error: ").strip()


def tables(source, **settings):
    return TextDataModule(source=source, **settings).read_tables()


def reviewed(source, **settings):
    return tables(source, splitting={"split_column": "split"}, **settings)


def contents(splits):
    return {name: list(zip(table["text"], table["label"], strict=True)) for name, table in splits.items()}


def test_rows_are_ranked_and_nothing_but_training_rows_is_shown(messages, capsys):
    assert main(["review", "export", *WORDS]) == 0
    rows = lines()
    train = tables("messages.csv", **SETTINGS)["train"]
    assert sorted(int(row["row"]) for row in rows) == train["row"].tolist()
    assert list(rows[0]) == list(COLUMNS)
    suspicions = [float(row["suspicion"]) for row in rows]
    assert suspicions == sorted(suspicions, reverse=True)
    for row in rows:
        assert row["new_label"] == ""
        assert {row["label"], row["suggested_label"]} == {"ham", "spam"}
    out = capsys.readouterr().out
    assert "42 training rows, the lowest label quality first: review.csv" in out
    assert shlex.split(out.splitlines()[-1]) == ["gpt-classifier", "review", "apply", "review.csv", *WORDS]


def test_wrong_labels_are_found_corrected_and_no_row_changes_its_split(messages, capsys):
    table, wrong = pd.read_csv("messages.csv"), [20, 21]  # training rows
    right = table.loc[wrong, "topic"].tolist()
    table.loc[wrong, "topic"] = right[::-1]
    table.to_csv("messages.csv", index=False)
    before, old = messages.read_bytes(), tables("messages.csv", **SETTINGS)
    assert main(["review", "export", *WORDS]) == 0
    assert {int(row["row"]) for row in lines()[:2]} == set(wrong)
    edit({row["row"]: row["suggested_label"] for row in lines()[:2]})
    out, _ = applied(capsys, *WORDS)
    assert "labels changed: 2\nrows left out: 0\n" in out
    now = reviewed("messages-reviewed.csv", **SETTINGS)
    assert all(contents(now)[name] == contents(old)[name] for name in ("val", "test"))
    labels = now["train"].set_index("row")["label"]
    assert labels[wrong].tolist() == right
    assert labels.drop(wrong).tolist() == old["train"].set_index("row")["label"].drop(wrong).tolist()
    assert pd.read_csv("messages-reviewed.csv")["body"].tolist() == table["body"].tolist()
    assert messages.read_bytes() == before


DIVISIONS = {
    "grouped": [],
    "random": ["--data.split=random"],
    "no test rows": ["--data.splitting.fractions=[0.8, 0.2, 0]"],
    "folds": ["--data.splitting.folds=3", "--data.splitting.fold=1"],
    "groups": ["--data.splitting.group_column=author"],
    "a column": ["--data.splitting.split_column=part"],
    "files": ["--data.val_source=more.csv", "--data.test_source", "more.csv"],
    "undersampled": ["--data.balance=undersample"],
    "texts joined": ["--data.text_column=[body, author]"],
    "another format": ["--data.file_format.delimiter=;", "--data.file_format.encoding=utf-16"],
}


OFTEN = ("grouped", "folds", "a column", "another format")


@pytest.mark.parametrize(
    "division", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.nightly) for name in DIVISIONS]
)
def test_without_changes_the_printed_options_train_the_same_network(division, messages, fit, tmp_path, capsys):
    table = pd.read_csv("messages.csv").iloc[:50]
    table["author"] = [f"author {n % 17}" for n in range(50)]
    table["part"] = ["test" if n % 5 == 3 else "val" if n % 7 == 1 else "train" for n in range(50)]
    table.iloc[::2].to_csv("more.csv", index=False)
    other = {"sep": ";", "encoding": "utf-16"} if division == "another format" else {}
    table.to_csv("messages.csv", index=False, **other)
    data = [f"--data.source={messages}", *WORDS[1:], "--data.tokenizer=bytes", *DIVISIONS[division]]
    assert main(["review", "export", *data]) == 0
    out, options = applied(capsys, *data, "--output", "new.csv")
    assert "labels changed: 0\nrows left out: 0\n" in out
    for root, words in (("old", data), ("new", [*data, *options])):
        assert fit(tmp_path / root, *words, "--trainer.max_epochs=1") == 0
    old, new = (load_file(tmp_path / root / "version_0" / "model" / "model.safetensors") for root in ("old", "new"))
    assert all(old[name].equal(new[name]) for name in old)


def test_odd_texts_and_class_names_survive_the_way_through_both_files(capsys):
    names = ["1", "01x", "=a", "true", "'tis", "ab, c", "=cmd|' /C calc'!A0", "-x", "+1", "@a", "\ufeff=1", "\u200b-y"]
    texts = [f"{text} {'abcdefghij'[n] * 5}" for n in range(10) for text in ODD]
    records = [{"text": text, "label": names[n % len(names)]} for n, text in enumerate(texts)]
    with open("odd.jsonl", "w") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in records)
    assert main(["review", "export", "odd.jsonl"]) == 0
    for row in lines():
        assert all(value[:1] not in {*"=+-@\t\r\n", "\uff1d"} for value in row.values())
        assert all(len(value) <= 32_767 and not {"\r", "\n"} & set(value) for value in row.values())
        assert row["label"].removeprefix("'") in names
        for column in ("label", "suggested_label", "text"):
            assert row[column].startswith("'") or not spreadsheet.is_formula(row[column])
    edit({row["row"]: row["suggested_label"] for row in lines()})
    applied(capsys, "odd.jsonl")
    now, old = reviewed("odd-reviewed.csv"), tables("odd.jsonl")
    assert contents(now)["test"] == contents(old)["test"]
    assert now["train"]["text"].tolist() == old["train"]["text"].tolist()
    assert (now["train"]["label"].to_numpy() != old["train"]["label"].to_numpy()).all()


SPREADSHEETS = {
    "a byte order mark": {"encoding": "utf-8-sig"},
    "semicolons": {"delimiter": ";"},
    "tabs": {"delimiter": "\t"},
    "quotation marks everywhere": {"quoting": csv.QUOTE_ALL},
    "only the columns that are read": {"columns": ["text", "new_label", "label", "row"]},
}


@pytest.mark.parametrize("how", SPREADSHEETS)
def test_a_file_that_a_spreadsheet_saved_is_read_alike(how, messages, capsys):
    assert main(["review", "export", *WORDS]) == 0
    first, second, third, *others = lines()
    other = first["suggested_label"]
    rows = [second | {"new_label": "drop"}, first | {"new_label": f" {other.upper()} "}, *others[:5]]
    rows[0]["text"] = rows[0]["text"].upper().replace(" ", "  ")
    save([*rows, dict.fromkeys(COLUMNS, "")], **SPREADSHEETS[how])
    out, _ = applied(capsys, *WORDS)
    assert "labels changed: 1\nrows left out: 1\n" in out
    old, now = tables("messages.csv", **SETTINGS)["train"], reviewed("messages-reviewed.csv", **SETTINGS)["train"]
    assert len(now) == len(old) - 1
    assert third["text"] in now["text"].tolist()
    assert second["text"] not in now["text"].tolist()


@pytest.mark.parametrize(
    ("cell", "names", "name"),
    [
        ("'01", ["01", "02"], "01"),
        ("1", ["01", "02"], "01"),
        ("1.0", ["1", "2"], "1"),
        ("TRUE", ["true", "false"], "true"),
        ("SPAM ", ["spam", "ham"], "spam"),
        ("'tis", ["'tis", "tas"], "'tis"),
        ("''tis", ["'tis", "tis"], "'tis"),
        ("1", ["1", "01"], "1"),
        ("1.0", ["1", "01"], None),
        ("Spam", ["spam", "SPAM"], None),
        ("spm", ["spam", "ham"], None),
    ],
)
def test_a_cell_stands_for_the_only_name_that_it_can_be(cell, names, name):
    assert class_name(cell, names) == name
    assert all(class_name(spreadsheet.cell(each), names) == each for each in names)


def test_a_class_may_be_called_drop(messages, capsys):
    pd.read_csv("messages.csv").replace({"topic": {"spam": "drop"}}).to_csv("messages.csv", index=False)
    assert main(["review", "export", *WORDS]) == 0
    row = next(row for row in lines() if row["label"] == "ham")
    edit({row["row"]: "drop"})
    out, _ = applied(capsys, *WORDS)
    assert "labels changed: 1\nrows left out: 0\n" in out
    train = reviewed("messages-reviewed.csv", **SETTINGS)["train"]
    assert train.set_index("row")["label"][int(row["row"])] == "drop"


def changed(**cells):
    """Changes cells of the first two lines."""
    return lambda rows: [row | cells for row in rows[:2]] + rows[2:]


def texts_sorted(rows):
    return [row | {"text": text} for row, text in zip(rows, sorted(r["text"] for r in rows), strict=True)]


MISTAKES = {
    "a class that is none": (
        changed(new_label="spm"),
        "new_label is 'spm', expected ham, spam, drop: did you",
    ),
    "a row that is none": (changed(row="1000"), "row 1000: no such training row"),
    "a number that is none": (changed(row="x"), "row is 'x', expected the number of a row"),
    "a row that is there twice": (lambda rows: [*rows, rows[0]], "there are several lines for it; leave one"),
    "a label in the wrong column": (changed(label="drop"), "the label is another one; correct it in new_label"),
    "one column sorted alone": (texts_sorted, "the text is another one; was a column sorted without the others"),
    "a class without rows": (
        lambda rows: [row | {"new_label": "spam"} for row in rows],
        "leaves no training row with the label 'ham'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_reviewed_file_is_named_with_its_rows_and_nothing_is_written(mistake, messages, capsys):
    change, message = MISTAKES[mistake]
    assert main(["review", "export", *WORDS]) == 0
    rows = change(lines())
    save(rows)
    said = refused(capsys, "apply", "review.csv", *WORDS)
    assert message in said
    if mistake == "a class that is none":
        assert f"rows {rows[0]['row']}, {rows[1]['row']}: " in said
    assert not list(messages.parent.glob("*reviewed*"))


def test_many_wrong_rows_are_counted_and_not_all_named(messages, capsys):
    assert main(["review", "export", *WORDS]) == 0
    save([row | {"new_label": "eggs"} for row in lines()])
    named = ", ".join(row["row"] for row in lines()[:10])
    assert f"rows {named} and 32 more: new_label is 'eggs'" in refused(capsys, "apply", "review.csv", *WORDS)


def test_another_split_and_a_source_that_has_changed_are_noticed(messages, capsys):
    assert main(["review", "export", *WORDS]) == 0
    said = refused(capsys, "apply", "review.csv", *WORDS, "--data.splitting.seed=1")
    assert "are source and settings of the data those of review export?" in said
    table = pd.read_csv("messages.csv")
    table.loc[int(lines()[0]["row"]), "body"] = "now for something completely different"
    table.to_csv("messages.csv", index=False)
    assert "the text is another one" in refused(capsys, "apply", "review.csv", *WORDS)


def test_no_file_is_replaced_that_may_hold_work(messages, capsys):
    before = messages.read_bytes()
    assert main(["review", "export", *WORDS]) == 0
    work = Path("review.csv").read_bytes()
    assert "review.csv is there already" in refused(capsys, "export", *WORDS)
    for path in ("messages.csv", "./messages.csv", str(messages), "review.csv"):
        assert "would replace a file" in refused(capsys, "apply", "review.csv", *WORDS, f"--output={path}")
    assert "is there already" in refused(capsys, "export", *WORDS, "--output=messages.csv")
    assert (messages.read_bytes(), Path("review.csv").read_bytes()) == (before, work)


OPTIONS = {
    "": "expected export or apply",
    "exprot messages.csv": "review is followed by exprot",
    "apply": "which file?",
    "apply none.csv WORDS": "no file none.csv",
    "apply cp1252.csv WORDS": "is not UTF-8: save it as CSV UTF-8",
    "apply other.csv WORDS": "has no column 'row'",
    "export WORDS --output review.xlsx": "output is review.xlsx, expected the name of a .csv file",
    "export WORDS --data.sorce x": "did you mean --data.source",
    "export none.csv": "no file none.csv",
    "export .": "no file .",
    "export --config spamm": "did you mean --config spam?",
    "export WORDS --data.multi_label=|": "review is for single-label texts: leave out data.multi_label",
}


@pytest.mark.parametrize("line", OPTIONS)
def test_a_wrong_command_is_one_line(line, messages, capsys):
    (messages.parent / "cp1252.csv").write_bytes("row,label,new_label,text\n0,ham,,caf\xe9\n".encode("cp1252"))
    (messages.parent / "other.csv").write_text("text,label\na,ham\n")
    words = [part for word in line.split() for part in (WORDS if word == "WORDS" else [word])]
    assert OPTIONS[line] in refused(capsys, *words)


def test_a_reviewed_file_can_be_reviewed_again(messages, capsys):
    assert main(["review", "export", *WORDS]) == 0
    _, options = applied(capsys, *WORDS)
    words = [*WORDS[1:], *options]
    assert main(["review", "export", *words, "--output=again.csv"]) == 0
    assert main(["review", "apply", "again.csv", *words, "--output=twice.csv"]) == 0
    assert contents(reviewed("twice.csv", **SETTINGS)) == contents(reviewed("messages-reviewed.csv", **SETTINGS))


def test_a_semicolon_file_of_five_columns_is_reviewed_trained_on_compared_and_classified(fit, tmp_path, capsys):
    rows = [
        {"Nummer": n, "Betreff": f"Nr. {n}; \u201eneu\u201c", "Nachricht": f"{['see', 'win'][n % 2]} {chr(97 + n) * 3}",
         "Art": ["ham", "spam"][n % 2], "Preis": f"{n},5"}
        for n in range(26)
    ] + [{"Nummer": 26, "Betreff": "", "Nachricht": " ", "Art": "ham", "Preis": ""}]  # fmt: skip
    save(rows, "post.csv", list(rows[0]), "cp1252", delimiter=";")
    data = ["--data.text_column=Nachricht", "--data.label_column=Art", "--data.file_format.encoding=cp1252"]
    assert main(["review", "export", "post.csv", *data]) == 0
    first, second, *_ = lines()
    edit({first["row"]: first["suggested_label"], second["row"]: "drop"})
    _, options = applied(capsys, "post.csv", *data)
    expected = [{name: str(value) for name, value in row.items()} for row in rows[:26]]  # the last one has no text
    expected[int(first["row"])]["Art"] = first["suggested_label"]
    del expected[int(second["row"])]
    now = lines("post-reviewed.csv")
    assert [{name: row[name] for name in rows[0]} for row in now] == expected
    assert {row["split"] for row in now} == {"train", "val", "test"}
    small = ["--data.tokenizer=bytes", "--trainer.max_epochs=1"]
    assert fit(tmp_path / "old", "--data.source=post.csv", *data, *small) == 0
    assert fit(tmp_path / "new", *data, *options, *small) == 0
    runs = [str(tmp_path / root / "version_0") for root in ("old", "new")]
    for run in runs:
        assert main(["test", run, "--baselines=none", "--report=none"]) == 0
    capsys.readouterr()
    assert main(["report", *runs, "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    columns = {"text_column": "Nachricht", "label_column": "Art", "file_format": {"encoding": "cp1252"}}
    assert compared["rows"] == len(tables("post.csv", **columns)["test"])
    keep = ["--keep", "Betreff", "Preis", "--output", "predictions.csv"]
    assert main(["predict", runs[1], "--data.source=post-reviewed.csv", *keep]) == 0
    assert [row["Betreff"] for row in lines("predictions.csv")] == [row["Betreff"] for row in now]
