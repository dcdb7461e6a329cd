"""What an audit advises has been tried: with each option that it prints, the finding is gone."""

import csv
import json
import random
import shlex

import pytest

from gpt_classifier.audit.inspection import inspect, warnings
from gpt_classifier.audit.options import text_of
from gpt_classifier.cli.main import main
from gpt_classifier.data.datamodule import TextDataModule

WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in "ndrs"]


def texts(count, seed=0, words=8):
    rng = random.Random(seed)
    return [" ".join(rng.sample(WORDS, words)) for _ in range(count)]


def rows(count=200, seed=0, words=8, classes=("ham", "spam")):
    return [(text, classes[n % len(classes)]) for n, text in enumerate(texts(count, seed, words))]


def write(name, lines, header=("text", "label"), encoding="utf-8"):
    with open(name, "w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows([header, *lines])


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


OF_CP1252 = "it says \u201cyes\u201d "
SOUND = rows()
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


def audited(options, capsys):
    assert main(["audit", "a.csv", "--data.tokenizer", "bytes", *shlex.split(options), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]
    return {finding["kind"]: finding for finding in found}


@pytest.mark.parametrize(("make", "options", "expected"), FILES.values(), ids=FILES)
def test_each_option_that_is_advised_mends_its_finding(make, options, expected, capsys):
    make()
    found = audited(options, capsys)
    for kind, advised in expected.items():
        assert list(map(text_of, found[kind]["options"])) == advised
        assert found[kind]["setting"] == (", or ".join(advised) or found[kind]["setting"])
        assert ("--data." in found[kind]["setting"]) == bool(advised)
    for kind, finding in found.items():
        for option in map(text_of, finding["options"]):
            again = audited(f"{options} {option}", capsys)
            assert kind not in again, option
            assert "refused" not in again or "refused" in found, option


def test_a_file_that_is_no_utf8_is_read_as_the_error_proposes(capsys):
    for encoding, proposed in {"cp1252": "cp1252", "utf-16": "utf-16"}.items():
        write("a.csv", [(f"caf\u00e9 \u20ac {text}", label) for text, label in SOUND], encoding=encoding)
        assert main(["audit", "a.csv", "--data.tokenizer", "bytes"]) == 2
        option = f"--data.file_format.encoding {proposed}"
        assert f"set its encoding, probably {option}, or save it" in capsys.readouterr().err
        assert audited(option, capsys) == {}
    write("a.csv", [("\u0442\u044d\u043a\u0441\u0442 \u041a", "ham"), *SOUND])  # with a byte that cp1252 lacks
    assert main(["audit", "a.csv", "--data.tokenizer", "bytes", "--data.file_format.encoding", "ascii"]) == 2
    assert "probably --data.file_format.encoding utf-8" in capsys.readouterr().err


@pytest.mark.parametrize("given", [{}, {"balance": "undersample"}, {"split": "random"}])
def test_a_fit_counts_as_an_audit_does(given):
    lines = [("caf\ufffd" + text, label) if n % 9 == 0 else (text, label) for n, (text, label) in enumerate(SOUND)]
    lines += [(f"{text} #src7#", "ham") for text in texts(150, 1)]
    lines += [*lines[:5], ("", "ham")]
    write("a.csv", lines)
    settings = {"tokenizer": "bytes", **given}
    audit = inspect(TextDataModule("a.csv", **settings))
    data = TextDataModule("a.csv", **settings)
    data.read_tables()
    found = warnings(data)
    assert len(found) > 1
    assert set(found) <= {str(finding) for finding in audit.warnings()}


def test_rows_are_named_by_the_file_in_which_they_stand(capsys):
    write("a.csv", [*SOUND, ("caf\ufffd", "ham")])
    write("t.csv", [("caf\ufffd two", "ham"), *rows(40, 5)])
    finding = audited("--data.test_source t.csv", capsys)["undecodable"]
    assert finding["rows"] == [{"split": "", "number": 200}, {"split": "test", "number": 0}]
