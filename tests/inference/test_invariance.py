"""The certificate of invariances: what it finds of a sound model, of one that padding changes, and of a broken one."""

import pytest
import torch

from gpt_classifier import TextClassifier
from gpt_classifier.evaluation.results import Certificate, MissingVariation, Variation
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.invariance import TOLERANCE, certificate
from gpt_classifier.models.gpt import GPT
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.text.encoder import TextEncoder

TEXTS = ["", "a", "see you", "win a prize, call now", "x" * 64, "🙂 <b>"] * 5
EXACT = ["longer padding", "one text at a time", "reversed order", "saved and loaded again"]


@pytest.fixture
def make(tiny_config):
    def make(pooling: str) -> TextClassifier:
        model = SequenceClassifier(GPT(tiny_config), 3, pooling)
        torch.nn.init.normal_(model.head.weight, std=2.0)
        return TextClassifier(Bundle(model.eval(), TextEncoder("bytes", 64), ["a", "b", "c"]), "cpu")

    return make


def rows(found: Certificate) -> dict[str, Variation | MissingVariation]:
    return {each.variation: each for each in found.variations}


def test_a_sound_model_passes_everything_that_must_not_change(make):
    found = certificate(make("last_token"), TEXTS, seconds=5)
    assert (found.rows, found.of) == (len(TEXTS), len(TEXTS))
    for name in EXACT:
        row = rows(found)[name]
        assert (row.tolerance, row.passed, row.changed_answers) == (TOLERANCE, True, 0)
        assert 0 <= row.largest_change <= TOLERANCE
    bfloat16 = rows(found)["bfloat16 autocast"]
    assert bfloat16.passed is None
    assert 0 < bfloat16.largest_change < 0.5
    assert vars(rows(found)["int8"]).keys() & {"largest_change", "missing"}


def test_where_padding_counts_what_it_changes_is_measured_and_not_asserted(make):
    found = rows(certificate(make("mean_positions"), TEXTS, seconds=5))
    assert found["longer padding"].largest_change > TOLERANCE
    assert found["longer padding"].passed is None
    assert found["saved and loaded again"].passed is True


def test_a_model_whose_answers_depend_on_their_neighbours_fails(make):
    classifier = make("mean")
    head = classifier.model.head

    class Normalized(torch.nn.Module):
        """Subtracts the mean of the batch, as a batch norm that was never switched to evaluation would."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = head

        def forward(self, pooled: torch.Tensor) -> torch.Tensor:
            return self.inner(pooled - pooled.mean(0))

    from gpt_classifier.inference import invariance

    classifier.model.head = Normalized()
    found = {
        name: invariance._row(classifier, classifier.logits(TEXTS), name, exact, compute)
        for name, exact, compute in invariance._variations(classifier, TEXTS)
    }
    assert found["one text at a time"].passed is False
    assert found["one text at a time"].largest_change > TOLERANCE


def test_little_time_means_few_texts_and_at_least_one(make):
    assert certificate(make("mean"), TEXTS, seconds=0).rows == 1


def test_the_model_itself_is_left_as_it_was(make):
    classifier = make("mean")
    before, encoder = classifier.logits(TEXTS), classifier.text_encoder
    certificate(classifier, TEXTS, seconds=1)
    assert (classifier.logits(TEXTS) == before).all()
    assert classifier.text_encoder is encoder
    assert encoder.pad_to is None


def test_a_model_that_cannot_be_saved_says_why(make, monkeypatch):
    def full(self, folder):
        raise OSError("no space left on device")

    monkeypatch.setattr(TextClassifier, "save", full)
    assert "no space left on device" in certificate(make("mean"), TEXTS, seconds=1).missing
