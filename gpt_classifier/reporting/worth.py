"""What a report says of the worth of the scores: alternatives, leaks, errors, limits."""

from gpt_classifier.evaluation.groups import Group
from gpt_classifier.evaluation.results import Missing, Scores, Truncation
from gpt_classifier.evaluation.verdict import BaselineScores
from gpt_classifier.reporting.document import DASH, Block, Cell, Example, Examples, Paragraph, Section, Table
from gpt_classifier.reporting.saved import SavedTest
from gpt_classifier.reporting.words import INTERVAL, isolated, measured, percent, score
from gpt_classifier.statistics.intervals import wilson
from gpt_classifier.statistics.paired_tests import signed


def of_baselines(test: SavedTest) -> Section | None:
    results, baselines = test.results, test.results.baselines
    if baselines is None:
        return None
    how = (
        "A network that does not beat models of a second is not worth its cost. All were trained on the same training "
        "rows as the network; the verdict above compares it with the one that was best on rows that are no test rows."
    )
    if isinstance(baselines, Missing):
        return Section("Baselines", how, [Paragraph(f"There are none: {baselines.missing}.")])
    rows = [_model("the network", results.seconds, results.scores)]
    rows += [_model(each.name, each.seconds, each) for each in baselines.models]
    blocks: list[Block] = [Table(["model", "accuracy", "macro F1", "seconds"], rows)]
    blocks += [Paragraph(f"Without {name}: {why}.") for name, why in baselines.skipped.items()]
    return Section("Baselines", how, blocks)


def _model(name: str, seconds: float | None, scores: Scores | BaselineScores) -> list[Cell]:
    return [
        name,
        measured(scores.accuracy, scores.accuracy_interval),
        score(scores.f1_macro, scores.f1_macro_interval, digits=3),
        DASH if seconds is None else f"{seconds:,.1f}",
    ]


def _group(name: str, group: Group) -> list[Cell]:
    rate = measured(group.error_rate, group.error_rate_interval)
    return [name, rate, f"{group.errors:,}", f"{group.rows:,}"]


def of_class_mix(test: SavedTest) -> Section | None:
    if (mix := test.results.natural_mix) is None:
        return None
    how = (
        "The test rows were balanced, while the classes are not where the model is used: what depends on their "
        "frequencies, as precision does, differs there. Each test row is weighted by the natural frequency of its "
        "class over that among the test rows, which leaves recall as it is. Intervals are by bootstrap."
    )
    scores: list[list[Cell]] = [
        ["accuracy", measured(mix.accuracy, mix.accuracy_interval)],
        ["macro F1", score(mix.f1_macro, mix.f1_macro_interval, digits=3)],
    ]
    scores += [
        [f"precision of {isolated(name)}", measured(value, mix.precision_interval[name])]
        for name, value in mix.precision.items()
    ]
    shares = ", ".join(f"{percent(share)} {isolated(name)}" for name, share in mix.shares.items())
    return Section("At the natural class mix", how, [Paragraph(f"{shares}."), Table(["score", "value"], scores)])


def of_leaks(test: SavedTest) -> Section | None:
    if (leaks := test.results.leaks) is None:
        return None
    how = (
        "Test texts that the model was trained on, or whose near-duplicates it was trained on, make scores optimistic. "
        "They are recognised by fingerprints that the model keeps of its training texts."
    )
    seen, unseen = leaks.seen, leaks.unseen
    if not seen.rows:
        said = "No test text is a training text or a near-duplicate of one."
        return Section("Training texts among the test texts", how, [Paragraph(said)])
    rows = [_group("seen in training", seen), _group("not seen", unseen)]
    blocks: list[Block] = [Table(["texts", "error rate", "errors", "number"], rows)]
    if unseen.rows:
        accuracy, scores = wilson(unseen.rows - unseen.errors, unseen.rows), test.results.scores
        f1 = "" if unseen.f1_macro is None else f", macro F1 {unseen.f1_macro:.4f} ({scores.f1_macro:.4f})"
        said = f"Without them the accuracy is {accuracy} ({percent(scores.accuracy, 2)} with them){f1}."
        blocks.insert(0, Paragraph(said))
    return Section("Training texts among the test texts", how, blocks)


def of_errors(test: SavedTest) -> Section | None:
    errors = test.results.errors
    if not errors:
        return None
    examples = []
    for error in errors:
        about = [("true", error.true), ("predicted", f"{isolated(error.predicted)}, {error.probability:.4f}")]
        if neighbour := error.neighbour:
            alike = "near-duplicate" if neighbour.near_duplicate else f"similarity {neighbour.similarity:.2f}"
            about.append(("in training", f"{isolated(neighbour.class_)} ({alike}): {isolated(neighbour.text)}"))
        examples.append(Example(error.text, about))
    how = (
        "The most confident errors come first. The training text that is most alike (cosine of tf-idf of runs of 3 "
        "and 4 characters) often explains one: where it has the predicted class, the model generalised from it; where "
        "it is a near-duplicate with another label, one of the two labels is wrong."
    )
    return Section("Most confident errors", how, [Examples(examples)])


def of_groups(test: SavedTest) -> Section | None:
    blocks: list[Block] = []
    if truncation := test.results.truncation:
        blocks += _truncation(truncation)
    if len(lengths := test.results.lengths or []) > 1:
        rows = [_group(_span(each.from_, each.to), each.group) for each in lengths]
        blocks.append(Table(["tokens", "error rate", "errors", "number"], rows))
    if len(scripts := test.results.scripts or []) > 1:
        rows = [_group(each.script, each.group) for each in scripts]
        blocks.append(Table(["script", "error rate", "errors", "number"], rows))
    elif scripts:
        blocks.append(Paragraph(f"All texts are in one script, {scripts[0].script}."))
    how = (
        f"Groups whose intervals ({INTERVAL}, Wilson) do not overlap differ in more than chance. Lengths are in "
        "tokens, as the network reads them, in groups of about equal size; a script is that of most letters of a text."
    )
    return Section("Errors by length and script", how, blocks) if blocks else None


def _truncation(found: Truncation) -> list[Block]:
    limit, longer = f"{found.max_length:,} tokens", found.longer
    if not longer.rows:
        return [Paragraph(f"No text is longer than {limit}: none was truncated.")]
    windows = found.windows
    how = f"read in windows every {windows['stride']:,} tokens" if windows else f"truncated ({found.kept} kept)"
    rows = [_group(f"longer than {limit}", longer), _group("not longer", found.whole)]
    blocks: list[Block] = [
        Paragraph(f"Longer than {limit} and {how}: {longer.rows:,} texts."),
        Table(["texts", "error rate", "errors", "number"], rows),
    ]
    if (other := found.otherwise) is not None:
        value, low, high = (100 * share for share in other.difference)
        told = other.windows
        what = f"Read in windows every {told['stride']:,} tokens" if told else f"Truncated ({found.kept} kept)"
        rates = [percent(group.error_rate) for group in (other.otherwise, other.as_read)]
        blocks.append(
            Paragraph(
                f"{what} instead, without training again, {other.as_read.rows:,} of them have an error rate of "
                f"{rates[0]}, not {rates[1]}: {signed(value)} points of accuracy (paired {INTERVAL} {signed(low)} to "
                f"{signed(high)})."
            )
        )
    return blocks


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}{DASH}{high:,}"


def of_decision(test: SavedTest) -> Section | None:
    if (decision := test.results.decision) is None:
        return None
    rule = ", ".join(f"{name} {value}" for name, value in decision.asked.items())
    how = (
        "The model answers by a rule of its own, which was fitted on validation rows. All scores above are of the most "
        "probable class; these are of its answers."
    )
    said = [
        Paragraph(f"Asked for: {rule}."),
        *(Paragraph(f"{line[:1].upper()}{line[1:]}.") for line in decision.on_these_rows),
    ]
    return Section("Operating point", how, said)
