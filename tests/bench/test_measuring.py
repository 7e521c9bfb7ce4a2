"""Cases are measured over equal results, with and without Numba."""

import pytest

from cmah.bench import bench_report, measuring
from cmah.bench.measuring import Settings, measure
from cmah.bench.workload import make_workload
from cmah.errors import CmahError, CodesError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("cmah.bench.timing.TURN", 1e-4)
    monkeypatch.setattr("cmah.bench.ceilings.TURN", 1e-4)


def test_measured_cases():
    settings = Settings(2, (16, 20), (300, 700), (3, 1000), 5, ("numpy",), "clustered", rounds=2)
    cases = list(measure(settings))
    assert [(case.bits, case.n, case.k) for case in cases] == [
        (bits, n, k) for bits in (16, 20) for n in (300, 700) for k in (3, n)
    ]
    for case in cases:
        width = (case.bits + 7) // 8
        assert width * case.n < case.bytes_per_object * case.n <= width * case.n + 4096
        assert (case.data, case.queries, case.threads, case.ours.queries) == ("clustered", 5, 2, 5)
        assert set(case.ceilings) == {"popcount", "memory"}
        assert (case.kernel.name, case.logic) == ("popcount", {})
        assert case.ceilings[case.bound] == max(case.ceilings.values()) > 0
        assert case.speedup > 0
        assert case.ours.low <= case.ours.seconds <= case.ours.high
        assert case.peers["numpy"].way == "bitwise_count, argpartition"
        assert case.to_dict()["ratios"] == case.ratios


def test_queries_differ_from_call_to_call():
    """One query at a time: 64 of them in turn, so that the answer is not always in the cache."""
    made = measuring.Contest(make_workload("random", 16, 200, 64), ["numpy"], 1)
    asked = []
    (
        ours,
        (way, search),
    ) = made._ours, *made.searches["numpy"].items()
    made._ours = lambda queries, k: asked.append(queries.packed.tobytes()) or ours(queries, k)
    theirs = []
    made.searches["numpy"] = {way: lambda packed, k: theirs.append(packed.tobytes()) or search(packed, k)}
    case = made.measure(5, 1, rounds=70)
    assert (case.queries, case.peers["numpy"].queries) == (1, 1)
    assert asked[0] == made.workload.queries.packed.tobytes()  # all are compared
    singles = {made.workload.queries.packed[i : i + 1].tobytes() for i in range(64)}
    assert set(asked[1:]) == singles
    assert singles <= set(theirs)


def test_a_peer_that_errs_ends_it():
    made = measuring.Contest(make_workload("random", 16, 200, 8), ["numpy"], 1)
    ((way, search),) = made.searches["numpy"].items()

    def wrong(packed, k):
        found = search(packed, k)
        if len(packed) > 5:
            found[0][5, 0] += 1
        return found

    made.searches["numpy"] = {way: wrong}
    with pytest.raises(
        CmahError, match=r"numpy \(bitwise_count, argpartition\), random, 16 bits.*: query 5 has distances"
    ):
        made.measure(5, 8)


def test_nothing_to_search_is_refused():
    with pytest.raises(CodesError, match="0 codes and 1 queries"):
        measuring.Contest(make_workload("random", 16, 0, 1), [], 1)


def test_without_numba(monkeypatch):
    monkeypatch.setenv("CMAH_NO_NUMBA", "1")
    (case,) = measure(Settings(1, (24,), (100,), queries=3, peers=("numpy",), rounds=1))
    assert (case.ceilings, case.fractions, case.bound) == ({}, {}, "")
    assert case.kernel.name == "NumPy"
    assert "NumPy did the work" in bench_report.rules([case], bench_report.machine(), 0)
    assert len(bench_report.line(case, ["numpy"])) == len(bench_report.heading(["numpy"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": (64, 4097)}, "bits is 4097, expected 1 to 4096"),
        ({"n": (10**30,)}, r"n is 1000000000000000000000000000000, expected 1 to 10\^18"),
        ({"k": (10**30,)}, r"expected 1 to 10\^18"),
        ({"queries": 10**400}, r"number of queries is 10+, expected 1 to 10\^18"),
        ({"n": (10**14,)}, "--n 100000000000000 .* need 1,600.0 TB of memory, .* are available"),
        ({"queries": 10**14}, "--queries 100000000000000 .* TB of memory"),
        ({"k": (10**9,), "n": (10**9,), "queries": 10**6}, "-k 1000000000 .* TB of memory"),
    ],
)
def test_sizes_beyond_the_machine_are_refused_beforehand(settings, message):
    with pytest.raises(CodesError, match=message):
        next(measure(Settings(threads=1, **settings)))
