"""A fresh process: its first answer and its memory."""

import sys

import pytest

from cmah.bench.cold import describe, measure_cold
from cmah.errors import CmahError


@pytest.mark.slow
def test_fresh_processes():
    cold = measure_cold(1, n=1000, repeats=1)
    for key in ("first_ever_batch", "batch", "one_query"):
        assert cold[key]["seconds"] > 0
        if sys.platform == "linux":
            assert 5 < cold[key]["resident_mib"] <= cold[key]["peak_mib"] < 2000
    assert "1,000 codes of 64 bits, 1 threads" in describe(cold)
    assert 8000 <= cold["index_mib"] * (1 << 20) <= 8000 + 4096


def test_a_process_that_fails_says_why(monkeypatch):
    monkeypatch.setattr("cmah.bench.cold._PROCESS", "raise SystemExit('no more memory')")
    with pytest.raises(CmahError, match="a fresh process could not search: no more memory"):
        measure_cold(1, n=10, repeats=1)
