"""``classify`` writes one line for each text, as soon as it comes, and ends quietly."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gpt_classifier import TextClassifier, files
from gpt_classifier.cli.main import main
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.model_folder import save_folder
from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.text.encoder import TextEncoder

SAMPLE = Path(__file__).parents[2] / "checkpoints" / "sms-spam"
TEXTS = ["WIN a car now!", "See you at five", "ünïcödé 🎉"]


@pytest.fixture(scope="module")
def classifier() -> TextClassifier:
    return TextClassifier.load(SAMPLE)


@pytest.fixture
def classify(capsys, monkeypatch):
    """Runs the command with the sample model and gives the lines that it wrote."""

    def run(*arguments: str, stdin: bytes = b"") -> list[str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        assert main(["classify", str(SAMPLE), *arguments]) == 0
        out = capsys.readouterr().out
        assert out.endswith("\n") or not out
        return out.split("\n")[:-1]

    return run


@pytest.fixture
def error(capsys):
    def run(*arguments: str) -> str:
        assert main(["classify", *arguments]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.count("\n") == 1
        return output.err.removeprefix("gpt-classifier: error: ")

    return run


@pytest.fixture
def process():
    """Starts the command in a process of its own, with pipes; ends it after the test."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "gpt_classifier", "classify", str(SAMPLE), *arguments]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen(command, bufsize=0, **pipes))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        for pipe in (one.stdin, one.stdout, one.stderr):
            pipe.close()
        one.wait()


# ---------------------------------------------------------------- what is written


def test_a_line_is_class_probability_and_text(classify, classifier):
    expected = [
        f"{p.label}\t{p.probability:.3f}\t{text}" for text, p in zip(TEXTS, classifier.predict(TEXTS), strict=True)
    ]
    assert classify(*TEXTS) == expected


def test_the_model_is_the_first_word_with_options_anywhere(capsys):
    written = set()
    for arguments in (
        [str(SAMPLE), "hello", "you", "--top-k", "2"],
        [str(SAMPLE), "--top-k", "2", "hello", "you"],
        ["--top-k", "2", str(SAMPLE), "hello", "you"],
        [str(SAMPLE), "hello", "--top-k", "2", "you"],
    ):
        assert main(["classify", *arguments]) == 0
        written.add(capsys.readouterr().out)
    assert [line.split("\t")[-1] for line in written.pop().splitlines()] == ["hello", "you"]
    assert not written


@pytest.mark.parametrize("texts", [["WINNER!! Claim your prize now", "See you at five"], ["and/or?"], ["a/b c", "d"]])
def test_without_a_model_the_built_in_one_classifies_and_is_named(texts, capsys):
    assert main(["classify", *texts]) == 0
    out, err = capsys.readouterr()
    predictions = TextClassifier.load(files.built_in_model()).predict(texts)
    assert [line.split("\t")[::2] for line in out.splitlines()] == [
        [p.label, text] for p, text in zip(predictions, texts, strict=True)
    ]
    assert files.BUILT_IN_MODEL in err
    assert repr(TextClassifier.load()) == repr(TextClassifier.load(files.built_in_model()))


@pytest.mark.parametrize("before", [[], ["--top-k=1"]])
def test_what_follows_two_dashes_is_text(before, classify):
    assert [line.split("\t")[2] for line in classify(*before, "--", "--json", "-5")] == ["--json", "-5"]


@pytest.fixture(scope="module")
def four_classes(tmp_path_factory, tiny_config) -> Path:
    """A model folder of four classes, untrained."""
    folder = tmp_path_factory.mktemp("four")
    model = SequenceClassifier(GPT(tiny_config), 4)
    save_folder(folder, Bundle(model, TextEncoder("bytes", 64), ["c", "a", "d", "b\tb"]), "")
    return folder


@pytest.mark.parametrize("top_k", [None, 1, 3, 4, 99])
def test_json_has_text_label_and_the_most_probable_classes(top_k, four_classes, capsys):
    expected = TextClassifier.load(four_classes).predict(TEXTS)
    option = [] if top_k is None else [f"--top-k={top_k}"]
    assert main(["classify", str(four_classes), *TEXTS, "--json", *option]) == 0
    for line, text, prediction in zip(capsys.readouterr().out.splitlines(), TEXTS, expected, strict=True):
        assert text in line, "readable in any script"
        ranked = sorted(prediction.probabilities.items(), key=lambda item: item[1], reverse=True)[:top_k]
        fields = {"text": text, "label": prediction.label, "probability": prediction.probability}
        assert json.loads(line) == fields | {"probabilities": dict(ranked)}
        assert list(json.loads(line)["probabilities"]) == [name for name, _ in ranked]


@pytest.mark.parametrize("top_k", [1, 3, 4, 99])
def test_top_k_writes_the_most_probable_classes_before_the_text(top_k, four_classes, capsys):
    expected = TextClassifier.load(four_classes).predict(TEXTS)
    assert main(["classify", str(four_classes), *TEXTS, f"--top-k={top_k}"]) == 0
    for line, text, prediction in zip(capsys.readouterr().out.splitlines(), TEXTS, expected, strict=True):
        ranked = sorted(prediction.probabilities.items(), key=lambda item: item[1], reverse=True)[:top_k]
        parts = [part for name, probability in ranked for part in (name.replace("\t", r"\t"), f"{probability:.3f}")]
        assert line.split("\t") == [*parts, text]


def test_a_text_is_one_line_whatever_is_in_it(classify):
    text = "a\nb\tc\rd\x1b[31me\x85f\u2028g\u202eh\\"
    (line,) = classify(text)
    assert line.split("\t")[2] == r"a\nb\tc\rd\x1b[31me\x85f\u2028g\u202eh" + "\\"
    assert len(line.splitlines()) == 1
    (line,) = classify("--json", text)
    assert json.loads(line)["text"] == text


# ---------------------------------------------------------------- what is read


def test_each_line_of_standard_input_is_a_text_blank_or_not_whatever_ends_it(classify):
    lines = classify(stdin=b"\xef\xbb\xbfone\r\n\n  \ntwo\rthree\nfour")
    assert [line.split("\t")[2] for line in lines] == ["one", "", "  ", r"two\rthree", "four"]


def test_nothing_on_standard_input_gives_nothing(classify):
    assert classify(stdin=b"") == []
    assert len(classify(stdin=b"\n")) == 1


def test_lines_beyond_one_read_are_whole_and_in_order(classify):
    texts = [f"{'ü' * (number % 7)}{number}" for number in range(3000)] + ["x" * 200_000]
    lines = classify("--json", stdin="\n".join(texts).encode())
    assert [json.loads(line)["text"] for line in lines] == texts


def test_bytes_that_are_not_utf8_are_replaced(classify):
    (line,) = classify(stdin=b"caf\xe9 \xff\n")
    assert line.split("\t")[2] == "caf\ufffd \ufffd"
    (line,) = classify("--json", os.fsdecode(b"caf\xe9"))
    assert json.loads(line)["text"] == "caf\ufffd"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["runs/" + "x" * 5000, "y"], "no model at 'runs/xxx"),
        (["last.ckpt", "y"], "no model at 'last.ckpt'"),
        (["--model", "nowhere", "hello"], "the model is the first word, as in classify checkpoints/spam"),
        ([str(SAMPLE.parent), "hello"], f"no model at {SAMPLE.parent}"),
        ([str(SAMPLE), "hello", "--top-k", "0"], "--top-k is 0, expected at least 1"),
        ([str(SAMPLE), "hello", "--top-k", "many"], "many"),
        ([str(SAMPLE), "hello", "--device", "abacus"], "abacus"),
        ([str(SAMPLE), "hello", "--base", "gpt2"], "is not an adapter folder"),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments, named, error):
    message = error(*arguments)
    assert named in message
    assert len(message) < 400


def test_a_model_that_is_not_there_costs_no_import_of_torch():
    code = (
        "import sys; from gpt_classifier.cli.main import main; "
        "main(['classify', 'no/x', 'y']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_one_message_needs_neither_lightning_nor_pandas():
    code = f"""import sys
from gpt_classifier.cli.main import main
assert main(["classify", {str(SAMPLE)!r}, "hello"]) == 0
print(sorted({{"lightning", "pandas", "sklearn", "jsonargparse", "transformers"}} & sys.modules.keys()))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "[]"


# ---------------------------------------------------------------- as a process among others


def test_a_line_is_classified_before_the_next_is_written(process):
    running = process()
    watchdog = threading.Timer(60, running.kill)  # a line that waits for more would wait for ever
    watchdog.start()
    for text in ("one", "", "three"):
        running.stdin.write(f"{text}\n".encode())
        assert running.stdout.readline().decode().rstrip("\n").split("\t")[2:] == [text]
    running.stdin.write(b"no line end")
    running.stdin.close()
    assert running.stdout.readline().endswith(b"\tno line end\n")
    assert running.wait() == 0
    assert running.stderr.read() == b""
    watchdog.cancel()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise on Windows")
@pytest.mark.parametrize("read", [pytest.param(0, marks=pytest.mark.nightly), 1], ids=["nothing read", "one line read"])
def test_a_reader_that_has_enough_ends_it_without_a_word(read, process):
    running = process()
    for _ in range(read):
        running.stdin.write(b"hello\n")
        assert running.stdout.readline().endswith(b"\thello\n")
    running.stdout.close()  # as head does
    running.stdin.write(b"hello\n" * 100)
    assert running.wait(60) == 0
    assert running.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupt_ends_it_with_one_line(process):
    running = process()
    running.stdin.write(b"hello\n")
    assert running.stdout.readline().endswith(b"\thello\n")
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    assert running.stderr.read() == b"stopped by Ctrl-C\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_from_a_keyboard_it_says_what_to_do_and_classifies_each_line():
    keyboard, stdin = os.openpty()
    command = [sys.executable, "-m", "gpt_classifier", "classify", str(SAMPLE)]
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        os.close(stdin)
        assert running.stderr.readline() == b"type a text and press Enter; Ctrl-D ends\n"
        os.write(keyboard, b"hello\n")
        assert running.stdout.readline().endswith(b"\thello\n")
        os.write(keyboard, b"\x04")  # Ctrl-D
        assert running.wait(60) == 0
    os.close(keyboard)


@pytest.mark.skipif(sys.platform == "win32", reason="closes standard input as a POSIX shell does")
def test_without_standard_input_there_is_nothing_to_classify():
    command = f"exec '{sys.executable}' -m gpt_classifier classify '{SAMPLE}' <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
