"""A network learns what a trained model predicts, also for texts without labels, and is scored on labels alone."""

from pathlib import Path

import lightning as L
import pandas as pd
import pytest
import torch
import yaml
from torch.nn import functional as F
from torch.testing import assert_close

from gpt_classifier.cli.main import main
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.task import UNLABELLED, Task
from gpt_classifier.errors import InputError
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.teacher import Teacher, TeacherConfig

NEW = ["Where are you, mum", "WIN a bicycle, text now!", "nothing like the others", "Call dad later", "free free free"]


@pytest.fixture
def teacher(tiny_model, tiny_data, quick_trainer, tmp_path):
    """The model folder of a network that was trained on the same rows."""
    model = tiny_model(trainable="all", learning_rate=1e-2)
    quick_trainer(max_epochs=3).fit(model, tiny_data())
    model.to_text_classifier("cpu").save(tmp_path / "teacher")
    return str(tmp_path / "teacher")


@pytest.fixture
def unlabelled(tmp_path):
    path = tmp_path / "unlabelled.csv"
    pd.DataFrame({"id": range(len(NEW)), "text": NEW}).to_csv(path, index=False)
    return str(path)


# ---------------------------------------------------------------- the loss


def test_the_loss_is_that_of_hinton():
    torch.manual_seed(0)
    theirs, ours, labels = torch.randn(6, 3), torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    rows = torch.tensor([10, 3, 7, 5, 0, 12])
    teacher = Teacher(theirs, rows, Task.SINGLE_LABEL, TeacherConfig("folder", weight=0.3, temperature=4.0))
    asked = rows[[2, 0, 5, 3]]
    found = teacher.loss(F.cross_entropy(ours, labels), ours, asked)
    p, q = (theirs[[2, 0, 5, 3]] / 4).softmax(-1), (ours / 4).softmax(-1)
    divergence = (p * (p / q).log()).sum(-1).mean()
    assert_close(found, 0.7 * F.cross_entropy(ours, labels) + 0.3 * 16 * divergence)
    same = Teacher(ours, torch.arange(4), Task.SINGLE_LABEL, TeacherConfig("folder", weight=1.0))
    assert_close(same.loss(torch.tensor(9.0), ours, torch.arange(4)), torch.tensor(0.0))


def test_of_several_labels_each_is_one_of_two_classes():
    torch.manual_seed(0)
    theirs, ours = torch.randn(5, 1), torch.randn(5, 1)
    several = Teacher(theirs, torch.arange(5), Task.MULTI_LABEL, TeacherConfig("folder", weight=1.0, temperature=2.0))
    both = [torch.cat([torch.zeros_like(logits), logits], 1) for logits in (theirs, ours)]
    single = Teacher(both[0], torch.arange(5), Task.SINGLE_LABEL, TeacherConfig("folder", weight=1.0, temperature=2.0))
    zero = torch.tensor(0.0)
    assert_close(several.loss(zero, ours, torch.arange(5)), single.loss(zero, both[1], torch.arange(5)))


@pytest.mark.parametrize("several", [False, True])
def test_texts_without_labels_have_no_loss_of_labels(several):
    logits = torch.randn(4, 3, requires_grad=True)
    labels = (torch.rand(4, 3) > 0.5).float() if several else torch.tensor([0, 2, 1, 0])
    task = Task.of(several)
    known = task.loss(logits[:3], labels[:3], torch.tensor([1.0, 2.0, 3.0]))
    labels[3] = UNLABELLED
    loss = task.loss(logits, labels, torch.tensor([1.0, 2.0, 3.0]))
    assert_close(loss, known * 3 / 4)
    loss.backward()
    assert (logits.grad[3] == 0).all()
    assert task.labelled(labels).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"folder": "x", "weight": 0.0}, "teacher.weight is 0.0"),
        ({"folder": "x", "weight": 1.5}, "teacher.weight is 1.5"),
        ({"folder": "x", "temperature": 0}, "teacher.temperature is 0"),
        ({"folder": ""}, "teacher.folder is ''"),
        ({"weight": 0.5}, "without a folder: give all of it at once, as {folder: checkpoints/large, weight: 0.5}"),
        ({"folder": "x", "wieght": 0.5}, "no field 'wieght'"),
        (7, "teacher is 7"),
    ],
)
def test_a_wrong_setting_is_one_line(value, said):
    with pytest.raises(InputError, match=said):
        GPTClassifier(teacher=value)


# ---------------------------------------------------------------- a fit


def test_a_network_that_trains_on_predictions_alone_predicts_them(
    teacher, tiny_model, tiny_data, quick_trainer, caplog
):
    data, before = tiny_data(), {}
    model = tiny_model(trainable="all", learning_rate=1e-2, teacher={"folder": teacher, "weight": 1.0})

    class First(L.Callback):
        def on_train_start(self, trainer, pl_module):
            before.update({name: tensor.clone() for name, tensor in pl_module.model.state_dict().items()})

    quick_trainer(max_epochs=15, callbacks=[First()]).fit(model, data)
    texts = data.tables["train"]["text"].tolist()
    wanted = TextClassifier.load(teacher, "cpu").predict_proba(texts)
    found = model.to_text_classifier("cpu").predict_proba(texts)
    model.model.load_state_dict(before)
    untaught = model.to_text_classifier("cpu").predict_proba(texts)
    assert abs(found - wanted).mean() < abs(untaught - wanted).mean() / 3


def test_a_teacher_with_classes_in_another_order_teaches_the_same(teacher, tiny_model, tiny_data, quick_trainer):
    steps = {}
    for names in (["ham", "spam"], ["spam", "ham"]):
        model = tiny_model(trainable="all", teacher={"folder": teacher, "weight": 1.0})
        data = tiny_data(class_names=names)
        quick_trainer(max_steps=1).fit(model, data)
        assert data.class_names == names
        order = [names.index("ham"), names.index("spam")]
        rows = torch.tensor(data.tables["train"]["row"].to_numpy(int).copy())
        steps[names[0]] = model.teacher.logits[model.teacher.place[rows.sort().values]][:, order]
    assert_close(steps["ham"], steps["spam"])


def test_texts_without_labels_train_too_but_are_not_scored(teacher, unlabelled, tiny_model, tiny_data, quick_trainer):
    data = tiny_data(unlabelled_source=unlabelled, batch_size=4)
    model = tiny_model(trainable="all", teacher={"folder": teacher, "weight": 1.0})
    seen = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.extend(zip(batch.rows.tolist(), batch.labels.tolist(), strict=True))

    trainer = quick_trainer(max_epochs=1, callbacks=[Watch()])
    trainer.fit(model, data)
    first = 1 + max(int(table["row"].max()) for table in data.tables.values())
    assert {row for row, label in seen if label == UNLABELLED} == set(range(first, first + len(NEW)))
    assert {row for row, label in seen if label != UNLABELLED} == set(data.tables["train"]["row"])
    labelled = len(data.tables["train"])
    right = float(trainer.callback_metrics["train/accuracy"]) * labelled
    assert right == pytest.approx(round(right), abs=1e-4)
    assert f"{len(NEW)} texts without labels" in data.summary()
    # What the model remembers to have seen warns where these texts are scored later.
    assert len(model.trained_on) >= labelled + len(NEW) - 5


def test_rows_that_are_scored_and_duplicates_are_no_unlabelled_texts(tiny_data, tmp_path):
    data = tiny_data()
    data.setup("fit")
    test, train = data.tables["test"]["text"].iloc[0], data.tables["train"]["text"].iloc[0]
    texts = [*NEW, NEW[0].upper(), test, f" {test.lower()}", train, "", None]
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "more.csv", index=False)
    data = tiny_data(unlabelled_source=str(tmp_path / "more.csv"))
    data.setup("fit")
    assert data.rows.unlabelled["text"].tolist() == NEW
    assert data.rows.notes[-1].endswith("2 without text and 4 near-duplicates of others left out")
    assert data.training_texts()[0][-len(NEW) :] == NEW


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_texts_without_labels_train_also_after_an_evaluation(stage, tiny_data, unlabelled):
    data = tiny_data(unlabelled_source=unlabelled)
    data.setup(stage)
    assert data.rows.unlabelled is None
    data.setup("fit")
    data.setup("fit")
    assert data.training_texts()[0][-len(NEW) :] == NEW


def test_cached_states_of_texts_without_labels_give_the_same_run(
    teacher, unlabelled, tiny_model, tiny_data, quick_trainer
):
    states = []
    for cached in (True, False):
        torch.manual_seed(123)
        settings = {"trainable": "last_block", "cache": {"enabled": cached, "gigabytes": 0}, "learning_rate": 0.1}
        model = tiny_model(teacher=teacher, optimizer={"name": "SGD"}, **settings)
        quick_trainer(max_steps=3).fit(model, tiny_data(unlabelled_source=unlabelled))
        states.append(model.model.state_dict())
    assert_close(states[0], states[1])


def test_a_checkpoint_needs_no_teacher_and_says_who_it_was(teacher, tiny_model, tiny_data, quick_trainer, tmp_path):
    model = tiny_model(trainable="all", teacher={"folder": teacher, "weight": 0.25})
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(model, tiny_data())
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    kept = torch.load(tmp_path / "student.ckpt", weights_only=True)
    assert not any("teacher" in name for name in kept["state_dict"])
    (tmp_path / "teacher" / "model.safetensors").unlink()
    again = GPTClassifier.load_from_checkpoint(tmp_path / "student.ckpt")
    assert again.hparams["teacher"] == {"folder": teacher, "weight": 0.25, "temperature": 2.0}
    again.to_text_classifier("cpu").save(tmp_path / "student")
    card = (tmp_path / "student" / "README.md").read_text(encoding="utf-8")
    assert "with the predictions of the teacher teacher (weight 0.25, temperature 2)" in card


# ---------------------------------------------------------------- refusals


def test_texts_without_labels_need_a_teacher(unlabelled, tiny_model, tiny_data, quick_trainer):
    with pytest.raises(InputError, match="give teacher FOLDER"):
        quick_trainer(max_steps=1).fit(tiny_model(), tiny_data(unlabelled_source=unlabelled))


def test_a_teacher_of_other_classes_is_refused(teacher, tiny_model, quick_trainer):
    texts, labels = [f"text {n} {n}" for n in "abcdefghijklmnopqrst"], ["x", "y"] * 10
    data = TextDataModule.from_lists(texts, labels, tokenizer="bytes", max_length=64, batch_size=4)
    with pytest.raises(InputError, match="has the classes ham, spam, the data x, y"):
        quick_trainer(max_steps=1).fit(tiny_model(teacher=teacher), data)


def test_a_teacher_that_is_not_there_is_refused(tiny_model, tiny_data, quick_trainer):
    with pytest.raises(InputError, match="nowhere"):
        quick_trainer(max_steps=1).fit(tiny_model(teacher="nowhere"), tiny_data())


def test_a_solved_head_learns_nothing_from_a_teacher(teacher, tiny_model, tiny_data, quick_trainer):
    with pytest.raises(InputError, match="nothing to learn from a teacher"):
        quick_trainer(max_steps=1).fit(tiny_model(teacher=teacher, trainable="head", probe=True), tiny_data())


# ---------------------------------------------------------------- a search


@pytest.mark.slow
def test_weight_and_temperature_are_chosen_on_validation_rows(teacher, unlabelled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--data.source=sample", "--data.tokenizer=bytes", f"--model.teacher.folder={teacher}", "--trials=2"]
    words += [f"--data.unlabelled_source={unlabelled}", "--trainer.max_epochs=1", "--data.splitting.train_fraction=0.2"]
    assert main(["study", "--config=search/teacher", *words, "--output=found"]) == 0
    best = yaml.safe_load(Path("found/best.yaml").read_text())
    assert best["model"]["teacher"].keys() == {"folder", "weight", "temperature"}
    assert best["model"]["teacher"]["folder"] == teacher
    assert "best of 2 trials" in capsys.readouterr().out


def test_a_resumed_fit_keeps_its_teacher(teacher, tiny_model, tiny_data, quick_trainer, tmp_path):
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(tiny_model(trainable="all", teacher=teacher), tiny_data())
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    other = tiny_model(trainable="all")
    quick_trainer(max_steps=1).fit(other, tiny_data())
    other.to_text_classifier("cpu").save(teacher)
    with pytest.raises(InputError, match=r"the teacher's weights are .*, but the checkpoint was written with"):
        quick_trainer(max_epochs=2).fit(
            tiny_model(trainable="all", teacher=teacher), tiny_data(), ckpt_path=tmp_path / "student.ckpt"
        )
