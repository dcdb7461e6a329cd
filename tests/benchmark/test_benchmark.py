"""The alternatives compute what this package computes, so their times can be compared; each part runs to its end."""

import json
import re
import shlex
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import inference, jobs, runner
from benchmarks.__main__ import build_parser, main
from benchmarks.growth import LoadRows, PredictRows
from benchmarks.inference import Inference
from benchmarks.jobs import KINDS
from benchmarks.measures import matrix_peak
from benchmarks.runner import check_options
from benchmarks.service import Serving
from benchmarks.textbook import TextbookClassifier
from benchmarks.train import Training
from gpt_classifier.data import datasets
from gpt_classifier.export.transformers import build_transformers
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.models.freezing import freeze
from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.text.encoder import TextEncoder

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").rglob("*.md"))]
DOCUMENTED = re.findall(
    r"^python -m benchmarks (.+)$",
    "\n".join(page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES),
    re.MULTILINE,
)
TEXTS = ["a short one", "and a longer text, so that there is padding", "x"]


@pytest.fixture
def ours(tiny_config):
    return SequenceClassifier(GPT(tiny_config), 2).eval()


def test_the_textbook_model_gives_our_logits(ours):
    textbook = TextbookClassifier(ours.backbone, 2)
    textbook.head.load_state_dict(ours.head.state_dict())
    batch = TextEncoder("bytes", 64).batch([TextEncoder("bytes", 64).encode(text)[0] for text in TEXTS])
    logits = textbook(batch.inputs)[torch.arange(len(TEXTS)), batch.lengths - 1]
    torch.testing.assert_close(logits, ours(batch.inputs, batch.lengths), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("policy", "blocks"), [("head", 0), ("last_block", 1), ("all", None)])
def test_the_textbook_model_trains_as_many_parameters(ours, policy, blocks):
    textbook = TextbookClassifier(ours.backbone, 2)
    textbook.train_last_blocks(blocks)
    freeze(ours, policy)
    counts = [sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (textbook, ours)]
    assert counts[0] == counts[1]


def test_the_transformers_model_gives_our_logits(ours):
    reference = build_transformers(ours.backbone, 256, 2).eval()
    with torch.no_grad():
        reference.score.weight.copy_(ours.head.weight)
        ours.head.bias.zero_()
    batch = TextEncoder("bytes", 64).batch([TextEncoder("bytes", 64).encode(text)[0] for text in TEXTS])
    torch.testing.assert_close(reference(batch.inputs).logits, ours(batch.inputs, batch.lengths), atol=1e-5, rtol=1e-5)


def test_the_matrix_peak_is_a_rate():
    assert matrix_peak("cpu", "32-true", 0.01, 64) > 1e6


TRAINING = Training(
    "plain", "cpu", "32-true", "head", 1, 1, 0, 8, "sample", "grouped", "bytes", 64, {"n_layer": 1}, "random"
)
JOBS = [
    TRAINING,
    replace(TRAINING, gpt="gpt2"),
    Inference("int8", "cpu", "32-true", ["a text"], "checkpoints/sms-spam"),
    Serving("single", "cpu", "32-true", ["a text"], "checkpoints/sms-spam", [1, 8], 0.5),
    LoadRows("load rows", "cpu", "32-true", "messages.csv", "bytes"),
    PredictRows("predict rows", "cpu", "32-true", "messages.csv", "best.ckpt", "out.csv"),
]


def test_every_kind_of_job_is_the_same_in_its_own_process():
    assert set(KINDS.values()) == {type(job) for job in JOBS} == set(runner.Job.__subclasses__())
    for job in JOBS:
        assert KINDS[type(job).__name__](**json.loads(json.dumps(asdict(job)))) == job


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs jobs without new processes, each of which would import everything first."""

    def run(self, job):
        monkeypatch.setenv("GPT_CLASSIFIER_COMPUTED", str(self.scratch / "computed"))
        passed = KINDS[type(job).__name__](**json.loads(json.dumps(asdict(job))))
        return json.loads(json.dumps(jobs.measured(passed)))

    monkeypatch.setattr(runner.Runner, "run", run)
    monkeypatch.setattr(jobs, "matrix_peak", partial(matrix_peak, seconds=0.01, n=64))


@pytest.mark.nightly
@pytest.mark.slow
def test_all_systems_are_compared(tmp_path, capsys, in_this_process):
    output = tmp_path / "benchmark.json"
    gpt = '{"n_layer": 2, "n_head": 2, "n_embd": 16, "context_length": 64}'
    options = ["--source", "sample", "--split", "grouped", "--tokenizer", "bytes", "--max_length", "64", "--gpt", gpt]
    options += ["--epochs", "1", "--repeats", "1", "--policies", "last_block", "--rows", "20000"]
    options += ["--device", "cpu", "--parts", "train", "start", "growth"]
    assert main([*options, "--output", str(output)]) == 0
    table = capsys.readouterr().out
    for system in (
        "second run",
        "no hidden-state cache",
        "plain loop",
        "transformers Trainer",
        "classify one",
        "predict rows",
    ):
        assert system in table
    results = {tuple(r["job"]): r for r in json.loads(output.read_text())["results"]}
    cached, uncached = results["last_block", "cached"], results["last_block", "uncached"]
    assert cached["accuracy"] == uncached["accuracy"]
    assert results["last_block", "plain"]["accuracy"].keys() == {"train", "val", "test"}
    assert cached["frozen_layers"]["flops_per_second"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parts", "lunch"], "'lunch'"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--clients", "8", "0"], "--clients is [8, 0]"),
        (["--device", "tpu"], "'tpu'"),
        (["--gpt", "{n_layer: 1}"], "--gpt is {n_layer: 1}"),
        (["--gpt", "gpt9"], "gpt is 'gpt9'"),
        (["--weights", "pretrained", "--gpt", '{"n_layer": 1}'], "weights are pretrained"),
        (["--weights", "pretrained", "--gpt", "gpt9"], "gpt is 'gpt9'"),
    ],
)
def test_a_wrong_option_costs_one_line(options, message, tmp_path, capsys):
    output = tmp_path / "benchmark.json"
    assert main(["--tokenizer", "bytes", *options, "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("benchmarks: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize("line", DOCUMENTED)
def test_a_documented_command_parses(line):
    check_options(build_parser().parse_args(shlex.split(line, comments=True)))


SMALL = ["--source", "sample", "--split", "grouped", "--tokenizer", "bytes", "--max_length", "64", "--epochs", "1"]
SMALL += ["--gpt", '{"n_layer": 1, "n_head": 1, "n_embd": 8, "context_length": 64}', "--repeats", "1"]


@pytest.mark.nightly
def test_the_service_is_measured_with_and_without_batches(tmp_path, capsys):
    output = tmp_path / "benchmark.json"
    options = [*SMALL, "--parts", "service", "--messages", "20", "--clients", "1", "3", "--seconds", "0.2"]
    assert main([*options, "--output", str(output)]) == 0
    told = capsys.readouterr().out
    shown = re.findall(r"\| (app[^|]*) \| (\d) \| (\d+) \|", told)
    single = "app, one text a call (`--batch 1`)"
    assert [(name, int(clients)) for name, clients, _ in shown] == [("app", 1), (single, 1), ("app", 3), (single, 3)]
    for result in json.loads(output.read_text())["results"]:
        assert 0 < result["p50 3"] <= result["p99 3"]
        assert result["answers_per_second 3"] > 1


@pytest.mark.slow
def test_without_transformers_its_jobs_are_left_out(tmp_path, capsys, monkeypatch, in_this_process):
    monkeypatch.setattr(runner, "find_spec", lambda name: None)
    options = [*SMALL, "--parts", "train", "--policies", "all", "--systems", "transformers", "plain"]
    assert main([*options, "--output", str(tmp_path / "benchmark.json")]) == 0
    told = capsys.readouterr().out
    assert "transformers Trainer, grouped is left out: it needs `pip install transformers accelerate`" in told
    assert "| all | plain loop, as in the article |" in told


@pytest.mark.nightly
@pytest.mark.slow
def test_what_was_measured_outlives_a_job_that_fails(tmp_path, capsys):
    output = tmp_path / "benchmark.json"
    options = [*SMALL, "--parts", "train", "--policies", "head", "nothing", "--systems", "plain"]
    assert main([*options, "--output", str(output)]) == 2
    assert "job plain failed: " in capsys.readouterr().err
    assert [r["job"] for r in json.loads(output.read_text())["results"]] == [["head", "plain"]]


@pytest.mark.nightly
@pytest.mark.slow
def test_a_trained_model_is_classified_with_in_both_number_formats(tmp_path, capsys, in_this_process, monkeypatch):
    monkeypatch.setattr(inference, "EXPORTED", {"onnx": "onnx"})  # all formats are compared by the tests of export
    model = ROOT / "checkpoints" / "sms-spam"
    options = [*SMALL, "--parts", "inference", "--messages", "60", "--device", "cpu"]
    assert main([*options, "--model", str(model), "--output", str(tmp_path / "benchmark.json")]) == 0
    shown = dict(re.findall(r"accuracy of all these messages, ([^:]+): ([\d.]+) %", capsys.readouterr().out))
    assert list(shown) == ["gpt_classifier", "gpt_classifier, int8"]
    table = datasets.load("sample")["train"].sample(frac=1, random_state=0)[:60]
    predictions = TextClassifier.load(model, "cpu").predict(table["text"].tolist())
    right = sum(prediction.label == label for prediction, label in zip(predictions, table["label"], strict=True))
    assert float(shown["gpt_classifier"]) == pytest.approx(100 * right / 60, abs=0.005)
    assert float(shown["gpt_classifier, int8"]) == pytest.approx(100 * right / 60, abs=5)  # 3 of 60 messages
