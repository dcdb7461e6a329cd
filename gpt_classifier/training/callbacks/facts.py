"""Gathers what a test report says beyond the scores: the run, the rows, the errors, the invariances."""

import os
import platform
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import yaml
from lightning.pytorch import Trainer

from gpt_classifier import __version__
from gpt_classifier.data import datasets, splits
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import near_duplicate_key, trained_on
from gpt_classifier.decision.reliability import reliability
from gpt_classifier.decision.rule import SEPARATOR, joined
from gpt_classifier.errors import InputError, reason
from gpt_classifier.evaluation.groups import by_length, by_script, group
from gpt_classifier.evaluation.metrics import by_class, counts_by_class, most_confident_errors
from gpt_classifier.evaluation.neighbours import nearest
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.inference.invariance import certificate
from gpt_classifier.statistics.paired_tests import paired_difference
from gpt_classifier.text.encoder import WindowsConfig
from gpt_classifier.training.callbacks.classifier import class_names
from gpt_classifier.training.callbacks.curves import learning_curves
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.runs import text_data

ERRORS = 20
CHARACTERS = 600  # of a text that a report keeps
MAX_LONGER = 200  # texts that are read in two ways
SHARE_OF_FIT = 0.02  # of the seconds of training, for the certificate of invariances
LEAST_SECONDS, UNKNOWN_SECONDS = 1.0, 10.0  # for it, after a short fit and after one of unknown length


def of_rows(
    trainer: Trainer,
    model: GPTClassifier,
    outputs: EpochOutputs,
    texts: list[str],
    trained: TextDataModule | None,
) -> dict[str, Any]:
    """What there is to say of the tested rows; what nothing is known about is left out.

    Args:
        trainer: That of the test.
        model: The tested one.
        outputs: Of the model, for the rows.
        texts: (N,) of the rows.
        trained: Data with the training rows, if they could be read.
    """
    found: dict[str, Any] = {"leaks": _leaks(model, outputs, texts)}
    found["errors"] = _errors(outputs, class_names(model), texts, trained)
    found |= _groups(text_data(trainer), model, outputs, texts)
    if trainer.world_size == 1:  # other processes would not take part
        found["invariance"] = _invariance(model, texts)
    return {name: value for name, value in found.items() if value is not None}


# ---------------------------------------------------------------- the run


def of_run(
    trainer: Trainer, model: GPTClassifier, outputs: EpochOutputs, run: Path, trained: TextDataModule | None
) -> dict[str, Any]:
    """What the model is, what it was trained on and how, and the calibration of its ``outputs``.

    ``trained`` holds the training rows, if they could be read; ``run`` is the folder of the model's run.
    """
    config = model.model.backbone.config
    network = {
        "type": config.model_type,
        "blocks": config.n_layer,
        "channels": config.n_embd,
        "heads": config.n_head,
        "context": config.context_length,
        "pooling": model.model.pooling,
        "parameters": sum(parameter.numel() for parameter in model.model.parameters()),
    }
    configuration = _configuration(run, model)
    training: dict[str, Any] = {"seed": configuration.get("seed_everything")}
    if model.trained_on is not None:
        fingerprint = blake2b(model.trained_on.numpy().astype("<i8").tobytes(), digest_size=8).hexdigest()
        training |= {"fingerprint": fingerprint, "distinct_texts": len(model.trained_on)}
    if source := model.data_settings.get("source"):
        training["source"] = datasets.title(source)
    if trained is not None:
        counts = {
            name: trained.tables[name]["label"].explode().value_counts()
            for name in splits.NAMES
            if name in trained.tables
        }
        training["rows"] = {
            split: {name: int(rows.get(name, 0)) for name in trained.class_names} for split, rows in counts.items()
        }
    versions = {"torch": str(torch.__version__), "lightning": L.__version__}
    return {
        "network": network,
        "training": training,
        "configuration": configuration,
        "versions": {"gpt_classifier": __version__, **versions, "python": platform.python_version()},
        "machine": _machine(),
        "learning_curves": learning_curves(trainer, run),
        "calibration": _calibration(model, outputs),
    }


def _configuration(run: Path, model: GPTClassifier) -> dict[str, Any]:
    """The settings of the fit: the newest configuration of the run, or else what the model itself knows."""
    files = sorted(run.glob("config*.yaml"), key=lambda path: (path.name != "config.yaml", path.name))
    if files:
        return yaml.safe_load(files[-1].read_text(encoding="utf-8"))
    return {"data": dict(model.data_settings), "model": dict(model.hparams)}


def _machine() -> dict[str, Any]:
    """Of the test; without the name of the computer."""
    names = [platform.processor() or platform.machine()]
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")] or names
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"processor": names[0], "cores": os.cpu_count(), "gpus": gpus}


# ---------------------------------------------------------------- the rows


def _calibration(model: GPTClassifier, outputs: EpochOutputs) -> dict[str, Any]:
    """The reliability of the uncalibrated probabilities, and of those of the model's own decision."""
    decision, labels = model.decision, outputs.labels.numpy()
    found: dict[str, Any] = {"before": reliability(outputs.probabilities.numpy(), labels).facts()}
    if decision.temperature != 1 or decision.log_priors:
        after = decision.probabilities(outputs.logits.double().numpy())
        found |= {"after": reliability(after, labels).facts(), "temperature": decision.temperature}
    return found


def _leaks(model: GPTClassifier, outputs: EpochOutputs, texts: list[str]) -> dict[str, Any] | None:
    """Scores without the rows that were trained on, or whose near-duplicates were."""
    if model.trained_on is None:
        return None
    known = trained_on(texts, model.trained_on)
    right = outputs.correct.numpy()
    found: dict[str, Any] = {"seen": group(right[known]), "unseen": group(right[~known])}
    if known.any() and not known.all():
        found["unseen"]["f1_macro"] = float(by_class(counts_by_class(outputs[~known])).f1.nanmean())
    return found


def _groups(
    data: TextDataModule | None, model: GPTClassifier, outputs: EpochOutputs, texts: list[str]
) -> dict[str, Any]:
    """Error rates by length, by script, and of texts longer than ``max_length``."""
    assert data is not None, "it has the texts"
    right, rows = outputs.correct.numpy(), outputs.rows.numpy()
    encoded = data.encoded["test"]
    order = np.argsort(encoded.rows.numpy())
    lengths = encoded.lengths[order[np.searchsorted(encoded.rows.numpy(), rows, sorter=order)]]
    encoder = encoded.text_encoder
    longer = np.array(
        [n >= encoder.max_length and encoder.encode(text)[1] for n, text in zip(lengths, texts, strict=True)]
    )
    return {
        "lengths": by_length(right, lengths),
        "truncation": {
            "max_length": encoder.max_length,
            "kept": encoder.truncation,
            "windows": encoder.windows and asdict(encoder.windows),
            "longer": group(right[longer]),
            "whole": group(right[~longer]),
            "otherwise": _read_otherwise(model, outputs, texts, longer) if longer.any() else None,
        },
        "scripts": by_script(right, texts),
    }


def _read_otherwise(
    model: GPTClassifier, outputs: EpochOutputs, texts: list[str], longer: np.ndarray
) -> dict[str, Any]:
    """What truncation costs: errors on the ``longer`` texts, as they were read and in the other of both ways.

    Truncated ones are read in windows that overlap by half, windowed ones are truncated; nothing is trained again.
    """
    encoder = model.text_encoder
    assert encoder is not None, "the texts were encoded"
    rows = np.flatnonzero(longer)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_LONGER)).round().astype(int))]
    windows = None if encoder.windows else WindowsConfig(stride=max(1, encoder.max_length // 2))
    classifier = TextClassifier(model.bundle(), model.device)
    classifier.text_encoder = encoder.read_in(windows)
    before = outputs[rows]
    logits = torch.from_numpy(classifier.logits([texts[row] for row in rows]))
    as_read, otherwise = before.correct.numpy(), replace(before, logits=logits).correct.numpy()
    return {
        "windows": windows and asdict(windows),
        "as_read": group(as_read),
        "otherwise": group(otherwise),
        "difference": list(paired_difference(otherwise, as_read)),
    }


def _errors(
    outputs: EpochOutputs, names: list[str], texts: list[str], trained: TextDataModule | None
) -> list[dict[str, Any]]:
    """The most confident errors, each with the training text that may explain it."""
    positions = most_confident_errors(outputs, ERRORS)
    wrong = outputs[positions]
    true, predicted = (joined(which.numpy(), names) for which in (wrong.truth, wrong.predicted))
    rows, confident = wrong.rows.tolist(), wrong.confidence.tolist()
    found: list[dict[str, Any]] = [
        {
            "row": rows[n],
            "text": _shortened(texts[position]),
            "true": true[n],
            "predicted": predicted[n],
            "probability": confident[n],
        }
        for n, position in enumerate(positions)
    ]
    if found and trained is not None:
        table = trained.tables["train"]
        for error, neighbour in zip(
            found, _neighbours([texts[i] for i in positions], table["text"].tolist()), strict=False
        ):
            position, similarity, near_duplicate = neighbour
            error["neighbour"] = {
                "text": _shortened(table["text"].iloc[position]),
                "class": _label(table["label"].iloc[position]),
                "similarity": similarity,
                "near_duplicate": near_duplicate,
            }
    return found


def _neighbours(texts: list[str], training_texts: list[str]) -> list[tuple[int, float, bool]]:
    """Position of the training text most like each text, its similarity, and whether it is a near-duplicate."""
    wanted = {near_duplicate_key(text) for text in texts}
    keys = {key: n for n, text in enumerate(training_texts) if (key := near_duplicate_key(text)) in wanted}
    found = []
    for text, (position, similarity) in zip(texts, nearest(texts, training_texts), strict=False):
        copy = keys.get(near_duplicate_key(text))
        found.append((position, similarity, False) if copy is None else (copy, 1.0, True))
    return found


def _label(label: str | tuple[str, ...]) -> str:
    return label if isinstance(label, str) else SEPARATOR.join(label)


def _shortened(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 1]}…"


def _invariance(model: GPTClassifier, texts: list[str]) -> dict[str, Any]:
    trained = model.trained_seconds()
    seconds = UNKNOWN_SECONDS if trained is None else max(LEAST_SECONDS, SHARE_OF_FIT * trained)
    try:
        return certificate(TextClassifier(model.bundle(), model.device), texts, seconds)
    except (InputError, RuntimeError) as error:  # such as too little memory for a second copy
        return {"missing": reason(error)}
