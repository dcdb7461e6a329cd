"""Figures can be read: nothing overlaps, nothing is missing without being named, nothing is said to the log."""

import re
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch

from gpt_classifier.evaluation.metrics import ranking_scores
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.reporting import plots

SHORT, LONG, FOREIGN = "class {}", "a_name_of_25_letters_{:03}x", "体育新闻 {}"
CLASSES = (2, 10, 20, 120, *(pytest.param(k, marks=pytest.mark.nightly) for k in (3, 50, 77)))


def predictions(k: int, absent: int = 0, n: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K), mostly right about labels (N,); the last ``absent`` classes have no texts."""
    labels = torch.arange(n or 6 * k) % (k - absent)
    return torch.randn(len(labels), k) + 3 * torch.rand(k) * torch.nn.functional.one_hot(labels, k), labels


def drawn(draw, logits, labels, names):
    """The figure after drawing, which is when missing letters are noticed; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(EpochOutputs.of(logits, labels), names)
        figure.canvas.draw()
    return figure


def legend(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def note(figure) -> str:
    return figure._suptitle.get_text()


def y_ticks(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def ticks(names: list[str]) -> list[str]:
    return y_ticks(drawn(plots.draw_confusion_matrix, *predictions(len(names)), names))


@pytest.mark.parametrize("name", [SHORT, LONG, FOREIGN], ids=["short", "long", "foreign"])
@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("draw", [plots.draw_confusion_matrix, plots.draw_precision_recall, plots.draw_roc])
def test_nothing_is_clipped_and_no_legend_hides_curves_or_letters(draw, k, name):
    figure = drawn(draw, *predictions(k, absent=k // 8), [name.format(n) for n in range(k)])
    width, height = figure.canvas.get_width_height()
    assert max(width, height) < 1900
    contents = figure.get_tightbbox()  # inches
    assert contents.x0 >= 0
    assert contents.y0 >= 0
    assert contents.x1 <= width / 150
    assert contents.y1 <= height / 150
    x_label = figure.axes[0].xaxis.label.get_window_extent()
    assert all(legend.get_window_extent().y1 <= x_label.y0 for legend in figure.legends)
    for labels in (figure.axes[0].get_yticklabels(), figure.axes[0].get_xticklabels()):
        extents = [label.get_window_extent() for label in labels if label.get_text().strip("\N{MINUS SIGN}.0123456789")]
        assert not any(one.overlaps(other) for one, other in pairwise(extents))


@pytest.mark.parametrize("k", [2, 20, 30, 50])
def test_numbers_stand_in_cells_that_they_fit_and_else_a_colour_bar_does(k):
    logits, labels = predictions(k, n=3000)
    figure = drawn(plots.draw_confusion_matrix, logits, labels, [SHORT.format(n) for n in range(k)])
    axes, *bar = figure.axes
    assert bool(bar) == (not axes.texts) == (k > 30)
    cell = axes.get_window_extent().width / k
    for text in axes.texts:
        assert text.get_window_extent().width < cell
        assert text.get_fontsize() >= 5
    if axes.texts:
        assert sum(int(text.get_text().replace(",", "")) for text in axes.texts) == 3000


def test_few_classes_keep_their_order_and_many_are_sorted_by_rows():
    labels = torch.arange(21).repeat_interleave(torch.arange(21) + 1)
    logits = torch.nn.functional.one_hot(labels, 21).float()
    names = [SHORT.format(n) for n in range(21)]
    many = drawn(plots.draw_confusion_matrix, logits, labels, names)
    assert y_ticks(many) == names[::-1]
    assert "most frequent classes first" in note(many)
    few = drawn(plots.draw_confusion_matrix, logits[:, :20], labels.clamp(max=19), names[:20])
    assert y_ticks(few) == names[:20]


def test_a_matrix_names_the_classes_that_it_leaves_out():
    figure = drawn(plots.draw_confusion_matrix, *predictions(83), [f"c{n}" for n in range(83)])
    assert "3 of 83 classes with 18 texts not drawn: c80, c81, c82" in note(figure)
    assert len(figure.axes[0].get_yticklabels()) == 80


@pytest.mark.parametrize(
    ("draw", "score"),
    [(plots.draw_precision_recall, "average_precision"), (plots.draw_roc, "auroc")],
    ids=["PR", "ROC"],
)
class TestCurves:
    def test_of_many_classes_the_ten_worst_are_drawn_and_all_others_named(self, draw, score):
        logits, labels = predictions(30, absent=2)
        figure = drawn(draw, logits, labels, [f"c{n}" for n in range(30)])
        worst = [f"c{c}" for c in getattr(ranking_scores(EpochOutputs.of(logits, labels)), score)[:28].argsort()[:10]]
        assert [line.split()[1] for line in legend(figure)[:10]] == worst
        assert legend(figure)[10].endswith("macro mean of 28 classes")
        without, left_out = note(figure).split("18 of 30 classes not drawn, of higher")
        assert "2 of 30 classes without texts: c28, c29" in without
        assert {*worst, *re.findall(r"c\d+", left_out), "c28", "c29"} == {f"c{n}" for n in range(30)}

    def test_names_that_find_no_room_are_counted(self, draw, score):
        figure = drawn(draw, *predictions(120), [LONG.format(n) for n in range(120)])
        named, more = note(figure).split(", and ")
        assert named.count("letters") + int(more.split()[0]) == 110

    @pytest.mark.parametrize("k", [2, 5, 40])
    def test_the_area_under_each_curve_is_its_score(self, draw, score, k):
        logits, labels = predictions(k, n=50 * k)
        logits = logits.round(decimals=1)  # with ties
        figure = drawn(draw, logits, labels, [f"c{n}" for n in range(k)])
        lines = figure.axes[0].lines[: len(legend(figure))]
        for line, text in zip(lines, legend(figure), strict=True):
            x, y = line.get_data()
            assert np.trapezoid(y, x) == pytest.approx(float(text.split()[0]), abs=6e-3 if "mean" in text else 6e-4)

    def test_of_two_classes_the_second_is_drawn(self, draw, score):
        figure = drawn(draw, *predictions(2), ["ham", "spam"])
        assert note(figure) == "not drawn: ham"
        assert next(line.split(maxsplit=1)[1] for line in legend(figure)) == "spam (6 texts)"

    @pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
    def test_texts_of_one_class_and_a_network_that_diverged_have_no_curve(self, draw, score, wrong):
        figure = drawn(draw, torch.randn(5, 3), torch.ones(5, dtype=torch.long), ["a", "b", "c"])
        assert note(figure) == "no curves: all texts are of class b"
        logits, labels = predictions(3)
        logits[2, 1] = wrong
        assert note(drawn(draw, logits, labels, ["a", "b", "c"])) == "logits that are NaN or infinite have no curve"


@pytest.mark.parametrize("name", ["$x_1^2$", r"$\wrong", "_other", "50 %", "спорт", "two\nlines ", "ἀθλητισμός"])
def test_a_name_is_shown_as_it_is(name):
    assert ticks([name, "b"]) == [" ".join(name.split()), "b"]
    for draw in (plots.draw_precision_recall, plots.draw_roc):
        logits, labels = predictions(2)
        assert any(" ".join(name.split()) in line for line in legend(drawn(draw, logits, labels, ["b", name])))


@pytest.mark.parametrize(
    ("name", "shown"),
    [("\U0010fffd\U0010fffd", "class 2"), ("spam \U0010fffd", "class 2 spam"), ("a\U0010fffd\U0010fffd", "class 2")],
)
def test_a_name_whose_letters_no_font_has_is_shown_by_its_number(name, shown):
    figure = drawn(plots.draw_confusion_matrix, *predictions(2), ["ham", name])
    assert y_ticks(figure) == ["ham", shown]
    assert "no font here has all letters" in note(figure)


def test_letters_that_the_first_font_lacks_come_from_another():
    from matplotlib import font_manager

    have = {
        family: set(font_manager.get_font(font_manager.findfont(family)).get_charmap())
        for family in ("DejaVu Sans", "STIXGeneral")
    }
    character = chr(min(code for code in have["STIXGeneral"] - have["DejaVu Sans"] if chr(code).isprintable()))
    assert ticks(["a", character]) == ["a", character]


def test_names_that_run_to_the_left_do_not_turn_their_line_and_a_very_long_name_keeps_its_ends():
    figure = drawn(plots.draw_roc, *predictions(2), ["a", "عربي"])
    assert "\N{LEFT-TO-RIGHT MARK}عربي\N{LEFT-TO-RIGHT MARK} (6 texts)" in legend(figure)[0]
    name = "beginning " + "x" * 150 + " end"
    (shown, _) = ticks([name, "b"])
    assert re.fullmatch("beginning x+…x+ end", shown)
    assert len(shown) <= 32
