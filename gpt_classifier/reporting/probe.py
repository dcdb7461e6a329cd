"""What a report says of the linear probe that a fit started from: scores by block, and all that was tried."""

import math

from gpt_classifier.evaluation.probe_results import ProbeResults
from gpt_classifier.reporting.document import Figure, Section, Table
from gpt_classifier.reporting.plots import charts
from gpt_classifier.reporting.saved import SavedTest


def of_probe(test: SavedTest) -> Section | None:
    """None for a fit without one."""
    if (run := test.results.run) is None or (probe := run.probe) is None:
        return None
    score = probe.monitor.removeprefix("val/")
    how = (
        "On the frozen network, a linear head was solved behind each block that was tried. Block and pooling were "
        f"selected by {score}, the strength by the loss, on {probe.scored_on}, so the best {score} here is optimistic"
        f"{'; the validation rows had no part in it' if probe.by_folds else ''}. The strength is that of the loss, in "
        "units of half the squared weights."
    )
    rows = [
        [
            trial.pooling.replace("_", " "),
            str(blocks),
            f"{trial.strength:.3g}",
            f"{trial.score:.4f}",
            f"{trial.loss:.4f}",
        ]
        for (blocks, _), trial in probe.places.items()
    ]
    header = ["pooling", "blocks", "strength", score, "loss"]
    caption = f"{score} by the number of blocks that are kept; the line marks the chosen one."
    table = Table(header, rows, folded="Scores by block and pooling")
    return Section("Probe", how, [Figure(_drawing(probe), caption, _legend(probe)), table])


def _poolings(probe: ProbeResults) -> list[str]:
    return list(dict.fromkeys(pooling for _, pooling in probe.places))


def _legend(probe: ProbeResults) -> list[tuple[str, str]]:
    names = enumerate(_poolings(probe))
    return [(charts.colour(number), pooling.replace("_", " ")) for number, pooling in names]


def _drawing(probe: ProbeResults) -> str:
    lines: list[charts.Line] = []
    scores: list[float] = []
    for number, pooling in enumerate(_poolings(probe)):
        of_it = [(b, trial.score) for (b, p), trial in probe.places.items() if p == pooling]
        points = [(blocks, score) for blocks, score in of_it if math.isfinite(score)]
        if points:
            x, y = zip(*points, strict=True)
            lines.append(charts.Line(x, y, charts.colour(number), points=True))
            scores += y
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    room = max(0.1 * (high - low), 1e-3)
    across = (0.0, float(max(probe.blocks, 2)))
    label = probe.monitor.removeprefix("val/")
    return charts.chart(lines, ("blocks", label), across, (low - room, high + room), mark=(probe.best.blocks, "chosen"))
