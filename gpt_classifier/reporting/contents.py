"""What a test report says, from its head to its last section: a document, whatever it is shown on."""

from collections.abc import Callable
from typing import Any

from gpt_classifier.data.summary import class_counts
from gpt_classifier.reporting import scores, words, worth
from gpt_classifier.reporting.document import Document, Listing, Section
from gpt_classifier.reporting.saved import SavedTest

MAX_COUNTS = 10  # with more classes than this, rows of each split are summarised


def document(test: SavedTest) -> Document:
    """The report of a test."""
    facts = test.facts
    rows, right = facts["rows"], round(facts["accuracy"] * facts["rows"])
    low, high = facts["accuracy_interval"]
    verdict = facts.get("baselines", {}).get("verdict", "").removeprefix("Verdict: ")
    found = [write(test) for write in SECTIONS]
    return Document(
        "Test report",
        f"{words.percent(facts['accuracy'], 2)} of test texts classified correctly",
        f"{right:,} of {rows:,} texts; {words.INTERVAL} {words.percent(low)} to {words.percent(high)} (Wilson)",
        f"{verdict[:1].upper()}{verdict[1:]}",
        _facts(facts),
        [section for section in found if section is not None],
    )


def _facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    training, network, machine = (facts.get(name, {}) for name in ("training", "network", "machine"))
    found = []
    if "source" in training:
        found.append(("trained on", training["source"]))
    for split, counts in training.get("rows", {}).items():
        found.append((f"{split} rows", f"{sum(counts.values()):,}: {class_counts(counts, MAX_COUNTS)}"))
    if "fingerprint" in training:
        about = f"{training['fingerprint']}, a hash of {training['distinct_texts']:,} distinct training texts"
        found.append(("fingerprint", about))
    if network:
        size = "{type}, {blocks} x {channels} channels, {heads} heads, {parameters:,} parameters".format_map(network)
        found.append(("network", f"{size}; pooling {network['pooling']}"))
    parts = []
    if facts.get("training_seconds") is not None:
        parts.append(f"{facts['training_seconds']:,.1f} s")
    if facts.get("trained_steps"):
        parts.append(f"{facts['trained_steps']:,} steps")
    if training.get("seed") is not None:
        parts.append(f"seed {training['seed']}")
    if parts:
        found.append(("training", ", ".join(parts)))
    if facts.get("test_seconds"):
        found.append(("test", f"{facts['test_seconds']:,.1f} s for {facts['rows']:,} texts"))
    if machine:
        gpus = f"; {len(machine['gpus'])} GPUs, {machine['gpus'][0]}" if machine["gpus"] else "; no GPU"
        found.append(("machine of the test", f"{machine['processor']}, {machine['cores']} cores{gpus}"))
    if "versions" in facts:
        found.append(("versions", ", ".join(f"{name} {number}" for name, number in facts["versions"].items())))
    return found


def _settings(test: SavedTest) -> Section | None:
    configuration = test.facts.get("configuration")
    if not configuration:
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
    scores.of_learning_curves,
    worth.of_class_mix,
    worth.of_leaks,
    worth.of_errors,
    worth.of_groups,
    worth.of_decision,
    worth.of_invariance,
    _settings,
)
