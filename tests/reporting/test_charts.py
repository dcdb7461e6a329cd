"""Drawings: where points lie, what is escaped, how large they are."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from gpt_classifier.reporting.svg import Line, choose_ticks, draw_chart, draw_confusion_matrix, thin_line


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.8, 1), (0, 7), (0, 12345), (0, 1e-4), (0.993, 1), (0, 0.37), (3, 5)]
)
def test_ticks_are_few_round_numbers_in_the_range(low, high):
    found = choose_ticks(low, high)
    assert 3 <= len(found) <= 8
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)
    steps = np.diff(found)
    assert steps == pytest.approx(steps[0])
    assert float(f"{steps[0]:.0e}") == pytest.approx(steps[0])


def test_a_line_goes_from_corner_to_corner_and_stays_within_the_axes():
    drawing = draw_chart([Line([0, 1, 2], [0, 5, 1], "c0")], ("<x>", "y & z"), (0, 2), (0, 1))
    svg = ET.fromstring(drawing)
    (path,) = (e.get("d") for e in svg if e.get("class") == "line c0")
    assert path == "M42.0 234.0L186.0 8.0L330.0 8.0"
    assert "&lt;x&gt;" in drawing


def test_a_long_line_is_thinned_and_keeps_its_ends_and_extremes():
    y = np.zeros(10_000)
    y[1234], y[5678] = 1, -1
    xs, ys = thin_line(np.arange(10_000), y)
    assert len(xs) <= 602
    assert (xs[0], xs[-1], max(ys), min(ys)) == (0, 9999, 1, -1)
    assert (np.diff(xs) > 0).all()


@pytest.mark.parametrize("k", [1, 2, 5, 20, 77])
def test_a_matrix_has_a_cell_for_each_pair_that_occurs(k):
    counts = np.random.default_rng(k).integers(0, 3, (k, k))
    counts[0] = 0  # a class without rows
    names = [f"<class {i}> & {'x' * i}" for i in range(k)]
    svg = ET.fromstring(draw_confusion_matrix(counts, names))
    cells = [e for e in svg if e.get("class") == "cell"]
    assert len(cells) == np.count_nonzero(counts)
    titles = {next(iter(cell)).text for cell in cells}
    i, j = np.argwhere(counts)[0].tolist() if counts.any() else (0, 0)
    if counts.any():
        assert f"{names[i]}, predicted as {names[j]}: {counts[i, j]} of {counts[i].sum()}" in titles
    width, height = (float(svg.get(name)) for name in ("width", "height"))
    for cell in cells:
        assert float(cell.get("x")) + float(cell.get("width")) <= width
        assert float(cell.get("y")) + float(cell.get("height")) <= height


def test_a_long_name_loses_its_middle_in_a_matrix_and_is_whole_in_its_title():
    name = "a" * 50 + "z"
    drawing = draw_confusion_matrix(np.eye(2, dtype=int), [name, "漢字" * 20])
    assert f"<title>{name}</title>" in drawing
    shown = re.findall(r">([^<>]+)<title>", drawing)
    assert all("…" in text for text in shown if text)
