"""The report of a test, from its head to its last section: ``report.html`` and ``report.md``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpt_classifier.data.summary import format_class_counts
from gpt_classifier.evaluation.results import TestResults, Training
from gpt_classifier.evaluation.verdict import BaselineResults
from gpt_classifier.files import whole_file
from gpt_classifier.reporting import score_sections, worth_sections
from gpt_classifier.reporting.document import INTERVAL, Document, Listing, Section, format_percent
from gpt_classifier.reporting.render import render_html, render_markdown
from gpt_classifier.reporting.saved import SavedTest, find_scores_file, read_test

MAX_COUNTS = 10  # with more classes than this, rows of each split are summarised


def write_report(path: Path) -> Path:
    """Writes both files beside the scores in ``path``, with the same ending; returns that of the page."""
    scores = find_scores_file(path)
    document = build_report(read_test(scores))
    page = scores.with_name(f"report{scores.stem.removeprefix('scores')}.html")
    for target, text in ((page.with_suffix(".md"), render_markdown(document)), (page, render_html(document))):
        with whole_file(target) as scratch:
            scratch.write_text(text, encoding="utf-8", errors="backslashreplace")
    return page


def build_report(test: SavedTest) -> Document:
    results, scores, baselines = test.results, test.results.scores, test.results.baselines
    low, high = scores.accuracy_interval
    against_best = baselines.against_best if isinstance(baselines, BaselineResults) else None
    verdict = "" if against_best is None else against_best.verdict.removeprefix("Verdict: ")
    sections = [build_section(test) for build_section in SECTIONS]
    return Document(
        "Test report",
        f"{format_percent(scores.accuracy, 2)} of test texts classified correctly",
        f"{round(scores.accuracy * scores.rows):,} of {scores.rows:,} texts; {INTERVAL} {format_percent(low)} to "
        f"{format_percent(high)} (Wilson)",
        " ".join(filter(None, (f"{verdict[:1].upper()}{verdict[1:]}", results.disagreement))),
        _describe_run(results),
        [section for section in sections if section is not None],
    )


def _describe_run(results: TestResults) -> list[tuple[str, str]]:
    """The run and the test, by name."""
    run, tested = results.run, results.tested
    training = (run and run.training) or Training(seed=None)
    found = []
    if training.source is not None:
        found.append(("trained on", training.source))
    for split, counts in (training.rows or {}).items():
        found.append((f"{split} rows", f"{sum(counts.values()):,}: {format_class_counts(counts, MAX_COUNTS)}"))
    if training.fingerprint is not None:
        about = f"{training.fingerprint}, a hash of {training.distinct_texts:,} distinct training texts"
        found.append(("fingerprint", about))
    if run is not None and run.network is not None:
        size = "{type}, {blocks} blocks, hidden size {channels}, {heads} heads, {parameters:,} parameters"
        found.append(("network", (size + "; pooling {pooling}").format_map(vars(run.network))))
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


def _settings_section(test: SavedTest) -> Section | None:
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
    worth_sections.baselines_section,
    score_sections.scores_section,
    score_sections.classes_section,
    score_sections.confusions_section,
    score_sections.ranking_section,
    score_sections.calibration_section,
    score_sections.probe_section,
    score_sections.learning_curves_section,
    worth_sections.natural_prior_section,
    worth_sections.leaks_section,
    worth_sections.errors_section,
    worth_sections.groups_section,
    worth_sections.decision_section,
    _settings_section,
)
