"""What `make quickstart` promises: correct predictions, no significantly better baseline, the lines in the README."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gpt_classifier.statistics.paired_tests import ALPHA

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPE = re.search(r"^quickstart:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1].replace("\\\n", " ")
WORDS = [shlex.split(line)[3:] for line in RECIPE.splitlines() if "-m gpt_classifier" in line]
EXPECTED = {  # of the messages in the README and the Makefile
    "You have won a prize, call 0900 123 4567 to claim it": "spam",
    "See you at five, love": "ham",
    "You have been chosen to receive a £500 voucher, claim at www.claim-prize.example": "spam",
    "Can you pick up some milk on the way home?": "ham",
    "URGENT! You have won a free cruise, call now to claim your prize": "spam",
}


def run(folder: Path, words: list[str], threads: int = 1, said: bool = False) -> str:
    """What a command of the recipe prints, in a working folder of its own, and what it says of its progress."""
    words = [word.replace("configs/quickstart.yaml", "quickstart") for word in words]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gpt_classifier", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout if said else done.stdout


def classified(folder: Path, model: list[str]) -> dict[str, tuple[str, float]]:
    lines = run(folder, ["classify", *model, "--json", *EXPECTED]).splitlines()
    return {each["text"]: (each["label"], each["probability"]) for each in map(json.loads, lines)}


def check_predictions(predictions: dict[str, tuple[str, float]], printed: list[str]) -> None:
    """All are right, those that a reader sees with a probability above 0.9."""
    assert {text: label for text, (label, _) in predictions.items()} == EXPECTED
    assert min(predictions[text][1] for text in printed) > 0.9, predictions


def test_its_messages_are_those_that_are_checked():
    said = [word for words in WORDS if words[0] == "classify" for word in words[1:] if " " in word]
    said += re.findall(r'classifier.predict\("(.*?prize)"\)\n', README)[:1]
    assert set(said) == set(EXPECTED)


def test_the_built_in_model_classifies_them_correctly(tmp_path):
    check_predictions(classified(tmp_path, []), list(EXPECTED))


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("seed", "threads"),
    [pytest.param(s, t, marks=[pytest.mark.ci] if s == t else []) for s in (1, 2, 3) for t in (1, 2, 4)],
)
def test_any_seed_and_number_of_threads_gives_what_is_promised(seed, threads, tmp_path):
    run(tmp_path, [*WORDS[1], f"--seed_everything={seed}"], threads)
    run(tmp_path, ["test", "checkpoints/quickstart"], threads)
    check_predictions(classified(tmp_path, ["checkpoints/quickstart"]), WORDS[-1][3:])
    scores = json.loads((tmp_path / "checkpoints/quickstart/version_0/scores.json").read_text())
    compared = scores["baselines"]
    assert not (compared["told_apart"] and compared["difference"] < 0), compared["verdict"]
    assert compared["p"] > ALPHA or compared["difference"] > 0


@pytest.mark.slow
def test_the_readme_shows_what_it_prints(tmp_path):
    """Up to digits, which differ between processors."""
    printed = [line for words in WORDS for line in run(tmp_path, words, said=True).splitlines()]
    shown = re.search(r"`make quickstart` ends like this.*?```\n(.*?)```", README, re.DOTALL)[1].splitlines()
    assert shown[-1] == "the model: checkpoints/quickstart/version_0/model"  # which the Makefile adds
    assert (tmp_path / "checkpoints/quickstart/version_0/model/model.safetensors").is_file()

    def plain(line: str) -> str:
        return re.sub(r"\d+", "0", line)

    wanted = [plain(line) for line in shown[:-1]]
    found = [plain(line) for line in printed]
    assert [line for line in wanted if line not in found] == []
    assert found.index(wanted[0]) < found.index(wanted[-1])
