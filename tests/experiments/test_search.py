"""A search: it finds what is better, goes on where it was stopped, and says in one line what is wrong."""

import csv
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytest.importorskip("optuna")

from gpt_classifier.cli.main import main
from gpt_classifier.experiments.search import journal, trial
from gpt_classifier.experiments.search.journal import lock_folder
from gpt_classifier.experiments.search.run import check_space
from gpt_classifier.experiments.search.space import read_search
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.overrides import overrides, parse_yaml

CONFIGS = Path(__file__).parents[2] / "configs"
RATE = "model.learning_rate"
TINY = {
    "model.gpt": {"n_layer": 1, "n_head": 2, "n_embd": 16, "context_length": 32},
    "model.monitor": "val/loss",
    "data.max_length": 32,
    "trainer.max_epochs": 2,
    "trainer.limit_train_batches": 6,
}
RATES = {
    "base": str(CONFIGS / "toy.yaml"),
    "trials": 2,
    "settings": TINY,
    "space": {RATE: {"low": 1e-7, "high": 1e-2, "log": True}},
    "start": [{RATE: 1e-7}, {RATE: 3e-3}],
}


@pytest.fixture(scope="session")
def search(tmp_path_factory):
    """Writes a search, RATES with changes, performs it and returns the exit code."""

    def run(output, *words, **changes):
        path = tmp_path_factory.mktemp("searches") / "rates.yaml"
        path.write_text(yaml.safe_dump(RATES | changes))
        return main(["study", f"--config={path}", f"--output={output}", *words])

    return run


@pytest.fixture(scope="module")
def searched(search, tmp_path_factory):
    """The folder of a finished search."""
    folder = tmp_path_factory.mktemp("searched") / "rates"
    assert search(folder) == 0
    return folder


@pytest.fixture
def bowl(monkeypatch):
    """Instead of fits, two epochs whose loss is lowest for a learning rate of 1e-4; returns those that were tried."""
    tried = []

    def fit(search, settings, report, logs):
        tried.append(settings[RATE])
        for epoch in (1, 2):
            report.add((math.log10(settings[RATE]) + 4) ** 2 + 0.1 * (2 - epoch), epoch)

    monkeypatch.setattr(trial, "_fit", fit)
    return tried


def table(folder):
    with open(folder / "trials.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def without_seconds(folder):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in table(folder)]


def losses(run):
    (events,) = run.glob("events*")
    return [event.value for event in EventAccumulator(str(events)).Reload().Scalars("val/loss")]


# ---------------------------------------------------------------- what it finds


def test_the_better_of_two_learning_rates_is_found(searched):
    worse, better = table(searched)
    assert (worse["trial"], worse["state"], float(worse[RATE])) == ("1", "complete", 1e-7)
    assert (better["trial"], better["state"], float(better[RATE])) == ("2", "complete", 3e-3)
    assert float(better["value"]) < float(worse["value"])
    assert (better["epochs"], better["error"]) == ("2", "")
    assert yaml.safe_load((searched / "best.yaml").read_text())["model"]["learning_rate"] == 3e-3
    for name in ("history.png", "settings.png"):
        assert (searched / name).read_bytes().startswith(b"\x89PNG")


def test_what_it_found_is_fitted_by_the_printed_command_and_gives_the_same_loss(searched, search, capsys, tmp_path):
    """A trial is an ordinary fit, and best.yaml is all that it takes to repeat it."""
    assert search(searched) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("  python -m gpt_classifier fit")]
    assert "only the test rows, which no trial has seen, give an unbiased one" in printed
    assert main([*line.split()[3:], f"--trainer.default_root_dir={tmp_path}"]) == 0
    best = min(losses(tmp_path / "version_0"))
    assert best == pytest.approx(float(table(searched)[1]["value"]), rel=1e-6)
    assert losses(searched / "tensorboard" / "trial-002") == losses(tmp_path / "version_0")


def test_the_settings_of_all_trials_are_in_what_it_found(searched):
    best = yaml.safe_load((searched / "best.yaml").read_text())
    assert best["model"]["gpt"] == TINY["model.gpt"]
    assert best["trainer"] == {"max_epochs": 2, "limit_train_batches": 6}


def test_settings_are_compared_by_the_monitor_of_the_models(search, tmp_path, bowl):
    assert search(tmp_path, "--model.monitor=val/accuracy") == 0
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["model"]["learning_rate"] == 1e-7


def test_proposals_come_closer_to_the_best_than_random_draws(search, tmp_path, bowl):
    assert search(tmp_path, "--trials=30", start=[]) == 0
    distances = [abs(math.log10(rate) + 4) for rate in bowl]
    assert sum(distances[10:]) / 20 < sum(distances[:10]) / 10  # Optuna draws the first ten at random


def test_settings_within_a_mapping_and_any_kind_of_choice_are_searched(search, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(trial, "_fit", lambda _, settings, report, __: (seen.append(settings), report.add(1.0, 1))[0])
    space = {
        "model.gpt.dropout": {"low": 0.0, "high": 0.3, "step": 0.1},
        "data.splitting.fractions": {"choices": [[0.7, 0.1, 0.2], [0.6, 0.2, 0.2]]},
        "model.head": {"choices": ["mlp", {"class_path": "torch.nn.Linear", "init_args": {"bias": False}}]},
        "data.batch_size": {"low": 8, "high": 32, "step": 8},
        "model.lora": {"choices": [None, {"rank": 2}]},
    }
    start = [{"data.splitting.fractions": [0.6, 0.2, 0.2], "model.lora": None}, {"model.lora": {"rank": 2}}]
    assert search(tmp_path, "--trials=4", space=space, start=start) == 0
    assert seen[0]["data.splitting.fractions"] == [0.6, 0.2, 0.2]
    assert seen[0]["model.lora"] is None
    assert seen[1]["model.lora"] == {"rank": 2}
    assert all(settings["data.batch_size"] in (8, 16, 24, 32) for settings in seen)
    assert all(min(abs(settings["model.gpt.dropout"] - n / 10) for n in range(4)) < 1e-9 for settings in seen)
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best["model"]["gpt"] == TINY["model.gpt"] | {"dropout": seen[0]["model.gpt.dropout"]}


def test_settings_that_come_again_are_not_fitted_again(search, tmp_path, bowl):
    assert search(tmp_path, "--trials=6", space={RATE: {"choices": [1e-3, 1e-4]}}, start=[]) == 0
    assert sorted(bowl) == [1e-4, 1e-3]
    assert [len(table(tmp_path)), len({line["value"] for line in table(tmp_path)})] == [6, 2]


# ---------------------------------------------------------------- going on


def test_more_trials_continue_a_search_and_repeat_nothing(search, tmp_path, bowl):
    assert search(tmp_path, "--trials=4") == 0
    first = without_seconds(tmp_path)
    assert search(tmp_path, "--trials=7") == 0
    assert len(bowl) == 7
    assert without_seconds(tmp_path)[:4] == first
    assert search(tmp_path, "--trials=7") == 0
    assert len(bowl) == 7
    search(other := tmp_path / "at once", "--trials=7")
    assert without_seconds(other) == without_seconds(tmp_path)


def test_a_search_that_was_stopped_in_a_trial_goes_on_as_if_it_had_not_been(search, tmp_path, bowl, monkeypatch):
    def stopped(search, settings, report, logs):
        report.add(0.0, 1)
        raise SystemExit

    fit = trial._fit
    for number in (1, 2, 4):
        search(tmp_path, f"--trials={number - 1}") if number > 1 else None
        monkeypatch.setattr(trial, "_fit", stopped)
        with pytest.raises(SystemExit) as end:
            search(tmp_path, f"--trials={number}")
        assert end.value.code == 143
        monkeypatch.setattr(trial, "_fit", fit)
    with open(tmp_path / "journal.jsonl", "a") as stream:
        stream.write('{"op_code": 6, "worker')  # the power went off while this was written
    assert search(tmp_path, "--trials=6") == 0
    search(other := tmp_path / "at once", "--trials=6")
    assert without_seconds(other) == without_seconds(tmp_path)
    assert len(bowl) == 12


@pytest.mark.nightly
@pytest.mark.slow
def test_a_killed_process_loses_only_the_trial_that_was_running(search, tmp_path):
    path = tmp_path / "rates.yaml"
    path.write_text(yaml.safe_dump(RATES | {"settings": TINY | {"trainer.max_epochs": 6}, "start": []}))
    command = [sys.executable, "-m", "gpt_classifier", "study", f"--config={path}", f"--output={tmp_path / 'out'}"]
    process = subprocess.Popen([*command, "--trials=50"], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("[2/"):
            break
    time.sleep(0.3)  # into the third
    process.kill()
    process.wait()
    before = table(tmp_path / "out")
    assert len(before) >= 2
    done = subprocess.run([*command, "--trials=4"], capture_output=True, text=True, check=True)
    assert int(re.match(r"(\d) of 4 trials were done before", done.stdout)[1]) >= len(before)
    assert table(tmp_path / "out")[: len(before)] == before
    assert len(table(tmp_path / "out")) == 4
    assert not [name for name in os.listdir(tmp_path / "out") if name.endswith(".part")]


def test_another_search_in_the_same_folder_is_refused(search, tmp_path, bowl, capsys):
    base = tmp_path / "base.yaml"
    base.write_text((CONFIGS / "toy.yaml").read_text().replace("batch_size: 16", "batch_size: 15"))
    assert search(tmp_path) == 0
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for changes, differs in (
        ({"settings": TINY | {"trainer.max_epochs": 3}}, "settings"),
        ({"space": {RATE: {"low": 1e-7, "high": 1e-1, "log": True}}}, "space"),
        ({"seed": 5}, "seed"),
        ({"settings": TINY | {"model.monitor": "val/accuracy"}}, "settings"),
        ({"base": str(base)}, "base"),
    ):
        capsys.readouterr()
        assert search(tmp_path, **changes) == 2
        assert f"a search with another {differs}:" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_search_of_which_nothing_is_finished_may_be_changed(search, tmp_path, bowl, monkeypatch):
    fit = trial._fit
    monkeypatch.setattr(trial, "_fit", lambda *_: sys.exit(1))
    with pytest.raises(SystemExit):
        search(tmp_path)
    monkeypatch.setattr(trial, "_fit", fit)
    assert search(tmp_path, space={RATE: {"choices": [1e-3, 1e-4]}}, start=[]) == 0


def test_two_searches_do_not_write_to_one_folder_at_a_time(search, tmp_path, bowl, capsys):
    with lock_folder(tmp_path):
        assert search(tmp_path) == 2
    assert "another search is writing to" in capsys.readouterr().err
    assert search(tmp_path) == 0


def test_a_damaged_journal_is_one_clear_line(search, tmp_path, bowl, capsys):
    assert search(tmp_path) == 0
    (tmp_path / "journal.jsonl").write_text('{"no": "journal"}\n')
    assert search(tmp_path) == 2
    assert "journal.jsonl is damaged" in capsys.readouterr().err


# ---------------------------------------------------------------- trials that do not end well


def test_a_trial_without_hope_is_stopped(search, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(journal, "TRIALS_BEFORE_PRUNING", 1)
    settings = TINY | {"trainer.max_epochs": 5}
    start = [{RATE: 3e-3}, {RATE: 1e-7}]
    assert search(tmp_path, settings=settings, start=start) == 0
    good, stopped = table(tmp_path)
    assert (good["state"], good["epochs"]) == ("complete", "5")
    assert (stopped["state"], stopped["epochs"]) == ("pruned", "2")
    assert "stopped after epoch 2" in capsys.readouterr().out
    assert search(other := tmp_path / "patient", settings=settings, start=start, prune=False) == 0
    assert [line["epochs"] for line in table(other)] == ["5", "5"]


def test_trials_that_fail_are_recorded_and_the_search_goes_on(search, tmp_path, monkeypatch, capsys):
    step = GPTClassifier.training_step

    def full(self, batch, number):
        if self.hparams["trainable"] == "head":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return step(self, batch, number)

    monkeypatch.setattr(GPTClassifier, "training_step", full)
    policies = [7, "head", "all"]
    start = [{"model.trainable": policy} for policy in policies]
    assert search(tmp_path, "--trials=3", space={"model.trainable": {"choices": policies}}, start=start) == 0
    lines = table(tmp_path)
    assert [line["state"] for line in lines] == ["failed", "failed", "complete"]
    assert "the model has 1 blocks" in lines[0]["error"]
    assert "out of memory" in lines[1]["error"]
    assert "0 stopped early, 2 failed" in capsys.readouterr().out


def test_a_search_without_any_value_says_why(search, tmp_path, capsys):
    settings = TINY | {"trainer.max_epochs": 1, "trainer.limit_val_batches": 0}
    assert search(tmp_path, settings=settings) == 2
    assert "none of 2 trials gave a val/loss; the first that failed: val/loss was never" in capsys.readouterr().err
    assert not (tmp_path / "best.yaml").exists()


def test_a_defect_is_not_taken_for_a_bad_setting(search, tmp_path, monkeypatch):
    def defect(self, batch, number):
        raise RuntimeError("a defect")

    step = GPTClassifier.training_step
    monkeypatch.setattr(GPTClassifier, "training_step", defect)
    with pytest.raises(RuntimeError, match="a defect"):
        search(tmp_path)
    monkeypatch.setattr(GPTClassifier, "training_step", step)
    assert search(tmp_path) == 0
    assert [line["state"] for line in table(tmp_path)] == ["complete", "complete"]


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"model.learnin_rate": {"low": 0, "high": 1}}}, "learnin_rate"),
        ({"space": {"modl.learning_rate": {"low": 0, "high": 1}}}, "modl"),
        ({"space": {"model.pooling": {"choices": ["mean", "median"]}}}, "median"),
        ({"space": {"trainer.devices": {"low": 1, "high": 2}}}, "same for all trials"),
        ({"space": {RATE: 1e-3}}, "expected {low: ..., high: ...}"),
        ({"space": {RATE: {"low": 1e-3}}}, "expected {low: ..., high: ...}"),
        ({"space": {RATE: {"low": 1e-3, "high": 1e-2, "base": 10}}}, "expected {low: ..., high: ...}"),
        ({"space": {RATE: {"low": 1e-3, "high": 1e-4}}}, "low <= high"),
        ({"space": {RATE: {"low": "little", "high": 1}}}, "are numbers"),
        ({"space": {RATE: {"low": 0, "high": float("inf")}}}, "are numbers"),
        ({"space": {RATE: {"low": 0.0, "high": 1.0, "log": True}}}, "low > 0"),
        ({"space": {RATE: {"low": 1, "high": 2, "log": "yes"}}}, "log is true or false"),
        ({"space": {RATE: {"low": 0.0, "high": 1.0, "step": 0.3}}}, "not divisible by `step`"),
        ({"space": {RATE: {"choices": [1e-3]}}}, "two or more different values"),
        ({"space": {RATE: {"choices": [1e-3, 1e-3]}}}, "two or more different values"),
        ({"space": {RATE: {"choices": 1e-3}}}, "two or more different values"),
        ({"space": {}}, "is not a search"),
        ({"space": None}, "is not a search"),
        ({"start": [{RATE: 1.0}]}, "expected a value of {"),
        ({"start": [{"model.pooling": "mean"}]}, "expected keys of its space"),
        ({"start": {RATE: 1e-3}}, "expected a list of settings"),
        ({"start": [RATE]}, "start 1 of"),
        ({"settings": [RATE]}, "settings of"),
        ({"settings": {RATE: 1e-3}}, "in the settings and in the space"),
        ({"settings": {"model.poling": "mean"}}, "poling"),
        ({"settings": TINY | {"model.head": "mlp", "model.head.size": 8}}, "make model.head a mapping"),
        ({"settings": TINY | {"model.monitor": "train/loss"}}, "a validation score"),
        ({"settings": TINY | {"model.monitor": "val/los"}}, "expected one of val/loss, val/accuracy"),
        ({"settings": {}, "space": {"model.monitor": {"choices": ["val/loss", "val/mcc"]}}}, "same for all trials"),
        ({"trials": 0}, "a number from 1"),
        ({"trials": "many"}, "a number from 1"),
        ({"seed": -1}, "a number from 0"),
        ({"prune": "yes, please"}, "true or false"),
        ({"base": "none.yaml"}, "none.yaml"),
        ({"base": None}, "expected the path of a configuration"),
        ({"sampler": "random"}, "sampler"),
        ({"settings": TINY | {"data.source": "none.csv"}}, "none.csv"),
    ],
    ids=str,
)
def test_a_mistake_is_one_clear_line_and_leaves_nothing(changes, said, search, tmp_path, capsys):
    if "space" in changes:
        changes = {"start": []} | changes  # that of RATES would not fit
    assert search(tmp_path / "out", **changes) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("gpt-classifier: error: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trials=0"], "expected at least 1"),
        (["--trials=few"], "few"),
        ([f"--{RATE}=0.1"], "is in the space"),
        (["--model.poling", "mean"], "poling"),
        (["model.pooling=mean"], "expected pairs"),
    ],
)
def test_a_wrong_option_is_one_clear_line(words, said, search, tmp_path, capsys):
    assert search(tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_without_optuna_it_says_what_to_install(search, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search(tmp_path / "out") == 2
    assert "gpt-classifier[search]" in capsys.readouterr().err


# ---------------------------------------------------------------- built-in searches


@pytest.mark.parametrize("path", sorted((CONFIGS / "search").glob("*.yaml")), ids=lambda path: path.name)
def test_a_built_in_search_parses_and_tries_the_settings_of_its_base_first(path, tmp_path):
    search = read_search(path)
    check_space(search, tmp_path)
    (first,) = search.start
    assert first.keys() == search.space.keys()
    base = parse_yaml(search.base.content)
    changed = overrides(search.base.content, first)
    for section, settings in changed.items():
        said = {key: value for key, value in base[section].items() if value is not None}  # null is decided by a fit
        assert settings == settings | {key: value for key, value in said.items() if key in settings}
