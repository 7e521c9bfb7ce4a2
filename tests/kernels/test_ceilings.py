"""The bare loops compute what they are said to compute, so that they are fair ceilings."""

import re

import numpy as np
import pytest
from numba import njit

from cmah.kernels.bitsliced import lanes_of_processor
from cmah.kernels.ceilings import CHAINS, STEPS, add_up, chained, least_distances


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "words"), [(np.uint8, 3), (np.uint16, 1), (np.uint64, 2)])
def test_the_least_distance_of_each_query(dtype, words):
    random = np.random.default_rng(0)
    size = np.dtype(dtype).itemsize
    packed, queries = (random.integers(0, 256, (count, words * size), dtype=np.uint8) for count in (64, 5))
    queries[0] = packed[63]
    queries[1] = ~packed[0]
    least = np.zeros(5, np.int64)
    block = np.ascontiguousarray(packed.view(dtype).T)[None]
    least_distances(block, queries.view(dtype), (0,) * words, 2, least)
    bits = np.unpackbits(packed, axis=1)
    assert least.tolist() == [
        int((bits != query).sum(axis=1).min()) for query in np.unpackbits(queries, axis=1)
    ]


def planes_of(lanes):
    return np.random.default_rng(lanes).integers(0, 1 << 63, (2 * CHAINS + 2, lanes), dtype=np.uint64)


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_adders_add(lanes):
    planes = planes_of(lanes)
    bits = np.unpackbits(planes.view(np.uint8), axis=1).astype(int)
    *chains, first, second = bits
    sums, carries = chains[::2], chains[1::2]
    for step in range(2 * STEPS):
        totals = [a + b + (second if step % 2 else first) for a, b in zip(sums, carries, strict=True)]
        sums = [total % 2 for total in totals]
        carries = [totals[chain - 1] // 2 for chain in range(CHAINS)]
    add_up(planes, 2, (0,) * lanes)
    after = np.unpackbits(planes.view(np.uint8), axis=1)
    assert after[: 2 * CHAINS : 2].tolist() == np.array(sums).tolist()
    assert after[1 : 2 * CHAINS : 2].tolist() == np.array(carries).tolist()
    assert after[2 * CHAINS :].tolist() == bits[2 * CHAINS :].tolist()


@pytest.mark.slow
def test_the_compiler_finds_no_shorter_way():
    """All operations of all adders are there, else the ceiling would be too high; none of their planes is spilled."""
    lanes = lanes_of_processor()
    fresh = njit(add_up.py_func)  # what comes from the cache cannot be inspected
    fresh(planes_of(lanes), 1, (0,) * lanes)
    (assembly,) = fresh.inspect_asm().values()
    if "vpternlog" in assembly:
        operations, each = re.findall(r"\bvpternlogq\s", assembly), 2
    else:
        operations, each = (
            re.findall(r"\bv?p?(?:andn?|x?or)(?:ps|pd)?\s.*[xy]mm|\b(?:and|eor|orr)\tv", assembly),
            5,
        )
    assert CHAINS * STEPS * each <= len(operations) <= CHAINS * STEPS * each + 2


def test_chained_operations():
    value = 5
    for _ in range(9):
        value ^= (value + (1 << 63) + 3) % (1 << 64)
    assert int(chained(np.uint64(5), np.uint64((1 << 63) + 3), 9)) == value
