"""Who compares the codes: NumPy or the compiled kernels."""

import sys

import pytest
from slow_search import run_alone

from cmah.search import backend


def test_who_does_the_work(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.delenv("CMAH_NO_NUMBA", raising=False)
    assert backend.compiled(1) is not None  # it is imported by now
    monkeypatch.setenv("CMAH_NO_NUMBA", "1")
    assert backend.compiled(1 << 40) is None
    monkeypatch.delenv("CMAH_NO_NUMBA")
    monkeypatch.delitem(sys.modules, "numba")
    monkeypatch.setattr(backend, "_work", 0)
    assert backend.compiled(1) is None
    assert backend.compiled(backend.WORTH_COMPILED - 2) is None
    assert backend.compiled(1) is not None  # small searches add up


def test_without_numba_numpy_does_it(tmp_path):
    code = """
import sys
sys.modules["numba"] = None  # importing it is an ImportError
import numpy as np
from cmah import BinaryCodes, HammingIndex
from cmah.search import backend
backend.WORTH_COMPILED = 0
assert backend.compiled(1 << 40) is None
index = HammingIndex(8)
index.add(BinaryCodes.from_packed(np.array([[7], [0], [1]], np.uint8), 8))
print(index.search(BinaryCodes.from_packed(np.array([[0]], np.uint8), 8), 2).ids.tolist())
"""
    assert run_alone(code, tmp_path) == "[[1, 2]]\n"


def test_a_small_search_in_a_fresh_process_does_not_wait_for_numba(tmp_path):
    code = """
import sys
import cmah
assert not {"numba", "numpy"} & set(sys.modules)
import numpy as np
codes = cmah.BinaryCodes.from_packed(np.random.default_rng(0).integers(0, 256, (10_000, 8), dtype=np.uint8), 64)
index = cmah.HammingIndex(64)
index.add(codes, ids=[str(i) for i in range(10_000)])
index.save("i.cmah")
index = cmah.HammingIndex.open("i.cmah")
assert (index.search(codes[:3], 5).ids[:, 0] == ["0", "1", "2"]).all()
index.search_radius(codes[:3], 2)
assert "numba" not in sys.modules
"""
    run_alone(code, tmp_path)
