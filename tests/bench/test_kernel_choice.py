"""The kernel that is named is the one that the search begins with."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from cmah.bench.kernel_choice import Kernel, chosen_kernel
from cmah.bench.workload import make_workload
from cmah.kernels import bitsliced
from cmah.search import HammingIndex
from cmah.search.blocks import CodeBlocks


@pytest.mark.parametrize(
    ("bits", "queries", "k", "threads"),
    [
        (64, 256, 10, 1),
        (64, 256, 10, 2),
        (64, 1200, 600, 1),
        (64, 40, 10, 1),
        (64, 2, 10, 1),
        (32, 600, 5, 2),
    ],
)
def test_what_the_search_begins_with(monkeypatch, bits, queries, k, threads):
    made = make_workload("random", bits, 100_000, queries)
    shapes = []

    def watched(blocks, begin, query, groups, size, levels, lanes, most, limit, counts, entries, used):
        shapes.append((groups, size, levels, lanes))
        return entries, used, 0  # nothing was scanned: the others are to do it

    monkeypatch.setattr(bitsliced, "scan", watched)
    index = HammingIndex(bits)
    index.add(made.codes)
    index.search(made.queries, k, threads=threads)
    kernel = chosen_kernel(index._blocks, made.queries.packed, k, threads)
    if not shapes:
        assert kernel == Kernel("popcount")
        assert (kernel.short, kernel.ceiling) == ("popcount", "popcount")
        return
    _, size, _, lanes = shapes[0]
    assert (kernel.name, kernel.group, kernel.vector) == ("bit planes", len(size), 64 * len(lanes))
    assert kernel.adders == bitsliced.adders_of(shapes[0])
    assert (kernel.short, kernel.ceiling) == (f"planes/{len(size)}", "logic")


def test_many_queries_over_many_codes_are_searched_by_bit_planes():
    """The test above would pass if nothing was."""
    blocks, made = CodeBlocks(64), make_workload("random", 64, 100_000, 256)
    blocks.append(made.codes.packed)
    assert chosen_kernel(blocks, made.queries.packed, 10, 2).name == "bit planes"
    assert chosen_kernel(blocks, made.queries.packed[:1], 10, 2).name == "popcount"


def test_nothing_in_full_blocks():
    assert chosen_kernel(CodeBlocks(64), np.zeros((300, 8), np.uint8), 10, 2) == Kernel("popcount")


def test_without_numba(monkeypatch):
    monkeypatch.setenv("CMAH_NO_NUMBA", "1")
    kernel = chosen_kernel(CodeBlocks(64), np.zeros((1, 8), np.uint8), 10, 1)
    assert (kernel.name, kernel.short, kernel.ceiling) == ("NumPy", "NumPy", "")


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names features of x86")
@pytest.mark.parametrize(
    ("features", "names"),
    [("+avx,-avx512f", []), ("+avx2,+avx512f", ["AVX2", "AVX-512"]), ("+avx512vpopcntdq", ["VPOPCNTDQ"])],
)
def test_features_are_those_that_numba_compiles_for(features, names):
    program = "from cmah.bench.kernel_choice import vector_features; print(vector_features())"
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features}
    command = [sys.executable, "-c", program]
    written = subprocess.run(command, env=environment, text=True, capture_output=True, check=True).stdout
    assert written.strip() == str(names)
