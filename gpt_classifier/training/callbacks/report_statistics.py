"""Statistics of a test report beyond the scores: of the run, of the rows, of the errors."""

import os
import platform
from copy import copy
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import yaml

from gpt_classifier import __version__
from gpt_classifier.data import datasets, splits
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import find_trained_on, near_duplicate_key
from gpt_classifier.data.encoded import EncodedTexts
from gpt_classifier.decision.reliability import measure_reliability
from gpt_classifier.decision.rule import SEPARATOR, join_labels
from gpt_classifier.evaluation.groups import count_errors, group_by_length, group_by_script
from gpt_classifier.evaluation.metrics import most_confident_errors, score_classes
from gpt_classifier.evaluation.neighbours import find_nearest
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.evaluation.results import (
    Calibration,
    Leaks,
    Machine,
    Network,
    ReadOtherwise,
    TestedRun,
    TestResults,
    Training,
    TrainingText,
    Truncation,
    WrongText,
)
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.statistics.paired_tests import paired_difference
from gpt_classifier.text.encoder import TextEncoder, WindowsConfig
from gpt_classifier.training.callbacks.classifier import class_names
from gpt_classifier.training.callbacks.history import LearningCurves, read_probe
from gpt_classifier.training.module import GPTClassifier

ERRORS = 20
CHARACTERS = 600  # of a text that a report keeps
MAX_LONGER = 200  # texts that are read in two ways


def add_row_statistics(
    results: TestResults,
    encoded: EncodedTexts,
    model: GPTClassifier,
    outputs: EpochOutputs,
    texts: list[str],
    trained: TextDataModule | None,
) -> TestResults:
    """The results with the statistics of the ``encoded`` test rows and their ``texts`` (N,).

    ``trained`` holds the training rows, if they could be read.
    """
    right, order = outputs.correct.numpy(), np.argsort(encoded.rows.numpy())
    positions = np.searchsorted(encoded.rows.numpy(), outputs.rows.numpy(), sorter=order)
    lengths = encoded.lengths[order[positions]]
    return replace(
        results,
        leaks=_count_leaks(model, outputs, texts),
        errors=_find_errors(outputs, class_names(model), texts, trained),
        lengths=group_by_length(right, lengths),
        truncation=_measure_truncation(model, encoded.text_encoder, outputs, texts, lengths),
        scripts=group_by_script(right, texts),
    )


# ---------------------------------------------------------------- the run


def describe_run(
    model: GPTClassifier,
    outputs: EpochOutputs,
    run: Path,
    trained: TextDataModule | None,
    curves: LearningCurves | None,
) -> TestedRun:
    """What the model is, what it was trained on and how, and the calibration of its ``outputs``.

    ``trained`` holds the training rows, if they could be read; ``run`` is the folder of the model's run.
    """
    config = model.model.backbone.config
    network = Network(
        type=config.model_type,
        blocks=config.n_layer,
        channels=config.n_embd,
        heads=config.n_head,
        context=config.context_length,
        pooling=model.model.pooling,
        parameters=sum(parameter.numel() for parameter in model.model.parameters()),
    )
    configuration = _read_configuration(run, model)
    versions = {"torch": str(torch.__version__), "lightning": L.__version__}
    return TestedRun(
        network=network,
        training=_collect_training(model, configuration.get("seed_everything"), trained),
        configuration=configuration,
        versions={"gpt_classifier": __version__, **versions, "python": platform.python_version()},
        machine=_describe_machine(),
        learning_curves=None if curves is None else curves.curves,
        calibration=_measure_calibration(model, outputs),
        probe=read_probe(run),
    )


def _collect_training(model: GPTClassifier, seed: int | None, trained: TextDataModule | None) -> Training:
    training = Training(seed=seed)
    if model.trained_on is not None:
        fingerprint = blake2b(model.trained_on.numpy().astype("<i8").tobytes(), digest_size=8).hexdigest()
        training = replace(training, fingerprint=fingerprint, distinct_texts=len(model.trained_on))
    if source := model.data_settings.get("source"):
        training = replace(training, source=datasets.title(source))
    if trained is not None:
        labels = {name: trained.tables[name]["label"].explode() for name in splits.NAMES if name in trained.tables}
        counts = {split: column.value_counts().to_dict() for split, column in labels.items()}
        rows = {split: {name: of.get(name, 0) for name in trained.class_names} for split, of in counts.items()}
        training = replace(training, rows=rows)
    return training


def _read_configuration(run: Path, model: GPTClassifier) -> dict[str, Any]:
    """The settings of the fit: the newest configuration of the run, or else what the model itself knows."""
    files = sorted(run.glob("config*.yaml"), key=lambda path: (path.name != "config.yaml", path.name))
    if files:
        return yaml.safe_load(files[-1].read_text(encoding="utf-8"))
    return {"data": dict(model.data_settings), "model": dict(model.hparams)}


def _describe_machine() -> Machine:
    """Describes the machine of the test, without the name of the computer."""
    names = [platform.processor() or platform.machine()]
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")] or names
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return Machine(processor=names[0], cores=os.cpu_count(), gpus=gpus)


# ---------------------------------------------------------------- the rows


def _measure_calibration(model: GPTClassifier, outputs: EpochOutputs) -> Calibration:
    decision, labels = model.decision, outputs.labels.numpy()
    before = measure_reliability(outputs.probabilities.numpy(), labels)
    if decision.temperature == 1 and not decision.log_priors:
        return Calibration(before=before)
    after = measure_reliability(decision.probabilities(outputs.logits.double().numpy()), labels)
    return Calibration(before=before, after=after, temperature=decision.temperature)


def _count_leaks(model: GPTClassifier, outputs: EpochOutputs, texts: list[str]) -> Leaks | None:
    """Scores without the rows that were trained on, or whose near-duplicates were."""
    if model.trained_on is None:
        return None
    known = find_trained_on(texts, model.trained_on)
    right = outputs.correct.numpy()
    seen, unseen = count_errors(right[known]), count_errors(right[~known])
    if known.any() and not known.all():
        unseen = replace(unseen, f1_macro=float(score_classes(outputs[~known]).f1.nanmean()))
    return Leaks(seen=seen, unseen=unseen)


def _measure_truncation(
    model: GPTClassifier, text_encoder: TextEncoder, outputs: EpochOutputs, texts: list[str], lengths: np.ndarray
) -> Truncation:
    """Error rates of texts longer than ``max_length``, and of the others."""
    right = outputs.correct.numpy()
    longer = np.array(
        [n >= text_encoder.max_length and text_encoder.encode(text)[1] for n, text in zip(lengths, texts, strict=True)]
    )
    return Truncation(
        max_length=text_encoder.max_length,
        kept=text_encoder.truncation,
        windows=asdict(text_encoder.windows) if text_encoder.windows else None,
        longer=count_errors(right[longer]),
        whole=count_errors(right[~longer]),
        otherwise=_read_otherwise(model, outputs, texts, longer) if longer.any() else None,
    )


def _read_otherwise(model: GPTClassifier, outputs: EpochOutputs, texts: list[str], longer: np.ndarray) -> ReadOtherwise:
    """What truncation costs: errors on the ``longer`` texts, as they were read and in the other of both ways.

    Truncated ones are read in windows that overlap by half, windowed ones are truncated; nothing is trained again.
    """
    text_encoder = model.text_encoder
    assert text_encoder is not None, "the texts were encoded"
    rows = np.flatnonzero(longer)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_LONGER)).round().astype(int))]
    windows = None if text_encoder.windows else WindowsConfig(stride=max(1, text_encoder.max_length // 2))
    classifier = TextClassifier(model.bundle(), model.device)
    classifier.text_encoder = copy(text_encoder)
    classifier.text_encoder.windows = windows
    before = outputs[rows]
    logits = torch.from_numpy(classifier.logits([texts[row] for row in rows]))
    as_read, otherwise = before.correct.numpy(), replace(before, logits=logits).correct.numpy()
    return ReadOtherwise(
        windows=asdict(windows) if windows else None,
        as_read=count_errors(as_read),
        otherwise=count_errors(otherwise),
        difference=paired_difference(otherwise, as_read),
    )


def _find_errors(
    outputs: EpochOutputs, names: list[str], texts: list[str], trained: TextDataModule | None
) -> list[WrongText]:
    """The most confident errors, each with the training text that may explain it."""
    positions = most_confident_errors(outputs, ERRORS)
    wrong, wrong_texts = outputs[positions], [texts[position] for position in positions]
    true, predicted = (join_labels(which.numpy(), names) for which in (wrong.truth, wrong.predicted))
    similar = _find_similar(wrong_texts, trained) if positions and trained is not None else []
    similar += [None] * (len(positions) - len(similar))
    shown = [_shorten(text) for text in wrong_texts]
    columns = (wrong.rows.tolist(), shown, true, predicted, wrong.confidence.tolist(), similar)
    return [
        WrongText(row=row, text=text, true=label, predicted=found, probability=probability, neighbour=neighbour)
        for row, text, label, found, probability, neighbour in zip(*columns, strict=True)
    ]


def _find_similar(texts: list[str], trained: TextDataModule) -> list[TrainingText | None]:
    """The training text most like each text, a near-duplicate if there is one; no list where nothing is alike."""
    table = trained.tables["train"]
    keys = {near_duplicate_key(text): position for position, text in enumerate(table["text"])}
    found: list[TrainingText | None] = []
    for text, (position, similarity) in zip(texts, find_nearest(texts, table["text"].tolist()), strict=False):
        copy = keys.get(near_duplicate_key(text))
        text, label = table.iloc[position if copy is None else copy][["text", "label"]]
        found.append(
            TrainingText(
                text=_shorten(text),
                class_=label if isinstance(label, str) else SEPARATOR.join(label),
                similarity=similarity if copy is None else 1.0,
                near_duplicate=copy is not None,
            )
        )
    return found


def _shorten(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 1]}…"
