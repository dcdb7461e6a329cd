"""Performs one run of a study in a process of its own, which isolates its memory and its failures."""

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from gpt_classifier import files
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import build_baseline
from gpt_classifier.experiments.study.plan import FRACTION, SPLITS, Result, Run
from gpt_classifier.models.build import Specification
from gpt_classifier.models.gpt import SIZES
from gpt_classifier.models.lora import LoRAConfig
from gpt_classifier.pretraining.build_run import pretrain
from gpt_classifier.pretraining.datamodule import PretrainingData
from gpt_classifier.training.build_run import ClassifierCLI
from gpt_classifier.training.callbacks import BestCheckpoint
from gpt_classifier.training.declared import SECTIONS, by_dotted_key
from gpt_classifier.training.memory import peak_memory
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.overrides import Settings, build, overrides, parse_yaml

PRETRAINED = "pretrained on the training texts"


def perform(run: Run, scratch: Path, logs: Path) -> Result:
    """Trains and scores one run.

    Args:
        run: What to train.
        scratch: Folder of temporary files.
        logs: Folder of TensorBoard's files.
    """
    settings = run.settings | {"seed_everything": run.seed}
    cli = build(run.base, settings, scratch)
    if cli.datamodule.multi_label:
        raise InputError(
            "a study compares models on single-label data: leave out data.multi_label, or use fit and test"
        )
    if run.classical:
        return _train_classical(run, cli)
    if run.pretrain is None:
        return _train_network(run, cli, scratch, logs)
    asked, began = _list_settings(cli), time.perf_counter()
    weights = str(_pretrain(run, asked, scratch / "pretrained"))
    seconds = time.perf_counter() - began
    learned = {"model.weights": weights, "data.tokenizer": weights}
    result = _train_network(run, build(run.base, settings | learned, scratch), scratch, logs)
    return result | {
        "seconds": result["seconds"] + seconds,
        "initial_weights": PRETRAINED,
        "trained": result["trained"].replace(f"weights of {weights}", PRETRAINED),
        "settings": asked | {"pretrain": run.pretrain},
    }


def _pretrain(run: Run, asked: Settings, folder: Path) -> Path:
    """The model folder of a network that learned the training texts of ``run``, whose settings are ``asked``."""
    assert run.pretrain is not None
    shared = {f"data.{name}" for name in signature(PretrainingData).parameters} - {"data.batch_size"}
    shared |= {"model.gpt", "model.backbone", "model.weights"}
    shared |= {f"trainer.{name}" for name in ("accelerator", "devices", "precision")}
    same = {key: value for key, value in asked.items() if key in shared or key.rpartition(".")[0] in shared}
    del same[FRACTION]  # where labels are scarce, texts are not
    base = files.built_in_configurations()["pretrain"].read_text(encoding="utf-8")
    changed = overrides(base, same | run.pretrain | {"seed_everything": run.seed})
    return pretrain(folder, parse_yaml(base), changed, {"trainer": {"enable_progress_bar": False}})


def _train_network(run: Run, cli: ClassifierCLI, scratch: Path, logs: Path) -> Result:
    trainer, model, data = cli.trainer, cli.model, cli.datamodule
    settings, weights = _list_settings(cli), model.hparams["weights"]
    trainer.loggers = [TensorBoardLogger(logs, name="", version=run.file_name, default_hp_metric=False)]
    best = BestCheckpoint()
    best.dirpath = str(scratch)  # by default beside the log
    if run.weights == "best":
        trainer.callbacks.append(best)  # type: ignore[attr-defined]
    began = time.perf_counter()
    trainer.fit(model, data)
    seconds = time.perf_counter() - began
    if best.best_model_path:  # without a validation there is none
        checkpoint = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
        model.load_state_dict(checkpoint["state_dict"])
    trainer.callbacks.clear()  # type: ignore[attr-defined]
    trainer.loggers = []  # the evaluation below is only for the table
    loaders = {name: data.evaluation_dataloader(name) for name in SPLITS}
    names = np.array(data.class_names)
    scores = {}
    for name, loader in loaders.items():
        trainer.test(model, loader, verbose=False)
        outputs = model.epoch_outputs["test"]
        logits, labels, rows = outputs.logits, outputs.labels, outputs.rows
        log_odds = (logits[:, 1] - logits[:, 0]).numpy()
        scores[name] = Scored(names[labels.numpy()], names[logits.argmax(-1).numpy()], rows.numpy(), log_odds)
    return build_result(scores, data.class_names) | {
        "seconds": seconds,
        "epochs": trainer.current_epoch,
        "trainable": sum(p.numel() for p in model.model.parameters() if p.requires_grad),
        "initial_weights": weights,
        "family": model.model.backbone.config.family,
        "trained": describe_model(model, settings["model.backbone"], weights),
        "settings": settings,
    }


def _train_classical(run: Run, cli: ClassifierCLI) -> Result:
    assert run.classical is not None
    data = cli.datamodule
    data.prepare_data()
    data.setup("fit")
    model = build_baseline(run.classical, len(data.class_names))
    began = time.perf_counter()
    model.fit(data.tables["train"]["text"], data.tables["train"]["label"])
    seconds = time.perf_counter() - began
    scores = {}
    for name in SPLITS:
        table = data.tables[name].sort_values("row", kind="stable")
        truth, predicted, rows = table["label"].to_numpy(), model.predict(table["text"]), table["row"].to_numpy()
        scores[name] = Scored(truth, predicted, rows, _compute_log_odds(model, table["text"]))
    return build_result(scores, sorted(model.classes_)) | {
        "seconds": seconds,
        "epochs": 0,
        "trainable": 0,
        "initial_weights": "",
        "family": "classical",
        "trained": run.classical.replace("_", " "),
        "settings": {key: value for key, value in _list_settings(cli).items() if key.startswith("data.")},
    }


def _compute_log_odds(model: Any, texts: "pd.Series[str]") -> np.ndarray:
    """Log odds of the second of two classes, up to a factor; with more classes, the result means nothing."""
    if hasattr(model, "decision_function"):
        return model.decision_function(texts)
    probabilities = np.clip(model.predict_proba(texts), 1e-12, 1)
    return np.log(probabilities[:, 1] / probabilities[:, 0])


class Scored(NamedTuple):
    """Labels and predictions of the N texts of a split, (N,) each, in the order of the rows."""

    labels: np.ndarray  # class names
    predicted: np.ndarray
    rows: np.ndarray
    log_odds: np.ndarray  # of the second class, where there are two


def build_result(scores: dict[str, Scored], class_names: Sequence[str]) -> Result:
    labels, predicted, rows, log_odds = scores["test"]
    right = labels == predicted
    result: Result = {
        "accuracy": {name: [int((s.labels == s.predicted).sum()), len(s.labels)] for name, s in scores.items()},
        "test_rows": hashlib.sha256(rows.tobytes()).hexdigest()[:16],  # a paired test needs the same rows
        "test_correct": "".join(map(str, right.astype(int).tolist())),
        "test_classes": {  # [texts of the class, predictions of it, both]: macro-F1 over any folds follows
            str(name): [int(each.sum()) for each in (labels == name, predicted == name, right & (labels == name))]
            for name in sorted({*labels, *predicted})
        },
    }
    if len(class_names) == 2:  # recall at a false-positive rate, over all folds, follows
        result["test_log_odds"] = [round(float(value), 5) for value in log_odds]
        result["test_labels"] = "".join(map(str, (labels == class_names[1]).astype(int).tolist()))
        result["class_names"] = list(class_names)
    return result


# ---------------------------------------------------------------- descriptions of models, for titles and comparisons


def describe_model(model: GPTClassifier, backbone: Any, weights: str) -> str:
    """The network and its trained parts in words, such as ``GPT-2 124M, last block, last token``.

    Args:
        model: After training.
        backbone: The setting ``model.backbone``.
        weights: The setting ``model.weights``, from which training started.
    """
    network, spec = model.model.backbone, Specification.of(model.model)
    config, policy = network.config, model.hparams["trainable"]
    size = sum(tensor.numel() for name, tensor in network.state_dict().items() if ".lora_" not in name)
    if isinstance(backbone, str):
        name = f"{Path(backbone).name} {size / 1e6:.0f}M"
    elif spec.backbone | {"dropout": 0.0, "causal": True} in [size.fields for size in SIZES.values()]:
        name = f"GPT-2 {size / 1e6:.0f}M"
    else:
        blocks = f"{config.n_layer} block{'s' if config.n_layer > 1 else ''}"
        name = f"{config.model_type}, {blocks} of hidden size {config.n_embd}"
    parts = [name]
    if spec.family == "gpt" and not config.causal:
        parts.append("no causal mask")
    if weights != "pretrained":
        parts.append("random weights" if weights == "random" else f"weights of {weights}")
    parts += [_describe_trained(policy, spec.lora), spec.pooling.replace("_", " ")]
    return ", ".join(parts)


def _describe_trained(policy: str | int, lora: LoRAConfig | None) -> str:
    if lora is not None:
        return f"{'DoRA' if lora.dora else 'LoRA'}, rank {lora.rank}, alpha {lora.alpha:g}"
    names = {0: "head only", "head": "head only", 1: "last block", "all": "all layers", "biases": "biases only"}
    return names.get(policy, f"last {policy} blocks" if str(policy).isdigit() else str(policy).replace("_", " "))


def _list_settings(cli: ClassifierCLI) -> Settings:
    """All settings of data, model and trainer by dotted key, defaults included."""
    sections = json.loads(cli.parser.dump(cli.config, format="json"))
    settings = {f"{s}.{key}": v for s in SECTIONS for key, v in by_dotted_key(s, sections[s]).items()}
    del settings["trainer.default_root_dir"]  # it differs in each run
    settings.setdefault("model.backbone", None)
    if isinstance(settings["model.gpt"], str):
        settings["model.gpt"] = {"size": settings["model.gpt"]}
    return settings


def main() -> None:
    """Reads a run from the file in ``sys.argv`` and writes its result there; exits when its parent process does."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    path, logs = Path(sys.argv[1]), Path(sys.argv[2])
    run = Run(**json.loads(path.read_text(encoding="utf-8")))
    try:
        result = perform(run, path.parent, logs)
    except InputError as error:
        sys.exit(str(error))
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory()
    path.write_text(json.dumps(result | {"peak_memory": peak}), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # without waiting for the threads of libraries


if __name__ == "__main__":
    main()
