"""What many tests need: a tiny network, made-up messages, a quiet trainer, one finished run; the network unplugged."""

# ruff: noqa: E402 - the environment must be complete before torch is imported

import os
import signal
import tempfile

# What the package computes and keeps for later must neither come from an earlier test run nor outlive this one.
_computed = tempfile.TemporaryDirectory()
# One thread: a tiny network gains nothing from a second one, and on a busy machine the two mostly wait for each other.
# The processes that tests start inherit all this.
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "GPT_CLASSIFIER_COMPUTED": _computed.name}

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import lightning as L
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from gpt_classifier.cli.main import main
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.models.gpt import GPTConfig
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.training.callbacks.tensorboard import TensorBoardFigures
from gpt_classifier.training.module import GPTClassifier

ACCELERATOR = os.environ.get("TEST_ACCELERATOR", "cpu")  # TEST_ACCELERATOR=gpu trains on a GPU in the tests
CONFIGS = Path(__file__).parents[1] / "configs"
TINY = {"n_layer": 2, "n_head": 4, "n_embd": 32, "context_length": 64}

WHEN, WHO = ["at five", "tonight", "soon", "then"], ["mum", "dad", "love", "X"]
WHAT, HOW = ["car", "cruise", "phone", "TV"], ["call", "text", "go", "pay"]
HAM = [f"See you {when}, {who}" for when, who in product(WHEN, WHO)]
SPAM = [f"WIN a {what}, {how} now!" for what, how in product(WHAT, HOW)]
LABELS = ["ham"] * len(HAM) + ["spam"] * len(SPAM)

# A script that starts the tests in the background ignores Ctrl-C for them, and so for the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How many examples a test of a property tries, unless it says so itself: --hypothesis-profile=nightly tries many.
for _profile, _examples in {"short": 30, "nightly": 1_000}.items():
    settings.register_profile(
        _profile, max_examples=_examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
settings.load_profile("short")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves nightly tests out unless ``-m`` names them; one in addopts is replaced by the command's."""
    if "nightly" not in config.option.markexpr:
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=nightly)


@pytest.fixture(autouse=True)
def _same_chance_for_every_test(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(123)
    monkeypatch.setenv("PL_GLOBAL_SEED", "123")  # which decides the order of training rows


@pytest.fixture(autouse=True)
def _only_what_is_looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws no pictures for TensorBoard, unless a test is marked ``pictures``: that takes a second of each test.

    The session's run ``trained`` has pictures.
    """
    if not request.node.get_closest_marker("pictures"):
        monkeypatch.setattr(TensorBoardFigures, "_show", lambda *_: None)


@pytest.fixture(scope="session")
def tiny_config() -> GPTConfig:
    return GPTConfig(vocab_size=257, **TINY)


@pytest.fixture(scope="session")
def assert_restored_alike() -> Callable[[TextEncoder, SearchStrategy[str]], None]:
    """Restores an encoder from what it would save, and asserts that both give the same for any of ``texts``."""

    def check(text_encoder: TextEncoder, texts: SearchStrategy[str]) -> None:
        restored = TextEncoder.restore(text_encoder.settings(), text_encoder.tokenizer.vocabulary())
        assert restored.settings() == text_encoder.settings()
        assert (restored.vocab_size, restored.padding_id) == (text_encoder.vocab_size, text_encoder.padding_id)
        assert restored.tokenizer.vocabulary().equal(text_encoder.tokenizer.vocabulary())

        @given(texts)
        def same_ids(text: str) -> None:
            assert restored.encode(text) == text_encoder.encode(text)

        same_ids()

    return check


@pytest.fixture(scope="session")
def tiny_data() -> Callable[..., TextDataModule]:
    """Makes data of 32 short messages, or of given texts and labels."""

    def make(texts: Sequence[str] = HAM + SPAM, labels: Sequence[str] = LABELS, **settings: Any) -> TextDataModule:
        defaults = {
            "tokenizer": "bytes",
            "max_length": 64,
            "batch_size": 4,
            "splitting": {"fractions": [0.5, 0.25, 0.25]},
        }
        return TextDataModule.from_lists(texts, labels, **defaults | settings)

    return make


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., GPTClassifier]:
    """Makes a model of TINY size, of which everything trains."""

    def make(**settings: Any) -> GPTClassifier:
        defaults = {"gpt": TINY, "weights": "random", "trainable": "all", "learning_rate": 1e-3}
        return GPTClassifier(**defaults | settings)

    return make


@pytest.fixture
def quick_trainer(tmp_path: Path) -> Callable[..., L.Trainer]:
    """Makes a trainer that runs one epoch and neither logs nor saves, unless told otherwise."""

    def make(**settings: Any) -> L.Trainer:
        quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        defaults = {
            "max_epochs": 1,
            "accelerator": ACCELERATOR,
            "num_sanity_val_steps": 0,
            "default_root_dir": tmp_path,
        }
        return L.Trainer(**dict.fromkeys(quiet, False) | defaults | settings)

    return make


@pytest.fixture(scope="session")
def fit() -> Callable[..., int]:
    """Fits a tiny network for two short epochs from the command line: configs/toy.yaml and further arguments."""

    def run(root: Path, *arguments: str) -> int:
        settings = [f"--trainer.default_root_dir={root}", "--trainer.max_epochs=2", f"--model.gpt={TINY}"]
        settings.append("--trainer.limit_train_batches=20")  # of 60
        settings += [f"--trainer.accelerator={ACCELERATOR}", "--data.max_length=64"]
        return main(["fit", f"--config={CONFIGS / 'toy.yaml'}", *settings, *arguments])

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, fit: Callable[..., int]) -> Path:
    """The folder of a finished run. Tests that write into it work on a copy."""
    root = tmp_path_factory.mktemp("trained")
    assert fit(root) == 0
    return root / "version_0"


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a folder as encoders are published, with only a tiny tokenizer in it yet.

    Of the kind ``wordpiece`` (BERT), ``bpe`` (RoBERTa, ModernBERT) or ``unigram`` (DeBERTa-v3).
    """

    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        tokenizer = {"wordpiece": wordpiece, "bpe": byte_level_bpe, "unigram": unigram}[kind]()
        tokenizer.enable_truncation(8)  # some are published so; these settings must not count
        tokenizer.enable_padding(length=8)
        tokenizer.save(str(folder / "tokenizer.json"))
        return folder

    return make


def wordpiece() -> Tokenizer:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*ascii_lowercase, "!", *(f"##{letter}" for letter in ascii_lowercase)]
    vocabulary = {token: number for number, token in enumerate(specials + pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(specials)
    return tokenizer


def byte_level_bpe() -> Tokenizer:
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def unigram() -> Tokenizer:
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    pieces = [(token, 0.0) for token in specials] + [(letter, -3.0) for letter in ["▁", *ascii_lowercase]]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens(specials)
    return tokenizer
