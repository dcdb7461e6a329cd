"""Encoders of transformers compute what they compute there, and are trained, kept and loaded as a GPT is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.errors import InputError
from gpt_classifier.inference import adapter, bundle, model_folder
from gpt_classifier.inference.classifier import quantized
from gpt_classifier.models.build import Specification, build
from gpt_classifier.models.freezing import count_frozen_layers, freeze, trainable_names
from gpt_classifier.models.heads import SequenceClassifier
from gpt_classifier.models.transformers_network import context_length, pretrained_network, random_network
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.training.build_run import ClassifierCLI
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.optimization import OptimizerConfig, build_optimizer
from gpt_classifier.training.state_cache import HiddenStateCache

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 80,
    "pad_token_id": 1,
    "vocab_size": 300,
}
RELATIVE = {  # as DeBERTa-v3 is published
    **{
        "relative_attention": True,
        "position_biased_input": False,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
    },
    **{"share_att_key": True, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0},
}
ENCODERS = {
    "distilbert": {
        **{"model_type": "distilbert", "dim": 16, "hidden_dim": 24, "n_layers": 3, "n_heads": 2},
        **{"max_position_embeddings": 80, "pad_token_id": 1, "vocab_size": 300},
    },
    "bert": SIZES | {"model_type": "bert"},
    "roberta": SIZES | {"model_type": "roberta"},
    "deberta": SIZES | RELATIVE | {"model_type": "deberta-v2"},
    "modernbert": SIZES | {"model_type": "modernbert", "local_attention": 4},
}
NO_DROPOUT = dict.fromkeys(
    ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "qa_dropout"), 0.0
) | {"seq_classif_dropout": 0.0}
BLOCKS = {  # where each architecture keeps its blocks
    "distilbert": "backbone.network.transformer.layer",
    "bert": "backbone.network.encoder.layer",
    "roberta": "backbone.network.encoder.layer",
    "deberta": "backbone.network.encoder.layer",
    "modernbert": "backbone.network.layers",
}
IDS = torch.randint(2, 300, (3, 20), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([20, 3, 11])


@pytest.fixture(params=ENCODERS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def saved(kind, published) -> Path:
    """A folder as on the hub: a tokenizer, and random weights with the head that the encoder was trained with."""
    folder = published({"roberta": "bpe", "modernbert": "bpe", "deberta": "unigram"}.get(kind, "wordpiece"))
    reference = AutoModelForMaskedLM.from_config(AutoConfig.for_model(**ENCODERS[kind]))
    for parameter in reference.parameters():  # norms and biases too
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    reference.save_pretrained(folder)
    return folder


def classifier(kind: str, pooling: str = "first_token") -> SequenceClassifier:
    model = SequenceClassifier(random_network(ENCODERS[kind]), 2, pooling).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def settings(kind: str, **others: object) -> dict[str, object]:
    """Settings of a module that trains a tiny random encoder on bytes."""
    defaults = {"backbone": ENCODERS[kind], "weights": "random", "pooling": "first_token", "learning_rate": 1e-3}
    return defaults | others


# ---------------------------------------------------------------- what it computes


@pytest.mark.parametrize("pooling", ["first_token", "last_token", "mean"])
def test_logits_are_the_head_on_the_references_hidden_states_of_each_text_alone(pooling, saved):
    reference = AutoModel.from_pretrained(saved).eval()
    ours = SequenceClassifier(pretrained_network(str(saved)), 3, pooling).eval()
    logits = ours(IDS, LENGTHS)
    for ids, length, row in zip(IDS, LENGTHS, logits, strict=True):
        states = reference(input_ids=ids[None, :length]).last_hidden_state[0]
        pooled = {"first_token": states[0], "last_token": states[-1], "mean": states.mean(0)}[pooling]
        assert_close(row, ours.head(pooled), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["first_token", "last_token", "mean"])
def test_neither_padding_nor_company_changes_a_logit_whatever_its_id(pooling, kind):
    model = classifier(kind, pooling)
    alone = torch.cat([model(ids[None, :n], n[None]) for ids, n in zip(IDS, LENGTHS, strict=True)])
    for filling in (0, 1, 299):
        padded = torch.full((3, 40), filling)
        padded[:, :20] = IDS
        for row, length in enumerate(LENGTHS):
            padded[row, length:] = filling
        assert_close(model(padded, LENGTHS), alone, rtol=0, atol=1e-5)


def test_a_text_may_contain_the_padding_token(kind):
    model = classifier(kind, "mean")
    ids = IDS[:1].clone()
    ids[0, 5] = 1
    wide = torch.cat([ids, torch.ones(1, 9, dtype=torch.long)], 1)
    assert_close(model(wide, LENGTHS[:1]), model(ids, LENGTHS[:1]), rtol=0, atol=1e-5)
    assert not torch.allclose(model(ids, LENGTHS[:1]), model(ids[:, :5], torch.tensor([5])), atol=1e-3)


def test_published_weights_come_in_full_precision_and_ready_to_train(saved):
    encoder = pretrained_network(str(saved))
    assert encoder.training
    assert all(module.training for module in encoder.modules())
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def test_checkpointed_blocks_give_the_same_gradients(kind):
    model = SequenceClassifier(random_network(ENCODERS[kind] | NO_DROPOUT), 2, "mean")
    gradients = []
    for model.backbone.activation_checkpointing in (False, True, False):
        model.zero_grad()
        model(IDS, LENGTHS).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        blocks = model.get_submodule(model.backbone.blocks.removesuffix(".").replace("network", "backbone.network", 1))
        assert {block.gradient_checkpointing for block in blocks} == {model.backbone.activation_checkpointing}
    assert len(gradients[0]) == len(list(model.parameters()))  # and every parameter has a part in the result
    assert_close(gradients[1], gradients[0])
    assert_close(gradients[2], gradients[0])


# ---------------------------------------------------------------- what trains


@pytest.mark.parametrize("policy", ["head", "last_block", "last_two_blocks", 3, "all"])
def test_a_policy_names_whole_blocks_and_the_norm_above_them(policy, kind):
    model = classifier(kind)
    names = {name for name, _ in model.named_parameters()}
    count = {"head": 0, "last_block": 1, "last_two_blocks": 2, "all": 3}.get(policy, policy)
    parts = ["head.", *(f"{BLOCKS[kind]}.{n}." for n in range(3 - count, 3))] + ["backbone.network.final_norm."] * (
        count > 0
    )
    expected = names if policy == "all" else {name for name in names if name.startswith(tuple(parts))}
    assert trainable_names(model, policy) == expected
    assert count_frozen_layers(model, policy) == 3 - count
    freeze(model, policy)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == expected


@pytest.mark.parametrize("policy", ["head", "last_block", "all"])
def test_training_changes_every_parameter_of_the_policy_and_no_bit_of_another(policy, kind, quick_trainer, tiny_data):
    before: dict[str, torch.Tensor] = {}

    def remember(trainer, module) -> None:
        before.update({name: tensor.clone() for name, tensor in module.model.state_dict().items()})

    module = GPTClassifier(**settings(kind, trainable=policy))
    quick_trainer(callbacks=[LambdaCallback(on_fit_start=remember)]).fit(module, tiny_data())
    changed = {name for name, tensor in module.model.state_dict().items() if not tensor.equal(before[name])}
    assert changed == trainable_names(module.model, policy)


def test_levels_of_the_learning_rate_follow_the_blocks(kind):
    model = classifier(kind)
    groups = build_optimizer(model, 1.0, OptimizerConfig("SGD", layer_decay=0.5)).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        inside = name.removeprefix(f"{BLOCKS[kind]}.")
        above = name.startswith(("head.", "backbone.network.final_norm."))
        level = 3 - int(inside[0]) if inside != name else 0 if above else 4
        assert rates[id(parameter)] == 0.5**level


def test_lora_trains_a_bidirectional_encoder_and_merges(quick_trainer, tiny_data):
    module = GPTClassifier(**settings("bert", trainable="lora", lora={"rank": 2, "targets": r"\.(query|value)$"}))
    quick_trainer().fit(module, tiny_data())
    whole, merged = module.bundle(), module.bundle().merged()
    assert_close(merged.model.eval()(IDS % 257, LENGTHS), whole.model.eval()(IDS % 257, LENGTHS), rtol=0, atol=1e-5)


def test_hidden_states_are_cached_where_the_blocks_run_one_by_one_or_all_are_frozen(kind):
    text_encoder = TextEncoder("bytes", 64)
    model = SequenceClassifier(random_network(ENCODERS[kind]), 2)
    assert HiddenStateCache.is_exact(model, "head", text_encoder)
    assert HiddenStateCache.is_exact(model, "last_block", text_encoder) == (kind != "deberta")  # shared positions
    assert not HiddenStateCache.is_exact(model, "all", text_encoder)


def test_a_bidirectional_encoder_with_cache_trains_its_head_the_same(quick_trainer, tiny_data):
    scores = []
    for cached in (True, False):
        torch.manual_seed(1)
        module = GPTClassifier(
            **settings(
                "modernbert", trainable="head", cache={"enabled": cached}, optimizer={"name": "SGD"}, learning_rate=0.1
            )
        )
        trainer = quick_trainer(max_epochs=2)
        trainer.fit(module, tiny_data())
        assert (module.state_cache is not None) == cached
        scores.append({name: float(value) for name, value in trainer.callback_metrics.items()})
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


# ---------------------------------------------------------------- keeping and loading


TEXTS = ["WIN a car, call now!", "See you", "[SEP] </s>", ""]


def test_a_bundle_comes_back_the_same_without_what_it_began_with(saved, quick_trainer, tiny_data, tmp_path):
    module = GPTClassifier(backbone=str(saved), trainable="last_block", pooling="first_token")
    trainer = quick_trainer()
    trainer.fit(module, tiny_data(tokenizer=str(saved)))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    model_folder.save_folder(tmp_path / "model", module.bundle(), "")
    saved.rename(tmp_path / "elsewhere")
    expected = TextClassifier(module.bundle()).predict_proba(TEXTS)
    for path in (tmp_path / "model", tmp_path / "last.ckpt"):
        assert TextClassifier.load(path).predict_proba(TEXTS) == pytest.approx(expected, abs=1e-6)
    assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text()

    loaded = GPTClassifier.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert TextClassifier(loaded.bundle()).predict_proba(TEXTS) == pytest.approx(expected, abs=1e-6)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_fit_from_the_command_line_is_classified_the_same_in_a_new_process(fit, published, tmp_path):
    tokenizer = published("wordpiece")
    encoder = json.dumps(ENCODERS["distilbert"])
    settings = [f"--model.backbone={encoder}", f"--data.tokenizer={tokenizer}", "--model.pooling=first_token"]
    assert fit(tmp_path / "run", *settings) == 0
    tokenizer.rename(tmp_path / "elsewhere")
    folder = tmp_path / "run" / "version_0" / "model"
    assert "distilbert: 3 blocks, hidden size 16" in (folder / "README.md").read_text()
    expected = TextClassifier.load(folder).predict_proba(TEXTS).tolist()
    program = (
        "import json, sys; from gpt_classifier import TextClassifier; classifier = TextClassifier.load(sys.argv[1]); "
        "print(json.dumps(classifier.predict_proba(json.load(sys.stdin)).tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, folder], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    assert np.array(json.loads(done.stdout)) == pytest.approx(np.array(expected), abs=1e-6)


@pytest.mark.parametrize("kind", ["bert"], indirect=True)
@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_a_named_network_brings_its_tokenizer_whatever_its_weights_are(weights, fit, saved, tmp_path):
    settings = [f"--model.backbone={saved}", f"--model.weights={weights}", "--model.pooling=mean"]
    assert fit(tmp_path / "run", *settings) == 0
    classifier = TextClassifier.load(tmp_path / "run")
    assert classifier.text_encoder.settings()["tokenizer"] == saved.name


def test_a_fit_is_resumed(quick_trainer, tiny_data, tmp_path):
    whole, first, resumed = (GPTClassifier(**settings("modernbert")) for _ in range(3))
    quick_trainer(max_epochs=2).fit(whole, tiny_data())
    torch.manual_seed(123)
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(first, tiny_data())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    quick_trainer(max_epochs=2).fit(resumed, tiny_data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert resumed.model.state_dict().keys() == first.model.state_dict().keys()
    assert resumed.trainer.global_step == whole.trainer.global_step


def test_an_adapter_lies_on_top_of_published_weights(saved, quick_trainer, tiny_data, tmp_path):
    module = GPTClassifier(backbone=str(saved), trainable="lora", lora={"targets": "encoder|layers|transformer"})
    quick_trainer().fit(module, tiny_data(tokenizer=str(saved)))
    adapter.save_adapter(tmp_path / "adapter", module.bundle(), trainable_names(module.model, "lora"))
    expected = TextClassifier(module.bundle()).predict_proba(TEXTS)
    loaded = TextClassifier.load(tmp_path / "adapter", base=saved)
    assert loaded.predict_proba(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_an_adapter_may_lie_on_the_first_blocks_alone(saved, quick_trainer, tiny_data, tmp_path):
    module = GPTClassifier(backbone=str(saved), trainable="biases", blocks=2, probe=False)
    quick_trainer().fit(module, tiny_data(tokenizer=str(saved)))
    adapter.save_adapter(tmp_path / "adapter", module.bundle(), trainable_names(module.model, "biases"))
    expected = TextClassifier(module.bundle()).predict_proba(TEXTS)
    loaded = TextClassifier.load(tmp_path / "adapter", base=saved)
    assert loaded.model.backbone.config.n_layer == 2
    assert loaded.predict_proba(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_a_model_folder_is_what_a_next_fit_can_start_from(quick_trainer, tiny_data, tmp_path):
    first, second = GPTClassifier(**settings("bert")), None
    quick_trainer().fit(first, tiny_data())
    model_folder.save_folder(tmp_path / "model", first.bundle(), "")
    second = GPTClassifier(**settings("bert", weights=str(tmp_path / "model"), trainable="head"))
    quick_trainer().fit(second, tiny_data())
    kept = second.model.backbone.state_dict()  # the blocks that the probe reads
    assert kept.keys() <= first.model.backbone.state_dict().keys()
    for name, tensor in kept.items():
        assert torch.equal(first.model.backbone.state_dict()[name], tensor)


def test_nothing_is_kept_that_names_code_or_places(kind):
    fields = ENCODERS[kind] | {
        "auto_map": {"AutoModel": "elsewhere--modeling.Model"},
        "attn_implementation": "somebody/kernel",
        "_attn_implementation": "somebody/kernel",
        "quantization_config": {"quant_method": "fp8"},
        "name_or_path": "/a/folder",
        "dtype": "float16",
    }
    encoder = random_network(fields)
    assert encoder.config.fields == random_network(ENCODERS[kind]).config.fields
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert encoder.config.fields == json.loads(json.dumps(encoder.config.fields))


@pytest.mark.skipif("x86" not in torch.backends.quantized.supported_engines, reason="needs an x86 CPU")
def test_int8_is_close(kind):
    model = classifier(kind)
    exact = model(IDS, LENGTHS).softmax(-1)
    model.backbone = quantized(model.backbone)
    assert_close(model(IDS, LENGTHS).softmax(-1), exact, rtol=0, atol=0.05)


# ---------------------------------------------------------------- what cannot be used


@pytest.mark.parametrize(
    ("encoder", "named"),
    [
        ("nobody/nowhere", "'nobody/nowhere', expected a network of transformers"),
        ({"dim": 16}, "a mapping with a model_type"),
        ({"model_type": "bard"}, "'bard'"),
        ({"model_type": "bert", "hidden_size": "wide"}, "wide"),
        ({"model_type": "bert", "hidden_size": 15, "num_attention_heads": 2}, "no bert network can be built"),
        ({"model_type": "t5"}, "neither an encoder like BERT nor a"),
        ({"model_type": "vit"}, "neither an encoder like BERT nor a"),
    ],
)
def test_what_is_no_encoder_is_refused_by_name(encoder, named):
    with pytest.raises(InputError, match=named):
        random_network(encoder)


def test_published_weights_that_do_not_fit_are_named(saved, kind):
    file = saved / "model.safetensors"
    tensors = load_file(file)
    block = next(name for name in tensors if ".2." in name and name.endswith("weight"))
    for change, named in (
        ({name: t for name, t in tensors.items() if name != block}, "missing"),
        (tensors | {block.replace(".2.", ".3."): tensors[block].clone()}, "unexpected"),
        (tensors | {block: tensors[block][:-1].contiguous()}, "could not load the weights"),
    ):
        save_file(change, file, metadata={"format": "pt"})
        with pytest.raises(InputError, match=named):
            pretrained_network(str(saved))


def test_a_pretrained_bidirectional_encoder_needs_its_own_tokenizer(saved, quick_trainer, tiny_data):
    with pytest.raises(InputError, match=r"set tokenizer"):
        quick_trainer().fit(GPTClassifier(backbone=str(saved)), tiny_data())


def test_fields_have_no_pretrained_weights():
    with pytest.raises(InputError, match="weights are pretrained, but backbone is"):
        GPTClassifier(backbone=ENCODERS["bert"])


def test_a_wrong_policy_is_refused_before_anything_is_fetched():
    with pytest.raises(InputError, match="trainable is 'first_block'"):
        GPTClassifier(backbone="nobody/nowhere", trainable="first_block")


def test_texts_must_fit_the_positions_that_are_left_for_them(quick_trainer, tiny_data):
    roberta = ENCODERS["roberta"] | {"max_position_embeddings": 65}
    with pytest.raises(InputError, match="64 tokens, but the model's context has 63"):
        quick_trainer().fit(GPTClassifier(**settings("roberta", backbone=roberta)), tiny_data())


def test_what_a_configuration_leaves_of_the_positions_is_known_without_weights(saved):
    assert context_length(str(saved)) == pretrained_network(str(saved)).config.context_length


@pytest.mark.parametrize(
    ("configured", "typed", "sentences", "length"),
    [
        (None, None, None, "context"),
        (None, None, 20, 20),
        (33, None, 20, 33),
        (33, 40, 20, 40),
        (1024, None, 20, "context"),
        (None, 1024, None, "context"),
    ],
)
def test_a_length_is_the_usual_one_of_the_network_unless_one_is_given(
    configured, typed, sentences, length, saved, tmp_path, monkeypatch
):
    """1,024 is also the package's default, and is not overruled where somebody wrote it."""
    seen = []
    monkeypatch.setattr(ClassifierCLI, "instantiate_classes", lambda self: seen.append(self.config.fit) or sys.exit(0))
    if sentences is not None:
        (saved / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": sentences}))
    content = {"model": {"backbone": str(saved)}} | ({} if configured is None else {"data": {"max_length": configured}})
    (tmp_path / "own.yaml").write_text(json.dumps(content))
    words = [] if typed is None else [f"--data.max_length={typed}"]
    with pytest.raises(SystemExit):
        main(["fit", f"--config={tmp_path / 'own.yaml'}", "--trainer.logger=false", *words])
    assert seen[0].data.max_length == (context_length(str(saved)) if length == "context" else length)
    assert seen[0].data.tokenizer == str(saved)


NEO = {"num_layers": 3, "num_heads": 2, "attention_types": [[["global", "local"], 1], [["global"], 1]]}


@pytest.mark.parametrize(
    ("more", "removable"),
    [
        ({"model_type": "bert"}, True),
        ({"model_type": "gpt_neo"} | NEO, True),
        ({"model_type": "albert", "embedding_size": 8}, False),  # which repeats one block
        ({"model_type": "xlm", "emb_dim": 16, "n_layers": 3, "n_heads": 2}, False),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else None,
)
def test_blocks_that_cannot_be_removed_are_all_kept(more, removable):
    network = random_network(SIZES | more)
    assert network.can_remove_blocks == removable
    number = sum(parameter.numel() for parameter in network.parameters())
    if removable:
        network.keep(1)
        assert sum(parameter.numel() for parameter in network.parameters()) < number
        assert random_network(network.config.fields).config.n_layer == 1
        return
    with pytest.raises(InputError, match="no blocks can be removed"):
        network.keep(1)
    assert sum(parameter.numel() for parameter in network.parameters()) == number
    assert network.config == random_network(SIZES | more).config


def test_a_probe_of_a_network_whose_blocks_cannot_be_removed_reads_the_last(quick_trainer, tiny_data):
    albert = SIZES | {"model_type": "albert", "embedding_size": 8}
    module = GPTClassifier(backbone=albert, weights="random", probe=True, trainable="head")
    quick_trainer(max_epochs=1).fit(module, tiny_data())
    assert module.probed.best.blocks == module.model.backbone.config.n_layer


@pytest.mark.parametrize("probabilities", [(None, 0.0), (0.0, 0.3)])
def test_a_fit_goes_on_from_a_model_folder_with_another_dropout(probabilities, quick_trainer, tiny_data, tmp_path):
    first, second = (GPTClassifier(**settings("bert", dropout=p, trainable="last_block")) for p in probabilities)
    quick_trainer(max_epochs=1).fit(first, tiny_data())
    TextClassifier(first.bundle()).save(tmp_path / "model")
    second.hparams["weights"] = str(tmp_path / "model")
    quick_trainer(max_epochs=1).fit(second, tiny_data())
    assert second.model.backbone.config.dropout == probabilities[1]


def test_the_tokens_of_another_network_are_replaced_or_refused(
    kind, published, saved, tmp_path, monkeypatch, quick_trainer, tiny_data
):
    """A configuration that ``init`` wrote names a tokenizer; with another network its ids would mean other tokens."""
    other = published("wordpiece" if kind in ("roberta", "modernbert") else "bpe")
    seen = []
    monkeypatch.setattr(ClassifierCLI, "instantiate_classes", lambda self: seen.append(self.config.fit) or sys.exit(0))
    for tokenizer in (str(other), str(shutil.copytree(saved, tmp_path / "alike"))):
        content = {"model": {"backbone": str(saved)}, "data": {"tokenizer": tokenizer}}
        (tmp_path / "own.yaml").write_text(json.dumps(content))
        with pytest.raises(SystemExit):
            main(["fit", f"--config={tmp_path / 'own.yaml'}", "--trainer.logger=false"])
    assert [each.data.tokenizer for each in seen] == [str(saved), str(tmp_path / "alike")]
    with pytest.raises(InputError, match="mean others to the weights of"):
        quick_trainer().fit(GPTClassifier(backbone=str(saved)), tiny_data(tokenizer=str(other)))


@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_published_networks_drop_what_the_settings_say(weights, saved):
    def draws(probability: float | None) -> list[torch.Tensor]:
        given = {"backbone": str(saved), "dropout": probability}
        model = build(Specification.from_settings(given, 2), weights, str(saved)).train()
        assert Specification.of(model).backbone.get("layerdrop", 0) == 0
        return [model(IDS, LENGTHS) for _ in range(2)]

    assert_close(*draws(0.0), rtol=0, atol=0)
    assert not torch.allclose(*draws(0.5), atol=1e-4)


def test_without_transformers_the_error_names_what_to_install(monkeypatch, tmp_path):
    contents = bundle.Bundle(classifier("bert"), TextEncoder("bytes", 64), ["ham", "spam"])
    model_folder.save_folder(tmp_path, contents, "")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"gpt-classifier\[transformers\]"):
        random_network(ENCODERS["bert"])
    with pytest.raises(InputError, match=r"gpt-classifier\[transformers\]"):
        TextClassifier.load(tmp_path)
