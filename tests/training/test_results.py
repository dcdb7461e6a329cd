"""What a test leaves in the run of its model, and what it leaves alone."""

import csv
import json
import platform
import re
import shutil
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from sklearn import metrics as sk
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from gpt_classifier import TextClassifier, TextDataModule, default_callbacks
from gpt_classifier.cli.main import main
from gpt_classifier.data.duplicates import compute_fingerprints, near_duplicate_key
from gpt_classifier.evaluation.baselines import BASELINES, build_baseline
from gpt_classifier.text.encoder import TextEncoder, WindowsConfig
from gpt_classifier.training.callbacks import history, training_rows
from gpt_classifier.training.callbacks.history import Curves, learning_curves
from gpt_classifier.training.module import GPTClassifier

ALONE = ("--report=none", "--baselines=none")  # of tests that look at neither


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "version_0"))


@pytest.fixture(scope="module")
def tested(trained, tmp_path_factory) -> Path:
    """A run with a test of it. Tests that write into it work on a copy."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("tested") / "version_0"))
    assert main(["test", str(run)]) == 0
    return run


def scores(run: Path, name: str = "scores.json") -> dict:
    return json.loads((run / name).read_text(encoding="utf-8"))


def test_a_test_leaves_its_scores_and_predictions_in_the_run(run, caplog):
    assert main(["test", str(run)]) == 0
    data = TextDataModule("sample", tokenizer="bytes")
    data.setup("test")
    table = data.tables["test"].sort_values("row")
    predictions = TextClassifier.load(run).predict(table["text"].tolist())
    with open(run / "predictions.csv", newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["row", "label", "predicted", "probability_ham", "probability_spam"]
    assert [row[:3] for row in rows] == [
        [str(row), label, prediction.label]
        for row, label, prediction in zip(table["row"], table["label"], predictions, strict=True)
    ]
    for row, prediction in zip(rows, predictions, strict=True):
        assert [float(value) for value in row[3:]] == pytest.approx(list(prediction.probabilities.values()), abs=1e-4)

    result = scores(run)
    right = [row[1] == row[2] for row in rows]
    assert result["accuracy"] == pytest.approx(sum(right) / len(right))
    assert (result["rows"], result["rows_trained_on"], result["data"]["source"]) == (len(rows), 0, "sample")
    assert result["trained_steps"] == torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"]
    told = caplog.text
    assert f"test accuracy {100 * result['accuracy']:.2f} %" in told
    assert "macro" in told
    assert "DataLoader 0" not in told


def test_the_model_card_has_the_scores_of_the_last_test_once(run):
    before = (run / "model" / "README.md").read_text()
    for _ in range(2):
        assert main(["test", str(run), "--report=none", "--baselines=none"]) == 0
    card = (run / "model" / "README.md").read_text()
    assert card.count("## Test") == 1
    assert f"test accuracy {100 * scores(run)['accuracy']:.2f} %" in card
    assert card.index("## Test") < card.index("## Data")
    start, end = card.index("<!-- test -->"), card.index("## Data")
    assert card[:start] + card[end:] == before


def test_the_hparams_tab_shows_the_scores_of_the_test(tested):
    log = EventAccumulator(str(tested), {"scalars": 0, "tensors": 0}).Reload()
    announced = HParamsPluginData.FromString(
        log.summary_metadata["_hparams_/experiment"].plugin_data.content
    ).experiment
    columns = {metric.name.tag for metric in announced.metric_infos}
    assert columns >= {"final/val_accuracy", "final/test_accuracy", "final/test_f1_macro"}
    for name in ("accuracy", "f1_macro", "loss"):
        assert log.Scalars(f"final/test_{name}")[-1].value == pytest.approx(scores(tested)[name])
    assert columns <= set(log.Tags()["scalars"])


def test_other_rows_and_other_weights_leave_the_runs_own_results_alone(run, tmp_path):
    assert main(["test", str(run), *ALONE]) == 0
    kept = {name: (run / name).read_bytes() for name in ("scores.json", "predictions.csv", "model/README.md")}
    new = tmp_path / "new.csv"
    new.write_text("text,label\nsee you,ham\nWIN a prize,spam\n")
    steps = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    last = f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"
    assert main(["test", str(run), *ALONE, f"--data.test_source={new}"]) == 0
    assert main(["test", str(run), *ALONE, "--data.splitting.seed=5"]) == 0
    assert (
        main(
            [
                "test",
                str(run),
                *ALONE,
                "--trainer.limit_test_batches=1",
                "--data.batching.max_batch_tokens=100",
            ]
        )
        == 0
    )
    changed = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    changed["state_dict"]["model.head.bias"] += 1
    torch.save(changed, run / "checkpoints" / "last.ckpt")
    assert main(["test", *ALONE, last]) == 0
    assert {name: (run / name).read_bytes() for name in kept} == kept
    others = {path.name for path in run.glob("scores-*.json")}
    assert {"scores-new.json", "scores-sample.json", f"scores-step-{steps}.json"} < others
    assert any(name.endswith("-rows.json") for name in others)
    assert scores(run, "scores-new.json")["rows"] == 2
    assert (run / "predictions-new.csv").is_file()


def test_batches_of_another_size_are_no_other_rows(run):
    assert main(["test", str(run), *ALONE, "--data.batching.max_batch_tokens=200", "--data.batch_size=2"]) == 0
    assert (run / "scores.json").is_file()


def test_without_a_run_nothing_is_written_and_that_is_said(run, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    assert main(["test", str(run), "--trainer.logger=false", *ALONE]) == 0
    assert "no scores.json and predictions.csv" in caplog.text
    assert not list(tmp_path.rglob("scores*.json"))


def test_epoch_lines_show_macro_f1(fit, tmp_path, caplog):
    assert fit(tmp_path, "--trainer.max_epochs=1") == 0
    assert "val macro-F1 0." in caplog.text


# ---------------------------------------------------------------- baselines


def assert_are_scikit_learns(found: list[dict], train, test) -> None:
    """That accuracies and macro F1 are those of scikit-learn alone, trained on the table ``train``."""
    assert [each["name"] for each in found] == [baseline.name for baseline in BASELINES.values()]
    for each, key in zip(found, BASELINES, strict=True):
        predicted = build_baseline(key).fit(train["text"], train["label"]).predict(test["text"])
        assert each["accuracy"] == pytest.approx(sk.accuracy_score(test["label"], predicted))
        assert each["f1_macro"] == pytest.approx(sk.f1_score(test["label"], predicted, average="macro"))
        assert each["accuracy_interval"][0] <= each["accuracy"] <= each["accuracy_interval"][1]


def test_a_test_compares_the_network_with_baselines_trained_on_the_same_rows(run, caplog):
    assert main(["test", str(run), "--report=none"]) == 0
    data = TextDataModule("sample", tokenizer="bytes")
    data.setup("fit")
    result = scores(run)
    found = result["baselines"]
    assert_are_scikit_learns(found["models"], data.tables["train"], data.tables["test"])
    assert found["training_rows"] == len(data.tables["train"])
    best = max(reversed(found["models"]), key=lambda each: each["accuracy_to_choose"])
    assert (found["best"], found["chosen_on"]) == (best["name"], f"{len(data.tables['val'])} validation rows")
    assert found["difference"] == pytest.approx(result["accuracy"] - best["accuracy"])
    low, high = found["difference_interval"]
    assert low <= found["difference"] <= high
    for name in ("f1_macro", "auroc", "average_precision"):
        assert result[f"{name}_interval"][0] <= result[name] <= result[f"{name}_interval"][1]
    card = (run / "model" / "README.md").read_text()
    for told in (caplog.text, card):
        assert told.count("Verdict: ") == 1
        assert all(each["name"] in told for each in found["models"])


def test_the_seconds_of_training_are_known_from_the_checkpoint_and_add_up_where_it_is_continued(fit, tmp_path):
    constant = ["--model.optimizer.warmup=0", "--model.optimizer.schedule=constant"]
    assert fit(tmp_path, "--trainer.max_epochs=2", *constant) == 0
    run = tmp_path / "version_0"
    assert main(["test", str(run), *ALONE]) == 0
    first = scores(run)["training_seconds"]
    assert first > 0
    last = run / "checkpoints" / "last.ckpt"
    before = torch.load(last, weights_only=True)["gpt_classifier"]["seconds"]
    assert before >= first  # which is that of the best epoch
    assert fit(tmp_path, f"--ckpt_path={last}", "--trainer.max_epochs=3", *constant) == 0
    assert torch.load(last, weights_only=True)["gpt_classifier"]["seconds"] > before


def test_of_a_model_folder_the_seconds_of_training_are_not_known(run, tmp_path, caplog):
    folder = Path(shutil.copytree(run / "model", tmp_path / "moved"))
    assert main(["test", str(folder), "--report=none", f"--trainer.default_root_dir={tmp_path / 'runs'}"]) == 0
    (row,) = (line for line in caplog.text.splitlines() if line.startswith("the network"))
    assert row.endswith(" -")
    assert "Verdict" in caplog.text


def test_baselines_none_leaves_them_out(run, caplog):
    assert main(["test", str(run), "--baselines=none"]) == 0
    assert "baselines" not in scores(run)
    assert "Verdict" not in caplog.text


@pytest.mark.parametrize(
    ("given", "limit"), [([], 600.0), (["--baselines=60"], 60.0), (["--baselines=all"], float("inf"))]
)
def test_a_limit_of_estimated_seconds_is_the_users_choice(given, limit, run, monkeypatch):
    """However long the fit took: the same rows have the same baselines."""
    train, limits = training_rows.train_baselines, []
    monkeypatch.setattr(GPTClassifier, "trained_seconds", lambda self: 7200.0)
    monkeypatch.setattr(training_rows, "train_baselines", lambda *words: limits.append(words[-1]) or train(*words))
    assert main(["test", str(run), "--report=none", *given]) == 0
    assert limits == [limit]


def test_baselines_are_all_or_none(run, capsys):
    assert main(["test", str(run), "--baselines=svm"]) == 2
    assert "baselines is 'svm'" in capsys.readouterr().err
    assert main(["test", str(run), "--baselines=-1"]) == 2
    assert "baselines is -1.0, expected all, none, or a number of seconds" in capsys.readouterr().err


def test_on_a_file_of_its_own_the_training_rows_are_read_again(run, tmp_path):
    new = tmp_path / "new.csv"
    new.write_text("text,label\nsee you,ham\nWIN a prize now 500,spam\n")
    assert main(["test", str(run), "--report=none", f"--data.test_source={new}"]) == 0
    data = TextDataModule("sample", test_source=str(new), tokenizer="bytes")
    trained = TextDataModule("sample", tokenizer="bytes")
    data.setup("fit")
    trained.setup("fit")
    assert_are_scikit_learns(
        scores(run, "scores-new.json")["baselines"]["models"], trained.tables["train"], data.tables["test"]
    )


@pytest.fixture
def trained_on_file(fit, tmp_path) -> tuple[Path, Path]:
    """A run, and the file that it was trained on."""
    source = tmp_path / "mine.csv"
    lines = [f"see you {'x' * n},ham\nWIN {'y' * n} prizes,spam" for n in range(16)]
    source.write_text("text,label\n" + "\n".join(lines) + "\n")
    assert fit(tmp_path / "runs", f"--data.source={source}", "--trainer.max_epochs=1") == 0
    return tmp_path / "runs" / "version_0", source


def test_without_the_training_rows_there_are_no_baselines_and_the_reason_is_said(trained_on_file, tmp_path, caplog):
    run, source = trained_on_file
    new = tmp_path / "new.csv"
    new.write_text("text,label\nsee you,ham\nWIN a prize,spam\n")
    source.rename(tmp_path / "elsewhere.csv")
    assert main(["test", str(run), "--report=none", f"--data.test_source={new}"]) == 0
    assert "no baselines: the training rows cannot be read again, as " in " ".join(caplog.text.split())
    assert "mine.csv" in scores(run, "scores-new.json")["baselines"]["missing"]


def test_other_rows_in_the_training_file_are_no_training_rows(trained_on_file, tmp_path, caplog):
    run, source = trained_on_file
    new = tmp_path / "new.csv"
    new.write_text("text,label\nsee you,ham\nWIN a prize,spam\n")
    words = [f"{'spam' if n % 2 else 'ham'} {'x' * n}" for n in range(20)]
    source.write_text("text,label\n" + "\n".join(f"{word},{word.split()[0]}" for word in words) + "\n")
    assert main(["test", str(run), "--report=none", f"--data.test_source={new}"]) == 0
    told = " ".join(caplog.text.split())  # folded, as paths are long
    assert "mine.csv" in told


def test_undersampled_and_weighted_rows_train_baselines_as_they_train_the_network(
    tiny_model, tiny_data, quick_trainer, tmp_path
):
    for balance in ("undersample", "class_weights"):
        texts = [f"see you {'x' * n}" for n in range(60)] + [f"win a prize {'y' * n}" for n in range(20)]
        data = tiny_data(texts, ["ham"] * 60 + ["spam"] * 20, balance=balance)
        result = fit_and_test(tiny_model, data, quick_trainer, tmp_path / balance)
        assert result["baselines"]["training_rows"] == len(data.tables["train"])
        if balance == "undersample":
            assert data.tables["train"]["label"].value_counts().nunique() == 1
            assert_are_scikit_learns(result["baselines"]["models"], data.tables["train"], data.tables["test"])
        else:
            (bayes,) = (each for each in result["baselines"]["models"] if each["name"] == "naive Bayes")
            names = dict(zip(data.class_names, data.class_weights.tolist(), strict=True))
            train, test = data.tables["train"], data.tables["test"]
            weights = train["label"].map(names).to_numpy()
            by_hand = build_baseline("naive_bayes").fit(
                train["text"], train["label"], multinomialnb__sample_weight=weights
            )
            assert bayes["accuracy"] == np.mean(by_hand.predict(test["text"]) == test["label"])


def fit_and_test(tiny_model, data: TextDataModule, quick_trainer, folder: Path) -> dict:
    """The scores of a model that was fitted and tested in one process."""
    trainer = quick_trainer(callbacks=default_callbacks(checkpoints=False), logger=True, default_root_dir=folder)
    model = tiny_model()
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    return json.loads(next(folder.rglob("scores.json")).read_text(encoding="utf-8"))


@pytest.mark.pictures
def test_many_classes_of_which_the_test_rows_lack_one(tiny_model, quick_trainer, tmp_path):
    """From tables in memory, whose training rows the data module still has."""
    import pandas as pd

    names = ["apple", "pear", "plum", "fig"]
    train = pd.DataFrame([(f"a {name} {'x' * n}", name) for name in names for n in range(8)], columns=["text", "label"])
    test = pd.DataFrame(
        [(f"one {name} {'y' * n}", name) for name in names[:3] for n in range(5)], columns=train.columns
    )
    data = TextDataModule.from_tables(train, val=train, test=test, tokenizer="bytes", max_length=64)
    result = fit_and_test(tiny_model, data, quick_trainer, tmp_path)
    assert_are_scikit_learns(result["baselines"]["models"], data.tables["train"], data.tables["test"])
    assert result["baselines"]["difference"] <= 0
    assert "auroc_interval" not in result


def test_rows_in_memory_that_the_model_was_not_trained_on_train_no_baselines(
    tiny_model, tiny_data, quick_trainer, caplog
):
    trainer, model, data = quick_trainer(callbacks=default_callbacks(checkpoints=False)), tiny_model(), tiny_data()
    trainer.fit(model, data)
    others = tiny_data([f"text {'x' * n}" for n in range(40)], ["ham", "spam"] * 20)
    trainer.test(model, others, verbose=False)
    assert "no baselines: the training rows of the given table are not those any more" in caplog.text


def test_rows_of_loaders_have_no_baselines(tiny_model, tiny_data, quick_trainer, caplog):
    model, data = tiny_model(), tiny_data()
    quick_trainer().fit(model, data)
    trainer = quick_trainer(callbacks=default_callbacks(checkpoints=False))
    trainer.test(model, data.test_dataloader(), verbose=False)
    assert "no baselines: the test rows were given without their texts" in caplog.text


# ---------------------------------------------------------------- the report


def test_a_test_writes_a_report_whose_every_section_is_filled(tested):
    page, text = ((tested / f"report.{ending}").read_text(encoding="utf-8") for ending in ("html", "md"))
    found = scores(tested)
    assert f"{100 * found['accuracy']:.2f} %" in page
    headings = (
        "Baselines, Scores, Classes, Confusions, Ranking, Calibration, Learning curves, "
        "Training texts among the test texts, Errors by length and script, Settings"
    )
    for heading in headings.split(", "):
        assert re.search(f"<h2 [^>]*>{heading}</h2>", page)
        assert f"\n## {heading}\n" in text
    assert (tested / "report.html").stat().st_size < 2_000_000


def test_the_statistics_of_the_run_are_those_of_the_fit(tested):
    found = scores(tested)
    data = TextDataModule("sample", tokenizer="bytes")
    data.setup("fit")
    for split, counts in found["training"]["rows"].items():
        assert counts == data.tables[split]["label"].value_counts().reindex(data.class_names).to_dict()
    known = np.unique(compute_fingerprints(data.tables["train"]["text"]))
    assert found["training"]["distinct_texts"] == len(known)
    assert found["training"]["fingerprint"] == digest_of(known)
    assert found["training"]["seed"] == 123
    assert found["configuration"]["trainer"]["max_epochs"] == 2
    assert found["versions"]["torch"] == torch.__version__
    parameters = TextClassifier.load(tested).model.parameters()
    assert found["network"]["parameters"] == sum(parameter.numel() for parameter in parameters)
    assert platform.node() not in json.dumps(found["machine"])


def digest_of(known: np.ndarray) -> str:
    return blake2b(known.astype("<i8").tobytes(), digest_size=8).hexdigest()


def test_errors_lengths_and_truncation_are_those_of_the_rows(run):
    assert main(["test", str(run), "--data.splitting.seed=5"]) == 0  # of which many were trained on
    found = scores(run, "scores-sample.json")
    data = TextDataModule("sample", tokenizer="bytes", max_length=64, splitting={"seed": 5})
    data.setup("fit")
    table = data.tables["test"].set_index("row")
    classifier = TextClassifier.load(run)
    with open(run / "predictions-sample.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    right = {int(row["row"]): row["label"] == row["predicted"] for row in rows}
    tokens = {row: len(classifier.text_encoder.encode(text)[0]) for row, text in table["text"].items()}
    is_truncated = {row: classifier.text_encoder.encode(text)[1] for row, text in table["text"].items()}
    for each in found["lengths"]:
        inside = [row for row, n in tokens.items() if each["from"] <= n <= each["to"]]
        assert (each["rows"], each["errors"]) == (len(inside), sum(not right[row] for row in inside))
    truncated = [row for row in table.index if is_truncated[row]]
    assert 0 < len(truncated) < len(table)
    assert found["truncation"]["longer"]["rows"] == len(truncated)
    assert found["truncation"]["longer"]["errors"] == sum(not right[row] for row in truncated)
    otherwise = found["truncation"]["otherwise"]
    classifier.text_encoder = TextEncoder("bytes", 64, windows=WindowsConfig(stride=32))
    predictions = classifier.predict(table["text"][truncated].tolist())
    wrong = sum(each.label != label for each, label in zip(predictions, table["label"][truncated], strict=True))
    assert (otherwise["otherwise"]["errors"], otherwise["as_read"]["rows"]) == (wrong, len(truncated))
    assert otherwise["as_read"]["errors"] == found["truncation"]["longer"]["errors"]
    gain = (otherwise["as_read"]["errors"] - wrong) / len(truncated)
    assert otherwise["difference"][0] == pytest.approx(gain)
    leaks = found["leaks"]
    assert leaks["seen"]["rows"] == found["rows_trained_on"] > 0
    assert leaks["seen"]["rows"] + leaks["unseen"]["rows"] == len(table)
    assert leaks["seen"]["errors"] + leaks["unseen"]["errors"] == sum(not each for each in right.values())
    wrong = sum(not each for each in right.values())
    assert len(found["errors"]) == min(wrong, 20)
    probabilities = [error["probability"] for error in found["errors"]]
    assert probabilities == sorted(probabilities, reverse=True)
    train = TextDataModule("sample", tokenizer="bytes").read_tables()["train"]
    for error in found["errors"]:
        assert error["text"] == table["text"][error["row"]]
        assert (error["true"], right[error["row"]]) == (table["label"][error["row"]], False)
        neighbour = error["neighbour"]
        assert ((train["text"] == neighbour["text"]) & (train["label"] == neighbour["class"])).any()
        assert neighbour["near_duplicate"] == (
            near_duplicate_key(error["text"]) == near_duplicate_key(neighbour["text"])
        )


def test_calibration_is_that_before_and_after_the_models_own_decision(run):
    assert main(["test", str(run), "--baselines=none"]) == 0
    assert "after" not in scores(run)["calibration"]
    assert main(["calibrate", str(run)]) == 0
    assert main(["test", str(run), "--baselines=none"]) == 0
    found = scores(run)["calibration"]
    assert found["temperature"] == TextClassifier.load(run).decision.temperature
    assert found["before"]["error"] != found["after"]["error"]
    assert sum(each["rows"] for each in found["after"]["bins"]) == scores(run)["rows"]


def test_without_a_report_the_scores_still_know_the_run(run, caplog):
    assert main(["test", str(run), "--report=none", "--baselines=none"]) == 0
    assert not list(run.glob("report*"))
    found = scores(run)
    assert "configuration" in found
    assert not {"errors", "lengths", "leaks"} & found.keys()
    assert "report:" not in caplog.text


def test_reports_are_all_or_none(run, capsys):
    assert main(["test", str(run), "--report=pdf"]) == 2
    assert "report is 'pdf'" in capsys.readouterr().err


def test_rows_of_loaders_have_a_report_without_what_needs_their_texts(tiny_model, tiny_data, quick_trainer, tmp_path):
    model, data = tiny_model(), tiny_data()
    quick_trainer().fit(model, data)
    trainer = quick_trainer(callbacks=default_callbacks(checkpoints=False), logger=True, default_root_dir=tmp_path)
    trainer.test(model, data.test_dataloader(), verbose=False)
    page = next(tmp_path.rglob("report.html")).read_text(encoding="utf-8")
    assert "Calibration</h2>" in page
    assert "Errors by length and script</h2>" not in page


def read_curves(run: Path) -> Curves:
    curves = learning_curves(Trainer(logger=False, enable_checkpointing=False), run)
    assert curves is not None
    return curves.curves


def test_the_curves_of_a_resumed_fit_are_those_of_one_that_was_never_stopped(fit, tmp_path):
    settings = ["--trainer.log_every_n_steps=2", "--model.optimizer.warmup=0", "--model.optimizer.schedule=constant"]
    assert fit(tmp_path / "whole", *settings, "--trainer.max_epochs=3") == 0
    again = tmp_path / "resumed"
    assert fit(again, *settings, "--trainer.max_epochs=1") == 0
    last = f"--ckpt_path={again / 'version_0' / 'checkpoints' / 'last.ckpt'}"
    assert fit(again, *settings, last, "--trainer.max_epochs=3") == 0
    whole, resumed = (read_curves(folder / "version_0") for folder in (tmp_path / "whole", again))
    assert whole == resumed
    assert len(whole["val"]) == 3
    steps = [step for step, _ in whole["train"]]
    assert steps == list(range(2, 2 * len(steps) + 1, 2))


def test_a_test_says_where_it_does_not_agree_with_the_validation(fit, tmp_path, caplog):
    rows = [(f"{n} {letter * 9}", label) for n in range(40) for letter, label in (("a", "ham"), ("z", "spam"))]
    turned = [(text, {"ham": "spam", "spam": "ham"}[label]) for text, label in rows]
    for name, given in {"train": rows, "val": rows, "test": turned}.items():
        with open(tmp_path / f"{name}.csv", "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text", "label"), *given])
    sources = [f"--data.{name}source={tmp_path / file}.csv" for name, file in
               {"": "train", "val_": "val", "test_": "test"}.items()]  # fmt: skip
    assert fit(tmp_path / "runs", *sources, "--model.learning_rate=0.01") == 0
    run = tmp_path / "runs" / "version_0"
    assert main(["test", str(run), "--baselines=none"]) == 0
    found = scores(run)
    val, wrong = found["validation"], round((1 - found["accuracy"]) * 80)
    assert val["rows"] == 80
    assert val["right"] == wrong > 60  # the same texts, as the same weights predict them
    said = "differ significantly"
    assert said in " ".join(caplog.text.split())
    assert said in " ".join((run / "report.md").read_text(encoding="utf-8").split())


def test_of_a_long_fit_every_second_training_loss_goes(monkeypatch, fit, tmp_path):
    monkeypatch.setattr(history, "MAX_POINTS", 8)
    assert fit(tmp_path, "--trainer.max_epochs=3", "--trainer.log_every_n_steps=1") == 0
    steps = [step for step, _ in read_curves(tmp_path / "version_0")["train"]]
    assert len(steps) <= 8
    assert len(set(np.diff(steps))) == 1
