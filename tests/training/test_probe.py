"""A probe solves the head as scikit-learn does, chooses the block that is read, removes those above, and is epoch 0."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close

from gpt_classifier import GPTClassifier, TextClassifier
from gpt_classifier.data.task import Task
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.probe_results import ProbeTrial
from gpt_classifier.models.heads import SequenceClassifier, StandardizedLinear
from gpt_classifier.models.transformers_network import random_network
from gpt_classifier.reporting.document import Table
from gpt_classifier.reporting.score_sections import probe_section
from gpt_classifier.training import probing
from gpt_classifier.training.callbacks import default_callbacks
from gpt_classifier.training.callbacks.history import read_probe
from gpt_classifier.training.probe import Probe, Rows, Solver, _solve, build_scorer, folds, sampled
from gpt_classifier.training.state_cache import PooledStates, average_windows

BERT = {
    **{"model_type": "bert", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3},
    **{"num_attention_heads": 2, "max_position_embeddings": 80, "vocab_size": 300},
}
LLAMA = BERT | {"model_type": "llama", "num_key_value_heads": 1, "head_dim": 8}
NETWORKS = {"bert": BERT, "llama": LLAMA}


def states(rows: int = 200, channels: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled states (N, C) and the classes (N,) that they give away in part."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % classes
    centres = 2 * torch.randn(classes, channels, generator=generator)
    return 3 + centres[labels] + 2 * torch.randn(rows, channels, generator=generator), labels


# ---------------------------------------------------------------- the solver


def test_rows_of_one_class_are_all_predicted_as_it():
    x, _ = states()
    heads = list(Solver(3, Task.SINGLE_LABEL, None).path(x, torch.ones(len(x), dtype=torch.long), [0.1, 1.0]))
    assert len(heads) == 2
    assert all((head(x).argmax(-1) == 1).all() for head in heads)


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        ([0, 1], [0, 1]),  # each side of a fold has one class
        ([0] * 20 + [1] * 2, range(22)),
        ([0] * 20 + [1] * 8, [*range(20), *[99] * 8]),  # a class in one group
        ([0] * 9 + [1] * 9, [0] * 18),  # one group
    ],
)
def test_few_rows_or_groups_have_folds_all_the_same(labels, groups):
    x, y = torch.randn(len(labels), 4), torch.tensor(labels)
    probe = Probe(
        Solver(2, Task.SINGLE_LABEL, None),
        build_scorer("val/f1_macro", ["a", "b"], None),
        "val/f1_macro",
        Rows(y, np.array(groups)),
        None,
    )
    probe.try_places([1], lambda _: [("mean", x, None)])
    assert sorted(torch.cat([fold for _, fold in probe.folds]).tolist()) == list(range(len(labels)))
    assert np.isfinite(probe.best.loss)


def test_a_sample_has_rows_of_every_class():
    labels = torch.zeros(10_000, dtype=torch.long)
    labels[[3, 5000, 9999]] = 1
    rows = sampled(labels, 50)
    assert labels[rows].sum() == 3
    assert (np.diff(rows) > 0).all()
    assert len(rows) <= 58
    assert sampled(labels, 10_000).tolist() == list(range(10_000))
    several = torch.stack([labels, 1 - labels], 1).float()
    assert several[sampled(several, 50)].sum(0).tolist()[0] == 3


def test_where_a_score_is_never_known_the_loss_decides():
    solver = Solver(2, Task.SINGLE_LABEL, None)
    x, y = states(classes=2)
    probe = Probe(
        solver,
        lambda logits, labels: (float("nan"), float(logits.std())),
        "val/recall_x",
        Rows(y, np.arange(len(y))),
        None,
    )
    probe.try_places([1, 2], lambda number: [("mean", x * number if number == 2 else torch.zeros_like(x), None)])
    assert probe.best.loss == min(trial.loss for trial in probe.trials)


@pytest.mark.parametrize("size", [1e-30, 1e-5, 0.0])
def test_a_channel_that_hardly_varies_gets_no_large_weight(size):
    x, y = states(classes=2)
    x = torch.cat([x, 8 + size * (2 * y[:, None] - 1)], 1)  # would separate the classes
    (head,) = Solver(2, Task.SINGLE_LABEL, None).path(x, y, [1.0])
    merged = head.weight / head.deviation
    assert merged[:, -1].abs().max() < 100
    half = x.half().float()
    assert_close(head(half), head(x), atol=0.02, rtol=0.02)


def test_states_of_zeros_have_a_head():
    (head,) = Solver(2, Task.SINGLE_LABEL, None).path(torch.zeros(8, 3), torch.arange(8) % 2, [1.0])
    assert head(torch.zeros(8, 3)).abs().max() < 1e-4


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 3.0]])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_is_the_minimum_that_scikit_learn_finds(classes, weights):
    x, y = states(classes=classes)
    weights = None if weights is None else weights[:classes]
    solver = Solver(classes, Task.SINGLE_LABEL, None if weights is None else torch.tensor(weights))
    head = list(solver.path(x, y, [0.01, 0.3], tolerance=1e-6))[-1]
    scaled = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    reference = LogisticRegression(C=0.3, tol=1e-8, max_iter=10_000, class_weight=weights and dict(enumerate(weights)))
    expected = reference.fit(scaled, y.numpy()).predict_proba(scaled)
    assert head(x).softmax(-1).numpy() == pytest.approx(expected, abs=1e-3)


def test_each_of_several_labels_is_solved_alone_also_one_that_no_row_or_every_row_has():
    x, y = states(classes=2)
    labels = torch.stack([y, 1 - y, torch.zeros_like(y), torch.ones_like(y)], 1).float()
    head = next(Solver(4, Task.MULTI_LABEL, torch.tensor([2.0, 1.0, 1.0, 1.0])).path(x, labels, [0.1]))
    probabilities = head(x).sigmoid()
    weighted = LogisticRegression(C=0.1, class_weight={0: 1.0, 1: 2.0})
    scaled = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    expected = weighted.fit(scaled, y.numpy()).predict_proba(scaled)[:, 1]
    assert probabilities[:, 0].numpy() == pytest.approx(expected, abs=5e-3)
    assert probabilities[:, 2].max() < 0.01
    assert probabilities[:, 3].min() > 0.99


def test_a_class_without_rows_is_never_predicted():
    x, y = states(classes=2)
    head = next(Solver(3, Task.SINGLE_LABEL, None).path(x, 2 * y, [0.1]))
    assert set(head(x).argmax(-1).tolist()) == {0, 2}


def test_a_constant_channel_changes_nothing():
    x, y = states()
    solver = Solver(3, Task.SINGLE_LABEL, None)
    alone = next(solver.path(x, y, [0.1]))(x)
    beside = torch.cat([x, torch.full((len(x), 1), 7.0)], 1)
    assert_close(next(solver.path(beside, y, [0.1]))(beside), alone, atol=1e-2, rtol=0)


def test_a_standardized_layer_starts_at_the_head_and_is_merged_into_a_plain_one():
    x, y = states()
    solved = next(Solver(3, Task.SINGLE_LABEL, None).path(x, y, [0.1]))
    head = solved.head()
    assert_close(head(x), solved(x))
    torch.optim.AdamW(head.parameters(), lr=1.0, weight_decay=0.5).step()  # without a gradient: only decay
    assert_close(head(x), solved(x))  # it pulls towards where the head began
    head.weight.data += torch.randn_like(head.weight)
    assert_close(head.merged()(x), head(x), atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- the choice


def test_folds_keep_groups_together_and_score_every_row_once():
    _, y = states()
    groups = np.arange(200) // 5
    found = folds(Rows(y, groups), Task.SINGLE_LABEL)
    assert len(found) == 5
    assert sorted(torch.cat([fold for _, fold in found]).tolist()) == list(range(200))
    for rest, fold in found:
        assert not set(groups[rest]) & set(groups[fold])
        assert len(rest) + len(fold) == 200


def test_the_informative_place_is_chosen_and_of_equal_ones_that_with_the_fewest_blocks():
    x, y = states()
    noise = torch.randn(200, 6, generator=torch.Generator().manual_seed(2))
    probe = Probe(
        Solver(3, Task.SINGLE_LABEL, None), build_scorer("val/accuracy", ["a", "b", "c"], None), "val/accuracy",
        Rows(y, np.arange(200)), None,
    )  # fmt: skip
    of = {1: noise, 2: x, 3: x}
    probe.try_places([1, 2, 3], lambda blocks: [("mean", of[blocks], None)])
    assert probe.best.blocks == 2
    best = probe.refine(x, None)
    assert best.loss == min(trial.loss for trial in probe.trials)
    assert best.blocks == 2


def test_of_many_blocks_every_third_is_tried_and_then_those_beside_the_best():
    x, y = states()
    noise = torch.randn(200, 6, generator=torch.Generator().manual_seed(2))
    probe = Probe(
        Solver(3, Task.SINGLE_LABEL, None), build_scorer("val/loss", ["a", "b", "c"], None), "val/loss",
        Rows(y, np.arange(200)), Rows(y, np.arange(200)),
    )  # fmt: skip
    probe.try_places(range(1, 31), lambda n: [("mean", *[noise + x / (1 + abs(n - 11))] * 2)])
    assert probe.best.blocks == 11
    assert {trial.blocks for trial in probe.trials} == {*range(3, 31, 3), 10, 11, 13, 14}


def trial(blocks: int, score: float, loss: float) -> ProbeTrial:
    return ProbeTrial(blocks=blocks, pooling="mean", strength=1.0, score=score, loss=loss)


def test_a_score_that_is_not_a_number_is_never_the_best():
    probe = Probe(
        Solver(2, Task.SINGLE_LABEL, None), lambda *_: (0, 0), "val/auroc", Rows(states()[1], np.arange(200)), None
    )
    probe.trials = [trial(1, float("nan"), 0.1), trial(2, 0.5, 0.2)]
    assert probe.best.blocks == 2


# ---------------------------------------------------------------- hidden states and removed blocks


@pytest.mark.parametrize("kind", NETWORKS)
def test_pooled_states_are_those_of_the_network_that_ends_there(kind):
    model = SequenceClassifier(random_network(NETWORKS[kind]), 2, "mean").eval()
    ids, lengths = torch.randint(2, 300, (4, 9)), torch.tensor([9, 4, 1, 7])
    with torch.no_grad():
        read = model.pooled_by_block(ids, lengths, ["mean", "first_token"], 3)
        for blocks in (3, 2, 1):
            model.backbone.keep(blocks)
            for place, pooling in enumerate(["mean", "first_token"]):
                model.pooling = pooling
                assert_close(model.pooled(model.backbone.embed(ids), lengths), read[:, blocks - 1, place])
    assert model.backbone.config.n_layer == 1


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_without_its_last_blocks_is_built_again_from_its_fields(kind):
    model = random_network(NETWORKS[kind])
    model.keep(2)
    again = random_network(model.config.fields)
    assert again.config == model.config
    again.load_state_dict(model.state_dict())


def test_windows_of_a_text_count_as_their_mean():
    each = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert average_windows(each, np.array([2, 1])).tolist() == [[2.0, 3.0], [5.0, 6.0]]
    assert average_windows(each, np.array([1, 1, 1])) is each


# ---------------------------------------------------------------- fits


def fit(quick_trainer, data, kind="bert", epochs=2, **settings):
    module = GPTClassifier(**{"backbone": NETWORKS[kind], "weights": "random", "probe": True} | settings)
    callbacks = default_callbacks()
    trainer = quick_trainer(max_epochs=epochs, callbacks=callbacks, enable_checkpointing=True, logger=True)
    torch.manual_seed(5)  # the same random network each time
    trainer.fit(module, data)
    return module


@pytest.mark.parametrize("kind", NETWORKS)
def test_where_only_the_head_trains_the_probe_is_the_fit(kind, quick_trainer, tiny_data, tmp_path, caplog):
    module = fit(quick_trainer, tiny_data(), kind, trainable="head")
    assert module.trainer.global_step == 0
    assert module.probed is not None
    assert module.model.backbone.config.n_layer == module.probed.best.blocks
    assert type(module.model.head) is torch.nn.Linear
    run = tmp_path / "lightning_logs" / "version_0"
    assert (run / "checkpoints" / "best.ckpt").is_file()
    texts = ["WIN a car, call now!", "See you at five", ""]
    expected = TextClassifier(module.bundle()).predict_proba(texts)
    assert TextClassifier.load(run / "model").predict_proba(texts) == pytest.approx(expected, abs=1e-6)
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    assert f"| trained | head alone, solved: {module.probed.best.pooling.replace('_', ' ')} behind block" in card
    assert "AdamW" not in card
    assert module.trained_seconds() >= module.probed.seconds
    again = GPTClassifier.load_from_checkpoint(run / "checkpoints" / "best.ckpt")
    assert TextClassifier(again.bundle()).predict_proba(texts) == pytest.approx(expected, abs=1e-6)
    assert "probe: " in caplog.text
    assert "each scored by folds" in caplog.text
    assert read_probe(run) == module.probed
    test = SimpleNamespace(results=SimpleNamespace(run=SimpleNamespace(probe=read_probe(run))))
    section = probe_section(test)
    assert "training rows, each scored by folds" in section.how_to_read
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    kept = [(each.pooling.replace("_", " "), str(each.blocks)) for each in module.probed.places.values()]
    assert [(row[0], row[1]) for row in table.rows] == kept


@pytest.mark.parametrize(("trainable", "blocks"), [("last_block", None), (2, None), ("all", 3), ("lora", 3)])
def test_fine_tuning_starts_from_the_probe_and_all_blocks_are_kept_where_all_train(
    trainable, blocks, quick_trainer, tiny_data, tmp_path
):
    module = fit(quick_trainer, tiny_data(), trainable=trainable, learning_rate=1e-9)
    assert isinstance(module.model.head, StandardizedLinear)
    kept = module.model.backbone.config.n_layer
    assert kept == (module.probed.best.blocks if blocks is None else blocks)
    assert kept >= (2 if trainable == 2 else 1)
    probe = fit(quick_trainer, tiny_data(), trainable="head", blocks=kept)
    ids, lengths = torch.randint(0, 257, (2, 9)), torch.tensor([9, 5])
    assert probe.model.pooling == module.model.pooling
    assert_close(module.model.eval()(ids, lengths), probe.model.eval()(ids, lengths), atol=1e-4, rtol=1e-4)
    saved = TextClassifier.load(tmp_path / "lightning_logs" / "version_0" / "model")
    assert saved.model.head_settings == "linear"


def test_a_fit_that_began_with_a_probe_is_resumed(quick_trainer, tiny_data, tmp_path):
    settings = {"backbone": BERT, "weights": "random", "probe": True, "trainable": "last_block", "learning_rate": 1e-3}
    whole, first, resumed = (GPTClassifier(**settings) for _ in range(3))
    quick_trainer(max_epochs=2).fit(whole, tiny_data())
    torch.manual_seed(123)
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(first, tiny_data())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed.resumes = True
    quick_trainer(max_epochs=2).fit(resumed, tiny_data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert resumed.probed is None
    for name, tensor in whole.model.state_dict().items():
        if "head" in name or "encoder.layer.2" in name:
            assert tensor.shape == resumed.model.state_dict()[name].shape
    assert isinstance(resumed.model.head, StandardizedLinear)
    assert resumed.model.pooling == first.model.pooling


def test_several_labels_and_class_weights(quick_trainer, tiny_data):
    letters = iter(f"{a}{b}" for a in "abcdefgh" for b in "ijklmnop")
    texts = [f"{a} {b} {next(letters)}" for a in ("red", "blue", "") for b in ("car", "boat", "") for _ in range(6)]
    labels = [[word for word in ("red", "car") if word in text] for text in texts]
    data = tiny_data(texts, labels, multi_label="lists", balance="class_weights")
    module = fit(quick_trainer, data, trainable="head")
    assert module.model.head.out_features == 2
    assert module.trainer.callback_metrics["val/loss"] < 0.7


def test_windows_are_read_whole(quick_trainer, tiny_data):
    data = tiny_data(max_length=8, windows={"stride": 4})
    module = fit(quick_trainer, data, trainable="head")
    assert module.probed is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "mlp"}, "a probe needs a linear head, not 'mlp'"),
        ({"pooling": "mean_positions"}, "a probe needs a pooling that leaves padding out"),
        ({"blocks": 4}, "blocks is 4, expected 1 to 3"),
        ({"blocks": 0}, "blocks is 0, expected 1 to 3"),
    ],
)
def test_what_cannot_be_probed_is_said(settings, message, quick_trainer, tiny_data):
    with pytest.raises(InputError, match=message):
        fit(quick_trainer, tiny_data(), trainable="head", **settings)


def test_random_weights_are_not_probed_unless_asked(quick_trainer, tiny_data):
    module = fit(quick_trainer, tiny_data(), probe=None, trainable="head", epochs=1)
    assert module.probed is None
    assert module.trainer.global_step > 0


@pytest.mark.parametrize(
    "settings", [{}, {"pooling": "first_token"}, {"pooling": "mean"}, {"blocks": 3}, {"trainable": "all", "epochs": 1}]
)
def test_states_are_kept_for_a_second_fit_whatever_it_reads(settings, quick_trainer, tiny_data, monkeypatch):
    fit(quick_trainer, tiny_data(), trainable="head")
    monkeypatch.setattr(PooledStates, "run_batch", lambda *_: pytest.fail("the network runs again"))
    again = fit(quick_trainer, tiny_data(), **{"trainable": "head"} | settings)
    read = {(trial.blocks, trial.pooling) for trial in again.probed.trials}
    assert {pooling for _, pooling in read} == {settings.get("pooling")} or "pooling" not in settings
    assert {blocks for blocks, _ in read} == ({3} if settings.keys() & {"blocks", "trainable"} else {1, 2, 3})


def test_many_states_are_computed_only_where_they_are_read(quick_trainer, tiny_data, monkeypatch):
    monkeypatch.setattr(probing, "MANY_BYTES", 100)
    kept = []
    run_batch = PooledStates.run_batch
    monkeypatch.setattr(PooledStates, "run_batch", lambda self, ids: kept.append(self) or run_batch(self, ids))
    fit(quick_trainer, tiny_data(), trainable="head", blocks=2, pooling="mean")
    assert {(*states.kept, *states.poolings) for states in kept} == {(2, "mean")}


@pytest.mark.slow
def test_two_processes_choose_and_solve_what_one_does(tmp_path):
    texts = [f"{word} {a}{b}" for word in ("win a prize", "see you") for a in "abcdefgh" for b in "ijkl"]
    source = tmp_path / "texts.csv"
    pd.DataFrame({"text": texts, "label": [text.split()[0] for text in texts]}).to_csv(source, index=False)
    heads, probes = [], []
    for devices in (1, 2):
        root = tmp_path / str(devices)
        settings = {
            "model.backbone": json.dumps(BERT),
            "model.weights": "random",
            "model.probe": True,
            "model.trainable": "last_block",
            "model.learning_rate": 1e-9,
            "model.cache.gigabytes": 0.001,
            "data.source": source,
            "data.tokenizer": "bytes",
            "data.max_length": 64,
            "trainer.max_epochs": 1,
            "trainer.accelerator": "cpu",
            "trainer.devices": devices,
            "trainer.strategy": "auto" if devices == 1 else "ddp",
            "trainer.default_root_dir": root,
        }
        command = ["fit", *(f"--{name}={value}" for name, value in settings.items())]
        environment = os.environ | {"GPT_CLASSIFIER_COMPUTED": str(root / "states")}
        done = subprocess.run(
            [sys.executable, "-m", "gpt_classifier", *command],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("probe: ") + done.stdout.count("probe: ") == 1
        probes.append(read_probe(root / "version_0"))
        checkpoint = torch.load(root / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
        heads.append({name: value for name, value in checkpoint["state_dict"].items() if "head" in name})
    one, two = ([(t.pooling, t.blocks, t.strength, t.score) for t in probe.trials] for probe in probes)
    assert one == [(*place, pytest.approx(score, abs=1e-6)) for *place, score in two]
    assert probes[0].best.blocks == probes[1].best.blocks
    assert_close(*heads, rtol=1e-3, atol=1e-4)


def test_the_probe_is_epoch_0_also_where_later_epochs_are_not_all_validated(quick_trainer, tiny_data):
    module = GPTClassifier(backbone=BERT, weights="random", probe=True, trainable="last_block", learning_rate=1e-3)
    quick_trainer(max_epochs=2, check_val_every_n_epoch=2).fit(module, tiny_data())
    assert module.first_score is not None


def test_a_trial_run_leaves_no_file(quick_trainer, tiny_data, tmp_path):
    module = GPTClassifier(backbone=BERT, weights="random", probe=True, trainable="head")
    places = {"default_root_dir": tmp_path / "runs", "callbacks": default_callbacks()}
    quick_trainer(fast_dev_run=True, enable_checkpointing=True, **places).fit(module, tiny_data())
    assert module.probed is not None
    assert not list((tmp_path / "runs").rglob("*.ckpt"))


@pytest.mark.parametrize("told", [True, False])
def test_a_resumed_fit_knows_the_probe_that_it_began_with(told, quick_trainer, tiny_data, tmp_path):
    """Whether or not it is told before that a checkpoint follows, as from Python it is not."""
    settings = {"backbone": BERT, "weights": "random", "probe": True, "trainable": "last_block", "learning_rate": 1e-9}
    first, resumed = GPTClassifier(**settings), GPTClassifier(**settings)
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(first, tiny_data())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed.resumes = told
    quick_trainer(max_epochs=2).fit(resumed, tiny_data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert first.first_score is not None
    assert resumed.first_score == first.first_score
    assert resumed.probed is None


def test_states_beyond_the_limit_are_no_probe(quick_trainer, tiny_data, monkeypatch, tmp_path):
    monkeypatch.setenv("GPT_CLASSIFIER_COMPUTED", str(tmp_path / "computed"))
    settings = {"backbone": BERT, "weights": "random", "trainable": "head", "cache": {"gigabytes": 1e-6}}
    with pytest.raises(InputError, match=r"no probe, as its states exceed cache\.gigabytes: raise that"):
        quick_trainer(max_epochs=1).fit(GPTClassifier(probe=True, **settings), tiny_data())
    with pytest.raises(InputError, match="gigabytes is inf"):
        GPTClassifier(cache={"gigabytes": float("inf")})


def test_without_a_cache_nothing_is_kept(quick_trainer, tiny_data, monkeypatch, tmp_path):
    monkeypatch.setenv("GPT_CLASSIFIER_COMPUTED", str(tmp_path / "computed"))
    module = fit(quick_trainer, tiny_data(), trainable="head", cache={"enabled": False})
    assert module.probed is not None
    assert not [path for path in (tmp_path / "computed").rglob("*") if path.is_file()]


def test_the_largest_logit_of_windows_is_not_probed(quick_trainer, tiny_data):
    """The head of the mean of their states gives the mean of their logits."""
    data = {"max_length": 8, "windows": {"stride": 4, "aggregate": "max"}}
    with pytest.raises(InputError, match="a probe needs windows whose logits are averaged"):
        fit(quick_trainer, tiny_data(**data), trainable="head")


def test_a_row_of_weight_two_counts_as_two_rows():
    x, y = states()
    weights = np.where(np.arange(len(x)) < 50, 2.0, 1.0)
    solver = Solver(3, Task.SINGLE_LABEL, None)
    twice = torch.cat([torch.arange(len(x)), torch.arange(50)])
    # The standardisation counts rows, so that of the repeated ones is given.
    (weighted,) = _solve(x.numpy(), y, [1.0], 1e-8, None, weights)
    (repeated,) = _solve(x[twice].numpy(), y[twice], [1.0], 1e-8, None, None)
    assert_close(weighted, repeated, atol=1e-4, rtol=1e-4)
    heads = [next(solver.path(x, y, [1.0], 1e-8, given)) for given in (weights, None)]
    assert not torch.equal(heads[0].weight, heads[1].weight)
