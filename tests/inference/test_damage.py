"""A model that was damaged, that diverged, or that an older version wrote: never a wrong prediction."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt_classifier import GPTClassifier, TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.errors import InputError
from gpt_classifier.inference.formats import FORMAT, STEPS
from gpt_classifier.inference.model_folder import load
from gpt_classifier.models.tensor_file import is_finite, read_tensors, write_tensors

FORMATS = Path(__file__).parents[1] / "formats"
TEXT = "WIN a car, call now!"


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def edit(folder: Path, **changes: object) -> None:
    """Edits a config as a person may, without its checksum."""
    config = json.loads((folder / "config.json").read_text())
    del config["crc32"]
    (folder / "config.json").write_text(json.dumps(config | changes))


def classify(path: Path) -> list[list[float]]:
    return TextClassifier.load(path).predict_proba([TEXT, ""]).tolist()


# ---------------------------------------------------------------- a flipped bit


@pytest.mark.parametrize(
    "name", ["model/model.safetensors", "model/config.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"]
)
@pytest.mark.parametrize("flips", [20, pytest.param(400, marks=pytest.mark.nightly)])
def test_a_flipped_bit_is_noticed_or_changes_nothing(name, flips, trained, tmp_path):
    """What changes nothing: bits of padding, and of fields of the archive that nobody reads."""
    whole, path = trained / name, tmp_path / name
    path.parent.mkdir()
    if path.parent.name == "model":
        shutil.copytree(trained / "model", path.parent, dirs_exist_ok=True)
    place = path if path.suffix == ".ckpt" else path.parent
    shutil.copy(whole, path)
    expected, noticed, rng = classify(place), 0, random.Random(1)
    for _ in range(flips):
        shutil.copy(whole, path)
        flip(path, rng.randrange(8 * path.stat().st_size))
        try:
            assert classify(place) == expected
        except InputError:
            noticed += 1
    assert noticed > 0.8 * flips


def test_a_flipped_bit_of_a_weight_is_named(trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    flip(folder / "model.safetensors", 8 * (folder / "model.safetensors").stat().st_size - 9)
    with pytest.raises(InputError, match=r"model\.safetensors.* damaged.* \S+ .*checksum"):
        TextClassifier.load(folder)


@pytest.mark.parametrize(("damaged", "other"), [("last", "best"), ("best", "last")])
@pytest.mark.parametrize("damage", ["a flipped bit", "cut short"])
def test_instead_of_a_damaged_checkpoint_the_other_one_is_offered(
    damaged, other, damage, trained, tmp_path, fit, capsys
):
    run = shutil.copytree(trained, tmp_path / "version_0")
    path, whole = (run / "checkpoints" / f"{name}.ckpt" for name in (damaged, other))
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        content = path.read_bytes()
        weights = torch.load(path, weights_only=True)["state_dict"]["model.head.weight"]
        flip(path, 8 * content.index(weights.numpy().tobytes()))
    said = rf"{path} is damaged.*\. {whole} is whole: use that one"
    with pytest.raises(InputError, match=said):
        TextClassifier.load(path)
    with pytest.raises(InputError, match=said):
        GPTClassifier.load_from_checkpoint(path)
    assert fit(tmp_path, f"--ckpt_path={damaged}") == 2
    assert f"{whole} is whole" in capsys.readouterr().err
    whole.write_bytes(b"")
    with pytest.raises(InputError, match=f"{path} is damaged, or no checkpoint: [^.]*$"):
        TextClassifier.load(path)


def test_a_damaged_checkpoint_is_not_resumed_from_in_python_either(
    tmp_path, trained, tiny_model, tiny_data, quick_trainer
):
    from gpt_classifier.training.callbacks.checkpoints import LastCheckpoint

    trainer = quick_trainer(enable_checkpointing=True, callbacks=[LastCheckpoint()])
    trainer.fit(tiny_model(), tiny_data())
    path = tmp_path / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)["optimizer_states"][0]["state"][0]["exp_avg"]
    flip(path, 8 * path.read_bytes().index(state.numpy().tobytes()))
    again = quick_trainer(enable_checkpointing=True, callbacks=[LastCheckpoint()], max_epochs=2)
    with pytest.raises(InputError, match="is damaged"):
        again.fit(tiny_model(), tiny_data(), ckpt_path=path)


def test_tensors_of_any_kind_come_back_and_one_that_lost_its_checksum_does_not(tmp_path):
    tensors = {
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(3, 5, dtype=torch.bfloat16),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
    }
    path = tmp_path / "some.safetensors"
    write_tensors(path, tensors)
    back = read_tensors(path, checked=True)
    assert back.keys() == tensors.keys()
    assert all(back[name].equal(tensors[name]) for name in tensors)
    save_file(tensors, path)
    assert read_tensors(path).keys() == tensors.keys()  # of another program
    with pytest.raises(InputError, match="has lost its checksums"):
        read_tensors(path, checked=True)


def test_a_changed_config_is_noticed_unless_its_checksum_is_taken_out(trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"spam"', '"spal"'))
    with pytest.raises(InputError, match=r"config\.json .*damaged.*'crc32'"):
        TextClassifier.load(folder)
    edit(folder, class_names=["no", "yes"])
    assert TextClassifier.load(folder).predict(TEXT).label in ("no", "yes")


@pytest.mark.parametrize(
    "change",
    [
        {"data": None},
        {"format": []},
        {"text_encoder": None},
        {"decision": {"x": 1}},
        {"decision": {"temperature": -1.0}},
        {"decision": {"temperature": "warm"}},
        {"class_names": ["one"]},
        {"model": {}},
    ],
)
def test_a_config_that_says_nonsense_is_one_line(change, trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    edit(folder, **change)
    with pytest.raises(InputError) as caught:
        TextClassifier.load(folder)
    assert "\n" not in str(caught.value)
    for lost in change:
        config = json.loads((folder / "config.json").read_text())
        del config[lost]
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError):
            TextClassifier.load(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", "[]"), ("config.json", "{"), ("model.safetensors", ""), ("model.safetensors", "torn")],
)
def test_damaged_weights_to_start_from_are_one_line(name, content, trained, tmp_path, fit, capsys):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    (folder / name).write_text(content)
    assert fit(tmp_path / "runs", f"--model.weights={folder}") == 2
    assert capsys.readouterr().err.startswith("gpt-classifier: error: ")


# ---------------------------------------------------------------- what is not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_neither_saved_nor_loaded(value, trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["head.weight"][0, 3] = value
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"head\.weight .*not finite"):
        write_tensors(folder / "model.safetensors", tensors)
    assert (folder / "model.safetensors").read_bytes() == before
    edit(folder, format=5)  # which had no checksums
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"head\.weight .*not finite"):
        TextClassifier.load(folder)


def test_a_model_whose_probabilities_are_not_finite_is_refused(trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    tensors = read_tensors(folder)
    tensors["head.weight"] = tensors["head.weight"].sign() * 3e38  # finite itself, but not its products
    write_tensors(folder / "model.safetensors", tensors)
    with pytest.raises(InputError, match=r"probabilities .*not finite"):
        TextClassifier.load(folder)


def test_large_numbers_are_finite_although_their_sum_is_not():
    assert is_finite(torch.full((4,), 3e38))
    assert is_finite(torch.full((4,), 3e38, dtype=torch.bfloat16))
    assert not is_finite(torch.tensor([1.0, float("nan")]))


# ---------------------------------------------------------------- an older version


def test_there_is_a_model_of_each_format_that_is_read():
    assert {int(folder.name) for folder in FORMATS.iterdir() if folder.is_dir()} == {*STEPS, FORMAT}


@pytest.mark.parametrize("number", [*STEPS, FORMAT])
@pytest.mark.parametrize("place", ["run/model", "run", "run/checkpoints/last.ckpt"])
def test_a_model_of_each_format_predicts_as_it_did(number, place):
    expected = json.loads((FORMATS / str(number) / "expected.json").read_text())
    found = TextClassifier.load(FORMATS / str(number) / place).predict_proba(expected["texts"])
    assert found == pytest.approx(torch.tensor(expected["probabilities"]).numpy(), abs=1e-6)


@pytest.mark.parametrize("number", [*STEPS, pytest.param(FORMAT, marks=pytest.mark.nightly)])
def test_a_model_of_each_format_is_tested_trained_further_and_written_in_the_format_of_today(number, tmp_path, capsys):
    old = shutil.copytree(FORMATS / str(number), tmp_path / "old")
    made_by = json.loads((old / "run" / "model" / "config.json").read_text()).get("version", "0.1.0")
    source = f"--data.source={old / 'texts.csv'}"
    alone = ["--baselines=none", "--report=none", f"--trainer.default_root_dir={tmp_path / 'tested'}"]
    assert main(["test", f"{old / 'run' / 'model'}", source, *alone]) == 0
    assert load(old / "run").version == made_by
    for weights in ("run", "run/checkpoints/last.ckpt", "pretrained"):
        words = ["--trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path / 'new'}"]
        assert main(["fit", source, f"--model.weights={old / weights}", *words]) == 0, capsys.readouterr().err
    config = json.loads((tmp_path / "new" / "version_0" / "model" / "config.json").read_text())
    assert config["format"] == FORMAT
    TextClassifier.load(old / "run").save(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert (config["format"], config["version"]) == (FORMAT, made_by)
    assert made_by in (tmp_path / "again" / "README.md").read_text()


SAME = ["--model.gpt={n_layer: 2, n_head: 1, n_embd: 4, context_length: 32}", "--data.tokenizer=bytes"]
SAME += ["--data.max_length=32", "--data.batch_size=8"]


@pytest.mark.parametrize("number", [*STEPS, FORMAT])
@pytest.mark.parametrize(
    ("command", "path"),
    [(["fit", "--config=toy", "--trainer.max_epochs=2"], "run/checkpoints"), (["pretrain"], "pretrained")],
)
def test_a_checkpoint_of_each_format_is_resumed(number, command, path, tmp_path, capsys):
    """A fit that is at its end with its schedule; a pretraining, which has none and goes on for an epoch."""
    old = shutil.copytree(FORMATS / str(number), tmp_path / "old")
    words = [f"--data.source={old / 'texts.csv'}", *SAME, f"--trainer.default_root_dir={tmp_path}"]
    if command == ["pretrain"]:
        checkpoint = torch.load(old / path / "last.ckpt", weights_only=True)
        checkpoint["TextDataModule" if "TextDataModule" in checkpoint else "PretrainingData"].pop("identity", None)
        torch.save(
            checkpoint, old / path / "last.ckpt"
        )  # the files of a checkout are not as old as their identity says
        words.append("--trainer.max_epochs=2")
    assert main([*command, *words, f"--ckpt_path={old / path / 'last.ckpt'}"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("wrong", [FORMAT + 1, min(STEPS) - 1, None, "5", 5.5])
def test_other_formats_are_refused(wrong, trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    edit(folder, format=wrong)
    with pytest.raises(InputError, match=f"has format {wrong!r}, (newer than|expected)"):
        TextClassifier.load(folder)
