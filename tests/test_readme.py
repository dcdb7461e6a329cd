"""What the README says can be done: its commands parse, its lines of Python run, its links lead somewhere."""

import io
import re
import shlex
from pathlib import Path

import pytest

from gpt_classifier import TextClassifier, files
from gpt_classifier.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
COMMANDS = re.findall(r"python -m gpt_classifier ([^\n#`]+)", SHELL + "\n" + README.replace("\\\n", " "))
CODE = (ROOT / "docs/pages/code.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("line", sorted({c.strip() for c in COMMANDS if c.split()[0] in ("fit", "test", "predict")}))
def test_the_trainers_commands_parse(line, capsys):
    arguments = [a for a in shlex.split(line) if a not in ("...", "--help")]
    arguments = ["csv" if a == "messages.yaml" else a for a in arguments]  # which init writes
    if arguments[-1] == "--config":
        arguments = arguments[:-1]  # the sentence leaves the file open
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--print_config"])
    assert end.value.code == 0
    assert "trainer:" in capsys.readouterr().out


@pytest.mark.parametrize("line", sorted({c.strip() for c in COMMANDS if c.startswith("classify")}))
def test_the_classify_commands_run(line, monkeypatch, capsys):
    line, _, stream = line.partition("<")
    if stream:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a text\n")))
    arguments = shlex.split(line)
    if arguments[1].startswith("checkpoints/"):
        arguments[1] = str(files.built_in_model())
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith(("ham\t", "spam\t", '{"text": "a text", "label": '))


@pytest.mark.parametrize("line", sorted({c.strip() for c in COMMANDS if c.startswith("app ")}))
def test_the_app_commands_parse(line, monkeypatch, capsys):
    monkeypatch.setenv("GPT_CLASSIFIER_TOKEN", "s3cret")
    assert main([*shlex.split(line), "--port", "99999"]) == 2
    assert "--port is 99999" in capsys.readouterr().err


def test_every_command_it_names_exists(capsys):
    main(["--help"])
    listed = re.findall(r"^  (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert {c.split()[0] for c in COMMANDS} <= set(listed)


def test_the_first_block_of_python_runs(capsys):
    exec(BLOCKS[0], {})
    assert capsys.readouterr().out.startswith(("ham", "spam"))


def test_the_second_block_of_python_goes_from_two_lists_to_a_label(tmp_path, monkeypatch, capsys):
    texts = [f"message {'x' * i} {'win a prize' if i % 2 else 'see you soon'}" for i in range(40)]
    labels = ["spam" if i % 2 else "ham" for i in range(40)]
    # The same lines on a network that needs no download.
    small = '{"n_layer": 1, "n_head": 1, "n_embd": 8, "context_length": 64}'
    code = (
        BLOCKS[1].replace('tokenizer="gpt2"', 'tokenizer="bytes", max_length=64').replace('gpt="gpt2"', f"gpt={small}")
    )
    code = code.replace('weights="pretrained"', 'weights="random"').replace(
        "max_epochs=5", "max_epochs=1, logger=False"
    )
    code = re.sub(r"^(texts|labels) = .*\n", "", code, flags=re.MULTILINE)  # two of each are too few
    monkeypatch.chdir(tmp_path)
    names = {"texts": texts, "labels": labels}
    exec(code, names)
    assert capsys.readouterr().out.splitlines()[-1] in ("ham", "spam")
    text = "Call now to claim your prize"
    assert TextClassifier.load("spam-model").predict(text) == names["classifier"].predict(text)


def test_links_lead_somewhere_on_a_package_index_too():
    """Where there are no files beside the README: other files of the project are named, and only pictures linked."""
    links = re.findall(r"(!?)\[[^\]]*\]\((?!https?://)([^)]*)\)", README)
    assert links
    assert all(is_picture and (ROOT / target).is_file() for is_picture, target in links)


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:gpt_classifier|benchmarks|configs|docs|tests)/[\w/.-]+)`", README + CODE)))
)
def test_named_files_exist(name):
    assert (ROOT / name).exists()


@pytest.mark.parametrize("package", ["gpt_classifier", "benchmarks"])
def test_the_tree_of_files_is_that_of_the_package(package):
    (tree,) = re.findall(rf"```\n{package}/\n(.*?)```", CODE, re.DOTALL)
    folder, named = "", set()
    for nested, name in re.findall(r"^(│   )?[├└]── (\S+)", tree, re.MULTILINE):
        folder = (folder if nested else name) if name.endswith("/") else folder
        named.add(f"{folder}{name}" if nested else name)
    files = {str(path.relative_to(ROOT / package)) for path in (ROOT / package).rglob("*.py")}
    files = {file for file in files if not file.endswith("__init__.py")}
    assert {name for name in named if name.endswith(".py")} <= files
    unnamed = [Path(file) for file in files - named]
    assert all(any(f"{parent}/" in named for parent in file.parents) for file in unnamed)
    listed = {str(Path(name).parent) for name in named if name.endswith(".py")}  # of such a folder, all files are
    assert not any(str(file.parent) in listed for file in unnamed)


@pytest.mark.parametrize("config", sorted(set(re.findall(r"configs/[\w/]+\.yaml", README))))
def test_named_configs_exist(config):
    assert (ROOT / config).is_file()
