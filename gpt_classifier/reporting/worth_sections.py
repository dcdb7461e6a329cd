"""What a report says of the worth of the scores: alternatives, leaks, errors, limits."""

from gpt_classifier.evaluation.groups import Group
from gpt_classifier.evaluation.results import Missing, Scores, Truncation
from gpt_classifier.evaluation.verdict import BaselineScores
from gpt_classifier.reporting.document import (
    DASH,
    INTERVAL,
    Block,
    Cell,
    Example,
    Examples,
    Paragraph,
    Section,
    Table,
    format_percent,
    isolate,
    measured_fraction,
    measured_score,
)
from gpt_classifier.reporting.saved import SavedTest
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.statistics.paired_tests import format_signed


def baselines_section(test: SavedTest) -> Section | None:
    results, baselines = test.results, test.results.baselines
    if baselines is None:
        return None
    how = (
        "A network that does not beat models that train in a second is not worth its cost. All were trained on the "
        "same training rows as the network; the verdict above compares it with the one that was best on rows that are "
        "no test rows."
    )
    if isinstance(baselines, Missing):
        return Section("Baselines", how, [Paragraph(f"There are none: {baselines.missing}.")])
    rows = [_model_row("the network", results.seconds, results.scores)]
    rows += [_model_row(each.name, each.seconds, each) for each in baselines.models]
    blocks: list[Block] = [Table(["model", "accuracy", "macro F1", "seconds"], rows)]
    blocks += [Paragraph(f"Without {name}: {why}.") for name, why in baselines.skipped.items()]
    return Section("Baselines", how, blocks)


def _model_row(name: str, seconds: float | None, scores: Scores | BaselineScores) -> list[Cell]:
    return [
        name,
        measured_fraction(scores.accuracy, scores.accuracy_interval),
        measured_score(scores.f1_macro, scores.f1_macro_interval, digits=3),
        DASH if seconds is None else f"{seconds:,.1f}",
    ]


def _groups_table(title: str, groups: list[tuple[str, Group]]) -> Table:
    rows: list[list[Cell]] = [
        [name, measured_fraction(group.error_rate, group.error_rate_interval), f"{group.errors:,}", f"{group.rows:,}"]
        for name, group in groups
    ]
    return Table([title, "error rate", "errors", "number"], rows)


def natural_prior_section(test: SavedTest) -> Section | None:
    if (natural := test.results.natural_mix) is None:
        return None
    how = (
        "The test rows were balanced, while the classes are not where the model is used: what depends on their "
        "frequencies, as precision does, differs there. Each test row is weighted by the natural frequency of its "
        "class over that among the test rows, which leaves recall as it is. Intervals are by bootstrap."
    )
    scores: list[list[Cell]] = [
        ["accuracy", measured_fraction(natural.accuracy, natural.accuracy_interval)],
        ["macro F1", measured_score(natural.f1_macro, natural.f1_macro_interval, digits=3)],
    ]
    scores += [
        [f"precision of {isolate(name)}", measured_fraction(value, natural.precision_interval[name])]
        for name, value in natural.precision.items()
    ]
    prior = ", ".join(f"{format_percent(prevalence)} {isolate(name)}" for name, prevalence in natural.shares.items())
    return Section("At the natural class prior", how, [Paragraph(f"{prior}."), Table(["score", "value"], scores)])


def leaks_section(test: SavedTest) -> Section | None:
    if (leaks := test.results.leaks) is None:
        return None
    how = (
        "Test texts that the model was trained on, or whose near-duplicates it was trained on, make scores optimistic. "
        "They are recognised by fingerprints that the model keeps of its training texts."
    )
    seen, unseen = leaks.seen, leaks.unseen
    blocks: list[Block] = []
    if not seen.rows:
        blocks.append(Paragraph("No test text is a training text or a near-duplicate of one."))
    elif unseen.rows:
        accuracy, scores = wilson(unseen.rows - unseen.errors, unseen.rows), test.results.scores
        f1 = "" if unseen.f1_macro is None else f", macro F1 {unseen.f1_macro:.4f} ({scores.f1_macro:.4f})"
        with_them = format_percent(scores.accuracy, 2)
        blocks.append(Paragraph(f"Without them the accuracy is {accuracy} ({with_them} with them){f1}."))
    if seen.rows:
        blocks.append(_groups_table("texts", [("seen in training", seen), ("not seen", unseen)]))
    return Section("Training texts among the test texts", how, blocks)


def errors_section(test: SavedTest) -> Section | None:
    errors = test.results.errors
    if not errors:
        return None
    examples = []
    for error in errors:
        about = [("true", error.true), ("predicted", f"{isolate(error.predicted)}, {error.probability:.4f}")]
        if neighbour := error.neighbour:
            alike = "near-duplicate" if neighbour.near_duplicate else f"similarity {neighbour.similarity:.2f}"
            about.append(("in training", f"{isolate(neighbour.class_)} ({alike}): {isolate(neighbour.text)}"))
        examples.append(Example(error.text, about))
    how = (
        "The most confident errors come first. The training text that is most alike (cosine of tf-idf of runs of 3 "
        "and 4 characters) often explains one: where it has the predicted class, the model generalised from it; where "
        "it is a near-duplicate with another label, one of the two labels is wrong."
    )
    return Section("Most confident errors", how, [Examples(examples)])


def groups_section(test: SavedTest) -> Section | None:
    blocks: list[Block] = [] if test.results.truncation is None else _truncation_blocks(test.results.truncation)
    if len(lengths := test.results.lengths or []) > 1:
        spans = [f"{each.from_:,}" if each.from_ == each.to else f"{each.from_:,}{DASH}{each.to:,}" for each in lengths]
        blocks.append(_groups_table("tokens", [(span, each.group) for span, each in zip(spans, lengths, strict=True)]))
    if len(scripts := test.results.scripts or []) > 1:
        blocks.append(_groups_table("script", [(each.script, each.group) for each in scripts]))
    elif scripts:
        blocks.append(Paragraph(f"All texts are in one script, {scripts[0].script}."))
    how = (
        f"Groups whose intervals ({INTERVAL}, Wilson) do not overlap differ significantly. Lengths are in tokens, "
        "as the network reads them, in groups of about equal size; a script is that of most letters of a text."
    )
    return Section("Errors by length and script", how, blocks) if blocks else None


def _truncation_blocks(found: Truncation) -> list[Block]:
    limit, longer = f"{found.max_length:,} tokens", found.longer
    if not longer.rows:
        return [Paragraph(f"No text is longer than {limit}: none was truncated.")]

    def read(windows: dict[str, int] | None) -> str:
        return f"read in windows every {windows['stride']:,} tokens" if windows else f"truncated ({found.kept} kept)"

    blocks: list[Block] = [
        Paragraph(f"Longer than {limit} and {read(found.windows)}: {longer.rows:,} texts."),
        _groups_table("texts", [(f"longer than {limit}", longer), ("not longer", found.whole)]),
    ]
    if (other := found.otherwise) is not None:
        value, low, high = (format_signed(100 * value) for value in other.difference)
        what = read(other.windows)
        rates = [format_percent(group.error_rate) for group in (other.otherwise, other.as_read)]
        blocks.append(
            Paragraph(
                f"{what[0].upper()}{what[1:]} instead, without training again, {other.as_read.rows:,} of them have an "
                f"error rate of {rates[0]}, not {rates[1]}: {value} points of accuracy (paired {INTERVAL} {low} to "
                f"{high})."
            )
        )
    return blocks


def decision_section(test: SavedTest) -> Section | None:
    if (decision := test.results.decision) is None:
        return None
    rule = ", ".join(f"{name} {value}" for name, value in decision.asked.items())
    how = (
        "The model predicts by a rule of its own, which was fitted on validation rows. All scores above are of the "
        "most probable class; these are of its predictions."
    )
    said = [f"Asked for: {rule}.", *(f"{line[:1].upper()}{line[1:]}." for line in decision.on_these_rows)]
    return Section("Operating point", how, [Paragraph(each) for each in said])
