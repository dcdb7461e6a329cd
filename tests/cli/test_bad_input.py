"""Whatever is wrong with what a user gives, a command ends with code 2 and one line that names it."""

import json
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch

from gpt_classifier.cli.main import main

# pytest's own arguments are none of ours.
pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")

QUICKSTART = Path(__file__).parents[2] / "configs" / "toy.yaml"


@pytest.fixture
def here(tmp_path):
    """A folder with what some of the arguments below name."""
    rows = [(label, "x" * number) for number, label in product(range(20), ["ham", "spam"])]
    for name, lines in {
        "good.csv": [f"{label} {text},{label}" for label, text in rows],
        "one_class.csv": [f"ham {text},ham" for _, text in rows],
        "few.csv": ["a,ham", "b,ham", "c,spam", "d,spam"],
        "late.csv": ["hi,ham"] * 2500 + ["hi, you,ham"],  # wrong where a stream of chunks has already begun
    }.items():
        (tmp_path / name).write_text("\n".join(["text,label", *lines]) + "\n")
    for name, text in {
        "nonsense.yaml": "model: {nonsense: 1}",
        "list.yaml": "- 1\n- 2",
        "broken.yaml": "model: [1\n: :",
        "file": "a regular file",
        "text.ckpt": "I am not a checkpoint\n",
        "empty.ckpt": "",
    }.items():
        (tmp_path / name).write_text(text)
    torch.save({"state_dict": {}}, tmp_path / "plain.ckpt")
    torch.save({"state_dict": {}, "gpt_classifier": {}}, tmp_path / "hollow.ckpt")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.fixture
def error(here, capsys):
    """Runs a command that must fail as this file promises, and gives its message; HERE in arguments is the folder."""

    def run(*arguments):
        capsys.readouterr()
        assert main([argument.replace("HERE", str(here)) for argument in arguments]) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        errors = [line for line in said.splitlines() if "gpt-classifier: error:" in line]
        assert errors == said.splitlines()[-1:]
        start = "gpt-classifier: error: "
        assert errors[0].startswith(start)
        return errors[0].removeprefix(start).replace(str(here), "HERE")

    return run


def command(verb, *arguments):
    """A short run of ``verb`` with the toy's settings, up to where ``arguments`` stop it."""
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.default_root_dir=HERE/runs"]
    return [verb, f"--config={QUICKSTART}", *short, *arguments]


FIT = {
    "a missing data file": ("--data.source=HERE/no.csv", "no file HERE/no.csv"),
    "a missing validation file": ("--data.val_source=HERE/no.csv", "no file HERE/no.csv"),
    "a folder as data": ("--data.source=HERE/folder", "no file HERE/folder"),
    "a missing column": (
        ["--data.source=HERE/good.csv", "--data.text_column=body"],
        "'body'; its columns are text, label",
    ),
    "one class": ("--data.source=HERE/one_class.csv", "'ham'"),
    "too few rows": ("--data.source=HERE/few.csv", "2 distinct texts, too few for 3 splits"),
    "an unknown label": ("--data.class_names=[ham, eggs]", "'spam'"),
    "no validation rows": ("--data.splitting.fractions=[0.8, 0, 0.2]", "--data.val_source"),
    "fractions beyond 1": ("--data.splitting.fractions=[1, 1, 1]", "[1.0, 1.0, 1.0]"),
    "a book split of other data": ("--data.split=chapter6", "sample"),
    "no batch": ("--data.batch_size=0", "batch_size is 0"),
    "a word for a number": ("--data.batch_size=many", "many"),
    "texts beyond the context": ("--data.max_length=500", "500 tokens, but the model's context has 160"),
    "padding beyond the context": ("--data.batching.pad_to=500", "500"),
    "a word for a width": ("--data.batching.pad_to=widest", "widest"),
    "an unknown key in a file": ("--config=HERE/nonsense.yaml", "model.nonsense"),
    "an unknown option": ("--model.nonsense=1", "--model.nonsense"),
    "a missing configuration": ("--config=HERE/no.yaml", "HERE/no.yaml"),
    "a configuration that is a list": ("--config=HERE/list.yaml", "HERE/list.yaml is no configuration"),
    "a configuration that is not YAML": ("--config=HERE/broken.yaml", "HERE/broken.yaml, line 2, is not YAML"),
    "an unknown pooling": ("--model.pooling=max", "max"),
    "an unknown policy": ("--model.trainable=first_block", "'first_block'"),
    "more blocks than there are": ("--model.trainable=99", "99"),
    "fewer blocks than none": ("--model.trainable=-1", "-1"),
    "an unknown size": ("--model.gpt=gpt7", "'gpt7'"),
    "an unknown dimension": ("--model.gpt={n_layer: 1, bogus: 1}", "bogus"),
    "heads that do not divide": ("--model.gpt={n_head: 3, n_embd: 16}", "n_head"),
    "too small a vocabulary": ("--model.gpt={n_head: 1, n_embd: 4, n_layer: 1, vocab_size: 9}", "257"),
    "missing weights": ("--model.weights=HERE/folder", "no weights at HERE/folder"),
    "weights that are none": ("--model.weights=HERE/text.ckpt", "HERE/text.ckpt"),
    "pretrained weights of no size": ("--model.weights=pretrained", "pretrained"),
    "an unknown head": ("--model.head=quadratic", "'quadratic'"),
    "a head from nowhere": ("--model.head={class_path: no.such.Head}", "no.such.Head"),
    "a head with unknown arguments": (
        "--model.head={class_path: torch.nn.Linear, init_args: {nonsense: 1}}",
        "nonsense",
    ),
    "an unknown optimizer": ("--model.optimizer.name=Adamant", "'Adamant'"),
    "an unknown optimizer argument": ("--model.optimizer.arguments={nonsense: 1}", "nonsense"),
    "a negative learning rate": ("--model.learning_rate=-1", "-1"),
    "too long a warmup": ("--model.optimizer.warmup=2", "warmup is 2.0"),
    "an unknown accelerator": ("--trainer.accelerator=abacus", "abacus"),
    "no device": ("--trainer.devices=0", "devices"),
    "devices in words": ("--trainer.devices=many", "devices"),
    "a root below a regular file": ("--trainer.default_root_dir=HERE/file/below", "HERE/file/below"),
    "a run to continue that never was": ("--ckpt_path=last", "last.ckpt"),
    "a checkpoint to continue that is missing": ("--ckpt_path=HERE/no.ckpt", "HERE/no.ckpt"),
    "a checkpoint to continue that is none": ("--ckpt_path=HERE/text.ckpt", "HERE/text.ckpt"),
}


@pytest.mark.parametrize(("arguments", "named"), FIT.values(), ids=FIT.keys())
def test_fit_names(arguments, named, error):
    assert named in error(*command("fit", *([arguments] if isinstance(arguments, str) else arguments)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_fit_names_a_gpu_that_is_not_there(error):
    assert "gpu" in error(*command("fit", "--trainer.accelerator=gpu"))


@pytest.mark.parametrize("word", ["train", "--fit", ""])
def test_an_unknown_command_is_named(word, error):
    assert f"no command '{word}'" in error(word)


@pytest.mark.parametrize("words", [["test"], ["test", "--on=val"], ["predict"]])
def test_without_a_checkpoint_the_place_where_it_was_looked_for_is_named(words, error):
    assert "HERE/runs/version_N/checkpoints" in error(*command(*words))


CHECKPOINTS = ["no.ckpt", "text.ckpt", "empty.ckpt", "plain.ckpt", "hollow.ckpt", "cut.ckpt", "folder"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_that_is_none_is_named(name, error, here, trained):
    whole = (trained / "checkpoints" / "last.ckpt").read_bytes()
    (here / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    assert f"HERE/{name}" in error(*command("test", f"--ckpt_path=HERE/{name}"))
    assert f"HERE/{name}" in error("classify", f"HERE/{name}", "hello")


MODEL_FILES = {
    "a missing config": ("config.json", None),
    "a config that is not JSON": ("config.json", "{"),
    "a config that is a list": ("config.json", "[]"),
    "a config of another version": ("config.json", '{"format": 99}'),
    "a config that lacks the rest": ("config.json", '{"format": 1}'),
    "missing weights": ("model.safetensors", None),
    "weights that are none": ("model.safetensors", "weights"),
}


@pytest.mark.parametrize(("name", "content"), MODEL_FILES.values(), ids=MODEL_FILES.keys())
def test_a_broken_model_folder_is_named(name, content, error, here, trained):
    shutil.copytree(trained / "model", here / "model")
    (here / "model" / name).unlink()
    if content is not None:
        (here / "model" / name).write_text(content)
    assert "HERE/model" in error("classify", "HERE/model", "hello")


CONFIG_VALUES = {
    "class_names": ["a", "b", "c"],
    "model": [],
    "model.pooling": "max",
    "model.head": "quadratic",
    "model.family": "mamba",
    "model.backbone": {"bogus": 1},
    "model.num_classes": 3,
    "text_encoder": {},
}


@pytest.mark.parametrize(("key", "value"), CONFIG_VALUES.items(), ids=CONFIG_VALUES.keys())
def test_a_model_folder_with_a_wrong_value_is_refused(key, value, error, here, trained):
    shutil.copytree(trained / "model", here / "model")
    path = here / "model" / "config.json"
    config = json.loads(path.read_text())
    *above, name = key.split(".")
    (config["model"] if above else config)[name] = value
    path.write_text(json.dumps(config))
    error("classify", "HERE/model", "hello")


@pytest.mark.parametrize("name", ["predict", "test"])
def test_a_command_without_a_model_says_so(name, error):
    assert "behind the command" in error(name)


def test_other_classes_than_those_of_the_model_are_named(error, trained):
    checkpoint = trained / "checkpoints" / "best.ckpt"
    arguments = ["--data.source=HERE/few.csv", "--data.label_column=text"]
    assert "unknown label 'a'" in error(*command("test", f"--ckpt_path={checkpoint}", *arguments))


PREDICT = {
    "a missing file": ("--data.source=HERE/no.csv", "HERE/no.csv"),
    "a row that goes wrong late": ("--data.source=HERE/late.csv", "line 2502"),
    "an output below a regular file": ("--output=HERE/file/below.csv", "HERE/file"),
    "an output that is a folder": ("--output=HERE/folder", "HERE/folder"),
}


@pytest.mark.parametrize(("argument", "named"), PREDICT.values(), ids=PREDICT.keys())
def test_predict_names(argument, named, error, here, trained):
    checkpoint = trained / "checkpoints" / "best.ckpt"
    before = sorted(here.rglob("*"))
    assert named in error(*command("predict", f"--ckpt_path={checkpoint}", "--output=HERE/out.csv", argument))
    assert sorted(here.rglob("*")) == before, "no output is better than half of it"


def test_download_names_an_unknown_option(error):
    assert "--data.nonsense" in error("cache", "download", f"--config={QUICKSTART}", "--data.nonsense=1")
