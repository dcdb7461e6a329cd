"""Compares two tested runs on the same test rows, side by side."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_classifier.errors import InputError

if TYPE_CHECKING:
    from gpt_classifier.evaluation.results import TestResults
    from gpt_classifier.reporting.document import Document, Section
    from gpt_classifier.reporting.saved import SavedTest

DESCRIPTION = (
    "Compares two runs that were tested on the same rows: their scores, the paired difference of their accuracies with "
    "its interval and McNemar's exact test, the settings that differ, and the rows on which they disagree most."
)
SHOWN = 20  # rows
CHARACTERS = 600  # of a text
OF_FILES = (
    "trainer.default_root_dir",
    "ckpt_path",
    "output",
    "keep",
    "baselines",
    "report",
)  # settings that change no model


def same_rows(first: "SavedTest", second: "SavedTest") -> "tuple[SavedTest, SavedTest]":
    """Both tests with their rows in the order of the first one's source.

    The same texts may have other row numbers in another file, for example in one of which some rows were taken out.
    Raises ``InputError`` unless both were tested on the same texts with the same labels.
    """
    if any(test.results.scores.of_labels is not None for test in (first, second)):
        raise InputError("compare is for runs with one label a text: compare the scores.json of runs with several")
    first, second = (_in_order(test, np.argsort(test.rows)) for test in (first, second))
    hashes = [test.results.tested and test.results.tested.test_fingerprint for test in (first, second)]
    labels = [list(_class_names(test)) for test in (first, second)]
    if None not in hashes and hashes[0] == hashes[1] and labels[0] == labels[1]:
        return first, second
    if None in hashes:  # the texts are not known
        if (first.rows.tolist(), labels[0]) == (second.rows.tolist(), labels[1]):
            return first, second
    else:
        with suppress(InputError):
            rows = [sorted(zip(_texts(test), _class_names(test), range(len(test.rows)), strict=True))
                    for test in (first, second)]  # fmt: skip
            if [row[:2] for row in rows[0]] == [row[:2] for row in rows[1]]:
                place = {number: other for (_, _, number), (_, _, other) in zip(*rows, strict=True)}
                return first, _in_order(second, np.array([place[number] for number in range(len(place))]))
    common = set(zip(first.rows.tolist(), labels[0], strict=True)) & set(
        zip(second.rows.tolist(), labels[1], strict=True)
    )
    raise InputError(
        f"the runs were tested on different texts, or the texts have other labels: {len(common):,} row numbers with "
        f"the same label are common to the {len(first.rows):,} of the first and the {len(second.rows):,} of the "
        "second; test both on one file with --data.test_source FILE"
    )


def _in_order(test: "SavedTest", order: np.ndarray) -> "SavedTest":
    arrays = {name: getattr(test, name)[order] for name in ("rows", "true", "predicted", "probabilities")}
    return test._replace(**arrays)


def compared(first: "SavedTest", second: "SavedTest") -> dict[str, Any]:
    """How two tests of :func:`same_rows` compare, as values that JSON knows; differences are second minus first."""
    from gpt_classifier.data.duplicates import near_duplicate_key
    from gpt_classifier.statistics import resampling
    from gpt_classifier.statistics.paired_tests import ALPHA, paired_difference, paired_p_value

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
    return {
        "rows": len(labels),
        "scores": [_scores(test.results) for test in (first, second)],
        "difference": value,
        "difference_interval": [low, high],
        "f1_macro_difference": float(f1(np.ones((1, len(labels))))[0]),
        "f1_macro_difference_interval": resampling.intervals(labels, {"f1": f1}, clusters)["f1"],
        "p": p,
        "told_apart": p < ALPHA and (low > 0 or high < 0),
        "both_right": int((right[0] & right[1]).sum()),
        "only_first_right": int((right[0] & ~right[1]).sum()),
        "only_second_right": int((right[1] & ~right[0]).sum()),
        "both_wrong": int((~right[0] & ~right[1]).sum()),
        **_settings(first.results, second.results),
        "disagreements": int((one != other).sum()),
        "texts_missing": missing,
        "examples": _examples(first, second, texts),
    }


def _class_names(test: "SavedTest", predicted: bool = False) -> np.ndarray:
    """(N,) the true or predicted class names."""
    return np.array(test.names, dtype=object)[(test.predicted if predicted else test.true).argmax(-1)]


def _scores(results: "TestResults") -> dict[str, Any]:
    names = ("accuracy", "f1_macro", "balanced_accuracy", "mcc", "auroc", "average_precision", "loss")
    kept = [*names, *(f"{name}_interval" for name in names), "training_seconds", "test_seconds"]
    content = results.to_json()
    return {name: content[name] for name in kept if content.get(name) is not None}


def _settings(first: "TestResults", second: "TestResults") -> dict[str, Any]:
    """The sections of settings that are known of both runs, and the settings in them that differ, by dotted key."""
    from gpt_classifier.settings import flat

    both = [_configuration(results) for results in (first, second)]
    if ("trainer" in both[0]) != ("trainer" in both[1]):  # a model folder knows no more
        both = [{"data": configuration.get("data") or {}} for configuration in both]
    one, other = map(flat, both)
    differ = [
        {"setting": name, "first": one.get(name), "second": other.get(name)}
        for name in dict.fromkeys([*one, *other])
        if one.get(name) != other.get(name) and name not in OF_FILES
    ]
    sections = [name for name in both[0] if name in both[1] and isinstance(both[0][name], dict)]
    return {"settings_of": sections, "settings": differ}


def _configuration(results: "TestResults") -> dict[str, Any]:
    """All that is known of it."""
    run, tested = results.run, results.tested
    return (run and run.configuration) or {"data": (tested and tested.data) or {}}


def _texts(test: "SavedTest") -> list[str]:
    """The texts of the rows in the order of their source, read again. Raises ``InputError`` if that cannot be done."""
    from gpt_classifier.data.datamodule import TextDataModule
    from gpt_classifier.data.duplicates import digest
    from gpt_classifier.data.sources import IN_MEMORY, found_again
    from gpt_classifier.files import folders_around

    tested = test.results.tested
    settings = (tested and tested.data) or {}
    if settings.get("source", IN_MEMORY) == IN_MEMORY:
        raise InputError("they were given in memory, or as data loaders")
    table = TextDataModule(**found_again(settings, folders_around(test.run))).read_tables()["test"]
    texts = table.set_index("row")["text"].reindex(np.sort(test.rows))
    if texts.isna().any() or tested is None or digest(texts) != tested.test_fingerprint:
        raise InputError("they are not those any more that the runs were tested on")
    return texts.tolist()


def _examples(first: "SavedTest", second: "SavedTest", texts: list[str] | None) -> list[dict[str, Any]]:
    """The rows with different answers on which the probabilities of the true class differ most."""
    labels, answers = _class_names(first), [_class_names(test, True) for test in (first, second)]
    given = []  # the probability of the true class, and of the answer, by each
    for test, answer in zip((first, second), answers, strict=True):
        numbers = {name: n for n, name in enumerate(test.names)}
        columns = [[numbers[name] for name in names] for names in (labels, answer)]
        given.append([test.probabilities[range(len(labels)), column] for column in columns])
    rows = first.rows
    gap = np.where(answers[0] != answers[1], np.abs(given[0][0] - given[1][0]), -1)
    return [
        {
            "row": int(rows[i]),
            "text": None if texts is None else texts[i][:CHARACTERS],
            "true": labels[i],
            **{name: answers[n][i] for n, name in enumerate(("first", "second"))},
            **{f"{name}_probability": float(given[n][1][i]) for n, name in enumerate(("first", "second"))},
        }
        for i in np.argsort(-gap, kind="stable")[:SHOWN]
        if gap[i] >= 0
    ]


# ---------------------------------------------------------------- words


def document(facts: dict[str, Any]) -> "Document":
    """What :func:`compared` found, for people; the first run is called A and the second one B."""
    from gpt_classifier.reporting.document import Document
    from gpt_classifier.statistics.paired_tests import number, signed

    points, (low, high) = 100 * facts["difference"], (100 * bound for bound in facts["difference_interval"])
    how = f"{abs(points):.2f} points {'more' if points > 0 else 'less'} accurate than" if points else "as accurate as"
    told = "The test tells them apart." if facts["told_apart"] else "The test cannot tell them apart."
    f1, f1_interval = 100 * facts["f1_macro_difference"], facts["f1_macro_difference_interval"]
    of_f1 = ""
    if f1_interval is not None:
        of_f1 = " (95 % interval {} to {})".format(*(signed(100 * bound) for bound in f1_interval))
    sections = [
        _scores_section(facts["scores"]),
        _agreement_section(facts),
        _settings_section(facts),
        _disagreements_section(facts),
    ]
    return Document(
        "Comparison of two runs",
        f"B is {how} A",
        f"{facts['rows']:,} test texts; 95 % paired interval {signed(low)} to {signed(high)} points, exact McNemar p "
        f"{number(facts['p'])}; macro F1 {signed(f1)} points{of_f1}",
        told,
        [("A", facts["first"]), ("B", facts["second"])],
        [section for section in sections if section is not None],
    )


def _scores_section(runs: list[dict[str, Any]]) -> "Section":
    from gpt_classifier.evaluation.results import TestResults
    from gpt_classifier.reporting.document import Section, Table
    from gpt_classifier.reporting.scores import scored

    one, other = (dict(scored(TestResults.from_json(run))) for run in runs)
    scores = [[name, one[name], other[name]] for name in one if name in other]
    how = "Each score with its 95 % interval; scores of the same rows."
    return Section("Scores", how, [Table(["score", "A", "B"], scores)])


def _agreement_section(facts: dict[str, Any]) -> "Section":
    from gpt_classifier.reporting.document import Section, Table
    from gpt_classifier.reporting.words import percent

    counts = [
        ["both right", facts["both_right"]],
        ["only A right", facts["only_first_right"]],
        ["only B right", facts["only_second_right"]],
        ["both wrong", facts["both_wrong"]],
    ]
    rows = [[name, f"{n:,}", percent(n / facts["rows"])] for name, n in counts]
    how = "The paired tests rest on the rows that only one of the two classifies correctly."
    return Section("Agreement", how, [Table(["answers", "texts", "share"], rows)])


def _settings_section(facts: dict[str, Any]) -> "Section":
    from gpt_classifier.reporting.document import Paragraph, Section, Table

    settings = [[each["setting"], *(_shown(each[name]) for name in ("first", "second"))] for each in facts["settings"]]
    how = f"Whatever differs may be the reason, and so may chance. Known of both: {', '.join(facts['settings_of'])}."
    shown = Table(["setting", "A", "B"], settings, names=3) if settings else Paragraph("None does.")
    return Section("Settings that differ", how, [shown])


def _disagreements_section(facts: dict[str, Any]) -> "Section | None":
    from gpt_classifier.reporting.document import Example, Examples, Paragraph, Section

    examples = [
        Example(
            each["text"] if each["text"] is not None else f"row {each['row']}",
            [
                ("true", each["true"]),
                ("A", f"{each['first']}, {each['first_probability']:.4f}"),
                ("B", f"{each['second']}, {each['second_probability']:.4f}"),
            ],
        )
        for each in facts["examples"]
    ]
    if not examples:
        return None
    how = "Of the rows with different answers, those on which the probabilities of the true class differ most."
    shown = f"{len(examples):,} of {facts['disagreements']:,} rows"
    shown += f", without their texts: {facts['texts_missing']}." if facts["texts_missing"] else ":"
    return Section("Disagreements", how, [Paragraph(shown), Examples(examples)])


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
