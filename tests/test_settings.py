"""Groups of settings: as dataclasses and mappings, in one configuration and in several, on the first page of help."""

import json
import re
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass
from typing import get_args, get_type_hints

import pytest
import torch

from gpt_classifier.cli.main import main
from gpt_classifier.cli.short_help import HELPS
from gpt_classifier.data import splits
from gpt_classifier.data.augmentation import AugmentationConfig
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.readers import FileFormat
from gpt_classifier.data.samplers import BatchingConfig
from gpt_classifier.data.splits import SplittingConfig
from gpt_classifier.errors import InputError
from gpt_classifier.models.heads import POOLINGS, Pooling
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.settings import check_choice, flat, grouped
from gpt_classifier.training import declared
from gpt_classifier.training.build_run import ClassifierCLI
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.network import ComputeConfig
from gpt_classifier.training.optimization import OptimizerConfig
from gpt_classifier.training.overrides import build, given_settings, overrides
from gpt_classifier.training.text_states import CacheConfig

GROUPS = {
    "model": {"lora": LoRAConfig, "optimizer": OptimizerConfig, "cache": CacheConfig, "compute": ComputeConfig},
    "data": {
        "file_format": FileFormat,
        "splitting": SplittingConfig,
        "batching": BatchingConfig,
        "augmentation": AugmentationConfig,
    },
}
OTHERS = {  # a value of each group that is not its default
    "lora": {"rank": 4},
    "optimizer": {"weight_decay": 0.0, "arguments": {"betas": [0.8, 0.9]}},
    "cache": {"gigabytes": 0.0},
    "compute": {"activation_checkpointing": True},
    "file_format": {"delimiter": ";"},
    "splitting": {"fractions": [0.5, 0.25, 0.25], "seed": 7},
    "batching": {"pad_to": 64},
    "augmentation": {"crop": 0.5},
}
EACH = [(section, name) for section, kinds in GROUPS.items() for name in kinds]


def made(section, tiny_model, **settings):
    if section == "data":
        return TextDataModule(tokenizer="bytes", **settings)
    return tiny_model(**{"trainable": "lora"} if "lora" in settings else {}, **settings)


# ---------------------------------------------------------------- in Python


@pytest.mark.parametrize(("section", "name"), EACH)
def test_a_group_is_a_dataclass_or_a_mapping_of_its_fields(section, name, tiny_model):
    group = GROUPS[section][name](**OTHERS[name])
    ways = [made(section, tiny_model, **{name: way}) for way in (group, OTHERS[name], asdict(group))]
    for module in ways:
        assert module.hparams[name] == asdict(group)
        assert json.loads(json.dumps(module.hparams[name])) == asdict(group)  # plain values


@pytest.mark.parametrize(("section", "name"), EACH)
def test_an_unknown_field_is_named_with_those_that_are_known_and_the_nearest(section, name, tiny_model):
    known = [field.name for field in fields(GROUPS[section][name])]
    misspelt = known[-1][:-1] + "x"
    message = f"{name} has no field '{misspelt}', expected fields {', '.join(known)}: did you mean {known[-1]}?"
    with pytest.raises(InputError, match=re.escape(message)):
        made(section, tiny_model, **{name: {misspelt: 1}})


@pytest.mark.parametrize(("section", "name"), EACH)
def test_what_is_no_group_is_named(section, name, tiny_model):
    with pytest.raises(InputError, match=rf"{name} is 'x'.* mapping .*fields "):
        made(section, tiny_model, **{name: "x"})


@pytest.mark.parametrize("kind", [kind for kinds in GROUPS.values() for kind in kinds.values()])
def test_a_group_does_not_change(kind):
    assert is_dataclass(kind)
    group = kind()
    with pytest.raises(FrozenInstanceError):
        setattr(group, fields(kind)[0].name, 1)


def test_a_value_of_another_type_is_one_clear_line():
    with pytest.raises(InputError, match=r"optimizer.weight_decay is 'much', expected a finite number"):
        grouped(OptimizerConfig, "optimizer", {"weight_decay": "much"})


def test_flat_settings_have_a_dotted_key_for_each_value():
    assert flat({"a": 1, "b": {"c": {"d": 2}, "e": {}}, "f": None}) == {"a": 1, "b.c.d": 2, "b.e": {}, "f": None}


# ---------------------------------------------------------------- what may be chosen is written once


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (kind, field)
        for kinds in GROUPS.values()
        for kind in kinds.values()
        for field, hint in get_type_hints(kind).items()
        if get_args(hint) and all(isinstance(choice, str) for choice in get_args(hint))
    ],
)
def test_a_group_takes_what_its_type_lists_and_nothing_else(kind, field):
    choices = get_args(get_type_hints(kind)[field])
    for choice in choices:
        assert getattr(kind(**{field: choice}), field) == choice
    with pytest.raises(InputError, match=rf"{field} is 'x'.* {re.escape(', '.join(choices))}"):
        kind(**{field: "x"})


@pytest.mark.parametrize("name", ["split", "balance", "empty", "rare_classes", "truncation"])
def test_the_data_takes_what_the_type_lists_and_nothing_else(name):
    choices = get_args(get_type_hints(TextDataModule.__init__)[name])
    for choice in choices:
        source = "sms_spam" if choice in splits.OF_THE_BOOK else "sample"
        assert TextDataModule(source, **{name: choice}).hparams[name] == choice
    with pytest.raises(InputError, match=rf"{name} is 'x'.* {re.escape(', '.join(choices))}"):
        TextDataModule(**{name: "x"})


def test_every_choice_is_implemented():
    assert get_args(Pooling) == tuple(POOLINGS)
    assert set(splits.OF_THE_BOOK) < set(get_args(splits.Split))


def test_a_misspelt_choice_is_told_the_nearest():
    with pytest.raises(InputError, match=r"pooling is 'last_tokn'.* last_token\?"):
        check_choice("pooling", "last_tokn", Pooling)


# ---------------------------------------------------------------- in configurations and on the command line

FIRST = """
model:
  gpt: {n_layer: 1, n_head: 1, n_embd: 8, context_length: 64}
  weights: random
  trainable: lora
  optimizer: {weight_decay: 0.5, schedule: cosine, arguments: {amsgrad: true}}
  lora: {rank: 4}
data:
  tokenizer: bytes
  splitting: {folds: 3, seed: 7}
"""
SECOND = """
model:
  optimizer: {warmup: 0.5}
  lora: {alpha: 8}
data:
  splitting: {fold: 2}
"""


def cli(tmp_path, *words, configs=(FIRST, SECOND)):
    names = [tmp_path / f"{number}.yaml" for number in range(len(configs))]
    for name, content in zip(names, configs, strict=True):
        name.write_text(content)
    return ClassifierCLI([*(f"--config={name}" for name in names), *words], run=False)


def test_two_configurations_are_merged_field_by_field(tmp_path):
    both = cli(tmp_path)
    model, data = both.model.hparams, both.datamodule.hparams
    expected = OptimizerConfig(weight_decay=0.5, schedule="cosine", warmup=0.5, arguments={"amsgrad": True})
    assert model["optimizer"] == asdict(expected)
    assert model["lora"] == asdict(LoRAConfig(rank=4, alpha=8))
    assert data["splitting"] == asdict(SplittingConfig(folds=3, seed=7, fold=2))


@pytest.mark.parametrize(
    "words",
    [
        ["--model.optimizer.weight_decay=0", "--model.lora.rank=2", "--data.splitting.fold=1"],
        ["--model.optimizer={weight_decay: 0}", "--model.lora={rank: 2}", "--data.splitting={fold: 1}"],
    ],
    ids=["fields", "mappings"],
)
def test_an_option_changes_one_field_of_a_configuration(words, tmp_path):
    changed = cli(tmp_path, *words)
    assert changed.model.optimizer_config == OptimizerConfig(
        weight_decay=0.0, schedule="cosine", warmup=0.5, arguments={"amsgrad": True}
    )
    assert changed.model.hparams["lora"] == asdict(LoRAConfig(rank=2, alpha=8))
    assert changed.datamodule.splitting == SplittingConfig(folds=3, seed=7, fold=1)


def test_a_row_or_trial_changes_one_field_of_its_base(tmp_path):
    """Also where the rest of the group stands in another place, and where a mapping follows a field."""
    settings = {
        "model.optimizer.warmup": 0.25,
        "model.optimizer": {"weight_decay": 0.0},
        "model.lora": {"dora": True},
        "data.splitting.fold": 1,
    }
    variant = build(FIRST, settings, tmp_path)
    assert variant.model.optimizer_config == OptimizerConfig(
        weight_decay=0.0, schedule="cosine", warmup=0.25, arguments={"amsgrad": True}
    )
    assert variant.model.hparams["lora"] == asdict(LoRAConfig(rank=4, dora=True))
    assert variant.datamodule.splitting == SplittingConfig(folds=3, seed=7, fold=1)
    assert overrides("model: {}", {"model.optimizer.warmup": 0.1, "model.optimizer": {"schedule": "cosine"}}) == {
        "model": {"optimizer": {"warmup": 0.1, "schedule": "cosine"}}
    }
    assert given_settings(["--model.optimizer={warmup: 0.1}"]) == {"model.optimizer.warmup": 0.1}


def test_what_a_group_refuses_is_one_line_and_exit_code_2(capsys):
    refused = {
        ("--model.optimizer.warmup=2",): "warmup is 2.0, expected a fraction of the steps between 0 and 1",
        ("--model.trainable=lora", "--model.lora.rank=0"): "rank must be a whole number from 1",
        ("--model.trainable=lora", "--model.lora.rank=x"): "model.lora.rank is 'x', expected a whole number",
        ("--model.lora=7",): "model.lora is '7', expected a mapping with fields rank, alpha",
        ("--model.optimizer=AdamW",): "model.optimizer is 'AdamW', expected a mapping with fields name, arguments",
        ("--data.batching={pad_to: x}",): "data.batching.pad_to is 'x', expected longest, longest_train or a whole",
        ("--model.optimizer={warmpu: 1}",): "no setting model.optimizer.warmpu: did you mean model.optimizer.warmup?",
        ("--model.lora={rnk: 1}",): "no setting model.lora.rnk: did you mean model.lora.rank?",
        ("--model.weight_decay=0",): "no option --model.weight_decay: did you mean --model.optimizer.weight_decay?",
        ("--model.optimizer.warmpu=1",): "no option --model.optimizer.warmpu: did you mean --model.optimizer.warmup?",
        ("--data.folds=3",): "no option --data.folds: did you mean --data.splitting.folds?",
        ("--weight_decay=0",): "no option --weight_decay: did you mean --model.optimizer.weight_decay?",
        ("--config={model: {weight_decay: 0}}",): "model.weight_decay: did you mean model.optimizer.weight_decay?",
    }
    for words, message in refused.items():
        assert main(["fit", *words]) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gpt-classifier: error:")]
        assert len(error) == 1
        assert message in error[0]


def test_a_wrong_key_of_a_group_in_a_file_is_named_with_its_line(tmp_path, capsys):
    path = tmp_path / "a.yaml"
    path.write_text("model:\n  optimizer:\n    warmup: 0.1\n    weight_decy: 0\n")
    assert main(["fit", f"--config={path}"]) == 2
    wrong = "line 4: there is no setting model.optimizer.weight_decy: did you mean model.optimizer.weight_decay?"
    assert wrong in capsys.readouterr().err


def test_a_checkpoint_holds_plain_values(trained):
    """So that it loads without running code, and without the dataclasses."""
    saved = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["hyper_parameters"]["optimizer"] == asdict(OptimizerConfig(warmup=0.1, schedule="cosine"))
    assert saved["hyper_parameters"]["cache"] == asdict(CacheConfig())
    assert saved["gpt_classifier"]["config"]["data"]["splitting"] == asdict(SplittingConfig())
    again = GPTClassifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert again.optimizer_config == OptimizerConfig(warmup=0.1, schedule="cosine")


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"cache": {"dtype": "bfloat16"}}, "cache.dtype is 'bfloat16'"),
        ({"cache": {"enabled": False}}, None),
        ({"cache": {"gigabytes": 0.0}}, None),
        ({"compute": {"activation_checkpointing": True}}, None),
        ({"optimizer": {"weight_decay": 0.0}}, "optimizer.weight_decay is 0.0"),
        ({"optimizer": {"arguments": {"amsgrad": True}}}, "optimizer.arguments.* is .*True"),
    ],
    ids=str,
)
def test_a_resumed_fit_may_change_what_does_not_touch_what_is_learnt(
    settings, refused, quick_trainer, tiny_data, tiny_model, tmp_path
):
    trainer = quick_trainer()
    trainer.fit(tiny_model(), tiny_data())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = quick_trainer(max_epochs=2)
    if refused is None:
        resumed.fit(tiny_model(**settings), tiny_data(), ckpt_path=tmp_path / "last.ckpt")
        assert resumed.current_epoch == 2
        return
    with pytest.raises(InputError, match=rf"{refused}.*checkpoint was written with"):
        resumed.fit(tiny_model(**settings), tiny_data(), ckpt_path=tmp_path / "last.ckpt")


# ---------------------------------------------------------------- help


def helped(capsys, *words) -> str:
    with pytest.raises(SystemExit) as end:
        main([*words])
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_the_full_help_begins_with_the_settings_of_the_package(command, capsys):
    told = helped(capsys, command, "--help", "all")
    options = re.findall(r"^  (--[\w.]+|-\w)", told, re.MULTILINE)
    sections = list(dict.fromkeys(option.split(".")[0] for option in options))
    assert sections[:2] == ["--data", "--model"]
    assert "--trainer" not in sections
    assert options[0] == "--data.source"
    assert len(told.split("--data.source")[0].splitlines()) < 10
    for section, name in EACH:
        assert any(option.startswith(f"--{section}.{name}") for option in options), name
    first = next(n for n, option in enumerate(options) if option.count(".") > 1 and not option.endswith(".help"))
    assert {"--data.batch_size", "--model.learning_rate", "--model.trainable"} <= set(options[:first])
    assert f"gpt-classifier {command} --help trainer" in " ".join(told.split())


@pytest.mark.parametrize("command", HELPS)
def test_help_is_one_screen_of_settings_that_exist(command, capsys):
    told = helped(capsys, command, "--help")
    assert len(told.splitlines()) <= 40
    declared.COMMAND.set(command)
    for option in re.findall(r"^  --([\w.]+)", told, re.MULTILINE):
        section, _, setting = option.partition(".")
        assert setting in declared.settings(section) if setting else option in (*declared.OPTIONS, "on"), option


def test_help_explains_the_trainer_when_asked(capsys):
    told = helped(capsys, "fit", "--help", "trainer")
    assert {option.split(".")[0] for option in re.findall(r"^  (--[\w.]+)", told, re.MULTILINE)} == {"--trainer"}
    assert "--trainer.max_epochs" in told
    assert main(["fit", "--help", "trainr"]) == 2


def test_a_group_is_the_type_of_its_setting():
    for section, kinds in GROUPS.items():
        owner = {"model": GPTClassifier, "data": TextDataModule}[section]
        hints = get_type_hints(owner.__init__)
        for name, kind in kinds.items():
            assert kind in (hints[name], *get_args(hints[name]))
