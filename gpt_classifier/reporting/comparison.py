"""Compares two tested runs on the same test rows, side by side."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.duplicates import compute_digest, near_duplicate_key
from gpt_classifier.data.sources import IN_MEMORY, find_sources
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.results import TestResults
from gpt_classifier.files import folders_around
from gpt_classifier.records import from_json, to_json
from gpt_classifier.reporting.document import Document, Example, Examples, Paragraph, Section, Table, format_percent
from gpt_classifier.reporting.saved import SavedTest
from gpt_classifier.reporting.score_sections import score_rows
from gpt_classifier.settings import flat
from gpt_classifier.statistics import resampling
from gpt_classifier.statistics.intervals import Interval
from gpt_classifier.statistics.paired_tests import (
    ALPHA,
    format_p_value,
    format_signed,
    paired_difference,
    paired_p_value,
)

SHOWN = 20  # rows
CHARACTERS = 600  # of a text
SCORES = ("accuracy", "f1_macro", "balanced_accuracy", "mcc", "auroc", "average_precision", "loss")
SETTINGS_OF_FILES = ("trainer.default_root_dir", "ckpt_path", "output", "keep", "baselines", "report")  # of no model


@dataclass(frozen=True, kw_only=True)
class SettingDifference:
    setting: str  # by dotted key
    first: Any
    second: Any


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A row on which the predictions differ, with the probability of each."""

    row: int
    text: str | None
    true: str
    first: str
    second: str
    first_probability: float
    second_probability: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two tests compare; differences are second minus first."""

    first: str  # where the test lies
    second: str
    rows: int
    scores: list[dict[str, Any]]
    difference: float
    difference_interval: Interval
    f1_macro_difference: float
    f1_macro_difference_interval: Interval | None
    p: float
    told_apart: bool
    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    settings_of: list[str]  # sections of settings that are known of both
    settings: list[SettingDifference]
    disagreements: int
    texts_missing: str | None  # why
    examples: list[Disagreement]


def align_rows(first: SavedTest, second: SavedTest) -> tuple[SavedTest, SavedTest]:
    """Both tests with their rows in the order of the first one's source.

    The same texts may have other row numbers in another file, for example in one of which some rows were taken out.
    Raises ``InputError`` unless both were tested on the same texts with the same labels.
    """
    if any(test.results.scores.multi_label_scores is not None for test in (first, second)):
        raise InputError("report compares single-label runs: compare the scores.json of multi-label ones")
    first, second = both = tuple(_in_order(test, np.argsort(test.rows)) for test in (first, second))
    hashes = [test.results.tested and test.results.tested.test_fingerprint for test in both]
    labels = [list(_class_names(test)) for test in both]
    numbered = [list(zip(test.rows.tolist(), names, strict=True)) for test, names in zip(both, labels, strict=True)]
    if None in hashes:  # the texts are not known
        if numbered[0] == numbered[1]:
            return first, second
    elif hashes[0] == hashes[1] and labels[0] == labels[1]:
        return first, second
    else:
        with suppress(InputError):
            rows = [sorted(zip(_texts(test), names, range(len(names)), strict=True))
                    for test, names in zip(both, labels, strict=True)]  # fmt: skip
            if [row[:2] for row in rows[0]] == [row[:2] for row in rows[1]]:
                place = {number: other for (_, _, number), (_, _, other) in zip(*rows, strict=True)}
                return first, _in_order(second, np.array([place[number] for number in range(len(place))]))
    common = len({*numbered[0]} & {*numbered[1]})
    raise InputError(
        f"the runs were tested on different texts, or the texts have other labels: {common:,} row numbers with"
        f" the same label are common to the {len(first.rows):,} of the first and the "
        f"{len(second.rows):,} of the second; test both on one file with --data.test_source FILE"
    )


def _in_order(test: SavedTest, order: np.ndarray) -> SavedTest:
    arrays = {name: getattr(test, name)[order] for name in ("rows", "true", "predicted", "probabilities")}
    return test._replace(**arrays)


def compare_tests(first: SavedTest, second: SavedTest, names: tuple[str, str]) -> Comparison:
    """How two tests of :func:`align_rows` compare, which lie at ``names``."""
    labels, one, other = _class_names(first), _class_names(first, True), _class_names(second, True)
    try:
        texts, missing = _texts(first), None
    except InputError as error:
        texts, missing = None, str(error)
    clusters = None if texts is None else [near_duplicate_key(text) for text in texts]
    right = [predicted == labels for predicted in (one, other)]
    value, low, high = paired_difference(right[1], right[0], clusters)
    p = paired_p_value(right[1][None], right[0][None])
    f1 = resampling.difference(resampling.macro_f1(labels, other), resampling.macro_f1(labels, one))
    sections, settings = _compare_settings(first.results, second.results)
    return Comparison(
        first=names[0],
        second=names[1],
        rows=len(labels),
        scores=[_scores(test.results) for test in (first, second)],
        difference=value,
        difference_interval=(low, high),
        f1_macro_difference=float(f1(np.ones((1, len(labels))))[0]),
        f1_macro_difference_interval=resampling.intervals(labels, {"f1": f1}, clusters)["f1"],
        p=p,
        told_apart=p < ALPHA and (low > 0 or high < 0),
        both_right=int((right[0] & right[1]).sum()),
        only_first_right=int((right[0] & ~right[1]).sum()),
        only_second_right=int((right[1] & ~right[0]).sum()),
        both_wrong=int((~right[0] & ~right[1]).sum()),
        settings_of=sections,
        settings=settings,
        disagreements=int((one != other).sum()),
        texts_missing=missing,
        examples=_choose_examples(first, second, texts),
    )


def _class_names(test: SavedTest, predicted: bool = False) -> np.ndarray:
    """(N,) the true or predicted class names."""
    return np.array(test.names, dtype=object)[(test.predicted if predicted else test.true).argmax(-1)]


def _scores(results: TestResults) -> dict[str, Any]:
    content = to_json(results)
    names = [*SCORES, *(f"{name}_interval" for name in SCORES), "training_seconds", "test_seconds"]
    return {name: content[name] for name in names if content.get(name) is not None}


def _compare_settings(first: TestResults, second: TestResults) -> tuple[list[str], list[SettingDifference]]:
    """The sections of settings that are known of both runs, and the settings in them that differ, by dotted key."""
    both = []
    for results in (first, second):
        run, tested = results.run, results.tested
        both.append((run and run.configuration) or {"data": (tested and tested.data) or {}})
    if ("trainer" in both[0]) != ("trainer" in both[1]):  # a model folder knows no more
        both = [{"data": configuration.get("data") or {}} for configuration in both]
    one, other = map(flat, both)
    differ = [
        SettingDifference(setting=name, first=one.get(name), second=other.get(name))
        for name in dict.fromkeys([*one, *other])
        if one.get(name) != other.get(name) and name not in SETTINGS_OF_FILES
    ]
    sections = [name for name in both[0] if name in both[1] and isinstance(both[0][name], dict)]
    return sections, differ


def _texts(test: SavedTest) -> list[str]:
    """The texts of the rows in the order of their source, read again. Raises ``InputError`` if that cannot be done."""
    tested = test.results.tested
    settings = (tested and tested.data) or {}
    if settings.get("source", IN_MEMORY) == IN_MEMORY:
        raise InputError("they were given in memory, or as data loaders")
    table = TextDataModule(**find_sources(settings, folders_around(test.run))).read_tables()["test"]
    texts = table.set_index("row")["text"].reindex(np.sort(test.rows))
    if texts.isna().any() or tested is None or compute_digest(texts) != tested.test_fingerprint:
        raise InputError("they are not those any more that the runs were tested on")
    return texts.tolist()


def _choose_examples(first: SavedTest, second: SavedTest, texts: list[str] | None) -> list[Disagreement]:
    """The rows with different predictions on which the probabilities of the true class differ most."""
    rows = np.arange(len(first.rows))
    labels, one, other = _class_names(first), _class_names(first, True), _class_names(second, True)
    for_label = []
    for test in (first, second):
        numbers = {name: number for number, name in enumerate(test.names)}
        for_label.append(test.probabilities[rows, [numbers[name] for name in labels]])
    gap = np.where(one != other, np.abs(for_label[0] - for_label[1]), -1)
    return [
        Disagreement(
            row=int(first.rows[i]),
            text=None if texts is None else texts[i][:CHARACTERS],
            true=labels[i],
            first=one[i],
            second=other[i],
            first_probability=float(first.probabilities[i, first.predicted[i].argmax()]),
            second_probability=float(second.probabilities[i, second.predicted[i].argmax()]),
        )
        for i in np.argsort(-gap, kind="stable")[:SHOWN]
        if gap[i] >= 0
    ]


# ---------------------------------------------------------------- document


def build_comparison(found: Comparison) -> Document:
    """What :func:`compare_tests` found, for people; the first run is called A and the second one B."""
    points, low, high = (100 * value for value in (found.difference, *found.difference_interval))
    how = f"{abs(points):.2f} points {'more' if points > 0 else 'less'} accurate than" if points else "as accurate as"
    f1 = f"macro F1 {format_signed(100 * found.f1_macro_difference)} points"
    if (interval := found.f1_macro_difference_interval) is not None:
        f1 += " (95 % interval {} to {})".format(*(format_signed(100 * bound) for bound in interval))
    return Document(
        "Comparison of two runs",
        f"B is {how} A",
        f"{found.rows:,} test texts; 95 % paired interval {format_signed(low)} to {format_signed(high)} points, "
        f"exact McNemar p {format_p_value(found.p)}; {f1}",
        f"The difference is {'' if found.told_apart else 'not '}statistically significant.",
        [("A", found.first), ("B", found.second)],
        [_scores_section(found), _agreement_section(found), _settings_section(found), *_disagreements_section(found)],
    )


def _scores_section(found: Comparison) -> Section:
    one, other = (dict(score_rows(from_json(TestResults, run))) for run in found.scores)
    rows = [[name, one[name], other[name]] for name in one if name in other]
    how = "Each score with its 95 % interval; scores of the same rows."
    return Section("Scores", how, [Table(["score", "A", "B"], rows)])


def _agreement_section(found: Comparison) -> Section:
    counts = {"both right": found.both_right, "only A right": found.only_first_right}
    counts |= {"only B right": found.only_second_right, "both wrong": found.both_wrong}
    rows = [[name, f"{n:,}", format_percent(n / found.rows)] for name, n in counts.items()]
    how = "The paired tests rest on the rows that only one of the two classifies correctly."
    return Section("Agreement", how, [Table(["predictions", "texts", "fraction"], rows)])


def _settings_section(found: Comparison) -> Section:
    rows = [
        [each.setting, *("null" if value is None else str(value) for value in (each.first, each.second))]
        for each in found.settings
    ]
    known = ", ".join(found.settings_of)
    how = f"Whatever differs may be the reason, and so may random variation. Known of both: {known}."
    shown = Table(["setting", "A", "B"], rows, names=3) if rows else Paragraph("None does.")
    return Section("Settings that differ", how, [shown])


def _disagreements_section(found: Comparison) -> list[Section]:
    """None where there are no examples."""
    examples = []
    for each in found.examples:
        one, other = f"{each.first}, {each.first_probability:.4f}", f"{each.second}, {each.second_probability:.4f}"
        text = f"row {each.row}" if each.text is None else each.text
        examples.append(Example(text, [("true", each.true), ("A", one), ("B", other)]))
    if not examples:
        return []
    how = "Of the rows with different predictions, those on which the probabilities of the true class differ most."
    shown = f"{len(examples):,} of {found.disagreements:,} rows"
    shown += f", without their texts: {found.texts_missing}." if found.texts_missing else ":"
    return [Section("Disagreements", how, [Paragraph(shown), Examples(examples)])]
