"""What is decided for a model is kept in its folder, and followed from every side alike."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main

TEXTS = ["WIN a car now!", "See you at five", "call me", "a free prize for you", "ok"]


@pytest.fixture
def model(trained, tmp_path):
    return shutil.copytree(trained / "model", tmp_path / "elsewhere" / "model")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, fit):
    """A run of whole epochs: with a high recall, it says spam of all TEXTS."""
    root = tmp_path_factory.mktemp("whole")
    assert fit(root, "--trainer.limit_train_batches=1.0") == 0
    return root / "version_0"


@pytest.fixture
def rows(tmp_path):
    """A file of 400 labelled messages that nobody trained on; a tiny model is wrong about many of them."""
    rng = np.random.default_rng(0)
    words = ["lunch", "prize", "meeting", "free", "call", "tomorrow", "win", "home", "bus", "cash"]
    texts = [" ".join(rng.choice(words, 5)) + f" {n:03}{'abcdefghij'[n % 10] * (n % 7)}" for n in range(400)]
    labels = ["spam" if {"prize", "free", "win", "cash"} & set(text.split()) else "ham" for text in texts]
    path = tmp_path / "rows.csv"
    pd.DataFrame({"text": texts, "label": labels}).to_csv(path, index=False)
    return path


def calibrated(model, rows, decide, capsys, *more):
    assert main(["calibrate", str(model), f"--decide={decide}", f"--data.val_source={rows}", *more]) == 0
    return capsys.readouterr().out


def answers_of_all(model, tmp_path, capsys):
    """The predictions of Python, ``classify`` and ``predict`` for TEXTS."""
    python = [prediction.label for prediction in TextClassifier.load(model).predict(TEXTS)]
    capsys.readouterr()
    assert main(["classify", str(model), "--json", *TEXTS]) == 0
    classify = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    assert main(["classify", str(model), *TEXTS]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == classify
    source, output = tmp_path / "new.csv", tmp_path / "predictions.csv"
    pd.DataFrame({"text": TEXTS}).to_csv(source, index=False)
    command = ["predict", str(model), f"--data.source={source}", f"--output={output}"]
    assert main([*command, f"--trainer.default_root_dir={tmp_path}"]) == 0
    return python, classify, pd.read_csv(output)["predicted"].tolist()


@pytest.mark.parametrize(
    "decide",
    [
        "argmax",
        "{max_fpr: 0.02}",
        pytest.param("{min_recall: 0.98, of: spam}", marks=pytest.mark.nightly),
        pytest.param("{max_fpr: 0.1, of: each}", marks=pytest.mark.nightly),
        pytest.param("{thresholds: 0.6}", marks=pytest.mark.nightly),
        "{coverage: 0.95}",
    ],
)
def test_every_way_to_the_model_gives_the_same_predictions(decide, model, rows, tmp_path, capsys):
    out = calibrated(model, rows, decide, capsys)
    assert "expected calibration error" in out
    python, classify, predict = answers_of_all(model, tmp_path, capsys)
    assert python == classify == predict
    again = TextClassifier.load(model)
    again.save(tmp_path / "copy")
    assert [p.label for p in TextClassifier.load(tmp_path / "copy").predict(TEXTS)] == python
    assert "## Decision" in (model / "README.md").read_text()


def test_a_run_follows_what_its_model_folder_keeps(trained, rows, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "runs" / "version_0")
    calibrated(run, rows, "{min_recall: 0.995, of: spam}", capsys)
    python, classify, predict = answers_of_all(run, tmp_path, capsys)
    assert python == classify == predict == ["spam"] * len(TEXTS)
    assert main(["test", str(run), "--baselines=none"]) == 0
    assert "the model's own rule, min_recall 0.995, of spam, on these rows" in (run / "model" / "README.md").read_text()
    decided = json.loads((run / "scores.json").read_text())["decision"]
    assert decided["asked"] == {"min_recall": 0.995, "of": "spam"}
    assert "recall 100.00 %" in decided["on_these_rows"][0]


def test_a_threshold_changes_the_predictions_and_argmax_takes_it_back(model, rows, tmp_path, capsys):
    before = TextClassifier.load(model).predict(TEXTS)
    calibrated(model, rows, "{min_recall: 0.995, of: spam}", capsys)
    eager = TextClassifier.load(model)
    assert {p.label for p in eager.predict(TEXTS)} == {"spam"}
    assert eager.decision.asked == {"min_recall": 0.995, "of": "spam"}
    calibrated(model, rows, "argmax", capsys)
    assert [p.label for p in TextClassifier.load(model).predict(TEXTS)] == [p.label for p in before]
    assert (model / "README.md").read_text().count("## Decision") == 1


def test_a_text_whose_set_has_two_classes_is_unsure(model, rows, capsys):
    calibrated(model, rows, "{coverage: 0.99}", capsys)
    predictions = TextClassifier.load(model).predict(pd.read_csv(rows)["text"].tolist())
    assert {len(p.candidates) for p in predictions if p.label == "unsure"} == {2}
    assert all(p.candidates == (p.label,) for p in predictions if p.label != "unsure")
    assert 0 < sum(p.label == "unsure" for p in predictions) < 400


def test_another_class_prior_moves_the_probabilities(model, rows, capsys):
    calibrated(model, rows, "argmax", capsys)
    plain = TextClassifier.load(model).predict_proba(TEXTS)[:, 1]
    out = calibrated(model, rows, "argmax", capsys, "--prevalence={ham: 0.99, spam: 0.01}")
    assert "class prior" in out
    assert (TextClassifier.load(model).predict_proba(TEXTS)[:, 1] < plain).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--decide={max_fpr: 0.0001}"], "needs more validation rows"),
        (["--decide={max_fp: 0.1}"], "did you mean max_fpr"),
        (["--decide={max_fpr: 0.1"], "--decide cannot be read as YAML"),
        (["--prevalence={spam"], "--prevalence cannot be read as YAML"),
        (["--decide=argmin"], "decide is 'argmin'"),
        (["--prevalence={ham: 1}"], "prevalence is {'ham': 1}"),
        (["--data.bogus=1"], "no setting data.bogus"),
        (["--dezide=argmax"], "did you mean --decide"),
    ],
)
def test_what_cannot_be_decided_is_one_line_and_changes_nothing(words, message, model, rows, capsys):
    before = (model / "config.json").read_bytes()
    assert main(["calibrate", str(model), f"--data.val_source={rows}", *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gpt-classifier: error")]
    assert message in line
    assert (model / "config.json").read_bytes() == before


def test_options_of_the_data_may_stand_anywhere_with_a_space_or_a_sign_between(model, rows, capsys):
    words = [
        "--data.val_source",
        str(rows),
        "--decide",
        "{min_recall: 0.98, of: spam}",
        str(model),
        "--data.batch_size=4",
    ]
    assert main(["calibrate", *words]) == 0
    assert "kept in" in capsys.readouterr().out
    assert TextClassifier.load(model).decision.asked == {"min_recall": 0.98, "of": "spam"}
    assert main(["calibrate", str(model), "--data.val_source"]) == 2
    assert main(["calibrate", str(model), str(model)]) == 2


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--decide", "{costs: {ham: .inf, spam: 1}}"], "costs of ham are inf"),
        (["--decide", "{thresholds: true}"], "thresholds are True"),
        (["--prevalence", "{ham: .inf, spam: 1}"], "prevalence is"),
        (["--data.batch_size", "x"], "data.batch_size is 'x', expected a whole number"),
        (["--data.source", "5"], "data.source is 5"),
        (["--data.batching", "5"], "data.batching is 5, expected a mapping with fields"),
    ],
)
def test_a_value_of_a_wrong_kind_is_one_line_and_changes_nothing(words, named, model, rows, capsys):
    before = (model / "config.json").read_bytes()
    assert main(["calibrate", str(model), "--data.val_source", str(rows), *words]) == 2
    assert named in capsys.readouterr().err
    assert (model / "config.json").read_bytes() == before


def test_a_model_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["calibrate", str(tmp_path / "nothing")]) == 2
    assert f"no model folder at {tmp_path / 'nothing'}" in capsys.readouterr().err
    assert main(["calibrate"]) == 2
    assert "which model?" in capsys.readouterr().err


def test_a_fit_that_is_asked_to_decide_keeps_the_rule_that_calibrate_finds(fit, rows, tmp_path, capsys):
    settings = [f"--data.val_source={rows}", "--model.decide={max_fpr: 0.02, of: ham}", "--trainer.max_epochs=1"]
    assert fit(tmp_path, *settings) == 0
    model = tmp_path / "version_0" / "model"
    kept = json.loads((model / "config.json").read_text(encoding="utf-8"))["decision"]
    assert kept["asked"] == {"max_fpr": 0.02, "of": "ham"}
    assert kept["temperature"] != 1
    assert "decide: {'max_fpr': 0.02, 'of': 'ham'}" in (model / "README.md").read_text(encoding="utf-8")
    calibrated(model, rows, "{max_fpr: 0.02}", capsys)
    again = json.loads((model / "config.json").read_text(encoding="utf-8"))["decision"]
    assert again["threshold"] == pytest.approx(kept["threshold"])
    python, classify, predict = answers_of_all(tmp_path / "version_0", tmp_path, capsys)
    assert python == classify == predict


def test_a_rate_that_the_rows_do_not_support_costs_no_model(fit, tmp_path, caplog):
    assert fit(tmp_path, "--model.decide={max_fpr: 0.0001}", "--trainer.max_epochs=1") == 0
    assert (
        "decide is not followed, and the prediction is the most probable class: max_fpr 0.0001 needs more"
        in caplog.text
    )
    config = json.loads((tmp_path / "version_0" / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["decision"]["asked"] == {}


@pytest.mark.parametrize("decide", ["{max_frp: 0.1}", "{max_fpr: 2}", "{costs: {ham: 1}}", "most"])
def test_a_rule_that_is_none_is_refused_before_the_first_step(decide, fit, tmp_path, capsys):
    assert fit(tmp_path, f"--model.decide={decide}") == 2
    assert "expected" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "version_0" / "model").exists()
