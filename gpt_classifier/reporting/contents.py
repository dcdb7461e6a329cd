"""What a test report says, from its head to its last section: a document, whatever it is shown on."""

from collections.abc import Callable
from typing import Any

from gpt_classifier.data.summary import class_counts
from gpt_classifier.evaluation.results import TestResults, Training
from gpt_classifier.evaluation.verdict import BaselineResults
from gpt_classifier.reporting import scores, words, worth
from gpt_classifier.reporting.document import Document, Listing, Section
from gpt_classifier.reporting.probe import of_probe
from gpt_classifier.reporting.saved import SavedTest

MAX_COUNTS = 10  # with more classes than this, rows of each split are summarised


def document(test: SavedTest) -> Document:
    """The report of a test."""
    results, measured, baselines = test.results, test.results.scores, test.results.baselines
    rows, right = measured.rows, round(measured.accuracy * measured.rows)
    low, high = measured.accuracy_interval
    compared = baselines.against_best if isinstance(baselines, BaselineResults) else None
    verdict = "" if compared is None else compared.verdict.removeprefix("Verdict: ")
    found = [write(test) for write in SECTIONS]
    return Document(
        "Test report",
        f"{words.percent(measured.accuracy, 2)} of test texts classified correctly",
        f"{right:,} of {rows:,} texts; {words.INTERVAL} {words.percent(low)} to {words.percent(high)} (Wilson)",
        " ".join(filter(None, (f"{verdict[:1].upper()}{verdict[1:]}", results.disagreement))),
        _about(results),
        [section for section in found if section is not None],
    )


def _about(results: TestResults) -> list[tuple[str, str]]:
    """The run and the test, by name."""
    run, tested = results.run, results.tested
    training = (run and run.training) or Training(seed=None)
    found = []
    if training.source is not None:
        found.append(("trained on", training.source))
    for split, counts in (training.rows or {}).items():
        found.append((f"{split} rows", f"{sum(counts.values()):,}: {class_counts(counts, MAX_COUNTS)}"))
    if training.fingerprint is not None:
        about = f"{training.fingerprint}, a hash of {training.distinct_texts:,} distinct training texts"
        found.append(("fingerprint", about))
    if run is not None and run.network is not None:
        size = "{type}, {blocks} x {channels} channels, {heads} heads, {parameters:,} parameters"
        found.append(("network", f"{size.format_map(vars(run.network))}; pooling {run.network.pooling}"))
    parts = []
    if results.training_seconds is not None:
        parts.append(f"{results.training_seconds:,.1f} s")
    if tested is not None and tested.trained_steps:
        parts.append(f"{tested.trained_steps:,} steps")
    if training.seed is not None:
        parts.append(f"seed {training.seed}")
    if parts:
        found.append(("training", ", ".join(parts)))
    if results.test_seconds:
        found.append(("test", f"{results.test_seconds:,.1f} s for {results.scores.rows:,} texts"))
    if run is not None and (machine := run.machine) is not None:
        gpus = f"; {len(machine.gpus)} GPUs, {machine.gpus[0]}" if machine.gpus else "; no GPU"
        found.append(("machine of the test", f"{machine.processor}, {machine.cores} cores{gpus}"))
    if run is not None and run.versions is not None:
        found.append(("versions", ", ".join(f"{name} {number}" for name, number in run.versions.items())))
    return found


def _settings(test: SavedTest) -> Section | None:
    if (run := test.results.run) is None or not (configuration := run.configuration):
        return None
    import yaml

    how = "The settings of the fit; those that are null are left out."
    lines = yaml.safe_dump(_without_null(configuration), sort_keys=False, allow_unicode=True, width=100)
    return Section("Settings", how, [Listing("Configuration", lines)])


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return [_without_null(inner) for inner in value] if isinstance(value, list) else value


SECTIONS: tuple[Callable[[SavedTest], Section | None], ...] = (
    worth.of_baselines,
    scores.of_scores,
    scores.of_classes,
    scores.of_confusions,
    scores.of_ranking,
    scores.of_calibration,
    of_probe,
    scores.of_learning_curves,
    worth.of_class_mix,
    worth.of_leaks,
    worth.of_errors,
    worth.of_groups,
    worth.of_decision,
    _settings,
)
