"""Every block of code in the documentation does what it says, and the site is built without a broken link."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml

from gpt_classifier.cli.main import main
from gpt_classifier.data import datasets

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted((DOCS / "pages").rglob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OURS = "python -m gpt_classifier "
SHOWN = "index"  # the page that is followed by default; the others are nightly
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the files that the pages speak of, as the working directory."""
    monkeypatch.chdir(tmp_path)
    table = datasets.load("sample")["train"]
    table.rename(columns={"text": "message", "label": "topic"})[["message", "topic"]].to_csv(
        "messages.csv", index=False
    )
    several = [["music", "sport", "music|sport"][number % 3] for number in range(90)]
    pd.DataFrame({"text": table["text"][:90], "topics": several}).to_csv("articles.csv", index=False)
    long = pd.DataFrame({"text": table["text"] + " " + table["text"], "label": table["label"]})
    long.to_csv("long.csv", index=False)
    Path("few.csv").write_text("text,label\na,ham\nb,ham\nc,spam\nd,spam\n")
    Path("latin.csv").write_bytes(b'text;label\n"caf\xe9";ham\nb;spam\n')
    return tmp_path


def commands(block):
    """The commands of this package in a block of shell, without comments."""
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[3:] for line in lines if line.startswith(OURS)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page.stem == SHOWN else [pytest.mark.nightly, pytest.mark.ci], id=page.stem)
        for page in PAGES
        if FENCE.search(page.read_text(encoding="utf-8"))
    ],
)
def test_every_block_does_what_the_page_says(page, here, capsys, monkeypatch):
    """``sh`` and ``python`` run; ``text`` is what the block before it prints; ``console`` ends in its one line."""
    names, printed, checked = {}, None, 0
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        capsys.readouterr()
        if language == "python":
            exec(compile(block, str(page), "exec"), names)
            printed = capsys.readouterr().out
        elif language == "sh":
            for words in commands(block):
                assert main(words) == 0, words
            printed = None
        elif language == "bash":
            with monkeypatch.context() as patch:
                patch.chdir(ROOT)  # where the configurations lie that they name
                for words in commands(block):
                    check_that_it_parses(words, capsys)
            printed = None
        elif language == "console":
            line, said = block.rstrip("\n").split("\n")
            assert main(shlex.split(line)[4:]) == 2
            assert capsys.readouterr().err.splitlines()[-1] == f"gpt-classifier: error: {said}"
        elif printed is not None:
            assert language == "text"
            assert printed.splitlines()[-len(block.splitlines()) :] == block.splitlines()
            printed = None
        checked += 1
    assert checked


def check_that_it_parses(words, capsys):
    """Fails for settings and options that do not exist, of a command that needs a GPU, a network or a server to run."""
    name, *rest = words
    if name in ("fit", "test"):
        with pytest.raises(SystemExit) as end:
            main([name, *rest, "--print_config"])
        assert end.value.code == 0, words
        return
    with pytest.raises(SystemExit):
        main([name, "--help"])
    explained = capsys.readouterr().out
    options = {word.partition("=")[0] for word in rest if re.match(r"--\w", word)}
    assert {option for option in options if "." not in option} <= set(re.findall(r"--\w+", explained)), words


def test_the_pages_are_those_of_the_site():
    def files(part):
        return [part] if isinstance(part, str) else [f for each in part for f in files(next(iter(each.values())))]

    listed = files(yaml.safe_load((DOCS / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(listed) == sorted(str(page.relative_to(DOCS / "pages")) for page in PAGES)


def test_files_and_configurations_that_it_names_exist():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in set(re.findall(r"configs/[\w/-]+\.yaml", text)):
        assert (ROOT / name).is_file()
    for name in set(re.findall(r"--config ([\w-]+)(?=[\s`])", text)) - {"messages"}:
        assert (ROOT / "configs" / f"{name}.yaml").is_file() or (ROOT / "configs" / "study" / f"{name}.yaml").is_file()
