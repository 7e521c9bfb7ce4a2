"""The other engines search exactly, and differences between two answers are named."""

import sys

import numpy as np
import pytest

from cmah.bench.peers import INSTALL, installed, require_equal, variants
from cmah.bench.workload import make_workload
from cmah.codes import BinaryCodes
from cmah.errors import CmahError


def bits_of(codes):
    return np.unpackbits(codes.packed, axis=1, count=codes.bits)


def distances(codes, queries):
    return (bits_of(queries)[:, None] != bits_of(codes)[None]).sum(axis=2)


def plain_answer(codes, queries, k):
    """Distances and positions of the k nearest, ties by position."""
    all_of_them = distances(codes, queries)
    order = np.argsort(all_of_them, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(all_of_them, order, axis=1), order


@pytest.mark.parametrize("name", INSTALL)
def test_peers_search_exactly(name):
    pytest.importorskip(name)
    for bits in (5, 16, 72):
        made = make_workload("clustered", bits, 300, 4)
        ours = plain_answer(made.codes, made.queries, 12)
        for way, search in variants(name, made.codes, 2).items():
            theirs = search(made.queries.packed, 12)
            np.testing.assert_array_equal(theirs[0], ours[0])
            require_equal(made.codes, made.queries.packed, ours, theirs, way)


# Codes of 4 bits: positions 0 and 1 at distance 1 of the query 0000, 2 to 4 at distance 2, 5 at 4.
FEW = BinaryCodes.from_bits(
    [[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 1, 1]]
)


ZERO = BinaryCodes.from_bits([[0, 0, 0, 0]])


@pytest.mark.parametrize("ids", [[0, 1, 2], [1, 0, 2], [0, 1, 3], [1, 0, 4]])
def test_ties_may_be_chosen_among(ids):
    ours = plain_answer(FEW, ZERO, 3)
    require_equal(
        FEW, ZERO.packed, ours, (np.array([[1, 1, 2]], np.float32), np.array([ids], np.uint64)), "it"
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (None, ([1, 2, 2], [0, 2, 3]), r"it: query 0 has distances \[1 2 2\], ours are \[1 1 2\]"),
        (None, ([1, 1, 2], [0, 2, 3]), "query 0 has an id that is not at its distance"),
        (None, ([1, 1, 2], [0, 0, 3]), "or comes twice"),
        (None, ([1, 1, 2], [0, 1, -1]), "query 0 has an id"),
        (None, ([1, 1, 2], [0, 1, 6]), "query 0 has an id"),
        (([1, 1, 2], [0, 2, 3]), ([1, 1, 2], [0, 1, 3]), "our ids are not at theirs"),
        (([1, 2, 2], [0, 2, 3]), ([1, 2, 2], [1, 2, 3]), "other ids than ours nearer than the last"),
    ],
)
def test_differences_are_named(ours, theirs, message):
    ours, theirs = (
        plain_answer(FEW, ZERO, 3) if side is None else tuple(np.array([part]) for part in side)
        for side in (ours, theirs)
    )
    with pytest.raises(CmahError, match=message):
        require_equal(FEW, ZERO.packed, ours, theirs, "it")


def test_a_peer_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    versions, notes = installed(("numpy", "usearch"))
    assert versions == {"numpy": np.__version__}
    assert len(notes) == 1
    assert notes[0].startswith("usearch is left out")
    assert notes[0].endswith("pip install usearch")
    with pytest.raises(CmahError, match="no such peer: 'annoy', expected some of faiss, usearch, numpy"):
        installed(("annoy",))


def test_faiss_leaves_the_threads_of_the_process_as_they_were():
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    codes = make_workload("random", 64, 100, 4, seed=1).codes
    for search in variants("faiss", codes, threads=before + 1).values():
        search(codes.packed[:4], 3)
        assert faiss.omp_get_max_threads() == before
