"""Tells a trace in sentences, in a table and in the colours of a terminal; computes nothing of it."""

import os
import sys
from itertools import groupby
from typing import TYPE_CHECKING

from gpt_classifier.decision.rule import UNSURE
from gpt_classifier.inference.trace import Trace
from gpt_classifier.text.normalize import ESCAPES, shorten

if TYPE_CHECKING:
    from rich.text import Text

MAX_WORD = 24  # columns of a word in a sentence
RARE, CERTAIN = (228, 234, 242), (255, 145, 20)  # colours behind black letters, of probability 0 and 1


def sentences(trace: Trace) -> list[str]:
    """Where the prediction was reached, and how much of the text was read where that is not all."""
    lines = [_decided(trace)]
    if trace.truncated:
        lines.append(
            f"The text is truncated: {len(trace.last_tokens):,} of its {len(trace.text):,} characters are read."
        )
    return lines


def _decided(trace: Trace) -> str:
    label, place = trace.answer.translate(ESCAPES), trace.decided_at
    if place is None:
        return f"The text is empty, so the prediction {label} says nothing about it."
    whose = f" of {trace.class_names[trace.final_class].translate(ESCAPES)}" if trace.answer == UNSURE else ""
    probability = f"{trace.probabilities[place, trace.final_class]:.3f}{whose}"
    reached = f"is reached {_where(trace, place)}, with probability {probability}"
    return f"The prediction {label} {reached}, and does not change after it."


def _where(trace: Trace, token: int) -> str:
    number, tokens = trace.word_at(token), f"token {token + 1:,} of {len(trace.tokens):,}"
    if number is None:
        return f"before the first word ({tokens})"
    where = "at" if token <= trace.words[number].token else "just after"  # of a space
    return f'{where} word {number + 1:,} of {len(trace.words):,}, "{_shown_word(trace, number, MAX_WORD)}" ({tokens})'


def _shown_word(trace: Trace, number: int, columns: int) -> str:
    word = trace.words[number]
    return shorten(trace.text[word.start : word.end].translate(ESCAPES), columns)


def table(trace: Trace) -> list[str]:
    """A line for each word: the prediction after it, the probability of the final class, and the word."""
    if not trace.words:
        return []
    name = trace.class_names[trace.final_class].translate(ESCAPES)
    rows = [["prediction", f"P({name})", "after the word"]]
    for number, word in enumerate(trace.words):
        label, probability = trace.answers[word.token], trace.probabilities[word.token, trace.final_class]
        rows.append([label.translate(ESCAPES), f"{probability:.3f}", _shown_word(trace, number, 80)])
    return ["\t".join(row) for row in rows]


def coloured(trace: Trace) -> "Text":
    """The text on one line, each character on the colour of the final class's probability after it."""
    from rich.text import Text

    line, start = Text(), 0
    for token, run in groupby(trace.last_tokens.get(place, -1) for place in range(len(trace.text))):
        end = start + len(list(run))
        style = "dim" if token < 0 else _style(trace.probabilities[token, trace.final_class])
        line.append(trace.text[start:end].translate(ESCAPES), style)
        start = end
    return line


def legend(trace: Trace) -> "Text":
    """What the colours mean."""
    from rich.text import Text

    line = Text(f"probability of {trace.class_names[trace.final_class].translate(ESCAPES)} after each token: ")
    for probability in (0, 0.25, 0.5, 0.75, 1):
        line.append(f" {probability:.2f} ", _style(probability))
    return line


def _style(probability: float) -> str:
    red, green, blue = (round(low + (high - low) * probability) for low, high in zip(RARE, CERTAIN, strict=True))
    return f"black on rgb({red},{green},{blue})"


def show(trace: "Trace", parts: list[str]) -> None:
    """The prediction and the text, in colours where there are any, else with a table; and what is to be said of it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    shown = [part.translate(ESCAPES) for part in parts]
    if sys.stdout.isatty() and console.color_system is not None and not os.environ.get("NO_COLOR"):
        console.print(Text("  ").join([*map(Text, shown), coloured(trace)]), soft_wrap=True)
        console.print(legend(trace), soft_wrap=True)
    else:
        print("\n".join(["\t".join([*shown, trace.text.translate(ESCAPES)]), *table(trace)]))
    print("\n".join(sentences(trace)), flush=True)
