"""A trace gives after every token what classifying the prefix gives, and says where in the text that is."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt_classifier import TextClassifier
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.trace import Trace
from gpt_classifier.models.gpt import GPT, GPTConfig
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.text.bpe import TrainTokenizer, tokenizer_for
from gpt_classifier.text.encoder import TextEncoder, WindowsConfig
from gpt_classifier.text.tokenizers import Published, Tokenizer, tokenizer_named

TEXTS = [
    "WIN a car now!",
    "a",
    "",
    " \n\t",
    "ünïcödé 体育新闻 👩‍🚀 ok",
    "\ud83d\ude00 pair, lone \ud83d x",  # surrogates, as JSON files with half an emoji give them
    "x y " * 30,
]
CALIBRATED = Decision(temperature=1.7, log_priors=[0.4, -0.3, 0.1], positive=1, threshold=0.4)


@pytest.fixture(scope="module", params=["bytes", "learned", "wordpiece", "bpe", "unigram"])
def tokenizer(request, published) -> Tokenizer:
    """One of each kind; the last three add tokens of their own to a text, unigram before it a space too."""
    if request.param == "bytes":
        return tokenizer_named("bytes")
    if request.param == "learned":
        return tokenizer_for(TrainTokenizer(300), ["WIN a car now!", "体育新闻 体育", "see you at five"] * 9)
    return Published.restore({"tokenizer": request.param}, tokenizer_named(str(published(request.param))).vocabulary())


def contents_with(
    tokenizer: str | Tokenizer = "bytes",
    pooling: str = "last_token",
    decision: Decision = CALIBRATED,
    lora: LoRAConfig | None = None,
    head: str = "linear",
    truncation: str = "head",
    windows: WindowsConfig | None = None,
    causal: bool = True,
) -> Bundle:
    """A model of three classes, with random weights large enough that predictions change from token to token."""
    text_encoder = TextEncoder(tokenizer, 48, truncation, windows=windows)
    config = GPTConfig(text_encoder.vocab_size, context_length=48, n_embd=16, n_layer=2, n_head=4, causal=causal)
    model = SequenceClassifier(GPT(config), 3, pooling, head)
    if lora is not None:
        model.add_lora(lora)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return Bundle(model.eval(), text_encoder, ["ham", "spam", "b\tb"], decision=decision)


def classifier_with(tokenizer: str | Tokenizer = "bytes", int8: bool = False, **settings: Any) -> TextClassifier:
    return TextClassifier(contents_with(tokenizer, **settings), "cpu", int8)


def build_transformers(model_type: str, published: Callable[[str], Path], **fields: Any) -> TextClassifier:
    """A tiny network of transformers with a tokenizer that adds tokens of its own."""
    pytest.importorskip("transformers", reason="these networks need the extra of this name")
    from gpt_classifier.models.transformers_network import random_network

    text_encoder = TextEncoder(str(published("bpe")), 48)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    sizes |= {"max_position_embeddings": 48, "pad_token_id": 1, "vocab_size": text_encoder.vocab_size}
    model = SequenceClassifier(random_network(sizes | fields | {"model_type": model_type}), 2)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return TextClassifier(Bundle(model, text_encoder, ["ham", "spam"]), "cpu")


def classify_prefixes(classifier: TextClassifier | Bundle, text: str) -> np.ndarray:
    """(T, K) class probabilities of each prefix of the ids that the model reads, one at a time."""
    ids, _ = classifier.text_encoder.encode(text)
    with torch.inference_mode():
        logits = [classifier.model(torch.tensor([ids[: n + 1]]), torch.tensor([n + 1])) for n in range(len(ids))]
    return classifier.decision.probabilities(torch.cat(logits).double().numpy())


# ---------------------------------------------------------------- probabilities


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pooling": "mean"},
        {"head": "mlp"},
        {"decision": Decision()},
        {"truncation": "head+tail"},
        {"windows": WindowsConfig(stride=16)},
    ],
    ids=str,
)
def test_they_are_those_of_classifying_each_prefix(settings):
    classifier = classifier_with(**settings)
    for text in TEXTS[:-1] if "windows" in settings else TEXTS:
        trace = classifier.trace(text)
        assert trace.probabilities == pytest.approx(classify_prefixes(classifier, text), abs=1e-5)
        assert trace.probabilities[-1] == pytest.approx(classifier.predict_proba([text])[0], abs=1e-6)
        assert trace.answer == trace.answers[-1] == classifier.predict(text).label
        assert len(trace.tokens) == len(trace.spans) == len(trace.answers) == len(trace.probabilities)


def test_they_are_so_with_every_tokenizer(tokenizer):
    classifier = classifier_with(tokenizer)
    for text in TEXTS:
        assert classifier.trace(text).probabilities == pytest.approx(classify_prefixes(classifier, text), abs=1e-5)


def test_they_are_those_of_low_rank_updates_that_are_not_merged():
    contents = contents_with(lora=LoRAConfig(rank=2))
    for text in TEXTS:
        trace = TextClassifier(contents, "cpu").trace(text)
        assert contents.model.lora is not None
        assert trace.probabilities == pytest.approx(classify_prefixes(contents, text), abs=1e-5)


@pytest.mark.parametrize("model_type", ["llama", "mistral", "gpt_neox", "bloom"])
def test_they_are_so_with_decoders_of_transformers(model_type, published):
    fields = {"sliding_window": 4, "num_key_value_heads": 2}
    classifier = build_transformers(model_type, published, **(fields if model_type == "mistral" else {}))
    for text in TEXTS:
        assert classifier.trace(text).probabilities == pytest.approx(classify_prefixes(classifier, text), abs=1e-5)


def test_what_comes_later_changes_nothing_before():
    classifier = classifier_with()
    short, long = classifier.trace("See you"), classifier.trace("See you at five")
    assert long.probabilities[:7] == pytest.approx(short.probabilities, abs=1e-6)
    assert long.answers[:7] == short.answers


# ---------------------------------------------------------------- where in the text


def test_spans_cover_what_was_read_in_order(tokenizer):
    for text in TEXTS[:-1]:
        ids, _ = TextEncoder(tokenizer, 200).encode(text)
        spans = TextEncoder(tokenizer, 200).spans(text)
        assert len(spans) == len(ids)
        own = [span for span in spans if span is not None]
        assert len(spans) - len(own) in (0, 1, 2)
        assert own == sorted(own)
        assert {place for span in own for place in range(*span)} <= set(range(len(text)))


@pytest.mark.parametrize("kind", ["bytes", "learned"])
def test_spans_of_byte_pairs_leave_no_character_out(kind):
    tokenizer = "bytes" if kind == "bytes" else tokenizer_for(TrainTokenizer(300), ["体育新闻 体育 see you"] * 9)
    for text in TEXTS[:-1]:
        spans = TextEncoder(tokenizer, 200).spans(text)
        assert {place for span in spans if span for place in range(*span)} == set(range(len(text)))


def test_parts_of_a_character_share_its_span():
    assert TextEncoder("bytes").spans("aü体🎉") == [(0, 1), *2 * [(1, 2)], *3 * [(2, 3)], *4 * [(3, 4)]]
    assert TextEncoder("bytes").spans("\ud83d\ude00\ud83dx") == [*4 * [(0, 2)], *3 * [(2, 3)], (3, 4)]


def test_tokens_that_the_encoder_adds_have_no_span(published):
    assert TextEncoder(str(published("wordpiece"))).spans("ab c") == [None, (0, 1), (1, 2), (3, 4), None]
    assert TextEncoder(str(published("bpe"))).spans("aü") == [None, (0, 1), (1, 2), (1, 2), None]
    assert TextEncoder("bytes").spans("") == [None], "of the padding token that stands for an empty text"


@pytest.mark.parametrize(
    ("truncation", "characters"),
    [("head", [0, 1, 2, 3]), ("tail", [96, 97, 98, 99]), ("head+tail", [0, 1, 98, 99])],
)
@pytest.mark.parametrize("longest", [1, 128], ids=["a huge text", "a long text"])
def test_of_a_truncated_text_spans_are_in_the_text_as_given(truncation, characters, longest):
    tokenizer = tokenizer_named("bytes")
    tokenizer.longest = longest
    text = "".join(map(chr, range(1, 101)))
    text_encoder = TextEncoder(tokenizer, 4, truncation)
    assert text_encoder.spans(text) == [(place, place + 1) for place in characters]
    assert text_encoder.encode(text) == ([ord(text[place]) for place in characters], True)


def test_gpt2s_tokens_have_the_spans_of_their_characters(gpt2):
    text = "Free体育 🎉 entry"
    spans = TextEncoder(gpt2).spans(text)
    ids, _ = TextEncoder(gpt2).encode(text)
    whole = [(gpt2.decode([number]), text[slice(*span)]) for number, span in zip(ids, spans, strict=True)]
    assert all(token == part for token, part in whole if "\ufffd" not in token)
    assert {place for span in spans for place in range(*span)} == set(range(len(text)))
    classifier = classifier_with(gpt2)
    assert classifier.trace(text).probabilities == pytest.approx(classify_prefixes(classifier, text), abs=1e-5)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    assets = Path(__file__).resolve().parents[3] / "shared" / "assets" / "tiktoken"
    if not assets.is_dir():
        pytest.skip("GPT-2's tokenizer files are not there")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(assets))
        return tokenizer_named("gpt2")


def test_words_are_read_with_their_last_token():
    words = classifier_with().trace(" ab  体育!\ncd").words
    assert [(" ab  体育!\ncd"[start:end], token) for start, end, token in words] == [
        ("ab", 2),
        ("体", 7),
        ("育", 10),
        ("!", 11),
        ("cd", 14),
    ]


# ---------------------------------------------------------------- predictions


def made_up(*spam: float, decision: Decision | None = None, text: str | None = None) -> Trace:
    """A trace of one letter a token, with these probabilities of spam."""
    text = "abcdefghij"[: len(spam)] if text is None else text
    share = np.array(spam)
    return Trace(
        text,
        tuple(text),
        tuple((n, n + 1) for n in range(len(text))),
        np.stack([1 - share, share], -1),
        ("ham", "spam"),
        decision or Decision(),
        False,
    )


@pytest.mark.parametrize(
    ("spam", "decided"),
    [((0.9,), 0), ((0.9, 0.8), 0), ((0.1, 0.9, 0.8), 1), ((0.9, 0.1, 0.9), 2), ((0.9, 0.9, 0.1), 2)],
)
def test_decided_is_where_the_prediction_comes_to_stay(spam, decided):
    assert made_up(*spam).decided_at == decided


def test_predictions_follow_the_rule_of_the_model():
    spam = (0.2, 0.55, 0.95)
    assert made_up(*spam).answers == ("ham", "spam", "spam")
    strict = made_up(*spam, decision=Decision(positive=1, threshold=0.9))
    assert (strict.answers, strict.decided_at, strict.final_class) == (("ham", "ham", "spam"), 2, 1)
    abstaining = made_up(*spam[:2], decision=Decision(thresholds=[0.7, 0.7]))
    assert (abstaining.answers, abstaining.decided_at, abstaining.final_class) == (("ham", "unsure"), 1, 1)


def test_an_empty_text_is_decided_nowhere():
    trace = classifier_with().trace("")
    assert (trace.decided_at, len(trace.probabilities), trace.words) == (None, 1, ())


def test_a_trace_is_frozen_and_has_plain_values():
    trace = classifier_with().trace("ünï")
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.text = ""
    values = json.loads(json.dumps(trace.to_dict()))
    assert list(values["probabilities"]) == ["ham", "spam", "b\tb"]
    assert [len(values[name]) for name in ("tokens", "spans", "answers")] == [5, 5, 5]
    assert values["decided_at"] == trace.decided_at


# ---------------------------------------------------------------- what has no trace


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"causal": False}, "needs causal attention"),
        ({"pooling": "first_token"}, "trained with first_token"),
        ({"pooling": "last_position"}, "trained with last_position"),
        ({"pooling": "mean_positions"}, "trained with mean_positions"),
        ({"decision": Decision(multi_label=True)}, "is multi-label"),
        ({"int8": True}, "load the model without int8"),
        ({"windows": WindowsConfig(stride=16)}, "in windows of 48 tokens"),
        ({"windows": WindowsConfig(stride=16, limit=1)}, "in windows of 48 tokens"),
    ],
    ids=str,
)
def test_a_model_without_predictions_for_prefixes_is_refused_in_one_line(settings, named):
    with pytest.raises(InputError, match=named) as error:
        classifier_with(**settings).trace(TEXTS[-1])
    assert "\n" not in str(error.value)


def test_a_bidirectional_encoder_is_refused(published):
    with pytest.raises(InputError, match=r"bert .*later"):
        build_transformers("bert", published).trace("hello")


@pytest.mark.parametrize("text", [5, None, b"bytes", ["a text"]])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(InputError, match="expected one str"):
        classifier_with().trace(text)
