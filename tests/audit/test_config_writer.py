"""``init`` finds its way in other people's files, and ``fit`` takes what it writes."""

import csv
import json
from itertools import product
from pathlib import Path

import pytest
import yaml

from gpt_classifier.audit import columns, config_writer
from gpt_classifier.audit.networks import is_english
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
    assert config_writer.inspect_file("a.csv", "pretrained").found.label == label


def test_other_columns_that_could_be_the_label_are_named(capsys):
    editors, desks = (["am", "bk", "cl"] * 16), (["politics", "sport", "arts", "tech"] * 12)
    write("desk.csv", {"Headline": TEXTS, "editor": editors, "Desk": desks})
    assert main(["init", "desk.csv", "--print"]) == 0
    assert main(["init", "desk.csv"]) == 0
    said = capsys.readouterr().out
    assert "Desk could hold the classes as well: --label-column Desk" in said
    assert main(["init", "desk.csv", "--force", "--label-column", "Desk"]) == 0
    assert "as well" not in capsys.readouterr().out
    assert written("desk.yaml")["data"]["label_column"] == "Desk"


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_json_too(ending):
    rows = [{"said": text, "y": n % 2} for n, text in enumerate(TEXTS)]
    with open(f"a.{ending}", "w") as stream:
        stream.write(json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)))
    seen = config_writer.inspect_file(f"a.{ending}", "pretrained")
    assert (seen.found.text, seen.found.label, seen.classes) == (["said"], "y", {"0": 24, "1": 24})


@pytest.mark.parametrize(("characters", "expected"), [(1, 32), (200, 64), (10_000, 1024)])
def test_max_length_holds_99_percent_in_steps_of_32(characters, expected):
    write("a.csv", {"text": [text + "x" * characters for text in TEXTS], "label": two_classes()})
    main(["init", "a.csv", "--weights", "pretrained"])
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
    main(["init", "a.csv", "--force", "--weights", "pretrained"])
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
        ({"text": TEXTS}, "--label-column"),
        ({"text": TEXTS, "label": ["a"] * 48}, "--label-column"),
        ({"text": [""] * 48, "label": [""] * 48}, "no column with texts"),
    ],
)
def test_a_file_without_texts_or_classes_is_named(columns, named, capsys):
    write("a.csv", columns)
    assert main(["init", "a.csv"]) == 2
    assert named in capsys.readouterr().err


# ---------------------------------------------------------------- what else is recognised


def runs_as_printed(capsys):
    """Fits what ``init`` has just written with the command that it printed, in one epoch; returns the settings."""
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("next: "))
    words = command.removeprefix("next: gpt-classifier ").split()
    assert main([*words, "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]) == 0
    return written("checkpoints/a/version_0/config.yaml")


def test_without_any_network_the_printed_fit_runs_from_scratch_and_says_so(capsys):
    write("a.csv", {"text": TEXTS, "label": two_classes()})
    assert main(["init", "a.csv"]) == 0
    out = capsys.readouterr().out
    assert "can be reached, so a small one is trained from scratch" in out
    assert main(["init", "a.csv", "--force"]) == 0
    settings = runs_as_printed(capsys)
    assert (settings["model"]["weights"], settings["data"]["tokenizer"]) == ("random", {"train": 4096})


def test_a_split_column_is_one(capsys):
    splits = ["train", "Train ", "dev", "test"] * 12
    write("a.csv", {"text": TEXTS, "label": two_classes(), "part": splits, "kind": ["train", "plane"] * 24})
    assert main(["init", "a.csv"]) == 0
    settings = runs_as_printed(capsys)["data"]
    assert settings["splitting"]["split_column"] == "part"
    assert settings["label_column"] == "label"


@pytest.mark.parametrize(("train", "val", "test"), [("train", "dev", "test"), ("my-Train", "my-validation", "my-test")])
def test_files_of_val_and_test_lie_beside_that_of_train(train, val, test, capsys):
    for name, texts in {train: TEXTS, val: TEXTS[:8], test: TEXTS[8:16]}.items():
        write(f"{name}.csv", {"text": texts, "label": two_classes()[: len(texts)]})
    assert main(["init", f"{train}.csv", "--output", "a.yaml"]) == 0
    settings = runs_as_printed(capsys)["data"]
    assert (settings["val_source"], settings["test_source"]) == (f"{val}.csv", f"{test}.csv")


def test_a_file_beside_it_without_labels_is_no_test_file():
    write("train.csv", {"text": TEXTS, "label": two_classes()})
    write("test.csv", {"text": TEXTS})
    assert not config_writer.inspect_file("train.csv", "random").found.beside


def test_a_headline_stands_above_its_text(capsys):
    write("a.csv", {"Headline": [f"on {n}" for n in range(48)], "body": TEXTS, "label": two_classes()})
    assert main(["init", "a.csv"]) == 0
    assert runs_as_printed(capsys)["data"]["text_column"] == ["Headline", "body"]


@pytest.mark.parametrize(
    ("labels", "separator"),
    [
        (["business|money|uk", "business|uk", "uk|money", "sport|uk", "sport", "money|sport"] * 8, "|"),
        (["business; money", "business; uk", "uk; money", "uk; sport", "sport; money", "sport; business"] * 8, ";"),
        (["a", "b", "a,b", "b,a"] * 12, ","),
        (["Rome, Italy", "Paris, France", "Lyon, France", "Bari, Italy"] * 12, None),
        (["phones|new", "phones|old"] * 24, None),
        (["x", "y|z"] * 24, None),
    ],
)
def test_labels_that_are_several_are_told_from_names(labels, separator):
    write("a.csv", {"text": TEXTS, "label": labels})
    assert config_writer.inspect_file("a.csv", "random").found.multi_label == separator


def test_markup_is_counted(capsys):
    write("a.csv", {"text": [f"{t} &amp; {t}<br />" if n < 12 else f"{t} <3 & so" for n, t in enumerate(TEXTS)],
                    "label": two_classes()})  # fmt: skip
    assert main(["init", "a.csv"]) == 0
    assert "markup   12 texts (25.0%) have entities or tags of HTML" in capsys.readouterr().out


def test_rows_are_inspected_from_the_first_to_the_last(monkeypatch, capsys):
    monkeypatch.setattr(columns, "ROWS", 100)
    monkeypatch.setattr(config_writer, "INSPECTED", 60)
    scripts = [
        "hello to all of you in the world",
        "привет всем",
        "\u03b3\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5",
        "مرحبا بالعالم",
    ]
    texts = [f"{scripts[n // 250]} {n}" for n in range(1000)]
    write("a.csv", {"text": texts, "label": [f"class {n // 100}" for n in range(1000)]})
    seen = config_writer.inspect_file("a.csv", "random")
    assert (seen.rows, len(seen.classes)) == (1000, 10)
    assert 100 <= seen.inspected < 200
    assert len(set(seen.classes.values())) <= 2
    assert set(seen.scripts) == {"Latin", "Cyrillic", "Greek", "Arabic"}
    assert main(["init", "a.csv"]) == 0
    assert "rows, evenly spaced, were inspected" in capsys.readouterr().out


def test_one_language_of_several_is_not_that_of_all():
    english = ["it is in the garden that you and I sat for a while"] * 10
    german = ["in dem Garten ist es, dass wir eine Weile sitzen"] * 10
    french = ["c'est dans le jardin que nous avons attendu"] * 10
    assert is_english(english)
    assert is_english([*english, "lol", "ok"])
    assert not is_english(german)
    assert not is_english([*english, *german, *french])


def test_audit_finds_the_same_columns(capsys):
    write("a.csv", {"headline": TEXTS, "body": [f"{t}. {t}" for t in TEXTS], "topic": ["b|c", "c", "b"] * 16})
    assert main(["audit", "a.csv", "--data.tokenizer=bytes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["classes"].keys() == {"b", "c"}
    assert found["rows"] == 48
