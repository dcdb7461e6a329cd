"""The package does on Windows, which Linux plays here (on_windows/sitecustomize.py), what it does elsewhere."""

import ast
import csv
import ctypes
import importlib.util
import io
import json
import os
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import COMMANDS, main
from gpt_classifier.errors import InputError
from gpt_classifier.files import whole_file, whole_folder
from gpt_classifier.inference import initial_weights, model_folder
from gpt_classifier.training import memory, state_store
from gpt_classifier.training.callbacks import PredictionsFile
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.state_store import StateStore

ROOT = Path(__file__).parents[1]
EMULATION = ROOT / "tests" / "on_windows"
PACKAGE = ROOT / "gpt_classifier"
JAPAN, SPAM = "日本", "spam→"  # class names that cp1252 does not have
TINY = "{n_layer: 2, n_head: 4, n_embd: 32, context_length: 64}"
SMALL = ["--data.tokenizer=bytes", "--data.max_length=64", f"--model.gpt={TINY}", "--trainer.accelerator=cpu"]
ONCE = [*SMALL, "--trainer.max_epochs=1"]
ENCODINGS = ["cp1252", "ascii", "cp437", "shift_jis", "utf-8"]


@pytest.fixture(scope="module")
def emulation():
    found = importlib.util.spec_from_file_location("emulation", EMULATION / "sitecustomize.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def windows(emulation, monkeypatch):
    """This process on Windows."""
    emulation.install(partial(monkeypatch.setattr, raising=False))
    return emulation


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file whose name, text column and classes are not in cp1252."""
    path = tmp_path_factory.mktemp("rows") / f"{JAPAN}.csv"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["本文", "label"])
        for when, who in product(["at five", "tonight", "soon", "then"], ["mum", "dad", "love", "X"]):
            writer.writerow([f"See you {when}, {who} {JAPAN}", JAPAN])
        for what, how in product(["car", "cruise", "phone", "TV"], ["call", "text", "go", "pay"]):
            writer.writerow([f"WIN a {what}, {how} now!", SPAM])
    return path


@pytest.fixture(scope="module")
def run(emulation, rows, tmp_path_factory):
    """A run that was trained and tested on Windows, with the configuration that ``init`` wrote."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        emulation.install(partial(patch.setattr, raising=False))
        assert main(["init", str(rows)]) == 0
        assert main(["fit", f"--config={JAPAN}.yaml", *ONCE, "--model.weights=random", "--model.trainable=all"]) == 0
        assert main(["test", "--config", f"{JAPAN}.yaml"]) == 0
    return folder / "checkpoints" / JAPAN / "version_0"


# ---------------------------------------------------------------- files


def test_a_file_is_written_whole(windows, tmp_path):
    for text in ("first", "second"):
        with whole_file(tmp_path / "file") as path:
            path.write_text(text, encoding="utf-8")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "second"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_a_program_has_open_stays_as_it_is(windows, tmp_path):
    (tmp_path / "table.csv").write_text("old", encoding="utf-8")
    with (
        open(tmp_path / "table.csv", encoding="utf-8"),
        pytest.raises(InputError, match=r"cannot replace .*table.csv .*close the program"),
        whole_file(tmp_path / "table.csv") as path,
    ):
        path.write_text("new", encoding="utf-8")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_folder_is_written_whole(windows, tmp_path):
    with whole_folder(tmp_path / "folder") as folder:
        (folder / "file").write_text("text", encoding="utf-8")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("name", ["model", "checkpoints/best.ckpt", "checkpoints/last.ckpt"])
def test_a_loaded_model_holds_no_file(windows, run, name):
    loaded = model_folder.load(run / name)
    assert windows.held(str(run)) is None
    assert loaded.trained_on is not None


def test_known_training_texts_hold_no_file(windows, run):
    known = initial_weights.trained_on_before(run / "model")
    assert windows.held(str(run)) is None
    assert known is not None


def test_a_model_is_saved_over_itself(windows, run, tmp_path):
    before = TextClassifier.load(run)
    before.save(tmp_path / "model")
    again = TextClassifier.load(tmp_path / "model")
    again.save(tmp_path / "model")
    texts = ["See you", "WIN a car"]
    assert (TextClassifier.load(tmp_path / "model").predict_proba(texts) == before.predict_proba(texts)).all()


def test_damaged_states_are_removed_and_computed_again(windows, tmp_path, monkeypatch):
    monkeypatch.setenv("GPT_CLASSIFIER_COMPUTED", str(tmp_path))
    StateStore("name", torch.float32, 10**9).add({b"k" * 16: torch.ones(2, 3)})
    (file,) = (tmp_path / "trunk").rglob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    StateStore("name", torch.float32, 10**9).load([b"k" * 16])
    assert not file.exists()


def test_states_that_a_process_uses_outlive_the_limit(windows, tmp_path, monkeypatch):
    monkeypatch.setenv("GPT_CLASSIFIER_COMPUTED", str(tmp_path))
    StateStore("used", torch.float32, 10**9).add({b"k" * 16: torch.ones(2, 3)})
    StateStore("unused", torch.float32, 10**9).add({b"k" * 16: torch.ones(2, 3)})
    user = StateStore("used", torch.float32, 10**9)
    user.load([b"k" * 16])
    state_store.trim(0, keep=tmp_path)
    assert [path.parent.name for path in (tmp_path / "trunk").rglob("*.safetensors")] == ["used"]
    assert user[b"k" * 16].equal(torch.ones(2, 3))


def test_a_prediction_that_fails_leaves_nothing(windows, run, tmp_path):
    file, module = PredictionsFile(tmp_path / "out.csv", iter), GPTClassifier.from_bundle(model_folder.load(run))
    file.on_predict_start(SimpleNamespace(global_rank=0), module)
    assert len(os.listdir(tmp_path)) == 1
    file.on_exception(SimpleNamespace(global_rank=0), module, RuntimeError())
    assert os.listdir(tmp_path) == []


def test_every_text_file_of_the_package_has_an_encoding():
    """Otherwise it is that of the system, on Windows one that has few characters."""
    without = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            named = {keyword.arg for keyword in call.keywords}
            binary = any(isinstance(word, ast.Constant) and "b" in str(word.value) for word in call.args[1:2])
            opens = name in ("read_text", "write_text") or (isinstance(call.func, ast.Name) and name == "open")
            of_process = name in ("run", "Popen") and "text" in named
            if ((opens and not binary) or of_process) and "encoding" not in named:
                without.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert without == []


# ---------------------------------------------------------------- memory


def test_windows_says_how_much_memory_there_is(windows):
    assert (memory.physical_memory(), memory.peak_memory()) == (windows.MEMORY, windows.PEAK)


@pytest.mark.parametrize("asked", [memory.physical_memory, memory.peak_memory])
def test_a_refusal_of_windows_is_an_error(windows, asked, monkeypatch):
    monkeypatch.setattr(ctypes.windll.kernel32, "GlobalMemoryStatusEx", lambda *_: 0)
    monkeypatch.setattr(ctypes.windll.kernel32, "K32GetProcessMemoryInfo", lambda *_: 0)
    with pytest.raises(OSError, match="how much memory"):
        asked()


# ---------------------------------------------------------------- what is printed


@pytest.fixture
def printed(monkeypatch):
    """Runs a command whose outputs have an encoding, as a terminal or a pipe wants it; returns what it wrote."""

    def command(encoding, *words):
        outputs = {name: io.BytesIO() for name in ("stdout", "stderr")}
        with monkeypatch.context() as patch:
            for name, output in outputs.items():
                patch.setattr(sys, name, io.TextIOWrapper(output, encoding=encoding))
            assert main(list(words)) == 0
            for name in outputs:
                getattr(sys, name).flush()
            return outputs["stdout"].getvalue()

    return command


def commands_with_class_names(run, rows, folder):
    data = [str(rows), "--data.text_column=本文"]
    return {
        "init": ["init", str(rows), "--force"],
        "init --print": ["init", str(rows), "--print"],
        "audit": ["audit", *data, "--data.tokenizer=bytes"],
        "audit --json": ["audit", *data, "--data.tokenizer=bytes", "--json"],
        "review": ["review", "export", *data, "--data.tokenizer=bytes", f"--output={folder / 'review.csv'}"],
        "test": ["test", str(run)],
        "calibrate": ["calibrate", str(run), "--prevalence", f"{{{JAPAN}: 0.5, {SPAM}: 0.5}}"],
        "predict": ["predict", str(run), "--data.source", str(rows), f"--output={folder / 'out.csv'}"],
        "classify": ["classify", str(run), "See you"],
        "classify --json": ["classify", str(run), "--json", f"See you \U0001f600 {JAPAN}"],
        "report": ["report", str(run)],
        "compare": ["report", str(run), str(run)],
        "export": ["export", str(run), "--to", "merged", f"--output={folder / 'merged'}"],
        "pretrain": ["pretrain", "--config=pretrain", f"--data.source={rows}", "--data.text_column=本文", *ONCE,
                     f"--trainer.default_root_dir={folder}"],
    }  # fmt: skip


@pytest.mark.parametrize("command", [
    "init", "init --print", "audit", "audit --json", "review", "test", "calibrate", "predict", "classify",
    "classify --json", "report", "compare", "export", "pretrain",
])  # fmt: skip
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_command_prints_class_names_whatever_the_terminal_shows(
    encoding, command, run, rows, printed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = commands_with_class_names(run, rows, tmp_path)[command]
    output = printed(encoding, *words)
    said = output.decode("utf-8" if COMMANDS[words[0]].utf8 else encoding)
    if COMMANDS[words[0]].utf8:
        assert JAPAN in said or SPAM in said
    elif command in ("init", "init --print", "compare"):
        assert r"\u65e5\u672c" in said
    if "--json" in words:
        json.loads(said)


@given(text=st.text(), encoding=st.sampled_from(ENCODINGS))
def test_every_output_takes_every_text_and_keeps_what_its_encoding_has(text, encoding):
    output = io.BytesIO()
    stream = io.TextIOWrapper(output, encoding=encoding, newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert main(["--version"]) == 0
        begun = len(output.getvalue())
        print(text, end="", flush=True)
    shown = output.getvalue()[begun:].decode(encoding)
    try:
        expected = text.encode(encoding).decode(encoding)
    except UnicodeEncodeError:
        expected = text.encode(encoding, "backslashreplace").decode(encoding)
    assert shown == expected


def test_a_program_without_a_console_prints_nowhere(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["--version"]) == 0
    assert main(["no-such-command"]) == 2


def test_a_closed_output_is_no_error():
    words = f"{sys.executable} -m gpt_classifier --version >&- 2>&-"
    assert subprocess.run(words, shell=True, cwd=ROOT, timeout=60).returncode == 0


# ---------------------------------------------------------------- all commands, in processes on Windows


def on_windows(folder, *words):
    """Runs the program in a process on Windows, where outputs have cp1252; returns its standard output."""
    path = os.pathsep.join([str(EMULATION), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(
        [sys.executable, "-m", "gpt_classifier", *words], cwd=folder, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    return done.stdout


def test_the_package_does_without_what_windows_lacks(tmp_path):
    """Also when it is imported; other libraries need not."""
    lacks = "import os, signal; assert hasattr(os, 'sysconf') and hasattr(signal, 'SIGKILL')"
    seen = "from gpt_classifier.cli import signals; import gpt_classifier.training.memory as memory"
    check = "assert not hasattr(memory.os, 'sysconf') and not hasattr(signals.signal, 'SIGKILL')"
    use = "assert memory.physical_memory() and memory.peak_memory()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(EMULATION), str(ROOT)])}
    code = "; ".join([lacks, seen, check, use])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


@pytest.mark.nightly
@pytest.mark.slow
def test_the_quickstart_and_what_follows_it(rows, tmp_path):
    spoken = ["URGENT! You have won a free cruise, call now to claim your prize", "Running late, mum"]
    quick = ["--config", str(ROOT / "configs" / "toy.yaml"), "--trainer.max_epochs", "1"]
    column, root = ["--data.text_column", "本文"], ["--trainer.default_root_dir", "runs"]
    source = ["--data.source", str(rows), *column]
    run = "runs/version_0"
    assert b"spam" in on_windows(tmp_path, "classify", *spoken)
    on_windows(tmp_path, "fit", *quick, "--trainer.limit_train_batches", "10")
    on_windows(tmp_path, "test", *quick)
    answers = on_windows(tmp_path, "classify", "checkpoints/toy", *spoken)
    assert [line.partition(b"\t")[0] in (b"ham", b"spam") for line in answers.splitlines()] == [True, True]
    on_windows(tmp_path, "init", str(rows))
    on_windows(tmp_path, "audit", str(rows), *column, "--data.tokenizer=bytes")
    constant = ["--model.optimizer.schedule", "constant", "--model.optimizer.warmup", "0"]  # so that it may go on
    before = ["pretrain", "--config", "pretrain", *source, *ONCE, *constant, "--trainer.default_root_dir", "pretrained"]
    on_windows(tmp_path, *before)
    on_windows(tmp_path, *before, "--trainer.max_epochs", "2", "--ckpt_path", "last")
    weights = ["--model.weights", "pretrained/version_0/model"]
    on_windows(tmp_path, "fit", *source, *weights, *root, "--trainer.max_epochs", "1", "--model.pooling", "last_token")
    on_windows(tmp_path, "fit", "--config", f"{run}/config.yaml", "--trainer.max_epochs", "2", "--ckpt_path", "last")
    on_windows(tmp_path, "test", run)
    on_windows(tmp_path, "calibrate", run)
    for ending in ("csv", "jsonl", "parquet"):
        output = ["--output", f"out.{ending}"]
        on_windows(tmp_path, "predict", run, *source, "--keep", "label", *output)
    assert b"\r" not in (tmp_path / "out.csv").read_bytes() + (tmp_path / "out.jsonl").read_bytes()
    on_windows(tmp_path, "export", run, "--to", "hf", "--output", "exported")
    answer = on_windows(tmp_path, "classify", run, spoken[0])
    assert answer.partition(b"\t")[0].decode() in (SPAM, JAPAN)
    assert not list(tmp_path.rglob(".*.part")), "nothing half-written is left"


@pytest.mark.nightly
@pytest.mark.slow
def test_a_study_with_class_names_that_the_system_does_not_have(rows, tmp_path):
    (tmp_path / "study.yaml").write_text(
        f"""
base: {ROOT / "configs" / "toy.yaml"}
weights: best
settings: {{model.gpt: {TINY}, data.max_length: 64, trainer.max_epochs: 1, data.source: {rows}, data.text_column: 本文}}
rows: [{{name: 1, title: {JAPAN}}}]
""",
        encoding="utf-8",
    )
    said = on_windows(tmp_path, "study", "--config", "study.yaml", "--seeds", "1", "--output", "out")
    assert rb"\u65e5\u672c" in said
    assert JAPAN in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
