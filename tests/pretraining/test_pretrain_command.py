"""The command pretrain: which texts it reads, what it leaves, how it continues, and what fit does with its folder."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from gpt_classifier import TextClassifier, TextDataModule
from gpt_classifier.cli.main import main
from gpt_classifier.data.duplicates import find_trained_on, training_fingerprints
from gpt_classifier.errors import InputError
from gpt_classifier.inference.initial_weights import network_settings
from gpt_classifier.pretraining.build_run import PretrainingCLI, pretrain
from gpt_classifier.pretraining.datamodule import PretrainingData
from gpt_classifier.pretraining.generation import generate
from gpt_classifier.pretraining.module import LanguageModel

GPT = {"n_layer": 1, "n_head": 2, "n_embd": 16, "context_length": 32, "dropout": 0.2}
SETTINGS = {
    "data": {"source": "sample", "tokenizer": "bytes", "max_length": 32, "batch_size": 32},
    "model": {"gpt": GPT, "learning_rate": 0.003, "samples": 1, "optimizer": {"warmup": 0.1, "schedule": "cosine"}},
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "limit_train_batches": 4, "limit_val_batches": 2},
}


def changed(data=None, model=None, trainer=None):
    parts = {"data": data, "model": model, "trainer": trainer}
    return {name: SETTINGS[name] | (part or {}) for name, part in parts.items()}


@pytest.fixture(autouse=True, scope="module")
def computed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_CLASSIFIER_COMPUTED", str(tmp_path_factory.mktemp("computed")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, computed):
    """A network that was pretrained on the training texts of the sample."""
    return pretrain(tmp_path_factory.mktemp("pretrained"), SETTINGS)


def prepared(**settings):
    data = PretrainingData(**{"tokenizer": "bytes", "max_length": 16} | settings)
    data.prepare_data()
    data.setup("fit")
    return data


def decoded(packed):
    tokens = np.fromfile(packed._path, dtype=packed._dtype)
    pieces = np.split(tokens, np.flatnonzero(tokens == 256))[1:]  # each begins with the end-of-text token
    return [bytes(piece[1:].tolist()).decode() for piece in pieces]


def write_texts(path, text="some text", number=30):
    path.write_text(f"{text}\n\n" * number, encoding="utf-8")
    return str(path)


def command_line(settings, folder, *more):
    return PretrainingCLI([f"--config={json.dumps(settings)}", f"--trainer.default_root_dir={folder}", *more])


def same(tensors, others):
    return all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize("settings", [{}, {"split": "random"}, {"splitting": {"seed": 7, "folds": 3, "fold": 1}}])
def test_texts_with_labels_are_divided_as_by_fit_and_no_test_text_is_among_the_tokens(settings):
    data = prepared(source="sample", **settings)
    tables = TextDataModule(source="sample", **settings).read_tables()
    assert decoded(data.packed["train"]) == tables["train"]["text"].tolist()
    assert decoded(data.packed["val"]) == (tables["val"]["text"].tolist() if "val" in tables else [])
    test = set(tables["test"]["text"]) - set(tables["train"]["text"])
    assert test
    assert not test & {*decoded(data.packed["train"]), *decoded(data.packed["val"])}


def test_texts_without_labels_are_held_out_by_their_hash_from_several_sources(tmp_path):
    texts = [f"text number {'x' * n}" for n in range(200)]
    pd.DataFrame({"text": texts[:100]}).to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.txt").write_text("\n\n".join(texts[100:]), encoding="utf-8")
    data = prepared(source=[str(tmp_path / "a.csv"), str(tmp_path / "b.txt")], val_share=0.2)
    train, val = decoded(data.packed["train"]), decoded(data.packed["val"])
    assert sorted([*train, *val]) == sorted(texts)
    assert 20 < len(val) < 60
    assert find_trained_on(train, data.trained_on).all()
    assert not find_trained_on(val, data.trained_on).any()


def test_with_null_a_column_of_labels_is_ignored(tmp_path):
    pd.DataFrame({"text": ["a long text", "b text"] * 30, "label": ["x", "y"] * 30}).to_csv(tmp_path / "a.csv")
    data = prepared(source=str(tmp_path / "a.csv"), label_column=None, val_share=0.0)
    assert data.statistics.texts == {"train": 60, "val": 0}


def test_the_files_of_tokens_are_written_once(tmp_path):
    settings = {"source": write_texts(tmp_path / "a.txt"), "val_share": 0.0}
    first = prepared(**settings).packed["train"]._path
    written = first.stat().st_mtime_ns
    assert prepared(**settings).packed["train"]._path.stat().st_mtime_ns == written
    write_texts(tmp_path / "a.txt", "other text")
    assert prepared(**settings).packed["train"]._path != first


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (None, (), "has no .txt file"),
        ("  \n\n \n", (), "no text to train on"),
        ("abc", (), "less than one block"),
        ("abc\0" * 100, (), "is no text file"),
        ("abc", ["--data.val_shere=0.1"], "data.val_share"),
        ("abc", ["--model.smaples=1"], "model.samples"),
        ("abc", ["--model.pooling=mean"], "no option --model.pooling"),
        ("abc", ["--learning_rate=1"], "--model.learning_rate"),
        ("abc", ["--model.optimizer.unfreeze_every=1"], "unfreeze_every is for fit"),
    ],
)
def test_what_cannot_be_pretrained_is_one_line_and_exit_code_2(content, options, expected, tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    if content is not None:
        (tmp_path / "texts" / "a.txt").write_text(content)
    small = ["--data.tokenizer=bytes", f"--model.gpt={json.dumps(GPT)}", "--data.max_length=32", "--data.val_share=0"]
    words = [f"--data.source={tmp_path / 'texts'}", *small, f"--trainer.default_root_dir={tmp_path}"]
    assert main(["pretrain", *words, *options]) == 2
    assert expected in capsys.readouterr().err.strip().splitlines()[-1]


def test_help_explains_its_own_settings(capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "--help", "all"])
    text = capsys.readouterr().out
    assert "--data.val_share" in text
    assert "--model.checkpoint_every" in text
    assert "--model.trainable" not in text


def test_a_bidirectional_encoder_predicts_no_next_token(tmp_path):
    pytest.importorskip("transformers")
    backbone = {"model_type": "distilbert", "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    with pytest.raises(InputError, match="predicts no next token"):
        pretrain(tmp_path, changed(model={"backbone": backbone}))


# ---------------------------------------------------------------- the folder


def test_the_folder_says_what_it_was_pretrained_on(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained_on"]["source"] == "sample"
    assert config["pretrained_on"]["steps"] == 4
    assert 0 < config["pretrained_on"]["bits_per_byte"] < 9
    assert "without a classification head" in (folder / "README.md").read_text()
    train = TextDataModule(source="sample").read_tables()["train"]["text"]
    assert torch.equal(load_file(folder / "model.safetensors")["trained_on"], training_fingerprints(train))


def test_it_is_no_classifier(folder):
    with pytest.raises(InputError, match=r"classification head.*fit weights"):
        TextClassifier.load(folder)


def fit(folder, tmp_path, *options):
    short = ["--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    words = [f"--model.weights={folder}", "--data.source=sample", *short, f"--trainer.default_root_dir={tmp_path}"]
    return main(["fit", *options, *words])


def test_fit_takes_its_network_and_tokenizer_and_the_result_classifies(folder, tmp_path, capsys):
    assert fit(folder, tmp_path, "--model.trainable=head") == 0
    classifier = TextClassifier.load(tmp_path)
    assert classifier.predict("you won a prize").label in ("ham", "spam")
    ours, theirs = (load_file(path / "model.safetensors") for path in (tmp_path / "version_0" / "model", folder))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items() if name.startswith("backbone."))
    assert "among the texts" not in capsys.readouterr().err  # test rows were left out


def test_a_classifier_of_ours_can_be_trained_further_without_its_dimensions(folder, tmp_path):
    assert fit(folder, tmp_path / "first") == 0
    assert fit(tmp_path / "first" / "version_0" / "model", tmp_path / "second") == 0


def test_settings_of_a_network_have_precedence_and_a_mismatch_is_one_line(folder, tmp_path, capsys):
    assert fit(folder, tmp_path, "--data.tokenizer=bytes", "--model.gpt.dropout=0.1") == 0  # the same vocabulary
    capsys.readouterr()
    assert fit(folder, tmp_path, "--model.gpt={n_layer: 2, n_head: 2, n_embd: 16, context_length: 32}") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "'n_layer': 1" in error
    assert "leave out --model.gpt" in error


def test_another_tokenizer_that_is_typed_is_refused_before_anything_is_read(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(TextDataModule, "read_rows", None)
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]")
    tokenizers.Tokenizer(words).save(str(tmp_path / "tokenizer.json"))
    assert fit(folder, tmp_path, "--config=scratch", f"--data.tokenizer={tmp_path}") == 2
    said = f"was trained with another one: leave it out, or give --data.tokenizer {folder}"
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_fit_warns_of_test_texts_that_were_pretrained_on(tmp_path, caplog, capsys):
    tables = TextDataModule(source="sample").read_tables()
    pd.concat(tables.values())[["text"]].to_csv(tmp_path / "texts.csv", index=False)
    folder = pretrain(tmp_path / "pre", changed(data={"source": str(tmp_path / "texts.csv"), "val_share": 0.0}))
    with caplog.at_level("INFO"):
        assert fit(folder, tmp_path) == 0
    said = caplog.text + "".join(capsys.readouterr())
    assert f"warning: {len(tables['val'])} val and {len(tables['test'])} test rows" in said


def test_a_pretraining_continues_from_a_folder_with_other_texts(folder, tmp_path):
    data = {"source": write_texts(tmp_path / "a.txt", "some quite other text"), "val_share": 0.0}
    second = pretrain(tmp_path, {"data": data, "model": {"weights": str(folder)}, "trainer": SETTINGS["trainer"]})
    assert network_settings(second)["model"] == network_settings(folder)["model"]
    known = load_file(second / "model.safetensors")["trained_on"]
    assert find_trained_on(["some quite other text"], known).all()
    assert set(load_file(folder / "model.safetensors")["trained_on"].tolist()) < set(known.tolist())


# ---------------------------------------------------------------- training


def test_the_model_learns(tmp_path):
    text = write_texts(tmp_path / "a.txt", "the cat sat on the mat and the dog lay on the rug", 100)
    settings = changed(
        {"source": text, "label_column": None, "val_share": 0.0, "batch_size": 8},
        {"learning_rate": 0.02, "gpt": GPT | {"dropout": 0.0}},
        {"limit_train_batches": 1.0, "max_epochs": 20},
    )
    cli = command_line(settings, tmp_path)
    cli.pretrain()
    assert float(cli.trainer.callback_metrics["train/loss"]) < 1.0  # 5.5 at first
    backbone, prompt = cli.model.model.eval().backbone, [256, *b"the "]
    first, again = (generate(backbone, prompt, 20, seed=3) for _ in range(2))
    assert first == again
    assert first != generate(backbone, prompt, 20, seed=4, temperature=2.0)


def test_accumulated_batches_have_the_gradient_of_one_large_batch(tmp_path):
    weights = []
    for batch_size, accumulate in ((8, 1), (4, 2)):
        batches = {"limit_train_batches": 4 * accumulate, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
        model = {"gpt": GPT | {"dropout": 0.0}, "optimizer": {"name": "SGD"}}
        settings = changed({"batch_size": batch_size}, model, batches)
        weights.append(load_file(pretrain(tmp_path / str(batch_size), settings) / "model.safetensors"))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_in_mixed_precision_too(tmp_path):
    settings = changed(trainer={"precision": "bf16-mixed", "gradient_clip_val": 1.0})
    assert (pretrain(tmp_path, settings) / "model.safetensors").exists()


def last(folder):
    return torch.load(folder / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_interrupted_run_continues_to_the_same_weights_bit_for_bit(accumulate, tmp_path, monkeypatch):
    limits = {"max_epochs": 2, "limit_train_batches": 6 * accumulate, "accumulate_grad_batches": accumulate}
    settings = changed(model={"checkpoint_every": 3}, data={"batch_size": 8}, trainer=limits)

    def run(folder, *more):
        torch.manual_seed(123)  # as at the beginning of every test
        command_line(settings, tmp_path / folder, *more).pretrain()
        return last(tmp_path / folder)

    def cut(module, *arguments):
        if module.global_step == 10:  # within the second epoch; the checkpoint is of step 9
            raise RuntimeError("power cut")
        return step(module, *arguments)

    whole, step = run("whole"), LanguageModel.training_step
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "training_step", cut)
        with pytest.raises(RuntimeError, match="power cut"):
            run("cut")
    assert last(tmp_path / "cut")["global_step"] == 9
    resumed = run("cut", "--ckpt_path=last")
    assert whole["global_step"] == resumed["global_step"] == 12
    assert same(whole["state_dict"], resumed["state_dict"])


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.ci
def test_a_killed_run_continues_to_the_same_weights_bit_for_bit(tmp_path):
    settings = changed({"batch_size": 8}, {"checkpoint_every": 7}, {"max_epochs": 3, "limit_train_batches": 60})
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(settings))

    def start(folder, *more):
        words = [f"--config={config}", f"--trainer.default_root_dir={tmp_path / folder}", *more]
        command = [sys.executable, "-m", "gpt_classifier", "pretrain", *words]
        return subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    assert start("whole").wait() == 0
    process, checkpoint = start("killed"), tmp_path / "killed" / "version_0" / "checkpoints" / "last.ckpt"
    while not (checkpoint.is_file() and last(tmp_path / "killed")["global_step"] > 60):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 60 < last(tmp_path / "killed")["global_step"] < 180
    assert start("killed", "--ckpt_path=last").wait() == 0
    whole, resumed = (last(tmp_path / name) for name in ("whole", "killed"))
    assert whole["global_step"] == resumed["global_step"] == 180
    assert same(whole["state_dict"], resumed["state_dict"])
    assert same(*(load_file(tmp_path / name / "version_0/model/model.safetensors") for name in ("whole", "killed")))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (changed(model={"learning_rate": 0.5}), r"learning_rate is 0\.5, but the checkpoint"),
        (changed(data={"batch_size": 7}), r"data\.batch_size is 7.*checkpoint"),
    ],
)
def test_a_run_is_not_continued_with_other_settings(settings, said, folder):
    with pytest.raises(InputError, match=said):
        command_line(settings, folder.parent.parent, "--ckpt_path=last").pretrain()


def test_the_blocks_of_an_epoch_are_shared_by_processes(tmp_path):
    data = prepared(source=write_texts(tmp_path / "a.txt"), val_share=0.0, batch_size=2)
    blocks = []
    for rank in range(3):
        data.process = lambda rank=rank: (rank, 3)
        blocks += [number for batch in data.train_dataloader().sampler for number in batch]
    assert len(blocks) == len(set(blocks)) == len(data.packed["train"]) // 3 * 3


# ---------------------------------------------------------------- the way from a pretraining to a classifier


@pytest.mark.parametrize("tokenizer", ["bytes", {"train": 300}])
def test_the_printed_fit_takes_network_and_tokenizer_whatever_its_configuration_says(
    tokenizer, tmp_path, capsys, caplog, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    rows = [f"{'win a' if n % 2 else 'see you'} {chr(97 + n // 8)}{chr(97 + n % 8)},{n % 2}" for n in range(60)]
    Path("post.csv").write_text("\n".join(["body,label", *rows]), encoding="utf-8")
    data = {"source": "post.csv", "text_column": "body", "tokenizer": tokenizer}
    run = pretrain(Path("runs"), changed(data=data)).parent
    lines = (caplog.text + capsys.readouterr().err).splitlines()
    said = next(line[line.index("next: ") :] for line in lines if "next: " in line)
    words = f"fit --config scratch --model.weights {run / 'model'} --data.source post.csv --data.text_column body"
    assert said == f"next: gpt-classifier {words}"
    assert main([*shlex.split(said)[2:], "--trainer.accelerator=cpu", "--trainer.max_epochs=1"]) == 0
    told = " ".join((caplog.text + capsys.readouterr().err).split())
    changed_ones = "data.tokenizer, data.max_length, model.gpt.n_head, model.gpt.n_embd, model.gpt.context_length"
    assert f"{changed_ones}: those of" in told


def test_of_texts_without_labels_the_next_fit_names_a_file_to_be(tmp_path, capsys, caplog):
    pretrain(tmp_path, changed(data={"source": write_texts(tmp_path / "a.txt")}))
    assert "--data.source LABELLED.csv" in caplog.text + capsys.readouterr().err


@pytest.mark.parametrize("validated", [False, True])
def test_a_stopped_pretraining_leaves_its_network_and_the_command_that_continues_it(
    validated, tmp_path, capsys, caplog, monkeypatch
):
    step = LanguageModel.training_step

    def stopped(module, *arguments):
        if module.global_step == 5:
            signal.raise_signal(signal.SIGTERM)
        return step(module, *arguments)

    monkeypatch.setattr(LanguageModel, "training_step", stopped)
    settings = changed(data={"batch_size": 8}, trainer={"max_epochs": 3, "limit_train_batches": 4 if validated else 9})
    (tmp_path / "pre.yaml").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["pretrain", f"--config={tmp_path / 'pre.yaml'}", f"--trainer.default_root_dir={tmp_path}"])
    assert end.value.code == 143
    run = tmp_path / "version_0"
    assert (run / "model" / "model.safetensors").is_file()
    said = (caplog.text + capsys.readouterr().err).splitlines()
    command = next(line for line in said if "to continue: " in line).partition("to continue: ")[2]
    words = f"--config {run / 'config.yaml'} --ckpt_path {run / 'checkpoints' / 'last.ckpt'}"
    assert command == f"gpt-classifier pretrain {words}"
    monkeypatch.setattr(LanguageModel, "training_step", step)
    assert main(shlex.split(command)[1:]) == 0
