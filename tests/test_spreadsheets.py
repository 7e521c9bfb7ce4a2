"""Formulas are guarded, numbers are not, and what was guarded is read back as it was."""

import pytest

from cmah.skipped_files import read_skipped, write_skipped
from cmah.spreadsheets import guarded, unguarded


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\tx", "\rx", "'=1", "''@a", "-", "+1x", "=5"]
)
def test_formulas_get_an_apostrophe_which_is_taken_away_again(text):
    assert guarded(text) == "'" + text
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("cell", ["chair", "", "'tis", "-3", "+4.5", "-1e-3", "a=b", -3, 2.5, None])
def test_everything_else_stays(cell):
    assert guarded(cell) == cell
    if isinstance(cell, str):
        assert unguarded(cell) == cell


def test_the_list_of_skipped_files_is_guarded_and_read_back(tmp_path):
    skipped = [("=cmd|' /C calc'!A0.obj", "@reason"), ("'=a", "ok"), ("a.obj", "-: no faces")]
    write_skipped(tmp_path, skipped)
    cells = (tmp_path / "skipped.csv").read_text(encoding="utf-8").splitlines()
    assert [line[:2] for line in cells[1:]] == ["'=", "''", "a."]
    assert read_skipped(tmp_path) == skipped
    write_skipped(tmp_path, [("caf\udce9.obj", "caf\udce9.obj: broken")])  # no UTF-8
    assert read_skipped(tmp_path) == [("caf\\xe9.obj", "caf\\xe9.obj: broken")]
