"""Follows a prediction through its text: class probabilities after every token.

With causal attention the hidden state of a position depends on the tokens up to it alone, so one pass through the
network gives what classifying each prefix would give. Shapes: T tokens, C channels, K classes.
"""

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.text.encoder import TextEncoder

TRACEABLE = ("last_token", "mean")  # what they read of a prefix follows from the states of its tokens

Span = tuple[int, int]  # start and end in the text


class Word(NamedTuple):
    """Characters between white space, and the token after which they have been read."""

    start: int
    end: int
    token: int


@dataclass(frozen=True, eq=False)
class Trace:
    """What a model predicts after each of the T tokens that it reads of a text."""

    text: str  # as the user gave it
    tokens: tuple[str, ...]  # (T,) a part of a character is U+FFFD
    spans: tuple[Span | None, ...]  # (T,) of their characters in the text; None for tokens that the encoder adds
    probabilities: np.ndarray  # (T, K) of the prefix that ends with each token
    class_names: tuple[str, ...]  # (K,)
    decision: Decision  # the rule by which probabilities become predictions
    truncated: bool  # whether the text has tokens that the model does not read

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """(T,) the prediction for each prefix, a class name or ``unsure``."""
        return tuple(self.decision.name_predictions(self.probabilities, self.class_names))

    @property
    def answer(self) -> str:
        """The prediction for the whole text."""
        return self.answers[-1]

    @property
    def final_class(self) -> int:
        """Number of the predicted class, or of the most probable one where the model abstains."""
        number = int(self.decision.predict(self.probabilities[-1:])[0])
        return number if number >= 0 else int(self.probabilities[-1].argmax())

    @property
    def decided_at(self) -> int | None:
        """The first token from which on the prediction is always the final one; None for a text without tokens."""
        if not any(self.spans):
            return None
        others = [token for token, label in enumerate(self.answers) if label != self.answer]
        return others[-1] + 1 if others else 0

    @cached_property
    def last_tokens(self) -> dict[int, int]:
        """For each character that is read, by its place in the text, the last token that is or has a part of it."""
        return {place: token for token, span in enumerate(self.spans) if span for place in range(*span)}

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """The words of which a token was read; a wide letter of East Asia, where no spaces divide words, is one."""
        words = []
        for start, end in _words(self.text):
            read = [self.last_tokens[place] for place in range(start, end) if place in self.last_tokens]
            words += [Word(start, end, max(read))] if read else []
        return tuple(words)

    def word_at(self, token: int) -> int | None:
        """Number of the word that this token is in, of the one before if it is white space; None before the first."""
        span = self.spans[token]
        starts, tokens = self._ascending
        before = bisect_left(tokens, token) if span is None else bisect_left(starts, span[1])
        return before - 1 if before else None

    @cached_property
    def _ascending(self) -> tuple[list[int], list[int]]:
        """Where each word starts, and its last token."""
        return [word.start for word in self.words], [word.token for word in self.words]

    def to_dict(self) -> dict[str, Any]:
        """All of it but the text, as plain values."""
        columns = zip(self.class_names, self.probabilities.T.tolist(), strict=True)
        return {
            "tokens": list(self.tokens),
            "spans": [None if span is None else list(span) for span in self.spans],
            "probabilities": dict(columns),
            "answers": list(self.answers),
            "decided_at": self.decided_at,
            "truncated": self.truncated,
        }


def trace(
    model: SequenceClassifier, encoder: TextEncoder, decision: Decision, class_names: Sequence[str], text: str
) -> Trace:
    """The trace of what ``model`` reads of ``text``; see :meth:`TextClassifier.trace`."""
    check_traceable(model, decision)
    ids, truncated = encoder.encode(text)
    if encoder.windows is not None and encoder.encode_windows(text) != ([ids], False):
        raise InputError(
            f"the text is read in windows of {encoder.max_length} tokens, whose logits are combined, so there is no "
            "prediction for its prefixes: trace a shorter text"
        )
    return Trace(
        text=text,
        tokens=tuple(encoder.tokenizer.decode([number]) for number in ids),
        spans=tuple(encoder.spans(text)),
        probabilities=decision.probabilities(_logits(model, encoder, ids)),
        class_names=tuple(class_names),
        decision=decision,
        truncated=truncated,
    )


def check_traceable(model: SequenceClassifier, decision: Decision) -> None:
    """Raises ``InputError`` unless the prediction for a prefix follows from the hidden states of the whole text."""
    network, pooling = model.backbone.config, model.pooling
    if decision.multi_label:
        raise InputError("a trace follows one predicted class, but this model is multi-label")
    if not network.causal:
        raise InputError(
            f"a trace needs causal attention, but in this {network.model_type} every token attends to later ones too: "
            "use a GPT with causal: true, or another decoder"
        )
    if pooling not in TRACEABLE:
        raise InputError(f"a trace needs pooling {' or '.join(TRACEABLE)}, but this model was trained with {pooling}")


@torch.inference_mode()
def _logits(model: SequenceClassifier, encoder: TextEncoder, ids: list[int]) -> np.ndarray:
    """(T, K) the head's logits at every position."""
    batch, device = encoder.unpadded().batch([ids]), next(model.parameters()).device
    _, (states,) = model(batch.inputs.to(device), batch.lengths.to(device), with_states=True)  # (T, C)
    if model.pooling == "mean":
        states = states.float().cumsum(0) / torch.arange(1, len(ids) + 1, device=states.device)[:, None]
    return model.classify(states).cpu().double().numpy()


def _words(text: str) -> list[Span]:
    words: list[Span] = []
    for place, character in enumerate(text):
        if character.isspace():
            continue
        goes_on = bool(words) and words[-1][1] == place
        wide, joins = _is_wide(character), unicodedata.category(character) in ("Mn", "Me", "Cf")
        if goes_on and (joins or not (wide or _is_wide(text[words[-1][0]]))):
            words[-1] = (words[-1][0], place + 1)
        else:
            words.append((place, place + 1))
    return words


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
