"""Whatever a cell holds, readers find the same rows; in a file for a spreadsheet no cell is a formula."""

import csv

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_classifier.data import spreadsheet, writers
from gpt_classifier.data.readers import read_columns

INVISIBLE = ["\0", "\t", "\r", "\n", " ", "\x85", "\xa0", "\xad", "\u034f", "\u115f", "\u200b", "\u202e", "\u2060"]
INVISIBLE += ["\u2800", "\u3000", "\u3164", "\ufe0f", "\ufeff", "\U000e0001"]
SIGNS = [*"=+-@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\ufe66", "\ufe62", "\ufe63", "\ufe6b"]
PIECES = ["\r\n", '"', '""', ",", ";", "\v", "\f", "\x1c", "\u2028", "\u2029", "\ud800", "\udc00", "'", "\\", "#"]
PIECES += ["a", "é", "🙂", "1", "NA", "nan", *INVISIBLE, *SIGNS]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=6)


def tables(cells):
    """A row of names, which are texts, and rows of cells, as many in each."""
    widths = st.integers(1, 4)
    return widths.flatmap(
        lambda width: st.tuples(
            st.lists(TEXTS, min_size=width, max_size=width),
            st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6),
        )
    )


def as_read(cell):
    return "" if cell is None else cell.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize("examples", [100, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.nightly])])
@pytest.mark.parametrize("mark", [b"", spreadsheet.MARK], ids=["for a program", "for a spreadsheet"])
def test_every_reader_finds_the_rows_that_were_written(mark, examples, tmp_path):
    path = tmp_path / "table.csv"

    @settings(max_examples=examples, deadline=None, database=None)
    @given(tables(TEXTS | st.none()))
    def same_rows(table):
        names, rows = table
        written = [[as_read(cell) for cell in row] for row in (names, *rows)]
        writers.write(path, [names, *rows], mark)
        for encoding in ("utf-8-sig",) if mark else ("utf-8", "utf-8-sig"):
            with open(path, newline="", encoding=encoding) as stream:
                assert list(csv.reader(stream)) == written
        found = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
        assert found.to_numpy().tolist() == written
        assert len(pd.read_csv(path, header=None)) == len(written)
        ours = pd.concat(read_columns(str(path), None))
        assert [ours.columns.tolist(), *ours.to_numpy().tolist()] == written

    same_rows()


@pytest.mark.parametrize("end", ["\r", "\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_a_reader_that_takes_other_characters_for_line_ends_finds_the_same_rows(end):
    rows = [["a", f"b{end}c"], ["d", "e"]]
    lines = b"".join(writers.csv_lines(rows)).decode().splitlines(keepends=True)
    assert list(csv.reader(lines)) == rows


def test_a_cell_that_cannot_be_written_leaves_the_old_file(tmp_path):
    class Unwritable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        writers.write(path, [["a"], [Unwritable()]])
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "old"


@given(st.lists(st.sampled_from(INVISIBLE), max_size=4).map("".join), st.sampled_from(SIGNS), TEXTS)
def test_no_formula_gets_past_the_apostrophe_behind_what_cannot_be_seen(before, sign, text):
    formula = f"{before}{sign}A1{text}"
    assert spreadsheet.no_formula(formula) == spreadsheet.cell(formula) == f"'{formula}"


CELLS = {
    "=1": True, "@a": True, "-x": True, "- 1": True, "-1-1": True, "+49 30": True, "=cmd|' /C calc'!A0": True,
    "\ta": True, "\ra": True, "\t-1": True, " +1": True, "-inf": True, "-nan": True, "-1_0": True, "\uff0d1": True,
    "'a": True, "-1": False, "+1": False, "-1.5e-3": False, "+.5": False, "-1.": False, "": False, " ": False,
    "\ufeff": False, "a=b": False, "\ufeffa": False, "1-1": False, "é": False, "\u200b": False,
}  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
def test_a_plain_number_is_no_formula(cell):
    assert spreadsheet.is_formula(cell) == CELLS[cell]


@given(TEXTS)
def test_what_a_cell_held_can_be_told_from_the_apostrophe(text):
    assert spreadsheet.content(spreadsheet.no_formula(text)) == spreadsheet.content(spreadsheet.cell(text)) == text
