"""YAML that would hang, overflow or lose a setting is refused in one line; what is fine is parsed as before."""

import os
import random
from pathlib import Path

import pytest

from gpt_classifier import files
from gpt_classifier.cli.main import main
from gpt_classifier.cli.parser import prepared
from gpt_classifier.errors import InputError
from gpt_classifier.training.overrides import parse_yaml
from gpt_classifier.training.yaml_check import check_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
WRONG = {
    "aliases that multiply": (LAUGHS, "line 6: more than 100,000 values"),
    "deep lists": ("model: " + "[" * 5000 + "]" * 5000, "line 1: nested more than 50 deep"),
    "deep mappings": ("model: " + "{a: " * 2000 + "1" + "}" * 2000, "nested more than 50 deep"),
    "itself": ("model: &a {gpt: *a}", "*a stands within what it repeats"),
    "a tag of Python": (
        'model: !!python/object/apply:os.system ["true"]',
        "python/object/apply:os.system means nothing",
    ),
    "an own tag": ("model: !gpt {n_layer: 2}", "the tag !gpt means nothing here"),
    "a section twice": ("model: {trainable: head}\nmodel: {trainable: all}", "line 2: model is given a second time"),
    "a setting twice": ("model:\n  trainable: head\n  trainable: all", "line 3: trainable is given a second time"),
    "a long number": ("data: {max_length: " + "9" * 5000 + "}", "a number of 5,000 digits"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_it_is_refused_in_one_line_as_a_file_and_as_a_value(text, said, tmp_path, capsys):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    assert main(["fit", "--config", str(path), "--data.source=sample"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert said in error
    with pytest.raises(InputError, match="--decide"):
        parse_yaml(text, "--decide")
    if "\n" not in text:
        value = text.partition(": ")[2]
        if value.startswith(("{", "[")):
            assert main(["fit", f"--model.gpt={value}", "--data.source=sample"]) == 2
            assert "--model.gpt, line 1" in capsys.readouterr().err


def test_a_day_that_no_month_has_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "own.yaml").write_text("data:\n  batch_size: 2020-13-45")
    assert main(["fit", "--config", str(tmp_path / "own.yaml")]) == 2
    assert "has a value that is none: month must be in 1..12" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["x: &x {trainable: head}\nmodel: *x", "a: !!str 5", "? [a, b]\n: 1", "a: {<<: {b: 1}, b: 2}", "- 1\n- 1", ""],
)
def test_what_yaml_may_hold_is_no_mistake(text):
    check_yaml(text, "this")


def test_every_configuration_of_the_package_passes():
    for path in files.built_in_configurations().values():
        check_yaml(Path(path).read_text(encoding="utf-8"), str(path))


def test_damaged_configurations_are_one_line_or_fine(tmp_path):
    """Characters are changed, lines repeated, brackets and anchors inserted: 400 times, or FUZZ_CASES."""
    draw, text = random.Random(0), Path(files.built_in_configurations()["spam"]).read_text(encoding="utf-8")
    path = tmp_path / "damaged.yaml"
    for _ in range(int(os.environ.get("FUZZ_CASES", "400"))):
        damaged = list(text)
        for _ in range(draw.randint(1, 8)):
            place = draw.randrange(len(damaged))
            damaged[place : place + draw.randint(0, 3)] = draw.choice(
                ["[", "{", "}", "&a ", "*a", "!!x ", ": ", "\n", "\t", "'", '"', "|", "\x07", "\ufeff", "? ", "<<: "]
            )
        path.write_text("".join(damaged), encoding="utf-8")
        said = ""
        try:
            prepared("fit", [f"--config={path}", "--print_config"])
        except InputError as error:
            said = str(error)
        assert "\n" not in said
