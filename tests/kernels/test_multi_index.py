"""The search by tables, alone: against plain distances, with tables made here in the plainest way."""

from itertools import pairwise
from math import comb

import numpy as np
import pytest
from slow_search import clustered, distances, found

from cmah.codes import BinaryCodes

pytest.importorskip("numba")
from cmah.kernels import multi_index

UNIT = {"probe_cost": 1.0, "code_cost": 1.0}
FREE = UNIT | {"budget": 1e12, "patience": 10**6}


def fixed(array):
    """Read-only, as the index gives it: another type to the compiler."""
    array = array.view()
    array.flags.writeable = False
    return array


def tables_of(codes, queries, cuts):
    """Arguments of `search` for parts between `cuts`, with bytes as words."""
    bits = np.unpackbits(codes.packed, axis=1)
    parts = list(pairwise(cuts))
    values = np.stack([bits[:, a:b] @ (1 << np.arange(b - a)[::-1]) for a, b in parts], axis=1)
    order = np.stack([np.argsort(values[:, t], kind="stable") for t in range(len(parts))]).astype(np.uint32)
    starts, masks = [], np.zeros((len(parts), bits.shape[1]), dtype=np.uint8)
    for t, (a, b) in enumerate(parts):
        starts.append(np.searchsorted(np.sort(values[:, t]), np.arange((1 << (b - a)) + 1)))
        masks[t, a:b] = 1
    longest = max(b - a for a, b in parts)
    return {
        "queries": fixed(queries.packed),
        "packed": fixed(queries.packed),
        "parts": np.array([(a, b - a) for a, b in parts]),
        "codes": fixed(codes.packed[order]),
        "order": fixed(order),
        "starts": fixed(np.concatenate(starts).astype(np.uint32)),
        "bases": np.cumsum([0, *map(len, starts)]),
        "ways": np.array([[comb(b - a, r) for r in range(longest + 2)] for a, b in parts]),
        "masks": np.packbits(masks, axis=1),
    }


def pairs(answer):
    offsets, positions, distances, _ = answer
    both = list(zip(distances.tolist(), positions.tolist(), strict=True))
    return [both[a:b] for a, b in pairwise(offsets)]


@pytest.mark.parametrize(
    ("bits", "cuts"), [(16, (0, 5, 11, 16)), (16, (0, 9)), (24, (0, 7, 13, 24)), (3, (0, 3))]
)
@pytest.mark.parametrize("n", [1, 30, 2000])
def test_finds_what_a_scan_finds(bits, cuts, n):
    codes, queries = clustered(n, bits), clustered(5, bits, 1)
    arguments, rows = tables_of(codes, queries, cuts), distances(queries, codes)
    for k in {1, min(7, n), n}:
        answer = multi_index.search(**arguments, k=k, radius=bits, **FREE)
        assert answer[3].all()
        assert pairs(answer) == [found(row, k) for row in rows]
    for radius in (0, 1, 2, 4, bits):
        answer = multi_index.search(**arguments, k=0, radius=radius, **FREE)
        assert pairs(answer) == [found(row, radius=radius) for row in rows]


def test_both_limits_at_once():
    codes, queries = clustered(300, 16), clustered(4, 16, 1)
    arguments, rows = tables_of(codes, queries, (0, 8, 16)), distances(queries, codes)
    for k, radius in ((5, 2), (300, 3), (250, 6)):
        answer = multi_index.search(**arguments, k=k, radius=radius, **FREE)
        assert pairs(answer) == [found(row, k, radius) for row in rows]


def test_more_codes_in_a_bucket_than_are_noted_at_a_time():
    codes, queries = clustered(5 * multi_index.ROOM, 8), clustered(3, 8, 1)
    arguments, rows = tables_of(codes, queries, (0, 1, 8)), distances(queries, codes)
    assert pairs(multi_index.search(**arguments, k=9, radius=8, **FREE)) == [found(row, 9) for row in rows]
    whole = multi_index.search(**arguments, k=0, radius=8, **FREE)
    assert pairs(whole) == [found(row) for row in rows]


def test_a_budget_that_does_not_suffice_leaves_nothing():
    codes, queries = clustered(2000, 16), clustered(6, 16, 1)
    arguments, rows = tables_of(codes, queries, (0, 8, 16)), distances(queries, codes)
    free = multi_index.search(**arguments, k=3, radius=16, **FREE)
    assert free[3].all()
    for budget in (0.0, 1.5, 300.0, 2500.0):
        answer = multi_index.search(**arguments, k=3, radius=16, **(FREE | {"budget": budget}))
        assert budget > 1000 or not answer[3].all()
        for got, row, finished in zip(pairs(answer), rows, answer[3], strict=True):
            assert got == (found(row, 3) if finished else [])
    assert not multi_index.search(**arguments, k=3, radius=16, **(FREE | {"budget": 0.0}))[3].any()


def test_gives_up_a_batch_of_which_most_is_given_up():
    codes = clustered(2000, 16)
    some = BinaryCodes.from_bits(np.random.default_rng(0).integers(0, 2, (300, 16)))
    hard, easy = some[[int(distances(some, codes).min(axis=1).argmax())]], clustered(1, 16, 1)
    limits = {"k": 5, "radius": 16, "budget": 500.0, "patience": 4} | UNIT
    for order, ended in (
        ("eeeeee", 6),
        ("hhhhee", 0),
        ("hhhee", 1),
        ("eehhee", 4),
        ("ehhhee", 1),
        ("hheeee", 4),
    ):
        batch = np.concatenate([hard.packed if which == "h" else easy.packed for which in order])
        arguments = tables_of(codes, BinaryCodes.from_packed(batch, 16), (0, 8, 16))
        assert multi_index.search(**arguments, **limits)[3].sum() == ended, order


def test_damaged_starts_and_order_are_not_followed_out_of_bounds():
    random = np.random.default_rng(0)
    codes, queries = clustered(500, 16), clustered(20, 16, 1)
    arguments = tables_of(codes, queries, (0, 8, 16))
    for name in ("starts", "order"):
        for scale in (500, 2**32):
            damaged = dict(arguments)
            damaged[name] = fixed(random.integers(0, scale, arguments[name].shape).astype(np.uint32))
            offsets, positions, _, _ = multi_index.search(
                **damaged, k=10, radius=16, **(FREE | {"budget": 1e6})
            )
            assert offsets[-1] == len(positions)


@pytest.mark.parametrize("size", [0, 1, 2, multi_index.FEW, multi_index.FEW + 1, 1000])
def test_sorting_few_and_many(size):
    keys = np.random.default_rng(size).permutation(size).astype(np.int64)
    multi_index._sort(keys, np.empty(multi_index.FEW, dtype=np.int64))
    np.testing.assert_array_equal(keys, np.arange(size))
