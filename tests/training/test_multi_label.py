"""A text may have any number of labels, from the file to the prediction."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.inference.engines import Worker
from gpt_classifier.inference.model_folder import load

TOPICS = {"food": "bread", "music": "piano", "sport": "tennis"}
NAMES = list(TOPICS)
FILLER = ["we", "like", "the", "old", "day", "and", "so", "on"]


def topics(n: int, seed: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """Texts that hold the words of their topics, two of five texts of none."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for number in range(n):
        has = [name for name, common in zip(NAMES, (0.5, 0.35, 0.2), strict=True) if rng.random() < common]
        words = [*(TOPICS[name] for name in has), *rng.choice(FILLER, 4 - len(has)), "abcdefghij"[number % 10]]
        texts.append(" ".join(rng.permutation(words)) + "." * (number // 10 % 7))
        labels.append(tuple(has))
    return texts, labels


def write(path, texts, labels):
    pd.DataFrame({"text": texts, "label": ["|".join(row) for row in labels]}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, fit):
    """A finished run on 600 texts, trained and tested from the command line."""
    root = tmp_path_factory.mktemp("topics")
    source = write(root / "topics.csv", *topics(600, 0))
    network = "{n_layer: 1, n_head: 2, n_embd: 64, context_length: 64}"
    settings = [
        f"--model.gpt={network}",
        "--model.pooling=mean",
        "--model.learning_rate=3e-3",
        "--trainer.max_epochs=8",
    ]
    data = [f"--data.source={source}", "--data.multi_label=|", "--data.split=random", "--data.batch_size=16"]
    assert fit(root, *settings, *data) == 0
    assert main(["test", f"--trainer.default_root_dir={root}"]) == 0
    return root / "version_0"


@pytest.fixture
def model(run, tmp_path):
    return shutil.copytree(run / "model", tmp_path / "elsewhere" / "model")


def test_a_test_reports_what_scikit_learn_finds_in_its_predictions(run):
    scores = json.loads((run / "scores.json").read_text())
    predictions = pd.read_csv(run / "predictions.csv", keep_default_na=False)
    truth, predicted = (
        np.array([[name in row.split("|") for name in NAMES] for row in predictions[column]])
        for column in ("label", "predicted")
    )
    probabilities = predictions[[f"probability_{name}" for name in NAMES]].to_numpy()
    assert scores["f1_micro"] > 0.9
    assert scores["f1_micro"] == pytest.approx(sk.f1_score(truth, predicted, average="micro"))
    assert scores["f1_macro"] == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    assert scores["accuracy"] == sk.accuracy_score(truth, predicted)
    assert scores["hamming_loss"] == pytest.approx(sk.hamming_loss(truth, predicted))
    assert scores["precision_micro"] == pytest.approx(sk.precision_score(truth, predicted, average="micro"))
    ranking = sk.label_ranking_average_precision_score(truth, probabilities)
    assert scores["label_ranking_average_precision"] == pytest.approx(ranking, abs=1e-4)
    assert scores["auroc"] == pytest.approx(sk.roc_auc_score(truth, probabilities), abs=1e-4)
    for interval, value in (("f1_macro_interval", "f1_macro"), ("f1_micro_interval", "f1_micro")):
        low, high = scores[interval]
        assert low <= scores[value] <= high
    by_label = {entry["class"]: entry for entry in scores["classes"]}
    for number, name in enumerate(NAMES):
        assert by_label[name]["rows"] == truth[:, number].sum()
        assert by_label[name]["f1"] == pytest.approx(sk.f1_score(truth[:, number], predicted[:, number]))
    card = (run / "model" / "README.md").read_text()
    assert "micro F1" in card
    assert "subset accuracy" in card
    models = {each["name"]: each for each in scores["baselines"]["models"]}
    assert models["majority class"]["accuracy"] == pytest.approx((~truth.any(1)).mean())
    assert models["logistic regression"]["accuracy"] > 0.9
    assert scores["baselines"]["verdict"].startswith("Verdict: on 120 test texts")


def test_a_model_folder_says_so_and_one_without_the_field_is_single_label(run, trained):
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["decision"]["multi_label"] is True
    single = json.loads((trained / "model" / "config.json").read_text())
    del single["decision"]["multi_label"]
    assert Decision(**single["decision"]) == Decision()
    for path in (run, run / "model", run / "checkpoints" / "best.ckpt"):
        assert load(path).decision.multi_label


def test_python_and_the_commands_give_the_same_labels(model, tmp_path, capsys):
    texts, true = topics(12, 3)
    classifier = TextClassifier.load(model)
    predictions = classifier.predict(texts)
    probabilities = classifier.predict_proba(texts)
    logits = torch.from_numpy(classifier.logits(texts))
    assert np.allclose(probabilities, logits.sigmoid())
    for prediction, row in zip(predictions, probabilities, strict=True):
        assert prediction.labels == tuple(name for name, p in zip(NAMES, row, strict=True) if p >= 0.5)
        assert prediction.label == NAMES[row.argmax()]
        assert prediction.probability == row.max()
    assert sum(prediction.labels == row for prediction, row in zip(predictions, true, strict=True)) >= 10
    capsys.readouterr()
    assert main(["classify", str(model), "--json", *texts]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [tuple(each["labels"]) for each in objects] == [p.labels for p in predictions]
    assert "label" not in objects[0]
    assert main(["classify", str(model), *texts]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["|".join(p.labels) for p in predictions]
    for prediction, line in zip(predictions, lines, strict=True):
        assert line[1] == "|".join(f"{prediction.probabilities[name]:.3f}" for name in prediction.labels)
    assert any(line[0] == line[1] == "" for line in lines)
    assert any("|" in line[0] for line in lines)
    source, output = tmp_path / "new.csv", tmp_path / "predictions.csv"
    pd.DataFrame({"text": texts}).to_csv(source, index=False)
    command = ["predict", str(model), f"--data.source={source}", f"--output={output}"]
    assert main([*command, f"--trainer.default_root_dir={tmp_path}"]) == 0
    written = pd.read_csv(output, keep_default_na=False)
    assert written["predicted"].tolist() == ["|".join(p.labels) for p in predictions]
    worker = Worker.__new__(Worker)  # of a cluster, whose rows are written to the same file
    worker.classifier = classifier
    assert worker(pd.DataFrame({"text": texts}))["predicted"].tolist() == written["predicted"].tolist()
    frame = classifier.predict_frame(pd.Series(texts))
    assert frame["predicted"].tolist() == [list(p.labels) for p in predictions]
    assert np.allclose(written[[f"probability_{name}" for name in NAMES]], probabilities, atol=1e-6)


@pytest.mark.parametrize("decide", ["max_f1", "{min_recall: 0.9}", "{min_precision: 0.9}", "{max_fpr: 0.1, of: food}"])
def test_calibrated_thresholds_do_what_was_asked_and_are_followed(decide, model, tmp_path, capsys):
    texts, labels = topics(300, 1)
    texts = [f"{text} {'!' * (1 + n % 3)}" for n, text in enumerate(texts)]
    rows = write(tmp_path / "rows.csv", texts, labels)
    assert main(["calibrate", str(model), f"--decide={decide}", f"--data.val_source={rows}"]) == 0
    out = capsys.readouterr().out
    assert "texts of which all labels are right" in out
    classifier = TextClassifier.load(model)
    left = int(out.partition("left out: ")[2].partition(" rows")[0] or 0)
    assert left < 300
    thresholds = np.array(classifier.decision.thresholds)
    assert thresholds.shape == (3,)
    probabilities = classifier.predict_proba(texts)
    found = np.array([[name in p.labels for name in NAMES] for p in classifier.predict(texts)])
    assert (found == (probabilities >= thresholds)).all()
    if decide.endswith("of: food}"):
        assert thresholds[1:].tolist() == [0.5, 0.5]
    assert main(["test", str(model), f"--data.test_source={rows}", "--baselines=none",
                 f"--trainer.default_root_dir={tmp_path}"]) == 0  # fmt: skip
    (scores,) = (tmp_path / "version_0").glob("scores*.json")
    decided = json.loads(scores.read_text())["decision"]
    assert decided["asked"] == classifier.decision.asked
    assert [line.split()[0] for line in decided["on_these_rows"]] == [*NAMES, "texts"]
    # Without a rule, labels of probability 0.5 or more are the prediction again.
    assert main(["calibrate", str(model), f"--data.val_source={rows}"]) == 0
    assert TextClassifier.load(model).decision.thresholds == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["calibrate", "{model}", "--decide={coverage: 0.9}", "--data.val_source={rows}"], "for a multi-label model"),
        (["calibrate", "{model}", "--decide=argmax", "--data.val_source={rows}"], "expected for a multi-label model"),
        (["calibrate", "{model}", "--data.val_source={rows}", "--data.multi_label=null"], "rows have no label"),
        (["test", "{model}", "--data.test_source={rows}", "--data.multi_label=null"], "rows have no label"),
        (
            ["test", "{model}", "--data.test_source={single}", "--data.multi_label=null"],
            "--data.multi_label",
        ),
    ],
)  # fmt: skip
def test_what_needs_single_label_data_is_refused_in_one_line(command, message, model, tmp_path, capsys):
    files = {"rows": write(tmp_path / "rows.csv", *topics(50, 1)), "single": tmp_path / "single.csv", "model": model}
    pd.DataFrame({"text": ["a b", "c d"], "label": ["food", "music"]}).to_csv(files["single"], index=False)
    words = command if command[0] == "calibrate" else [*command, f"--trainer.default_root_dir={tmp_path}"]
    for name, path in files.items():
        words = [word.replace(f"{{{name}}}", str(path)) for word in words]
    assert main(words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gpt-classifier: error")]
    assert message in line


# ---------------------------------------------------------------- in Python


@pytest.fixture
def data(tiny_data):
    texts, labels = topics(80, 0)
    return lambda **settings: tiny_data(texts, labels, multi_label="lists", split="random", **settings)


def test_lists_in_python_become_tuples_of_labels(data, tiny_model, quick_trainer, tmp_path):
    model = tiny_model()
    quick_trainer().fit(model, data(balance="class_weights"))
    classifier = model.to_text_classifier()
    classifier.save(tmp_path / "model")
    for prediction in TextClassifier.load(tmp_path / "model").predict(["bread", "tennis", ""]):
        assert prediction.labels == tuple(n for n in NAMES if prediction.probabilities[n] >= 0.5)
    with pytest.raises(InputError, match="the data are single-label, but the model is multi-label"):
        quick_trainer().test(model, _single(NAMES), verbose=False)


def _single(names: list[str]) -> TextDataModule:
    texts = [f"text {'x' * n}" for n in range(60)]
    return TextDataModule.from_lists(texts, [names[n % 3] for n in range(60)], tokenizer="bytes", max_length=64)


def test_a_hidden_state_cache_changes_no_loss(data, tiny_model, quick_trainer):
    losses = []
    for enabled in (True, False):
        torch.manual_seed(1)
        trainer = quick_trainer()
        trainer.fit(tiny_model(trainable="head", cache={"enabled": enabled}), data())
        losses.append([float(trainer.callback_metrics[name]) for name in ("train/epoch_loss", "val/loss")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_label_with_the_separator_in_its_name_is_refused(tiny_data, tiny_model, quick_trainer):
    texts, labels = topics(80, 0)
    labels = [tuple(name.replace("music", "rock|pop") for name in row) for row in labels]
    with pytest.raises(InputError, match=r"'rock\|pop' .*\|.* between labels"):
        quick_trainer().fit(tiny_model(), tiny_data(texts, labels, multi_label="lists", split="random"))


def test_a_run_is_continued_with_labels_written_as_before(data, tiny_model, quick_trainer, tmp_path):
    trainer = quick_trainer()
    trainer.fit(tiny_model(), data())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    longer = quick_trainer(max_epochs=2)
    continued = tiny_model()
    longer.fit(continued, data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert continued.decision.multi_label
    assert longer.current_epoch == 2
    with pytest.raises(InputError, match=r"data\.multi_label is False.*checkpoint"):
        quick_trainer().fit(tiny_model(), _single(NAMES), ckpt_path=tmp_path / "last.ckpt", weights_only=True)


def test_labels_of_another_kind_than_the_decision_s_are_refused(data, tiny_model, quick_trainer):
    model, rows = tiny_model(), data()
    quick_trainer().fit(model, rows)
    batch = rows.encoded["train"][[0, 1]]
    with pytest.raises(InputError, match=r"labels .*class numbers"):
        model.training_step(batch._replace(labels=torch.tensor([0, 1])), 0)
