"""A trace is shown: in colours on a terminal, as a table elsewhere, in sentences, in JSON."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.decision.rule import Decision
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.trace import Trace
from gpt_classifier.inference.trace_text import coloured, sentences, table
from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.text.encoder import TextEncoder

SAMPLE = Path(__file__).parents[2] / "checkpoints" / "sms-spam"
PRIZE = "URGENT! You have won a free cruise, call now to claim your prize"
NASTY = "win\n\x1b[31m a\tcar\x07 \u202enow\u2028 体育🎉 \x9b2J"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")  # all but the end of a line
STYLE = re.compile(r"\x1b\[[\d;]*m")


def build_trace(words: list[str], decision: Decision) -> Trace:
    """Of one token a word, with probabilities of two classes that wander; the first wins."""
    text, spans, place = " ".join(words), [], 0
    for word in words:
        spans.append((max(0, place - 1), place + len(word)))
        place += len(word) + 1
    logits = np.random.default_rng(0).normal(0, 0.7, (len(words), 2)).cumsum(0)
    logits[-1, 0] = 9
    names = ("class 0", "class 1")
    return Trace(text, tuple(words), tuple(spans), decision.probabilities(logits), names, decision, False)


@pytest.fixture
def classify(capsys):
    def run(*arguments: str) -> list[str]:
        assert main(["classify", str(SAMPLE), *arguments]) == 0
        return capsys.readouterr().out.removesuffix("\n").split("\n")

    return run


@pytest.fixture
def byte_classifier(tiny_config) -> TextClassifier:
    """An untrained classifier that reads 32 bytes."""
    return TextClassifier(Bundle(SequenceClassifier(GPT(tiny_config), 2), TextEncoder("bytes", 32), ["ham", "spam"]))


# ---------------------------------------------------------------- the command


def test_without_a_terminal_a_table_and_a_sentence_follow_the_prediction(classify):
    (line,) = classify(PRIZE)
    first, header, *rows, sentence = classify("--trace", PRIZE)
    assert first == line
    assert header == "prediction\tP(spam)\tafter the word"
    classifier = TextClassifier.load(SAMPLE)
    prefixes = [" ".join(PRIZE.split()[: n + 1]) for n in range(13)]
    for row, prefix in zip(rows, prefixes, strict=True):
        prediction = classifier.predict(prefix)
        assert row == f"{prediction.label}\t{prediction.probabilities['spam']:.3f}\t{prefix.split()[-1]}"
    trace = classifier.trace(PRIZE)
    place = trace.decided_at
    probability = f"probability {trace.probabilities[place, 1]:.3f}"
    assert sentence == (
        f'The prediction spam is reached at word 4 of 13, "won" (token {place + 1} of 17), with {probability}, and '
        "does not change after it."
    )


def test_json_has_the_trace_in_it(classify):
    (line,) = classify("--trace", "--json", PRIZE)
    prediction, trace = json.loads(line), TextClassifier.load(SAMPLE).trace(PRIZE)
    assert prediction.pop("trace") == json.loads(json.dumps(trace.to_dict()))
    assert [prediction] == [json.loads(line) for line in classify("--json", PRIZE)]


def test_each_of_several_texts_has_its_trace(classify, monkeypatch):
    together = classify("--trace", PRIZE, "See you")
    assert together == classify("--trace", PRIZE) + classify("--trace", "See you")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{PRIZE}\nSee you\n".encode())))
    assert classify("--trace") == together


def test_a_text_can_neither_steer_a_terminal_nor_break_a_line(classify):
    lines = classify("--trace", NASTY)
    assert not CONTROL.search("\n".join(lines).replace("\t", ""))
    assert len(lines) == 1 + 1 + len(TextClassifier.load(SAMPLE).trace(NASTY).words) + 1
    assert r"win\n\x1b[31m a\tcar\x07" in lines[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_has_colours_unless_the_user_wants_none(no_color):
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if no_color else {})
    leader, follower = os.openpty()
    command = [sys.executable, "-m", "gpt_classifier", "classify", str(SAMPLE), "--trace", NASTY]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=follower, env=environment) as running:
        os.close(follower)
        written = b""
        try:
            while piece := os.read(leader, 1 << 16):
                written += piece
        except OSError:  # how Linux says that nobody writes any more
            pass
        assert running.wait(60) == 0
    os.close(leader)
    shown = written.decode().replace("\r\n", "\n")
    plain = STYLE.sub("", shown)
    assert bool(STYLE.search(shown)) is not no_color
    assert not CONTROL.search(plain.replace("\t", ""))
    assert r"win\n\x1b[31m a\tcar\x07 \u202enow\u2028 体育🎉 \x9b2J" in plain
    assert ("P(ham)" in plain) is no_color
    assert "The prediction ham is reached at word 1 of 9" in plain
    assert no_color or "probability of ham after each token:  0.00 " in plain


# ---------------------------------------------------------------- sentences and colours


def test_sentences_name_what_there_is(byte_classifier):
    empty = TextClassifier.load(SAMPLE).trace("")
    assert sentences(empty) == ["The text is empty, so the prediction ham says nothing about it."]
    assert table(empty) == []
    abstention = build_trace(["a", "b"], Decision(thresholds=[1.0, 1.0]))
    (line,) = sentences(abstention)
    assert line.startswith('The prediction unsure is reached at word 1 of 2, "a" (token 1 of 2), with probability 0.')
    assert line.endswith(" of class 0, and does not change after it.")
    long = byte_classifier.trace("ab " * 20)
    assert sentences(long)[-1] == "The text is truncated: 32 of its 60 characters are read."


def test_every_character_has_one_colour_and_what_is_not_read_is_dim(byte_classifier):
    trace = byte_classifier.trace("ü体" + "ab " * 20)
    line = coloured(trace)
    assert line.plain == trace.text
    assert line.spans[-1].style == "dim"
    assert line.spans[-1].start == 2 + 32 - len("ü体".encode())
    assert [(span.start, span.end) for span in line.spans[:3]] == [(0, 1), (1, 2), (2, 3)]
