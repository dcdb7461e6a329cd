"""What is wrong with a command line is said before anything slow is imported, and nothing right is refused."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from tomllib import loads

import pytest

from gpt_classifier import files
from gpt_classifier.cli import parser
from gpt_classifier.cli.main import COMMANDS, main
from gpt_classifier.training import declared
from gpt_classifier.training.build_run import ClassifierCLI
from gpt_classifier.training.parser import Parser

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("text,label\nhello,ham\nwin,spam\n")


def said(capsys, *words):
    assert main(list(words)) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message.removeprefix("gpt-classifier: error: ").strip()


QUICK = {
    "a missing file": ("fit --config csv --data.source no.csv", "no file no.csv"),
    "a missing column": ("fit --config csv --data.source=good.csv --data.text_column txt", "no column 'txt'"),
    "a missing file to validate on": ("fit --config toy --data.val_source no.csv", "no file no.csv"),
    "a missing file to test on": ("test x --data.test_source no.csv", "no file no.csv"),
    "a missing file to predict": ("predict x --data.source=no.csv", "no file no.csv"),
    "a pattern that matches nothing": ("fit --config csv --data.source no*.csv", "no file matches no*.csv"),
    "an option": ("fit --config csv --data.sorce no.csv", "no option --data.sorce: did you mean --data.source?"),
    "a section": ("fit --modle.trainable all", "no option --modle.trainable: did you mean --model.trainable?"),
    "another section": ("fit --model.source x", "did you mean --data.source?"),
    "an option without section": ("fit --learning_rate 3", "did you mean --model.learning_rate?"),
    "an option of former days": ("fit --trainer.gpus 1", "did you mean --trainer.devices?"),
    "the backbone's former name": (
        "fit --model.encoder bert",
        "no option --model.encoder: did you mean --model.backbone?",
    ),
    "a configuration": ("fit --config spamm", "no file spamm: did you mean --config spam?"),
    "a configuration with its ending": ("fit --config configs/spam.yaml", "did you mean --config spam?"),
    "a configuration of no name": ("fit --config zzz", "article, csv, decoder, encoder, imdb"),
    "a study for fit": ("fit --config study/article", "is a study: gpt-classifier study --config"),
    "a configuration that stands alone": ("fit spam.yaml", "give it as --config spam.yaml"),
    "data that stand alone": ("fit good.csv", "give a data file as --data.source good.csv"),
    "data for a configuration": ("fit --config good.csv", "--config csv --data.source good.csv"),
    "an option without dashes": ("fit data.source=x.csv", "did you mean --data.source=x.csv?"),
    "an option of a study": ("study --config article --data.sourc x", "did you mean --data.source?"),
    "a missing file of a study": ("study --config questions --data.source no.csv", "no file no.csv"),
    "a folder": ("fit --config .", "is a folder"),
    "no value": ("fit --config=", "--config needs a value"),
    "a command": ("fti", "did you mean fit?"),
    "a command of former days": ("benchmark --parts train", "no command 'benchmark': gpt-classifier --help lists them"),
    "a command of others": ("train --config spam", "did you mean fit?"),
    "an option of predict": ("test x --output a.csv", "--output is an option of predict, and test has no use for it"),
    "an option of test rows": ("test x --on val --baselines=all", "of test, and test --on val has no use for it"),
    "an option of test": ("fit --config toy --report=none", "--report is an option of test"),
    "the weights twice": ("fit x.ckpt --config toy --model.weights random", "x.ckpt and --model.weights say the same"),
    "the data twice": ("audit good.csv --data.source good.csv", "good.csv and --data.source say the same"),
    "a setting that is none": ("fit --config toy --model.foo 1", "no option --model.foo: fit --help all lists them"),
    "a command that comes late": ("--config spam fit", "the command comes first"),
}


@pytest.mark.parametrize(("line", "named"), QUICK.values(), ids=QUICK.keys())
def test_named_before_lightning_is_imported(line, named, capsys, monkeypatch):
    for module in ("cli.fit", "cli.study"):
        monkeypatch.setitem(sys.modules, f"gpt_classifier.{module}", None)  # importing it would fail
    assert named in said(capsys, *line.split())


FILES = {
    "a tab": ("data:\n\tsource: a", "line 2, is not YAML: there is a tab"),
    "a bracket": ("model: [1\n: :", "line 2, is not YAML"),
    "nothing": ("# a comment", "is empty"),
    "a list": ("- 1", "is no configuration"),
    "a setting": ("data:\n  source: sample\n  tokeniser: bytes", "line 3: there is no setting data.tokeniser: did you"),
    "a setting of former days": (
        "model:\n  encoder: bert",
        "line 2: there is no setting model.encoder: did you mean model.backbone?",
    ),
    "a section": ("seed_everything: 1\nmodle:\n  gpt: gpt2", "line 2: there is no section modle: did you mean model?"),
    "a number for a section": ("model: 5", "line 1: model is '5', expected settings below it"),
    "a list for a section": ("data: [a]", "line 1: data is a list, expected settings below it"),
    "a number for a group": ("model:\n  optimizer: 5", "line 2: model.optimizer is '5', expected settings below it"),
    "a trainer's setting": ("trainer: {max_epoch: 3}", "line 1: there is no setting trainer.max_epoch"),
    "a file that is not there": ("data:\n  source: no.csv", "no file no.csv"),
    "a column that is not there": ("data: {source: good.csv, label_column: topic}", "no column 'topic'"),
}


@pytest.mark.parametrize(("content", "named"), FILES.values(), ids=FILES.keys())
def test_a_mistake_in_a_configuration_is_named_with_its_line(content, named, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gpt_classifier.training.build_run", None)
    Path("a.yaml").write_text(content)
    message = said(capsys, "fit", "--config", "a.yaml")
    assert named in message
    assert message.startswith("a.yaml") or "no " in message


def test_other_characters_than_utf8_are_named(capsys):
    Path("a.yaml").write_bytes(b"# caf\xe9")
    assert "not valid UTF-8" in said(capsys, "fit", "--config", "a.yaml")


ACCEPTED = [
    "fit --config csv --data.source good.csv",
    "fit --config csv --data.source no.csv --data.source good.csv",
    "fit --config csv --data.source=[good.csv]",
    "fit --config csv --data.source good*.csv",
    "fit --config csv --data.sour no.csv",  # the parser knows the beginnings of names
    "fit --config csv --help all",
    "fit --config csv --print_config",
    "fit --config csv --data={source: good.csv}",
    "fit --config {data: {source: sample}}",
    "fit --data.class_names+=ham --trainer.callbacks+=LearningRateMonitor --model.gpt.n_layer 2",
    "fit --trainer.callbacks.help EarlyStopping",
    "test --config csv --data.test_source good.csv --data.source no.csv",
    "predict x --config csv --data.source good.csv --data.text_column other",
    "cache download --config csv",
    "test x --on val --data.val_source good.csv --data.test_source good.csv",
    "study table folder",
    "study --config article --smoke",
    "study --config article --folds 5",
]


@pytest.mark.parametrize("line", ACCEPTED)
def test_nothing_is_refused_that_the_parser_takes(line):
    command, *words = line.replace("{data: {source: sample}}", "{data:_{source:_sample}}").split()
    words = [word.replace("_{", " {").replace(":_", ": ") for word in words]
    assert len(parser.prepared(command, words)) == len(words)


def test_the_settings_are_those_of_the_parser(monkeypatch):
    monkeypatch.setattr(Parser, "parse_args", lambda self, *args, **kwargs: parsers.append(self) or 1 / 0)
    parsers = []
    with pytest.raises(ZeroDivisionError):
        ClassifierCLI(["--config=x"], run=False)
    names = [option for option in parsers[0]._option_string_actions if option.startswith("--")]
    for section in declared.SECTIONS:
        known = {n.removeprefix(f"--{section}.").rstrip("+") for n in names if n.startswith(f"--{section}.")}
        known = {name for name in known if not name.endswith("help") and name not in declared.groups(section)}
        nullable = {name for name in declared.settings(section) if name.startswith(("lora.", "windows."))}
        assert known == set(declared.settings(section)) - nullable
    # What is refused as a setting without its section is no option, nor the beginning of one.
    others = {name[2:] for name in names if "." not in name}
    settings = {setting for section in declared.SECTIONS for setting in declared.settings(section)}
    assert not {(setting, other) for setting in settings for other in others if other.startswith(setting)}


def test_a_typo_is_reported_within_two_seconds():
    began = time.process_time(), time.monotonic()
    words = ["fit", "--config", "csv", "--data.source", "no.csv"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gpt_classifier", *words], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert not {"torch", "lightning"} & {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert time.monotonic() - began[1] < 20  # a busy machine; 0.8 s on one that is not


VALUES = {
    "--data.split=groupd": "data.split is 'groupd', expected grouped, random, chapter6 or article_table: did you mean",
    "--data.batch_size=many": "data.batch_size is 'many', expected a whole number",
    "--trainer.max_epochs=many": "trainer.max_epochs is 'many', expected a whole number or null",
    "--data.splitting.fractions=1": "data.splitting.fractions is '1', expected a list such as [a, b]",
    "--data.batching.group_by_length=maybe": "data.batching.group_by_length is 'maybe', expected true or false",
    "--trainer.callbacks=EarlyStoping": "trainer.callbacks: there is no class EarlyStoping: did you mean Early",
    "--trainer.callbacks={class_path: EarlyStopping, init_args: {monitr: x}}": "EarlyStopping has no argument monitr",
    "--trainer.callbacks=[EarlyStopping]": "needs a value for monitor",
    "--model.head={class_path: torch.nn.Liner}": "torch.nn has no class Liner: did you mean Linear?",
    "--ouput=x": "no option --ouput: did you mean --output?",
    "--data.source": "--data.source needs a value",
    "--data.sourc=x": "no option --data.sourc: did you mean --data.source?",
    "\N{EM DASH}data.source": "did you mean --data.source?",
    "--model.gpt={n_layer:2}": "a space after each colon",
}


@pytest.mark.parametrize(("option", "expected"), VALUES.items())
def test_a_wrong_value_is_told_in_plain_words(option, expected, capsys):
    assert main(["fit", "--config", "toy", option]) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


# ---------------------------------------------------------------- built-in configurations


def test_shipped_configurations_go_by_name():
    known = files.built_in_configurations()
    assert {"toy", "spam", "study/article", "search/spam"} <= known.keys()
    assert parser.prepared("fit", ["--config", "toy"]) == ["--config", str(known["toy"])]
    assert parser.prepared("study", ["--config=article"]) == [f"--config={known['study/article']}"]


def test_a_file_counts_more_than_a_shipped_configuration_of_its_name():
    Path("toy").write_text("seed_everything: 1")
    assert parser.prepared("fit", ["--config", "toy"]) == ["--config", "toy"]


def test_a_wheel_gets_the_package_every_configuration_and_the_model():
    build = loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    beside = ["configs", f"checkpoints/{files.BUILT_IN_MODEL}"]
    assert "/benchmarks" in build["sdist"]["include"]
    assert build["wheel"] == {
        "packages": ["gpt_classifier"],
        "force-include": {name: f"gpt_classifier/{name}" for name in beside},
    }
    assert all((ROOT / name).is_dir() for name in beside)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The package as a wheel of it is installed."""
    pytest.importorskip("hatchling")
    source, site = (tmp_path_factory.mktemp(name) for name in ("source", "site"))
    for name in ("gpt_classifier", "benchmarks", "configs", f"checkpoints/{files.BUILT_IN_MODEL}"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from hatchling.build import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(source.glob("*.whl"))) as wheel:
        folders = {name.partition("/")[0] for name in wheel.namelist()}
        assert {name for name in folders if not name.endswith(".dist-info")} == {"gpt_classifier"}
        assert {name.rpartition("/")[2] for name in wheel.namelist()} >= {
            "page.html",
            "sample.tsv",
            "py.typed",
            "page.js",
        }
        wheel.extractall(site)
    return site


FROM_A_WHEEL = [
    ["classify", "WINNER!! Claim your prize now"],
    ["fit", "--config", "toy", "--trainer.max_epochs", "1"],
    ["test", "--config", "toy"],
    ["study", "--config", "article", "--smoke", "--rows", "1"],
]


@pytest.mark.slow
@pytest.mark.parametrize("commands", [FROM_A_WHEEL[:1], pytest.param(FROM_A_WHEEL[1:], marks=pytest.mark.nightly)])
def test_a_wheel_alone_classifies_trains_tests_and_reads_studies(commands, site):
    for words in commands:
        done = subprocess.run(
            [sys.executable, "-m", "gpt_classifier", *words],
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert Path("checkpoints/toy/version_0/model/config.json").is_file() == (len(commands) > 1)


# ---------------------------------------------------------------- pipes, optional parts


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        pytest.param("fit --config toy --print_config", marks=pytest.mark.nightly),
        pytest.param("init good.csv --print", marks=pytest.mark.nightly),
    ],
)
def test_a_reader_that_has_gone_is_no_error(words):
    line = f"set -o pipefail; {sys.executable} -m gpt_classifier {words} | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_logger_there_are_no_learning_rates_to_write(fit, tmp_path):
    assert fit(tmp_path, "--trainer.logger=false", "--trainer.max_epochs=1") == 0


def test_every_command_is_listed(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
