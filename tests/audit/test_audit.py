"""The audit finds each defect, names its rows and what fixes it, and finds nothing in sound data."""

import csv
import json
import random
import shlex
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier.audit.findings import Row
from gpt_classifier.audit.inspection import format_options, inspect, warnings
from gpt_classifier.audit.leakage import ClassWord
from gpt_classifier.cli.main import main
from gpt_classifier.data import minhash
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import NUMBER
from gpt_classifier.text import scripts

ASSETS = Path(__file__).resolve().parents[3] / "shared" / "assets"
WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in "ndrs"]


def texts(count, seed=0, words=8):
    """Texts of like length without anything in common but common words."""
    rng = random.Random(seed)
    return [" ".join(rng.sample(WORDS, words)) for _ in range(count)]


def rows(count=200, seed=0, words=8):
    return [(text, ("ham", "spam")[number % 2]) for number, text in enumerate(texts(count, seed, words))]


SOUND = rows()


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, lines, header=("text", "label"), encoding="utf-8"):
    with open(name, "w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows([header, *lines])


def audited(lines, **given):
    """The audit of a file with these rows."""
    write("rows.csv", lines)
    return inspect(TextDataModule("rows.csv", **{"tokenizer": "bytes", **given}))


def in_memory(lines, **given):
    return TextDataModule.from_tables(pd.DataFrame(lines, columns=["text", "label"]), tokenizer="bytes", **given)


def find_kind(audit, kind):
    (finding,) = [finding for finding in audit.findings if finding.kind == kind]
    return finding


def kinds(audit):
    return {finding.kind for finding in audit.findings}


def test_sound_data_give_no_finding():
    audit = audited(SOUND)
    assert audit.findings == []
    assert audit.rows == audit.files[0].lines == 200
    assert {split: counts["rows"] for split, counts in audit.splits.items()} == {"train": 140, "val": 20, "test": 40}
    assert audit.classes["ham"]["train"] == 70
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
    "few truncated": (
        [("z" * 500, "ham")], {"max_length": 400}, "truncated", "note", [0],
        "--data.max_length 512, or --data.windows.stride 200",
    ),
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
def test_a_defect_is_found_with_its_rows_and_what_fixes_it(more, given, kind, severity, rows, setting):
    finding = find_kind(audited([*more, *SOUND], **given), kind)
    assert finding.severity == severity
    assert setting in finding.setting if setting else finding.setting == ""
    if rows is not None:
        assert finding.count == len(rows)
        assert [row.number for row in finding.rows] == list(rows)[:5]
    assert finding.count >= len(finding.rows)
    if kind == "undecodable":
        line = "1 text with U+FFFD, which stands for bytes that could not be decoded (row 0): correct them"
        assert str(finding).startswith(line)


def test_texts_of_several_lines_are_no_defect_but_lines_that_they_do_not_explain_are():
    assert audited([("one\r\n\r\ntwo\n", "ham"), *SOUND]).findings == []
    lines = [(text, label, "a\nb" if number == 7 else "c") for number, (text, label) in enumerate(SOUND)]
    write("other.csv", lines, ("text", "label", "remark"))
    audit = inspect(TextDataModule("other.csv", tokenizer="bytes"))
    assert find_kind(audit, "lines").sentence.startswith("201 lines with content became 200 rows")


def test_a_fit_that_would_stop_is_a_finding_and_the_rest_is_found_all_the_same():
    audit = audited([("all alone", "rare"), ("z" * 2000, "ham"), *SOUND])
    assert find_kind(audit, "refused").sentence.startswith("a fit would stop here: class 'rare' has 1 distinct texts")
    assert {"rare_classes", "truncated"} <= kinds(audit)
    assert audit.splits["train"]["rows"] == 202


# ---------------------------------------------------------------- copies


def test_copies_across_splits_are_counted_and_grouped_keeps_them_together():
    repeated = [(f"{text} 7", label) for text, label in SOUND]
    audit = audited([*NUMBERED, *repeated], split="random")
    found = {f.rows[0].split: f for f in audit.findings if f.kind == "copies_across"}
    assert found.keys() == {"val", "test"}
    assert found["test"].count == audit.splits["test"]["near"]
    assert found["test"].setting == "--data.split grouped"
    assert "copies_across" not in kinds(audited([*NUMBERED, *repeated]))


def test_exact_copies_near_duplicates_and_similar_texts_are_distinguished():
    train = pd.DataFrame(SOUND, columns=["text", "label"])
    alike = " ".join([*A.split()[:-1], "other"])  # one word of eight is another
    test = pd.DataFrame({"text": [A, f" {A.upper()}", alike, *texts(20, 2)], "label": ["ham"] * 23})
    audit = inspect(TextDataModule.from_tables(train, test=test, tokenizer="bytes"))
    assert audit.splits["test"] == {"rows": 23, "texts": 23, "distinct": 22, "exact": 1, "near": 2, "similar": 3}
    assert find_kind(audit, "copies_across").rows == (Row("test", 0), Row("test", 1))
    assert find_kind(audit, "similar_across").rows == (Row("test", 2),)
    assert "group_column" in find_kind(audit, "similar_across").setting
    assert find_kind(audit, "absent_classes").sentence == "no test row is of class 'spam'"


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
        partners = minhash.find_similar(minhash.find_words(given), known)
        found = {j for j, i in enumerate(partners.tolist()) if i >= 0}
        assert all(i < min(j, known) and alike(i, j) for j, i in enumerate(partners.tolist()) if i >= 0)
        assert len(found) >= 0.9 * len(expected) > 5


def test_each_of_many_like_texts_has_a_partner_among_the_known_ones():
    given = [f"dear customer your parcel {number} waits at the depot" for number in range(500)]
    partners = minhash.find_similar(minhash.find_words([*texts(50, 4), *given]), known=60)
    assert (partners[:51] == -1).all()
    assert (partners[51:] >= 50).all()
    assert partners.max() < 60


@pytest.mark.parametrize("given", [[], [""], ["", ""], ["a"], ["", "a b", "", "a b"]])
def test_texts_without_words_are_like_none(given):
    assert minhash.find_similar(minhash.find_words(given)).tolist() == [-1, -1, -1, 1][: len(given)]
    assert (minhash.find_similar(minhash.find_words(given), known=1) == -1).all()


@given(st.lists(st.text()))
def test_letters_are_counted_by_script(given):
    found = scripts.count_letters(given)
    for text, main_script in zip(given, found.main, strict=True):
        letters = scripts.count_letters([text])
        counts = Counter(dict(zip(letters.names, letters.counts.tolist(), strict=True)))
        assert counts.total() <= sum(map(str.isalpha, text))
        assert (main_script == -1) == (not counts)
        if counts:
            assert counts[found.names[main_script]] == max(counts.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Grüße, naïve", {"Latin": 10}),
        ("5 µm, 1º", {"Latin": 2}),  # a sign that scripts have in common, and an ordinal of the Latin script
        ("\uff21\uff42 \uff11", {"Latin": 2}),  # full width
        ("日本語のテーブル", {"Han": 3, "Hiragana": 1, "Katakana": 3}),
        ("сом com", {"Cyrillic": 3, "Latin": 3}),
        ("\ud800 1 !", {}),
    ],
)
def test_a_letter_has_the_script_that_unicode_gives_it(text, expected):
    found = scripts.count_letters([text])
    assert dict(zip(found.names, found.counts.tolist(), strict=True)) == expected


# ---------------------------------------------------------------- what gives a class away


@pytest.mark.parametrize("label", ["spam", "1"])
def test_a_label_in_the_text_is_found(label):
    other = "0" if label == "1" else "ham"
    rows = [(f"{text} label: {name}", name) for text, (_, was) in zip(texts(200, 1), SOUND, strict=True)
            for name in [label if was == "spam" else other]]  # fmt: skip
    audit = audited(rows)
    found = [finding.sentence for finding in audit.findings if finding.kind == "leaking_word"]
    assert any(f"the word {label!r} gives the class {label!r} away" in sentence for sentence in found)
    assert audit.words[label] == ClassWord(label, precision=1.0, coverage=1.0)


def test_the_name_of_a_class_in_a_tenth_of_its_texts_is_a_note():
    rows = [(f"{text} Spam" if number % 20 == 1 else text, label) for number, (text, label) in enumerate(SOUND)]
    finding = find_kind(audited(rows), "leaking_word")
    assert "the word 'spam' gives the class 'spam' away" in finding.sentence
    assert finding.severity == "note"


def test_texts_of_one_class_that_are_longer_are_found():
    audit = audited([(text + "!" * 50 * (label == "spam"), label) for text, label in SOUND])
    assert audit.baselines == {"nothing": 0.5, "length": 1.0, "length and digits": 1.0}
    assert find_kind(audit, "length_tells").severity == "warning"


def test_baselines_are_scored_on_the_test_rows():
    rows = [(f"{text} {number * 1111}", label) if label == "spam" else (text, label)
            for number, (text, label) in enumerate(SOUND)]  # fmt: skip
    audit = audited(rows)
    assert audit.scored == "test"
    assert audit.baselines["nothing"] == 0.5
    assert audit.baselines["length and digits"] > 0.9


# ---------------------------------------------------------------- at the start of a fit


def test_warnings_of_a_fit_are_those_that_its_summary_does_not_give_anyway():
    data = in_memory([("caf\ufffd", "ham"), *SOUND], max_length=16)
    data.setup("fit")
    lines = [*data.summary().splitlines(), *warnings(data)]
    assert sum("U+FFFD" in line for line in lines) == 1
    assert sum("truncated" in line for line in lines) == 1


@pytest.mark.parametrize("leak", [False, True])
def test_a_leak_is_found_in_rows_ordered_by_class_and_sound_rows_give_no_warning(leak):
    data = in_memory([(f"{t} {label * leak}", label) for label in ("ham", "spam") for t in texts(100, len(label))])
    data.read_tables()
    assert ["away" in line for line in warnings(data)] == [True, True] * leak


@pytest.mark.parametrize("given", [{}, {"balance": "undersample"}, {"split": "random"}])
def test_a_fit_counts_as_an_audit_does(given):
    lines = [("caf\ufffd" + text, label) if n % 9 == 0 else (text, label) for n, (text, label) in enumerate(SOUND)]
    lines += [(f"{text} #src7#", "ham") for text in texts(150, 1)]
    audit = audited([*lines, *lines[:5], ("", "ham")], **given)
    data = TextDataModule("rows.csv", tokenizer="bytes", **given)
    data.read_tables()
    found = warnings(data)
    assert len(found) > 1
    assert set(found) <= {str(finding) for finding in audit.warnings()}


# ---------------------------------------------------------------- the command


@pytest.fixture
def files():
    write("good.csv", SOUND)
    write("bad.csv", [("caf\ufffd", "ham"), *SOUND])


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
    assert found["length_percentiles"].keys() == {"50", "90", "95", "99", "100"}


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


# ---------------------------------------------------------------- the real collection


@pytest.fixture
def _collection(monkeypatch):
    if not (ASSETS / "cache" / "sms+spam+collection.zip").is_file():
        pytest.skip(f"the SMS Spam Collection is not in {ASSETS / 'cache'}")
    monkeypatch.setenv("GPT_CLASSIFIER_CACHE", str(ASSETS / "cache"))


@pytest.mark.usefixtures("_collection")
def test_the_books_split_has_46_near_duplicates_and_its_reading_loses_two_messages():
    audit = inspect(TextDataModule("sms_spam", split="chapter6", tokenizer="bytes"))
    assert (audit.splits["test"]["exact"], audit.splits["test"]["near"]) == (37, 46)
    assert (audit.files[0].lines, audit.rows) == (5574, 5572)
    assert find_kind(audit, "swallowed_rows").count == 1
    assert audit.baselines["length"] == pytest.approx(0.84)
    assert audit.baselines["length and digits"] == pytest.approx(287 / 300)  # 95.67 %, GPT-2's own accuracy in the book


@pytest.mark.usefixtures("_collection")
def test_the_grouped_split_has_none():
    audit = inspect(TextDataModule("sms_spam", split="grouped", tokenizer="bytes"))
    assert (audit.splits["test"]["exact"], audit.splits["test"]["near"]) == (0, 0)
    assert "copies_across" not in kinds(audit)


# ---------------------------------------------------------------- characters


@pytest.mark.parametrize("character", ["\ufe0f", "\u200b", "\u00a0"])
def test_an_invisible_character_of_some_classes_is_a_warning(character):
    """Two of four classes have it: for each of them alone its precision is one half."""
    names = ["a", "b", "c", "d"]
    labelled = [(text, names[number % 4]) for number, (text, _) in enumerate(SOUND)]
    rows = [(text + character * (name in "ab" and number > 4), name) for number, (text, name) in enumerate(labelled)]
    finding = find_kind(audited(rows), "leaking_character")
    assert finding.severity == "warning"
    assert f"U+{ord(character):04X}" in finding.sentence
    assert "which nobody sees" in finding.sentence
    assert "classes 'a', 'b', and in 0.0% of all others" in finding.sentence


def test_a_symbol_of_a_class_is_a_note_without_advice_and_letters_of_a_language_are_none():
    rows = [(text + (" \u20ac" if label == "spam" else ""), label) for text, label in SOUND]
    finding = find_kind(audited(rows), "telling_character")
    assert (finding.severity, finding.setting) == ("note", "")
    assert "U+20AC (euro sign) stands in 100.0% of the texts of class 'spam'" in finding.sentence
    hindi = [(text + (" \u0915\u093f\u0924\u093e\u092c" if label == "spam" else ""), label) for text, label in SOUND]
    assert not [each for each in audited(hindi).findings if "character" in each.kind and "93F" in each.sentence]


def test_a_word_that_does_not_look_like_a_label_is_a_note_without_advice():
    audit = audited([(f"why {text}" if label == "spam" else text, label) for text, label in SOUND])
    assert "the word 'why' tells the class 'spam'" in find_kind(audit, "telling_word").sentence
    assert "leaking_word" not in kinds(audit)


# ---------------------------------------------------------------- what is advised was tried: the finding is gone


OF_CP1252 = "it says \u201cyes\u201d "
FILES = {  # what is written, options; kinds of findings, and for each the options that are advised
    "texts a little longer than max_length": (
        lambda: write("a.csv", [*rows(300), *rows(100, 1, 9)]), "--data.max_length 32",
        {"truncated": ["--data.max_length 64", "--data.windows.stride 16"]},
    ),
    "texts longer than the network reads": (
        lambda: write("a.csv", rows(60, words=150)),
        "--data.max_length 256 --data.truncation head+tail --model.weights random "
        "--model.gpt.context_length 256 --model.gpt.n_layer 2 --model.gpt.n_head 2 --model.gpt.n_embd 16",
        {"truncated": ["--data.windows.stride 128"]},
    ),
    "a width of batches": (
        lambda: write("a.csv", SOUND), "--data.batching.pad_to 16",
        {"truncated": ["--data.batching.pad_to longest", "--data.windows.stride 8"]},
    ),
    "copies in a test file": (
        lambda: (write("a.csv", SOUND), write("t.csv", SOUND[:20])), "--data.test_source t.csv",
        {"copies_across": []},
    ),
    "copies under a split column": (
        lambda: write("a.csv", [(*row, "train") for row in SOUND] + [(*row, "test") for row in SOUND[:20]]
                      + [(*row, "val") for row in rows(20, 9)], ("text", "label", "part")),
        "--data.splitting.split_column part",
        {"copies_across": []},
    ),
    "copies at random": (
        lambda: write("a.csv", SOUND + [(f" {text.upper()}", label) for text, label in SOUND[:100]]),
        "--data.split random",
        {"copies_across": ["--data.split grouped"]},
    ),
    "one rare class": (
        lambda: write("a.csv", [("all alone", "rare"), *SOUND]), "",
        {"rare_classes": ["--data.rare_classes drop"], "refused": []},
    ),
    "several rare classes": (
        lambda: write("a.csv", [*((text, f"rare {n}") for n, text in enumerate(texts(8, 3))), *SOUND]), "",
        {"rare_classes": ["--data.rare_classes drop", "--data.rare_classes merge"], "refused": []},
    ),
    "cp1252 read as latin-1": (
        lambda: write("a.csv", [(OF_CP1252 + text, label) for text, label in SOUND], encoding="cp1252"),
        "--data.file_format.encoding latin-1",
        {"control_characters": ["--data.file_format.encoding cp1252"]},
    ),
    "control characters in valid UTF-8": (
        lambda: write("a.csv", [("it says \x93yes\x94 " + text, label) for text, label in SOUND]), "",
        {"control_characters": []},
    ),
    "UTF-8 read as cp1252": (
        lambda: write("a.csv", [(f"caf\u00e9 {text}", label) for text, label in SOUND]),
        "--data.file_format.encoding cp1252",
        {"misread": ["--data.file_format.encoding utf-8"]},
    ),
    "few rows of a class": (
        lambda: write("a.csv", [*SOUND, *((text, "small") for text in texts(15, 1))]), "",
        {"small_classes": ["--data.splitting.folds 5"]},
    ),
    "few rows of a class in a test file": (
        lambda: (write("a.csv", SOUND), write("t.csv", [*rows(20, 2), *[(t, "ham") for t in texts(20, 3)]][::2])),
        "--data.test_source t.csv",
        {"absent_classes": []},
    ),
    "unequal classes": (
        lambda: write("a.csv", [*SOUND, *((text, "ham") for text in texts(700, 1))]), "",
        {"unequal_classes": ["--data.balance class_weights", "--data.balance undersample"]},
    ),
    "unequal labels of texts with several": (
        lambda: write("a.csv", [*SOUND, *((text, "ham") for text in texts(700, 1))]), "--data.multi_label '|'",
        {"unequal_classes": ["--data.balance class_weights"]},
    ),
    "texts without words kept": (
        lambda: write("a.csv", [("  ", "ham"), *SOUND]), "--data.empty keep",
        {"empty": ["--data.empty drop"]},
    ),
}  # fmt: skip


def found_by_command(options, capsys):
    assert main(["audit", "a.csv", "--data.tokenizer", "bytes", *shlex.split(options), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]
    return {finding["kind"]: finding for finding in found}


@pytest.mark.parametrize(("make", "options", "expected"), FILES.values(), ids=FILES)
def test_each_option_that_is_advised_fixes_its_finding(make, options, expected, capsys):
    make()
    found = found_by_command(options, capsys)
    for kind, advised in expected.items():
        assert list(map(format_options, found[kind]["options"])) == advised
        assert found[kind]["setting"] == (", or ".join(advised) or found[kind]["setting"])
        assert ("--data." in found[kind]["setting"]) == bool(advised)
    for kind, finding in found.items():
        for option in map(format_options, finding["options"]):
            again = found_by_command(f"{options} {option}", capsys)
            assert kind not in again, option
            assert "refused" not in again or "refused" in found, option


def test_a_file_that_is_no_utf8_is_read_as_the_error_proposes(capsys):
    for encoding, proposed in {"cp1252": "cp1252", "utf-16": "utf-16"}.items():
        write("a.csv", [(f"caf\u00e9 \u20ac {text}", label) for text, label in SOUND], encoding=encoding)
        assert main(["audit", "a.csv", "--data.tokenizer", "bytes"]) == 2
        option = f"--data.file_format.encoding {proposed}"
        assert f"set its encoding, probably {option}, or save it" in capsys.readouterr().err
        assert found_by_command(option, capsys) == {}
    write("a.csv", [("\u0442\u044d\u043a\u0441\u0442 \u041a", "ham"), *SOUND])  # with a byte that cp1252 lacks
    assert main(["audit", "a.csv", "--data.tokenizer", "bytes", "--data.file_format.encoding", "ascii"]) == 2
    assert "probably --data.file_format.encoding utf-8" in capsys.readouterr().err


def test_rows_are_named_by_the_file_in_which_they_stand(capsys):
    write("a.csv", [*SOUND, ("caf\ufffd", "ham")])
    write("t.csv", [("caf\ufffd two", "ham"), *rows(40, 5)])
    finding = found_by_command("--data.test_source t.csv", capsys)["undecodable"]
    assert finding["rows"] == [{"split": "", "number": 200}, {"split": "test", "number": 0}]
