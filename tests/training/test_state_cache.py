"""Starting behind the frozen blocks changes nothing but the time; files that cannot be trusted are made again."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from gpt_classifier.models.freezing import freeze
from gpt_classifier.models.gpt import GPT, GPTConfig
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.training import state_store, text_states
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.state_cache import CachedTexts, HiddenStateCache
from gpt_classifier.training.text_states import Shard


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GPT_CLASSIFIER_COMPUTED", str(tmp_path / "computed"))


@pytest.fixture
def model(tiny_config):
    return SequenceClassifier(GPT(tiny_config), 2)


def fitted(
    quick_trainer, tiny_data, cached, policy="last_block", pooling="last_token", causal=True, lora=None, **data_settings
):
    torch.manual_seed(1)
    # Plain gradient descent: Adam turns rounding noise of zero gradients (such as that of key biases) into steps.
    model = GPTClassifier(
        gpt={"n_layer": 3, "n_head": 2, "n_embd": 32, "context_length": 64, "causal": causal},
        weights="random",
        trainable=policy,
        lora=lora,
        pooling=pooling,
        optimizer={"name": "SGD"},
        learning_rate=0.1,
        cache={"enabled": cached},
    )
    trainer = quick_trainer(max_epochs=2)
    trainer.fit(model, tiny_data(**data_settings))
    scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return model, scores


@pytest.mark.parametrize(
    ("policy", "pooling", "settings"),
    [
        ("last_block", "last_token", {}),
        ("last_block", "last_token", {"batching": {"pad_to": 64}}),
        ("last_block", "first_token", {}),
        ("last_two_blocks", "mean", {}),
        ("head", "last_token", {}),
        ("head", "mean", {}),
        ("last_block", "last_position", {"batching": {"pad_to": "longest_train"}}),
        ("head", "mean_positions", {"batching": {"pad_to": "longest_train"}}),
        ("last_block", "last_token", {"augmentation": {"crop": 0.5, "delete": 0.1, "case": 0.2}}),
        ("head", "mean", {"augmentation": {"case": 0.5}}),
        ("last_block", "mean", {"causal": False}),
        ("last_block", "last_position", {"batching": {"pad_to": 64}, "causal": False}),
        ("head", "mean_positions", {"batching": {"pad_to": 64}, "causal": False}),
        ("lora", "last_token", {"lora": {"targets": r"\.h\.2\."}}),
        ("lora", "mean", {"lora": {"targets": r"\.h\.[12]\..*c_attn$", "dora": True}}),
        ("lora", "last_token", {"lora": {"targets": "^head$"}}),
    ],
)
def test_losses_and_weights_equal_those_without_cache(quick_trainer, tiny_data, policy, pooling, settings):
    with_cache, scores = fitted(quick_trainer, tiny_data, True, policy, pooling, **settings)
    without, expected = fitted(quick_trainer, tiny_data, False, policy, pooling, **settings)
    assert with_cache.state_cache is not None
    assert without.state_cache is None
    assert scores == pytest.approx(expected, abs=1e-5)
    for name, tensor in without.model.state_dict().items():
        torch.testing.assert_close(with_cache.model.state_dict()[name], tensor, atol=1e-6, rtol=1e-5)


def test_it_is_off_where_it_would_not_be_exact(model):
    text_encoder = TextEncoder("bytes", 64)
    assert HiddenStateCache.is_exact(model, "last_block", text_encoder)
    assert not HiddenStateCache.is_exact(model, "all", text_encoder)
    assert not HiddenStateCache.is_exact(model, 2, text_encoder)  # two blocks of two
    assert not HiddenStateCache.is_exact(model, "biases", text_encoder)  # those of the first block too
    model.pooling = "last_position"  # padding would depend on the batch
    assert not HiddenStateCache.is_exact(model, "last_block", text_encoder)
    assert HiddenStateCache.is_exact(model, "last_block", TextEncoder("bytes", 64, pad_to=64))
    model.add_lora(LoRAConfig(targets=r"\.h\.1\."))
    assert HiddenStateCache.is_exact(model, "lora", TextEncoder("bytes", 64, pad_to=64))


def test_frozen_blocks_drop_nothing_and_those_that_train_do():
    model = SequenceClassifier(GPT(GPTConfig(257, 64, 32, 2, 4, dropout=0.5)), 2)
    ids = torch.arange(12).view(2, 6)

    def states(stop: int) -> list[torch.Tensor]:
        return [model.backbone.run_blocks(model.backbone.embed(ids), 0, stop) for _ in range(2)]

    freeze(model, "last_block")
    model.train()
    assert torch.equal(*states(1))
    assert not torch.equal(*states(2))
    freeze(model, "all")
    model.train()
    assert not torch.equal(*states(1))
    model.eval()
    assert torch.equal(*states(2))


@pytest.fixture
def rows(tiny_data):
    data = tiny_data()
    data.setup("fit")
    return data.encoded["train"]


def cache(model, policy="last_block", **settings):
    return HiddenStateCache(model, policy, TextEncoder("bytes", 64), **settings)


def states(cached):
    assert isinstance(cached, CachedTexts)
    return torch.cat(cached.states)


def files():
    return sorted(state_store.folder().rglob("*.safetensors"))


def test_a_second_run_reads_what_the_first_one_wrote(model, rows):
    first = cache(model)
    computed = states(first.texts(rows))
    second = cache(model)
    assert torch.equal(states(second.texts(rows)), computed)
    assert first.tokens == rows.lengths.sum()
    assert second.tokens == 0


def test_equal_texts_are_computed_once(model, tiny_data):
    data = tiny_data(["same text"] * 16 + ["other text"] * 16, split="random")
    data.setup("fit")
    run = cache(model)
    run.texts(data.encoded["train"])
    assert run.tokens == len("same text") + len("other text")


@pytest.mark.parametrize("change", ["weights", "blocks", "dtype", "precision", "causal"])
def test_states_are_only_found_under_what_determines_them(model, rows, change):
    cache(model).texts(rows)
    other, policy, settings = model, "last_block", {}
    match change:
        case "weights":
            with torch.no_grad():
                model.backbone.h[0].mlp.c_fc.bias[0] += 1e-3
        case "blocks":
            policy = "head"
        case "dtype":
            settings = {"dtype": torch.bfloat16}
        case "precision":
            settings = {"precision": "bf16-mixed"}
        case "causal":
            other = SequenceClassifier(GPT(GPTConfig(257, 64, 32, 2, 4, causal=False)), 2)
            other.load_state_dict(model.state_dict())
    run = cache(other, policy, **settings)
    run.texts(rows)
    assert run.tokens == rows.lengths.sum()


def test_weights_above_the_start_layer_do_not_matter(model, rows):
    cache(model).texts(rows)
    with torch.no_grad():
        model.backbone.h[1].mlp.c_fc.bias += 1
        model.head.weight += 1
    run = cache(model)
    run.texts(rows)
    assert run.tokens == 0


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty"])
def test_damaged_files_are_made_again(model, rows, damage):
    computed = states(cache(model).texts(rows))
    (path,) = files()
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-100],
            "flipped": content[:-1] + bytes([content[-1] ^ 255]),
            "foreign": b"not a safetensors file",
            "empty": b"",
        }[damage]
    )
    run = cache(model)
    assert torch.equal(states(run.texts(rows)), computed)
    assert run.tokens > 0
    assert path not in files()


def test_no_folder_is_needed(model, rows):
    in_memory = states(cache(model, limit=0).texts(rows))
    assert files() == []
    assert torch.equal(in_memory, states(cache(model).texts(rows)))


def test_what_does_not_fit_runs_for_every_batch(model, rows):
    assert cache(model, limit=1000).texts(rows) is rows
    assert files() == []


def test_the_least_recently_used_weights_go_first(tiny_config, rows):
    models = [SequenceClassifier(GPT(tiny_config), 2) for _ in range(3)]
    for age, one in zip((30, 20, 10), models, strict=True):
        cache(one).texts(rows)
        for path in files():
            if path.stat().st_mtime > 1e9 + 100:
                os.utime(path, (1e9 - age, 1e9 - age))
    room = int(state_store.size() * 0.7)
    third = cache(models[2], limit=room)
    state_store.trim(room, keep=third.store.folder)
    assert cache(models[0]).store.folder not in {path.parent for path in files()}
    assert third.store.folder in {path.parent for path in files()}
    assert state_store.size() <= room


def test_clear_removes_everything(model, rows):
    cache(model).texts(rows)
    assert state_store.size() > 0
    state_store.clear()
    assert state_store.size() == 0


def test_each_process_computes_its_shard(model, rows, monkeypatch):
    monkeypatch.setattr(text_states, "batch_tokens", lambda device: 32)  # several batches to shard
    alone = states(cache(model, limit=0).texts(rows))
    meeting = threading.Barrier(2)
    runs = [cache(model), cache(model)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda rank: runs[rank].texts(rows, Shard(rank, 2, meeting.wait)), (0, 1)))
    for cached in together:
        torch.testing.assert_close(states(cached), alone)
    assert len(files()) == 2  # each wrote its part


def test_processes_that_disagree_on_what_is_missing_still_finish(model, rows):
    first, second = cache(model), cache(model)
    together = first.texts(rows, Shard(0, 2, barrier=lambda: None))  # does half, then finds nobody did the rest
    assert len(states(together)) == rows.lengths.sum()
    assert len(states(second.texts(rows))) == rows.lengths.sum()


def test_half_precision_takes_half_the_room(model, rows):
    cache(model).texts(rows)
    whole = state_store.size()
    state_store.clear()
    cached = cache(model, dtype=torch.bfloat16).texts(rows)
    assert states(cached).dtype == torch.bfloat16
    assert state_store.size() < 0.6 * whole
