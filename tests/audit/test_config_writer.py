"""``init`` finds its way in other people's files, and ``fit`` takes what it writes."""

import csv
import json
from itertools import product
from pathlib import Path

import pytest
import yaml

from gpt_classifier.audit import config_writer
from gpt_classifier.cli.main import main

WORDS = ["apple", "river", "stone", "cloud", "train", "garden"]
TEXTS = [f"{a} and {b} {c}" for a, b, c in product(WORDS, WORDS[:4], ["today", "soon"])]  # 48 distinct ones
TINY = "--model.gpt={n_layer: 1, n_head: 1, n_embd: 8, context_length: 64}"
AWKWARD = {"text": 'Text: "the" #1', "label": "- {my: [label", "yes": 'yes: "a" #b\nc', "null": "null"}


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """An empty working folder, on a machine without GPT-2's tokenizer files and other networks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPT_CLASSIFIER_MODELS", raising=False)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "none"))


def write(name, columns):
    with open(name, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return name


def written(name):
    with open(name, encoding="utf-8") as stream:
        return yaml.safe_load(stream)


def two_classes(first="ham", second="spam"):
    return [first, second] * (len(TEXTS) // 2)


@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_fit_takes_what_init_writes(weights, capsys):
    write("mail.csv", {"number": range(48), "mail": TEXTS, "kind": two_classes()})
    assert main(["init", "mail.csv", "--weights", weights]) == 0
    assert "next: gpt-classifier fit --config mail.yaml" in capsys.readouterr().out
    small = [TINY, "--model.weights=random", "--data.tokenizer=bytes", "--trainer.max_epochs=1"]
    assert main(["fit", "--config", "mail.yaml", *small, "--trainer.accelerator=cpu"]) == 0
    data = written("checkpoints/mail/version_0/config.yaml")["data"]
    assert (data["text_column"], data["label_column"]) == ("mail", "kind")


def test_awkward_names_survive():
    name = write("a: 1 #.csv", {AWKWARD["text"]: TEXTS, AWKWARD["label"]: two_classes(AWKWARD["yes"], "null")})
    assert main(["init", name, "--output", "out.yaml"]) == 0
    data = written("out.yaml")["data"]
    assert (data["source"], data["text_column"], data["label_column"]) == (name, AWKWARD["text"], AWKWARD["label"])


@pytest.mark.parametrize(
    ("label", "others"), [("Label", ["flag"]), ("topic_class", ["flag"]), ("kind", ["id", "many"])]
)
def test_the_label_column_is_found(label, others):
    columns = {name: {"flag": [0, 1] * 24, "id": [0, 1] * 24, "many": [*range(24)] * 2}[name] for name in others}
    write("a.csv", {**columns, "body": TEXTS, label: ["a", "b", "c", "d"] * 12})
    assert config_writer.look_at("a.csv", "pretrained").label_column == label


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_json_too(ending):
    rows = [{"said": text, "y": n % 2} for n, text in enumerate(TEXTS)]
    with open(f"a.{ending}", "w") as stream:
        stream.write(json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)))
    seen = config_writer.look_at(f"a.{ending}", "pretrained")
    assert (seen.text_column, seen.label_column, seen.classes) == ("said", "y", {"0": 24, "1": 24})


@pytest.mark.parametrize(("characters", "expected"), [(1, 32), (200, 64), (10_000, 1024)])
def test_max_length_holds_99_percent_in_steps_of_32(characters, expected):
    write("a.csv", {"text": [text + "x" * characters for text in TEXTS], "label": two_classes()})
    main(["init", "a.csv"])
    data = written("a.yaml")["data"]
    assert data["max_length"] == expected
    assert data["truncation"] == ("head+tail" if characters > 5000 else "head")


def test_unequal_classes_are_pointed_out_and_a_rare_one_is_left_out(capsys):
    write("a.csv", {"text": TEXTS, "label": ["a"] * 41 + ["b"] * 6 + ["c"]})
    main(["init", "a.csv"])
    settings = written("a.yaml")
    assert (settings["data"]["balance"], settings["data"]["rare_classes"]) == ("none", "drop")
    assert "class_weights, undersample: the largest class has 41 rows, the smallest 6" in Path("a.yaml").read_text()
    assert "left out: c" in capsys.readouterr().out


def test_letters_that_gpt2_does_not_know_get_tokens_of_their_own_from_scratch_and_a_note_before(capsys):
    write("a.csv", {"text": [f"привет {'мир ' * (n % 7)}{n}" for n in range(48)], "label": two_classes()})
    main(["init", "a.csv", "--weights", "random"])
    settings = written("a.yaml")
    assert settings["data"]["tokenizer"] == {"train": 4096}
    assert settings["model"]["gpt"]["context_length"] == settings["data"]["max_length"]
    main(["init", "a.csv", "--force"])
    assert written("a.yaml")["data"]["tokenizer"] == "gpt2"
    assert "not Latin" in capsys.readouterr().out


def test_nothing_is_replaced_unasked(capsys):
    write("a.csv", {"text": TEXTS, "label": two_classes()})
    with open("a.yaml", "w") as stream:
        stream.write("mine")
    assert main(["init", "a.csv"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("a.yaml").read_text() == "mine"
    assert main(["init", "a.csv", "--print"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["data"]["source"] == "a.csv"
    assert Path("a.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"text": TEXTS}, "--label_column"),
        ({"text": TEXTS, "label": ["a"] * 48}, "--label_column"),
        ({"text": [""] * 48, "label": [""] * 48}, "no column with texts"),
    ],
)
def test_a_file_without_texts_or_classes_is_named(columns, named, capsys):
    write("a.csv", columns)
    assert main(["init", "a.csv"]) == 2
    assert named in capsys.readouterr().err
