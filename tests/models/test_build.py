"""One specification builds the same classifier everywhere, of families that the package does not know too."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from gpt_classifier import GPTClassifier, TextClassifier
from gpt_classifier.errors import InputError
from gpt_classifier.inference.model_folder import load, save_folder
from gpt_classifier.models.backbone import FAMILIES, Family
from gpt_classifier.models.build import Specification, build
from gpt_classifier.models.gpt import GPTConfig, take
from gpt_classifier.models.lora import LoRAConfig

SMALL = GPTConfig(257, 16, 8, 2, 2).fields
BERT = {"model_type": "bert", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "vocab_size": 257}
BERT |= {"num_attention_heads": 2, "max_position_embeddings": 16}
SPECIFICATIONS = {
    "a GPT": Specification("gpt", SMALL, 3),
    "of other shape": Specification("gpt", SMALL | {"causal": False, "n_layer": 1}, 2, "mean", "mlp"),
    "adapted": Specification("gpt", SMALL, 2, lora=LoRAConfig(rank=2, dora=True, targets="c_attn$|^head$")),
    "with a head of another's": Specification(
        "gpt", SMALL, 2, head={"class_path": "torch.nn.Linear", "init_args": {"bias": False}}
    ),
    "an encoder": Specification("encoder", BERT, 2, "first_token"),
}
IDS, LENGTHS = torch.arange(15).view(3, 5), torch.tensor([5, 1, 3])
TEXTS = ["WIN a car, call now!", "See you at five", ""]


@pytest.fixture(params=SPECIFICATIONS)
def specification(request):
    if request.param == "an encoder":
        pytest.importorskip("transformers")
    return SPECIFICATIONS[request.param]


def test_a_specification_survives_json_and_describes_what_is_built_of_it(specification):
    found = Specification.of(build(specification))
    assert found.backbone.items() >= specification.backbone.items()  # an encoder's configuration has more fields
    assert Specification.restore(json.loads(json.dumps(asdict(found)))) == found
    assert Specification.of(build(found)) == found


def test_a_classifier_built_again_computes_the_same_from_the_same_weights(specification):
    first = build(specification).eval()
    for parameter in first.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    again = build(Specification.of(first), weights=None)
    again.load_state_dict(first.state_dict(), assign=True)
    assert torch.equal(again.eval()(IDS, LENGTHS), first(IDS, LENGTHS))


def test_settings_describe_a_specification_and_it_describes_them(specification):
    found = Specification.of(build(specification))
    others = {"pooling": found.pooling, "head": found.head, "lora": None if found.lora is None else asdict(found.lora)}
    assert Specification.from_settings(found.settings() | others, found.num_classes) == found


@pytest.mark.parametrize("model_type", ["gpt", "encoder", "no such", ["bert"]])
def test_a_network_is_of_a_type_that_transformers_knows(model_type):
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="network of transformers"):
        Specification.from_settings({"backbone": {"model_type": model_type}}, 2)


def test_a_head_that_is_no_head_is_named():
    with pytest.raises(InputError, match=r"head is 3.*linear, mlp.* mapping"):
        build(Specification("gpt", SMALL, 2, head=3))


# ---------------------------------------------------------------- a family in one file


@dataclass(frozen=True)
class BagConfig:
    family: ClassVar[str] = "bag"
    model_type: ClassVar[str] = "bag of words"
    n_head: ClassVar[int] = 1
    dropout: ClassVar[float] = 0.0
    causal: ClassVar[bool] = False
    vocab_size: int
    n_embd: int = 8
    n_layer: int = 2
    context_length: int = 64

    @property
    def fields(self) -> dict[str, Any]:
        return asdict(self)


class Bag(nn.Module):
    token_embedding = "embedding"

    def __init__(self, config: BagConfig) -> None:
        super().__init__()
        self.config, self.activation_checkpointing = config, False
        self.embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.layers = nn.ModuleList(nn.Linear(config.n_embd, config.n_embd) for _ in range(config.n_layer))

    @property
    def starts_at(self) -> range:
        return range(self.config.n_layer + 1)

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.embedding(input_ids)

    def run_blocks(
        self,
        x: Tensor,
        start: int = 0,
        stop: int | None = None,
        *,
        lengths: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Tensor:
        for output in self.outputs(x, start, stop):
            x = output
        return x if position is None else take(x, position)

    def outputs(
        self, x: Tensor, start: int = 0, stop: int | None = None, *, lengths: Tensor | None = None
    ) -> Iterator[Tensor]:
        for layer in self.layers[start:stop]:
            x = x + layer(x).tanh()
            yield x

    can_remove_blocks = True

    def keep(self, blocks: int) -> None:
        del self.layers[blocks:]
        self.config = replace(self.config, n_layer=blocks)

    def finish(self, x: Tensor) -> Tensor:
        return x

    def block_of(self, name: str) -> int:
        return int(name.split(".")[1]) if name.startswith("layers.") else -1


def _random(fields: Mapping[str, Any]) -> Bag:
    return Bag(BagConfig(**fields))


BAG = Family(lambda wanted, vocab_size: BagConfig(**{"vocab_size": vocab_size} | wanted).fields, _random)


@pytest.fixture
def bag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "bag", BAG)


def trained_bag(quick_trainer, tiny_data, **settings: Any) -> GPTClassifier:
    model = GPTClassifier(
        backbone={"model_type": "bag", "n_embd": 12}, weights="random", pooling="mean", learning_rate=0.01, **settings
    )
    quick_trainer(max_epochs=2).fit(model, tiny_data())
    return model


@pytest.mark.parametrize("trainable", ["head", "last_block", "all", "lora"])
def test_another_family_trains_and_its_folder_loads(bag, trainable, quick_trainer, tiny_data, tmp_path):
    adapted = {"lora": {"targets": r"layers\.1$"}} if trainable == "lora" else {}
    model = trained_bag(quick_trainer, tiny_data, trainable=trainable, **adapted)
    assert (model.state_cache is not None) == (trainable != "all")  # its frozen blocks ran once
    assert model.hparams["backbone"] == {"model_type": "bag", **BagConfig(257, 12).fields}
    save_folder(tmp_path, model.bundle(), "")
    expected = TextClassifier(model.bundle()).predict_proba(TEXTS)
    assert TextClassifier.load(tmp_path).predict_proba(TEXTS) == pytest.approx(expected, abs=1e-6)
    again = GPTClassifier.from_bundle(load(tmp_path))
    assert TextClassifier(again.bundle()).predict_proba(TEXTS) == pytest.approx(expected, abs=1e-6)


def test_another_family_begins_with_the_weights_of_its_own_folder(bag, quick_trainer, tiny_data, tmp_path):
    first = trained_bag(quick_trainer, tiny_data, trainable="all")
    save_folder(tmp_path, first.bundle(), "")
    settings = {"backbone": {"model_type": "bag", "n_embd": 12}, "weights": str(tmp_path), "trainable": "head"}
    second = GPTClassifier(**settings)
    quick_trainer().fit(second, tiny_data())
    for name, tensor in second.model.backbone.state_dict().items():  # of the blocks that a probe kept
        assert torch.equal(first.model.backbone.state_dict()[name], tensor)


def test_a_folder_whose_family_nobody_imported_is_refused_by_its_name(bag, quick_trainer, tiny_data, tmp_path):
    save_folder(tmp_path, trained_bag(quick_trainer, tiny_data, trainable="all").bundle(), "")
    del FAMILIES["bag"]
    with pytest.raises(InputError, match=r"family 'bag'.*import"):
        TextClassifier.load(tmp_path)


def test_a_folder_with_more_classes_than_the_network_is_refused(trained: Path, tmp_path):
    contents = load(trained)
    contents.class_names.append("eggs")
    save_folder(tmp_path, contents, "")
    with pytest.raises(InputError, match=rf"config in {tmp_path} .*2 classes.*names"):
        load(tmp_path)
