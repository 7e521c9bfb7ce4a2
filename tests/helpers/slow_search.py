"""Hamming search in the slowest, plainest way: what every path of the engine is compared with."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cmah.codes import BinaryCodes
from cmah.search.blocks import CodeBlocks
from cmah.search.numpy_scan import ScanResult

BACKENDS = ("numpy", "compiled")
# At least one length for each word type with and without a loop of its own, words that are full and words that are
# not. Each (word type, number of words up to the longest unrolled) is compiled anew, so these stay few.
LENGTHS = (1, 8, 11, 16, 24, 40, 72, 80, 96, 160, 63, 64, 320, 4095, 4096)


def clustered(n: int, bits: int, seed: int = 0, **known: object) -> BinaryCodes:
    """Codes around three centres with many duplicates; the same centres for every seed."""
    centres = np.random.default_rng(bits).integers(0, 2, (3, bits), dtype=np.uint8)
    random = np.random.default_rng([seed, bits])
    flips = (random.random((n, bits)) < 0.05) & (random.random((n, 1)) < 0.7)
    return BinaryCodes.from_bits(centres[random.integers(0, 3, n)] ^ flips, **known)


def distances(a: BinaryCodes, b: BinaryCodes) -> np.ndarray:
    """Of every code of `a` from every one of `b`, int64 [len(a), len(b)]: by unpacked bits and by ±1 products."""
    bits = a.bits
    unpacked = [np.unpackbits(codes.packed, axis=1)[:, :bits] for codes in (a, b)]
    counted = (unpacked[0][:, None] != unpacked[1][None]).sum(axis=2)
    products = a.signs().astype(np.float64) @ b.signs().astype(np.float64).T
    np.testing.assert_array_equal(counted, (bits - products) / 2)
    return counted


def found(row: np.ndarray, k: int | None = None, radius: int | None = None) -> list[tuple[int, int]]:
    """(distance, position) of what a search has to find, given the distances of all codes from a query."""
    pairs = sorted((int(distance), position) for position, distance in enumerate(row))
    return [pair for pair in pairs if radius is None or pair[0] <= radius][:k]


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Search with NumPy or with the compiled kernels, however small the work."""
    before = os.environ.pop("CMAH_NO_NUMBA", None)
    try:
        if name == "numpy":
            os.environ["CMAH_NO_NUMBA"] = "1"
        else:
            pytest.importorskip("numba")
        from cmah.search.backend import compiled

        assert (compiled(0) is None) == (name == "numpy")
        yield
    finally:
        os.environ.pop("CMAH_NO_NUMBA", None)
        if before is not None:
            os.environ["CMAH_NO_NUMBA"] = before


def blocks_of(codes: BinaryCodes) -> CodeBlocks:
    """The codes in blocks."""
    blocks = CodeBlocks(codes.bits)
    blocks.append(codes.packed)
    return blocks


def pairs(result: ScanResult) -> list[list[tuple[int, int]]]:
    """(distance, position) lists of each query, of what a scan gives."""
    offsets, positions, dist = result
    assert (offsets.dtype, positions.dtype, dist.dtype) == (np.int64, np.int64, np.int32)
    assert offsets[0] == 0
    assert offsets[-1] == len(positions) == len(dist)
    both = list(zip(dist.tolist(), positions.tolist(), strict=True))
    return [both[a:b] for a, b in pairwise(offsets)]


def run_alone(code: str, folder: Path, timeout: float = 120, **environment: str) -> str:
    """What a fresh process prints that may use Numba."""
    kept = {name: value for name, value in os.environ.items() if name != "CMAH_NO_NUMBA"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
