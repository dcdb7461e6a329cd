"""Whatever stands in a model folder, loading it takes seconds, runs no code of others, and ends well or in one line."""

import copy
import json
import os
import random
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.errors import InputError

CASES = int(os.environ.get("FUZZ_CASES", "200"))  # FUZZ_CASES=5000 takes some minutes
SECONDS = 20  # a case that takes longer hangs
TEXTS = ["a text", "", "aaaa " * 400, "\ud800\u0000\u202e 你好"]
NAMES = ["extra", "class", "n_layers", "auto_map", "crc32", "base_sha256", "pretrained_on"]
ODD = [
    None, True, False, -1, 0, 1, 2, 3, 7, 10**5, 10**7, 2**31, 2**63, 10**30, 0.5, -0.5, 1e308, -1e-308,
    float("nan"), float("inf"), "", "a", "../../etc/passwd", "gpt2", "bytes", "x" * 10_000, "\ud800", "(a+)+$", "(",
    [], [[]], [0] * 1000, ["a", "a"], {}, {"a": {"b": {}}}, [None], [1e9], {"class_path": "os.system"},
    {"class_path": "torch.nn.Linear", "init_args": {"bias": 10**9}}, {"class_path": "torch.nn.Sequential"},
]  # fmt: skip


@contextmanager
def at_most(seconds):
    """Raises ``TimeoutError`` in code that takes longer."""

    def late(number, frame):
        raise TimeoutError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def places(value, path=()):
    """The paths to all values inside ``value``."""
    named = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in named for found in places(inner, (*path, key)))]


def mutated(content, rng):
    """A copy of JSON content with one to three changes."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        path = rng.choice([path for path in places(content) if path] or [()])
        if not path:
            return rng.choice(ODD)
        owner = content
        for key in path[:-1]:
            owner = owner[key]
        match rng.randrange(8):
            case 0:
                del owner[path[-1]]
            case 1 if isinstance(owner, dict):
                owner[rng.choice(NAMES)] = rng.choice(ODD)
            case 2 if isinstance(owner, list) and len(owner) <= 1000:  # a million values at most
                owner *= rng.choice([0, 2, 1000])
            case 3:
                for _ in range(rng.choice([1, 60])):
                    owner[path[-1]] = rng.choice([[owner[path[-1]]], {"a": owner[path[-1]]}])
            case 4 if isinstance(owner[path[-1]], int | float):
                owner[path[-1]] = owner[path[-1]] * rng.choice([-1, 2, 1000, 10**6, 0.5])
            case _:
                owner[path[-1]] = rng.choice(ODD)
    return content


def with_bytes_changed(content, rng):
    """Bytes with a few of them changed, removed or repeated."""
    content = bytearray(content)
    match rng.randrange(4):
        case 0:
            del content[rng.randrange(len(content)) :]
        case 1:
            start = rng.randrange(len(content))
            content[start:start] = content[start : start + rng.choice([1, 10, 1000])] * rng.choice([1, 50])
        case _:
            for _ in range(rng.choice([1, 5, 50])):
                content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def mutate(folder, rng):
    """Changes one file of a model folder."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    path = folder / rng.choice([*names, *(["config.json"] * 8)])
    if path.suffix == ".safetensors":
        if rng.random() < 0.5:
            return path.write_bytes(with_bytes_changed(path.read_bytes(), rng))
        return damage_tensors(path, rng)
    content = path.read_text(encoding="utf-8")
    if rng.random() < 0.15:
        return path.write_bytes(with_bytes_changed(content.encode(), rng))
    if rng.random() < 0.03:
        return path.write_text("[" * 100_000, encoding="utf-8")
    parsed = json.loads(content)
    parsed.pop("crc32", None)
    return path.write_text(json.dumps(mutated(parsed, rng)), encoding="utf-8")


def damage_tensors(path, rng):
    """Changes tensors, without the checksums that would find it."""
    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    match rng.randrange(6):
        case 0:
            del tensors[name]
        case 1:
            tensors["another"] = torch.zeros(3)
        case 2:
            tensors[name] = tensor[:-1].clone() if tensor.ndim else tensor
        case 3:
            tensors[name] = tensor.to(rng.choice([torch.float16, torch.int8, torch.bool, torch.float64]))
        case 4:
            tensors[name] = tensor.reshape(-1)[: rng.choice([0, 1, 5])].clone()
        case _ if tensor.dtype == torch.uint8:
            tensors[name] = torch.frombuffer(
                bytearray(with_bytes_changed(bytes(tensor.tolist()), rng)), dtype=torch.uint8
            )
        case _:
            tensors[name] = tensor * rng.choice([0, -1, 1e30, float("nan")])
    format_5 = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
    if "format" in format_5:  # which has no checksums
        format_5 = {name: value for name, value in format_5.items() if name not in ("crc32", "version")} | {"format": 5}
        (path.parent / "config.json").write_text(json.dumps(format_5), encoding="utf-8")
    save_file(tensors, path)


@pytest.fixture(scope="module")
def folders(trained, tmp_path_factory, published):
    """Sound model folders of several kinds."""
    root = tmp_path_factory.mktemp("sound")
    found = [trained / "model"]
    pytest.importorskip("transformers")
    network = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
               "intermediate_size": 32, "max_position_embeddings": 64}  # fmt: skip
    decoder = {"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
               "num_key_value_heads": 1, "intermediate_size": 32, "max_position_embeddings": 64}  # fmt: skip
    wordpiece, bpe = published("wordpiece"), published("bpe")
    kinds = {"encoder": (network, wordpiece), "decoder": (decoder, bpe), "gpt": (None, "bytes")}
    for name, (backbone, tokenizer) in kinds.items():
        words = ["fit", "--config=toy", f"--trainer.default_root_dir={root / name}", "--trainer.max_epochs=1"]
        words += [f"--model.backbone={json.dumps(backbone)}", f"--data.tokenizer={tokenizer}", "--data.max_length=32"]
        words += ["--trainer.limit_train_batches=2", "--trainer.accelerator=cpu", "--model.lm_loss=0"]
        gpt = {"n_layer": 2, "n_head": 2, "n_embd": 16, "context_length": 32}
        assert main([*words, "--model.pooling=last_token", f"--model.gpt={json.dumps(gpt)}"]) == 0
        found.append(root / name / "version_0" / "model")
    assert main(["export", str(found.pop()), "--to", "hf", "--output", str(root / "hf")]) == 0
    return [*found, root / "hf"]


def load_and_classify(folder):
    """Loads a folder and classifies with it: a prediction, or an ``InputError`` of one line."""
    said = ""
    try:
        TextClassifier.load(folder).predict(TEXTS)
    except InputError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize("number", range(20))
def test_mutations_of_model_folders_end_well_or_in_one_line(number, folders, tmp_path):
    wrong = []
    for case in range(number * CASES // 20, (number + 1) * CASES // 20):
        rng = random.Random(case)
        folder = Path(shutil.copytree(folders[case % len(folders)], tmp_path / "model"))
        mutate(folder, rng)
        try:
            with at_most(SECONDS):
                load_and_classify(folder)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            wrong.append((case, repr(error)[:300]))
        shutil.rmtree(folder)
    assert not wrong
