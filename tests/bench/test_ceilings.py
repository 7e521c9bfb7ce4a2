"""The ceilings: how much of the work of a query their loops do, and what is made of their times."""

import pytest

from cmah.bench import ceilings
from cmah.bench.kernel_choice import Kernel
from cmah.bench.measuring import Contest
from cmah.bench.workload import make_workload
from cmah.kernels import bitsliced
from cmah.kernels import ceilings as loops
from cmah.search.blocks import CodeBlocks

N = 3000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("cmah.bench.timing.TURN", 1e-4)
    monkeypatch.setattr("cmah.bench.ceilings.TURN", 1e-4)


def calls_of(monkeypatch, name):
    """The arguments of each call of a loop from now on."""
    loop, calls = getattr(loops, name), []
    monkeypatch.setattr(loops, name, lambda *arguments: calls.append(arguments) or loop(*arguments))
    return calls


def limits_of(kernel, threads):
    made, blocks = make_workload("random", 64, N, 5), CodeBlocks(64)
    blocks.append(made.codes.packed)
    return ceilings.ceilings(blocks, made.queries.packed, 5, threads, kernel)


@pytest.mark.parametrize("threads", [1, 3])
def test_adders_of_a_call_against_those_of_a_query(monkeypatch, threads):
    lanes = bitsliced.lanes_of_processor()
    added, waited = calls_of(monkeypatch, "add_up"), calls_of(monkeypatch, "chained")
    limits = limits_of(Kernel("bit planes", 4, 64 * lanes, adders=30), threads)
    assert list(limits) == ["logic", "one thread", "cycle", "memory"]
    for name, workers in (("logic", threads), ("one thread", 1)):
        call, share = limits[name]
        added.clear()
        call(0)
        assert {len(width) for _, _, width in added} == {lanes}
        adders = sum(repeat for _, repeat, _ in added) * loops.CHAINS * loops.STEPS
        assert adders * share == pytest.approx(30 * N / (64 * lanes))
        assert len(added) == workers
    call, share = limits["cycle"]
    waited.clear()
    call(0)
    assert [2 * repeat * share for _, _, repeat in waited] == [1] * threads


@pytest.mark.parametrize("threads", [1, 2])
def test_comparisons_of_a_call_against_those_of_a_query(monkeypatch, threads):
    compared = calls_of(monkeypatch, "least_distances")
    limits = limits_of(Kernel("popcount"), threads)
    assert list(limits) == ["popcount", "one thread", "memory"]
    call, share = limits["popcount"]
    compared.clear()
    call(0)
    pairs = sum(blocks.shape[2] * len(queries) * repeat for blocks, queries, _, repeat, _ in compared)
    assert pairs * share == pytest.approx(N)


@pytest.mark.slow
def test_a_case_by_bit_planes():
    case = Contest(make_workload("random", 64, 100_000, 256), [], 2).measure(10, 256, rounds=1)
    assert case.kernel.name == "bit planes"
    assert set(case.ceilings) == {"logic", "memory"}
    assert case.speedup > 0
    adders = case.kernel.adders * 100_000 / case.kernel.vector  # of a query
    assert case.logic["adders_per_second"] * 2 * case.ceilings["logic"] == pytest.approx(adders)
    each = case.logic["operations_per_second"] / case.logic["adders_per_second"]
    assert each == pytest.approx({512: 2}.get(case.kernel.vector, 5))
    assert case.logic["operations_per_cycle"] > 0
    assert case.to_dict()["kernel"]["adders"] == case.kernel.adders
