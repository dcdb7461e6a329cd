"""The audit finds each defect, names its rows and what fixes it, and finds nothing in sound data."""

import csv
import json
import random
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier.audit.findings import Row
from gpt_classifier.audit.inspection import inspect, warnings
from gpt_classifier.cli.main import main
from gpt_classifier.data import minhash
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import NUMBER
from gpt_classifier.text import scripts

ASSETS = Path(__file__).resolve().parents[3] / "shared" / "assets"
WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in "ndrs"]


def texts(count, seed=0):
    """Texts of like length without anything in common but common words."""
    rng = random.Random(seed)
    return [" ".join(rng.sample(WORDS, 8)) for _ in range(count)]


SOUND = [(text, ("ham", "spam")[number % 2]) for number, text in enumerate(texts(200))]


@pytest.fixture
def audited(tmp_path):
    """Writes rows to a file and audits it."""

    def audit(rows, **given):
        path = tmp_path / "rows.csv"
        with open(path, "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text", "label"), *rows])
        return inspect(TextDataModule(str(path), **{"tokenizer": "bytes", **given}))

    return audit


def of_kind(audit, kind):
    (finding,) = [finding for finding in audit.findings if finding.kind == kind]
    return finding


def kinds(audit):
    return {finding.kind for finding in audit.findings}


def test_texts_that_are_read_in_windows_are_not_truncated(audited):
    settings = {"max_length": 20, "batching": {"pad_to": "longest"}}
    assert "truncated" in kinds(audited(SOUND, **settings))
    assert "truncated" not in kinds(audited(SOUND, **settings, windows={"stride": 10}))


def test_sound_data_give_no_finding(audited):
    audit = audited(SOUND)
    assert audit.findings == []
    assert audit.rows == audit.files[0]["lines"] == 200
    assert {split: facts["rows"] for split, facts in audit.splits.items()} == {"train": 140, "val": 20, "test": 40}
    assert audit.classes["ham"]["train"] == 70


def test_the_packages_own_messages_give_no_warning():
    assert inspect(TextDataModule("sample", tokenizer="bytes")).warnings() == []


A, B = SOUND[0][0], SOUND[1][0]
NUMBERED = [(f"{text} {number}", label) for number, (text, label) in enumerate(SOUND)]
DEFECTS = {  # rows to put before the sound ones, settings; kind, severity, rows that are concerned, what fixes it
    "null": ([("", "ham")], {}, "dropped_texts", "note", [0], ""),
    "white space kept": ([(" \t", "ham")], {"empty": "keep"}, "empty", "warning", [0], "--data.empty drop"),
    "undecodable": ([("caf\ufffd au lait", "ham")], {}, "undecodable", "warning", [0], "correct them in the file"),
    "misread": ([("caf\u00c3\u00a9 au lait", "ham")], {}, "misread", "warning", [0], "correct them in the file"),
    "control": ([("bell \x07 rings", "ham")], {}, "control_characters", "note", [0], "correct them"),
    "unlabelled": ([("a text", "")], {}, "unlabelled", "warning", [0], "label them"),
    "almost a class": (
        [(text, "Ham ") for text in texts(20, 1)], {}, "class_names", "warning", range(20), "correct them"
    ),
    "conflict": ([(A.upper(), "spam")], {}, "label_conflicts", "warning", [0, 1], "correct them"),
    "rare class": ([("all alone", "rare")], {}, "rare_classes", "warning", [0], "--data.rare_classes drop"),
    "rare class dropped": ([("all alone", "rare")], {"rare_classes": "drop"}, "dropped_classes", "note", [0], ""),
    "small class": (
        [(text, "small") for text in texts(15, 1)], {}, "small_classes", "warning", None, "--data.splitting.folds 5"
    ),
    "unequal": ([(text, "ham") for text in texts(500, 1)], {}, "unequal_classes", "note", [], "class_weights"),
    "repeated": ([(A, "ham"), (A, "ham")], {}, "copies_inside", "note", None, "they stay on one side"),
    "truncated": ([], {"max_length": 20}, "truncated", "warning", None, "--data.max_length 32,"),
    "windows would do": ([], {"max_length": 20}, "truncated", "warning", None, "--data.windows.stride 10"),
    "few truncated": (
        [("z" * 500, "ham")], {"max_length": 400}, "truncated", "note", [0],
        "--data.max_length 512, or --data.windows.stride 200",
    ),
    "padded": ([], {"batching": {"pad_to": 16}}, "truncated", "warning", None, "--data.batching.pad_to longest"),
    "another script": ([("\u043f\u0440\u0438\u0432\u0435\u0442", "ham")], {}, "other_script", "note", [0], ""),
    "swallowed": ([(f'{A} x\nham,"{B} y', "ham")], {}, "swallowed_rows", "warning", [0], "quotation marks"),
    "a word": (
        [(f"{text} indeed", "spam") for text in texts(200, 1)], {}, "telling_word", "note", None, ""
    ),
    "an identifier": (
        [(f"{text} src77", "spam") for text in texts(200, 1)], {}, "leaking_word", "warning", None, "take labels"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("more", "given", "kind", "severity", "rows", "setting"), DEFECTS.values(), ids=DEFECTS)
def test_a_defect_is_found_with_its_rows_and_what_fixes_it(audited, more, given, kind, severity, rows, setting):
    finding = of_kind(audited([*more, *SOUND], **given), kind)
    assert (finding.severity, setting in finding.setting) == (severity, True)
    if rows is not None:
        assert finding.count == len(rows)
        assert [row.number for row in finding.rows] == list(rows)[:5]
    assert finding.count >= len(finding.rows)


def test_texts_of_several_lines_are_no_defect_but_lines_that_they_do_not_explain_are(audited, tmp_path):
    assert audited([("one\r\n\r\ntwo\n", "ham"), *SOUND]).findings == []
    with open(tmp_path / "other.csv", "w", newline="") as stream:
        rows = [(text, label, "a\nb" if number == 7 else "c") for number, (text, label) in enumerate(SOUND)]
        csv.writer(stream).writerows([("text", "label", "remark"), *rows])
    audit = inspect(TextDataModule(str(tmp_path / "other.csv"), tokenizer="bytes"))
    assert of_kind(audit, "lines").sentence.startswith("201 lines with content became 200 rows")


def test_a_fit_that_would_stop_is_a_finding_and_the_rest_is_found_all_the_same(audited):
    audit = audited([("all alone", "rare"), ("z" * 2000, "ham"), *SOUND])
    assert of_kind(audit, "refused").sentence.startswith("a fit would stop here: class 'rare' has 1 distinct texts")
    assert {"rare_classes", "truncated"} <= kinds(audit)
    assert audit.splits["train"]["rows"] == 202


# ---------------------------------------------------------------- copies


def test_copies_across_splits_are_counted_and_grouped_keeps_them_together(audited):
    repeated = [(f"{text} 7", label) for text, label in SOUND]
    audit = audited([*NUMBERED, *repeated], split="random")
    finding = of_kind(audit, "copies_across") if len(audit.splits) == 2 else None
    found = {f.rows[0].split: f for f in audit.findings if f.kind == "copies_across"}
    assert finding is None
    assert found.keys() == {"val", "test"}
    assert found["test"].count == audit.splits["test"]["near"]
    assert found["test"].setting == "--data.split grouped"
    assert "copies_across" not in kinds(audited([*NUMBERED, *repeated]))


def test_exact_copies_near_copies_and_texts_worded_alike_are_told_apart():
    train = pd.DataFrame(SOUND, columns=["text", "label"])
    alike = " ".join([*A.split()[:-1], "other"])  # one word of eight is another
    test = pd.DataFrame({"text": [A, f" {A.upper()}", alike, *texts(20, 2)], "label": ["ham"] * 23})
    audit = inspect(TextDataModule.from_tables(train, test=test, tokenizer="bytes"))
    facts = audit.splits["test"]
    assert (facts["rows"], facts["exact"], facts["near"], facts["similar"]) == (23, 1, 2, 3)
    assert of_kind(audit, "copies_across").rows == (Row("test", 0), Row("test", 1))
    assert of_kind(audit, "similar_across").rows == (Row("test", 2),)
    assert "group_column" in of_kind(audit, "similar_across").setting
    assert of_kind(audit, "absent_classes").sentence == "no test row is of class 'spam'"


def shingles(text):
    words = [NUMBER.sub("0", word) for word in minhash.WORD.findall(text.lower())]
    return set(zip(words, [*words[1:], None], strict=True))


def test_texts_worded_alike_are_those_of_a_large_jaccard_similarity():
    rng = random.Random(5)
    given = texts(60, 3)
    for text in given[:30]:
        words = text.split()
        for _ in range(rng.randrange(4)):
            words[rng.randrange(8)] = rng.choice(WORDS)
        given.append(" ".join(words))
    sets = list(map(shingles, given))

    def alike(i, j):
        return len(sets[i] & sets[j]) >= minhash.SIMILAR * len(sets[i] | sets[j])

    for known in (len(given), 30):
        expected = {j for j in range(len(given)) if any(alike(i, j) for i in range(min(j, known)))}
        partners = minhash.similar(minhash.words(given), known)
        found = {j for j, i in enumerate(partners.tolist()) if i >= 0}
        assert all(i < min(j, known) and alike(i, j) for j, i in enumerate(partners.tolist()) if i >= 0)
        assert len(found) >= 0.9 * len(expected) > 5


def test_each_of_many_like_texts_has_a_partner_among_the_known_ones():
    given = [f"dear customer your parcel {number} waits at the depot" for number in range(500)]
    partners = minhash.similar(minhash.words([*texts(50, 4), *given]), known=60)
    assert (partners[:51] == -1).all()
    assert (partners[51:] >= 50).all()
    assert partners.max() < 60


@pytest.mark.parametrize("given", [[], [""], ["", ""], ["a"], ["", "a b", "", "a b"]])
def test_texts_without_words_are_like_none(given):
    assert minhash.similar(minhash.words(given)).tolist() == [-1, -1, -1, 1][: len(given)]
    assert (minhash.similar(minhash.words(given), known=1) == -1).all()


@given(st.lists(st.text()))
def test_letters_are_counted_by_script(given):
    found = scripts.letters(given)
    for text, main_script in zip(given, found.main, strict=True):
        of_text = scripts.letters([text])
        counts = Counter(dict(zip(of_text.names, of_text.counts.tolist(), strict=True)))
        assert counts.total() <= sum(map(str.isalpha, text))
        assert (main_script == -1) == (not counts)
        if counts:
            assert counts[found.names[main_script]] == max(counts.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Grüße, naïve", {"Latin": 10}),
        ("5 µm, 1º", {"Latin": 2}),  # a shared sign, and an ordinal of the Latin script
        ("\uff21\uff42 \uff11", {"Latin": 2}),  # full width
        ("日本語のテーブル", {"Han": 3, "Hiragana": 1, "Katakana": 3}),
        ("сом com", {"Cyrillic": 3, "Latin": 3}),
        ("\ud800 1 !", {}),
    ],
)
def test_a_letter_has_the_script_that_unicode_gives_it(text, expected):
    found = scripts.letters([text])
    assert dict(zip(found.names, found.counts.tolist(), strict=True)) == expected


# ---------------------------------------------------------------- what gives a class away


@pytest.mark.parametrize("label", ["spam", "1"])
def test_a_label_in_the_text_is_found(audited, label):
    other = "0" if label == "1" else "ham"
    rows = [(f"{text} label: {name}", name) for text, (_, was) in zip(texts(200, 1), SOUND, strict=True)
            for name in [label if was == "spam" else other]]  # fmt: skip
    audit = audited(rows)
    found = [finding.sentence for finding in audit.findings if finding.kind == "leaking_word"]
    assert any(f"the word {label!r} gives the class {label!r} away" in sentence for sentence in found)
    assert audit.words[label] == {"word": label, "precision": 1.0, "coverage": 1.0}


def test_the_name_of_a_class_in_a_tenth_of_its_texts_is_a_note(audited):
    rows = [(f"{text} Spam" if number % 20 == 1 else text, label) for number, (text, label) in enumerate(SOUND)]
    finding = of_kind(audited(rows), "leaking_word")
    assert "the word 'spam' gives the class 'spam' away" in finding.sentence
    assert finding.severity == "note"


def test_texts_of_one_class_that_are_longer_are_found(audited):
    audit = audited([(text + "!" * 50 * (label == "spam"), label) for text, label in SOUND])
    assert audit.trivial == {"nothing": 0.5, "length": 1.0, "length and digits": 1.0}
    assert of_kind(audit, "length_tells").severity == "warning"


def test_trivial_models_are_scored_on_the_test_rows(audited):
    rows = [(f"{text} {number * 1111}", label) if label == "spam" else (text, label)
            for number, (text, label) in enumerate(SOUND)]  # fmt: skip
    audit = audited(rows)
    assert audit.scored == "test"
    assert audit.trivial["nothing"] == 0.5
    assert audit.trivial["length and digits"] > 0.9


# ---------------------------------------------------------------- at the start of a fit


def test_warnings_of_a_fit_are_those_that_its_summary_does_not_give_anyway():
    rows = pd.DataFrame([("caf\ufffd", "ham"), *SOUND], columns=["text", "label"])
    data = TextDataModule.from_tables(rows, tokenizer="bytes", max_length=16)
    data.setup("fit")
    lines = [*data.summary().splitlines(), *warnings(data)]
    assert sum("U+FFFD" in line for line in lines) == 1
    assert sum("truncated" in line for line in lines) == 1


def test_a_summary_of_sound_data_says_nothing_more():
    data = TextDataModule.from_tables(pd.DataFrame(SOUND, columns=["text", "label"]), tokenizer="bytes")
    data.setup("fit")
    assert warnings(data) == []


def test_a_leak_is_found_in_a_file_ordered_by_class():
    rows = [(f"{text} {label}", label) for label in ("ham", "spam") for text in texts(100, len(label))]
    data = TextDataModule.from_tables(pd.DataFrame(rows, columns=["text", "label"]), tokenizer="bytes")
    data.read_tables()
    found = warnings(data)
    assert sum("away" in line for line in found) == 2


# ---------------------------------------------------------------- the command


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, rows in {"good.csv": SOUND, "bad.csv": [("caf\ufffd", "ham"), *SOUND]}.items():
        with open(name, "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text", "label"), *rows])


BYTES = "--data.tokenizer=bytes"


@pytest.mark.parametrize("words", [["good.csv"], ["--data.source", "good.csv"], ["good.csv", "--config", "csv"]])
def test_a_file_is_audited(files, words, capsys):
    assert main(["audit", *words, BYTES, "--strict"]) == 0
    out = capsys.readouterr().out
    assert "good.csv, split grouped: 200 rows read (good.csv: 200 lines)" in out
    assert "nothing was found" in out


def test_strict_exits_with_1_for_a_warning(files, capsys):
    assert main(["audit", "bad.csv", BYTES]) == 0
    out = capsys.readouterr().out
    assert "U+FFFD" in out
    assert "1 warning, 0 notes" in out
    assert max(map(len, out.splitlines())) <= 120
    with pytest.raises(SystemExit) as end:
        main(["audit", "bad.csv", BYTES, "--strict"])
    assert end.value.code == 1


def test_json_is_one_object(files, capsys):
    assert main(["audit", "bad.csv", BYTES, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 201
    (finding,) = [finding for finding in found["findings"] if finding["kind"] == "undecodable"]
    assert finding["rows"] == [{"split": "", "number": 0}]
    assert found["needed"].keys() == {"50", "90", "95", "99", "100"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("no.csv", "no file no.csv"),
        ("toy", "give it as --config toy"),
        ("good.csv --data.label_column topic", "no column 'topic'"),
        ("good.csv --data.splt random", "did you mean --data.split?"),
        ("good.csv --stricter", "no option --stricter"),
        ("good.csv --data.split chapter6", "is a division of sms_spam"),
    ],
)
def test_a_mistake_costs_one_line(files, words, named, capsys):
    assert main(["audit", *words.split(), BYTES]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("gpt-classifier: error: ")
    assert named in message


def test_a_finding_in_one_line(audited):
    audit = audited([("caf\ufffd", "ham"), *SOUND])
    line = "1 text with U+FFFD, which stands for bytes that could not be decoded (row 0): correct them"
    assert str(of_kind(audit, "undecodable")).startswith(line)


# ---------------------------------------------------------------- the real collection


@pytest.fixture
def _collection(monkeypatch):
    if not (ASSETS / "cache" / "sms+spam+collection.zip").is_file():
        pytest.skip(f"the SMS Spam Collection is not in {ASSETS / 'cache'}")
    monkeypatch.setenv("GPT_CLASSIFIER_CACHE", str(ASSETS / "cache"))


@pytest.mark.usefixtures("_collection")
def test_the_books_split_has_46_near_copies_and_its_reading_loses_two_messages():
    audit = inspect(TextDataModule("sms_spam", split="chapter6", tokenizer="bytes"))
    assert (audit.splits["test"]["exact"], audit.splits["test"]["near"]) == (37, 46)
    assert (audit.files[0]["lines"], audit.rows) == (5574, 5572)
    assert of_kind(audit, "swallowed_rows").count == 1
    assert audit.trivial["length"] == pytest.approx(0.84)
    assert audit.trivial["length and digits"] == pytest.approx(287 / 300)  # 95.67 %, GPT-2's own accuracy in the book


@pytest.mark.usefixtures("_collection")
def test_the_grouped_split_has_none():
    audit = inspect(TextDataModule("sms_spam", split="grouped", tokenizer="bytes"))
    assert (audit.splits["test"]["exact"], audit.splits["test"]["near"]) == (0, 0)
    assert "copies_across" not in kinds(audit)


# ---------------------------------------------------------------- characters


@pytest.mark.parametrize("character", ["\ufe0f", "\u200b", "\u00a0"])
def test_an_invisible_character_of_some_classes_is_a_warning(audited, character):
    """Of four classes, two have it: for each of them alone it is right only half of the time."""
    names = ["a", "b", "c", "d"]
    labelled = [(text, names[number % 4]) for number, (text, _) in enumerate(SOUND)]
    rows = [(text + character * (name in "ab" and number > 4), name) for number, (text, name) in enumerate(labelled)]
    finding = of_kind(audited(rows), "leaking_character")
    assert finding.severity == "warning"
    assert f"U+{ord(character):04X}" in finding.sentence
    assert "which nobody sees" in finding.sentence
    assert "classes 'a', 'b', and in 0.0% of all others" in finding.sentence


def test_a_symbol_of_a_class_is_a_fact_without_advice_and_letters_of_a_language_are_none(audited):
    rows = [(text + (" \u20ac" if label == "spam" else ""), label) for text, label in SOUND]
    finding = of_kind(audited(rows), "telling_character")
    assert (finding.severity, finding.setting) == ("note", "")
    assert "U+20AC (euro sign) stands in 100.0% of the texts of class 'spam'" in finding.sentence
    hindi = [(text + (" \u0915\u093f\u0924\u093e\u092c" if label == "spam" else ""), label) for text, label in SOUND]
    assert not [each for each in audited(hindi).findings if "character" in each.kind and "93F" in each.sentence]


def test_sound_rows_have_no_telling_characters(audited):
    assert not [each for each in audited(SOUND).findings if "character" in each.kind]


def test_a_word_that_does_not_look_like_a_label_is_a_fact_without_advice(audited):
    rows = [(f"why {text}" if label == "spam" else text, label) for text, label in SOUND]
    audit = audited(rows)
    finding = of_kind(audit, "telling_word")
    assert (finding.severity, finding.setting) == ("note", "")
    assert "the word 'why' tells the class 'spam'" in finding.sentence
    assert not [each for each in audit.findings if each.kind == "leaking_word"]
