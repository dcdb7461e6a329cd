"""A trace is shown: in colours on a terminal, as a table elsewhere, in sentences, in JSON, as a figure."""

import io
import json
import os
import re
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.decision.rule import Decision
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.trace import Trace
from gpt_classifier.inference.trace_text import coloured, sentences, table, word_attributions
from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.reporting.plots import trace_figure
from gpt_classifier.text.encoder import TextEncoder

SAMPLE = Path(__file__).parents[2] / "checkpoints" / "sms-spam"
PRIZE = "URGENT! You have won a free cruise, call now to claim your prize"
NASTY = "win\n\x1b[31m a\tcar\x07 \u202enow\u2028 体育🎉 \x9b2J"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")  # all but the end of a line
STYLE = re.compile(r"\x1b\[[\d;]*m")


def trace_of(words, k=2, names=None, decision=None, attributions=None, last=0) -> Trace:
    """Of one token a word, with probabilities that wander; class ``last`` wins."""
    text, spans, place = " ".join(words), [], 0
    for word in words:
        spans.append((max(0, place - 1), place + len(word)))
        place += len(word) + 1
    logits = np.random.default_rng(0).normal(0, 0.7, (len(words), k)).cumsum(0)
    logits[-1, last] = 9
    decision = decision or Decision()
    names = tuple(names or (f"class {n}" for n in range(k)))
    shares = None if attributions is None else np.array(attributions)
    return Trace(text, tuple(words), tuple(spans), decision.probabilities(logits), names, decision, False, shares)


@pytest.fixture
def classify(capsys):
    def run(*arguments: str) -> list[str]:
        assert main(["classify", str(SAMPLE), *arguments]) == 0
        return capsys.readouterr().out.removesuffix("\n").split("\n")

    return run


@pytest.fixture
def of_bytes(tiny_config) -> TextClassifier:
    """An untrained classifier that reads 32 bytes."""
    return TextClassifier(Bundle(SequenceClassifier(GPT(tiny_config), 2), TextEncoder("bytes", 32), ["ham", "spam"]))


# ---------------------------------------------------------------- the command


def test_without_a_terminal_a_table_and_a_sentence_follow_the_answer(classify):
    (answer,) = classify(PRIZE)
    first, header, *rows, sentence = classify("--trace", PRIZE)
    assert first == answer
    assert header == "answer\tP(spam)\tafter the word"
    classifier = TextClassifier.load(SAMPLE)
    prefixes = [" ".join(PRIZE.split()[: n + 1]) for n in range(13)]
    for row, prefix in zip(rows, prefixes, strict=True):
        prediction = classifier.predict(prefix)
        assert row == f"{prediction.label}\t{prediction.probabilities['spam']:.3f}\t{prefix.split()[-1]}"
    trace = classifier.trace(PRIZE)
    place = trace.decided_at
    share = f"probability {trace.probabilities[place, 1]:.3f}"
    assert sentence == (
        f'The answer spam is reached at word 4 of 13, "won" (token {place + 1} of 17), with {share}, and never '
        "left again."
    )


def test_json_has_the_trace_in_it(classify):
    (line,) = classify("--trace", "--json", "--early", "0.9", PRIZE)
    answer, trace = json.loads(line), TextClassifier.load(SAMPLE).trace(PRIZE)
    assert answer.pop("trace") == json.loads(json.dumps(trace.to_dict(0.9)))
    assert [answer] == [json.loads(line) for line in classify("--json", PRIZE)]
    assert trace.to_dict(0.9)["early"] == trace.early(0.9)


def test_each_of_several_texts_has_its_trace(classify, monkeypatch):
    together = classify("--trace", PRIZE, "See you")
    assert together == classify("--trace", PRIZE) + classify("--trace", "See you")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{PRIZE}\nSee you\n".encode())))
    assert classify("--trace") == together


def test_a_text_can_neither_steer_a_terminal_nor_break_a_line(classify):
    lines = classify("--trace", "--early", "0.5", NASTY)
    assert not CONTROL.search("\n".join(lines).replace("\t", ""))
    assert len(lines) == 1 + 1 + len(TextClassifier.load(SAMPLE).trace(NASTY).words) + 2
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
    assert "The answer ham is reached at word 1 of 9" in plain
    assert no_color or "probability of ham after each token:  0.00 " in plain


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--explain", PRIZE], "--explain is about a trace: add --trace"),
        (["--early", "0.9", PRIZE], "--early is about a trace"),
        (["--figure", "a.png", PRIZE], "--figure is about a trace"),
        (["--trace", "--early", "2", PRIZE], "the level is 2.0, expected a probability"),
        (["--trace", "--figure", "a.png", PRIZE, "more"], "--figure draws one text, got 2"),
        (["--trace", "--figure", "a.png"], "--figure draws one text, got 0"),
        (["--trace", "--figure", "a.txt", PRIZE], "expected the name of a .png"),
        (["--trace", "--figure", "nowhere/a.png", PRIZE], "there is no folder 'nowhere'"),
    ],
)
def test_what_cannot_be_shown_is_one_line_before_any_answer(arguments, named, capsys):
    assert main(["classify", str(SAMPLE), *arguments]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert named in output.err


def test_attributions_stand_in_the_table_and_in_a_sentence(classify):
    pytest.importorskip("captum", reason="attributions need the extra explain")
    _, header, *rows, _, telling = classify("--trace", "--explain", PRIZE)
    assert header == "answer\tP(spam)\tattribution\tafter the word"
    trace = TextClassifier.load(SAMPLE).trace(PRIZE, attributions=True)
    shares = word_attributions(trace)
    assert [row.split("\t")[2] for row in rows] == [f"{share:+.3f}" for share in shares]
    assert sum(shares) == pytest.approx(trace.attributions.sum())
    assert telling.startswith(f'Of the logit of spam, {sum(shares):+.2f} against padding, most is from "URGENT!" +')


# ---------------------------------------------------------------- sentences and colours


def test_sentences_name_what_there_is(of_bytes):
    empty = TextClassifier.load(SAMPLE).trace("")
    assert sentences(empty) == ["The text is empty, so the answer ham says nothing about it."]
    assert table(empty) == []
    unsure = trace_of(["a", "b"], decision=Decision(thresholds=[1.0, 1.0]))
    (line,) = sentences(unsure)
    assert line.startswith('The answer unsure is reached at word 1 of 2, "a" (token 1 of 2), with probability 0.')
    assert line.endswith(" of class 0, and never left again.")
    assert sentences(unsure, 1.0)[1] == "No class reaches probability 1 anywhere."
    assert "of class 0." in sentences(unsure, 0.99)[1]
    long = of_bytes.trace("ab " * 20)
    assert sentences(long)[-1] == "The text is truncated: 32 of its 60 characters are read."


def test_every_character_has_one_colour_and_what_is_not_read_is_dim(of_bytes):
    trace = of_bytes.trace("ü体" + "ab " * 20)
    line = coloured(trace)
    assert line.plain == trace.text
    assert line.spans[-1].style == "dim"
    assert line.spans[-1].start == 2 + 32 - len("ü体".encode())
    assert [(span.start, span.end) for span in line.spans[:3]] == [(0, 1), (1, 2), (2, 3)]


# ---------------------------------------------------------------- the figure

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "nobody", "looks"]
WORDS += ["extraordinarily"]
FIGURES = {
    "5 words": trace_of(WORDS[:5]),
    "120 words": trace_of((WORDS * 10)[:120], 4, attributions=np.linspace(-1, 1, 120)),
    "many classes of long names": trace_of(WORDS, 12, ["$n$" * 30, *map(str, range(11))]),
    "other scripts": trace_of(["体育", "新闻", "🎉", "مرحبا", "a\ufe0f\u202e", "\x1b", "$x$"], 2, ["体育", "🎉"]),
    "one token": trace_of(["a"]),
    "1,000 words": trace_of(WORDS * 77),
}


@pytest.mark.parametrize("case", FIGURES)
def test_words_below_a_figure_do_not_overlap_and_nothing_is_said_of_letters(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = trace_figure.draw(FIGURES[case])
        figure.canvas.draw()
    labels = [label for label in figure.axes[-1].get_xticklabels() if label.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 <= right.x0 + 1 for left, right in pairwise(boxes))
    everything = figure.get_tightbbox().padded(-0.02)
    assert everything.x0 >= 0
    assert everything.y0 >= 0
    assert everything.y1 <= figure.get_figheight()
    assert len(labels) == len(FIGURES[case].words) or case in ("1,000 words", "other scripts")
    axes = figure.axes[0].get_window_extent()
    assert axes.height > 0.25 * figure.bbox.height, "room for the curves"


def test_a_figure_shows_the_probabilities_and_where_the_answer_was_reached():
    trace = FIGURES["many classes of long names"]
    axes = trace_figure.draw(trace).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) == len(trace.tokens)]
    assert len(curves) == 8
    assert curves[0].get_ydata() == pytest.approx(trace.probabilities[:, trace.final_class])
    (mark,) = [line for line in axes.lines if line not in curves]
    assert list(mark.get_xdata()) == 2 * [trace.decided_at + 1]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_command_writes_a_figure(suffix, classify, tmp_path):
    path = tmp_path / f"figure{suffix}"
    assert classify("--trace", "--figure", str(path), "See you") == classify("--trace", "See you")
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
