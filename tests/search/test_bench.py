"""The benchmark: its data, the check that results are equal, its turns, its numbers."""

import sys

import numpy as np
import pytest

from cmah.bench import bench_report, measuring, timing
from cmah.bench.cold import describe, measure_cold
from cmah.bench.measuring import Case, Settings, measure
from cmah.bench.peers import INSTALL, installed, require_equal, variants
from cmah.bench.timing import Timing, affordable, in_turn
from cmah.bench.workload import make_workload
from cmah.codes import BinaryCodes
from cmah.errors import CmahError, CodesError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("cmah.bench.timing.TURN", 1e-4)
    monkeypatch.setattr("cmah.bench.ceilings.TURN", 1e-4)


def bits_of(codes):
    return np.unpackbits(codes.packed, axis=1, count=codes.bits)


def distances(codes, queries):
    return (bits_of(queries)[:, None] != bits_of(codes)[None]).sum(axis=2)


def plain_answer(codes, queries, k):
    """Distances and positions of the k nearest, ties by position."""
    all_of_them = distances(codes, queries)
    order = np.argsort(all_of_them, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(all_of_them, order, axis=1), order


def test_random_data():
    made = make_workload("random", 20, 3000, 7, seed=1)
    assert (len(made.codes), len(made.queries), made.codes.bits, made.queries.bits) == (3000, 7, 20, 20)
    assert abs(bits_of(made.codes).mean(axis=0) - 0.5).max() < 0.05
    again, other = make_workload("random", 20, 3000, 7, seed=1), make_workload("random", 20, 3000, 7, seed=2)
    assert (made.codes, made.queries) == (again.codes, again.queries)
    assert made.codes != other.codes


def test_clustered_data():
    """Two codes of a centre differ where one of them, and not both, was flipped: 2 x 0.06 x 0.94 of the bits."""
    made = make_workload("clustered", 60, 3000, 40)
    codes = bits_of(made.codes)
    same = (codes[:-3] != codes[3:]).mean(axis=0)  # the centres come in turn
    other = (codes[:-1] != codes[1:]).mean()
    assert abs(same - 0.1128).max() < 0.03
    assert abs(same.mean() - 0.1128) < 0.003
    assert other > 0.35
    to_centres = np.stack([distances(made.codes[c::3], made.queries).mean(axis=1) for c in range(3)]) / 60
    assert abs(to_centres.min(axis=0).mean() - 0.1128) < 0.02


def test_data_from_files(tmp_path):
    random = np.random.default_rng(0)
    rows = [BinaryCodes.from_bits(random.integers(0, 2, (n, 40)), (16, 40)) for n in (50, 6)]
    path, other = tmp_path / "codes.npz", tmp_path / "queries.npz"
    rows[0].save(path)
    rows[1].save(other)
    whole = make_workload(str(path), None, None, 9)
    assert (whole.name, whole.codes.bits, len(whole.codes), len(whole.queries)) == ("codes.npz", 40, 50, 9)
    assert (distances(whole.codes, whole.queries).min(axis=1) == 0).all()
    assert whole.queries != make_workload(str(path), None, None, 9, seed=1).queries
    part = make_workload(str(path), 16, 20, 9, query_file=other)
    assert part.codes.packed.tolist() == rows[0].packed[:20, :2].tolist()
    assert {tuple(row) for row in part.queries.packed} <= {tuple(row) for row in rows[1].packed[:, :2]}


def test_data_that_cannot_serve(tmp_path):
    path, longer, none = tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "c.npz"
    BinaryCodes.from_bits(np.zeros((3, 8), int), space="one").save(path)
    BinaryCodes.from_bits(np.zeros((3, 16), int)).save(longer)
    BinaryCodes.from_bits(np.zeros((0, 8), int)).save(none)
    two = tmp_path / "d.npz"
    BinaryCodes.from_bits(np.zeros((3, 8), int), space="two").save(two)
    with pytest.raises(CodesError, match=r"a\.npz: has 3 codes, expected 4 or more"):
        make_workload(str(path), None, 4, 1)
    with pytest.raises(CodesError, match=r"a\.npz: these codes cannot be cut to 5 bits"):
        make_workload(str(path), 5, None, 1)
    with pytest.raises(CodesError, match=r"b\.npz: codes of 16 bits, .*expected 8 bits"):
        make_workload(str(path), None, None, 1, query_file=longer)
    with pytest.raises(CodesError, match=r"d\.npz: .*space two.*expected 8 bits, space one"):
        make_workload(str(path), None, None, 1, query_file=two)
    with pytest.raises(CodesError, match=r"c\.npz: has no codes"):
        make_workload(str(none), None, None, 1)
    with pytest.raises(CodesError, match=r"c\.npz: has no codes"):
        make_workload(str(path), None, None, 1, query_file=none)
    with pytest.raises(CodesError, match=r"a\.npz: queries from a file are for codes from a file"):
        make_workload("random", 8, 5, 1, query_file=path)
    with pytest.raises(CodesError, match="bits is 5000"):
        make_workload("clustered", 5000, 5, 1)


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


def test_turns_alternate_and_calls_are_numbered():
    seen = []
    calls = {name: lambda i, name=name: seen.append((name, i)) for name in "ab"}
    times = in_turn(calls, 3)
    names = [name for name, _ in seen]
    turns = [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    assert turns == list("ab" * 4)  # the first of each warms up
    for name in "ab":
        numbers = [i for other, i in seen if other == name]
        assert numbers[:2] == [0, 0]
        assert numbers[2:] == list(range(len(times[name])))
        assert len(times[name]) % 3 == 0
        assert min(times[name]) > 0


def test_slow_peers_get_fewer_queries(monkeypatch):
    def search(packed, k):
        return packed[:, :k], packed[:, :k]

    packed = np.zeros((50, 8), np.uint8)
    monkeypatch.setattr(timing, "SECONDS", 1e9)
    count, answer = affordable(search, packed, 3)
    assert (count, answer[0].shape) == (50, (50, 3))
    monkeypatch.setattr(timing, "SECONDS", 0)
    count, answer = affordable(search, packed, 3)
    assert (count, answer[0].shape) == (1, (1, 3))


def test_timing_is_of_a_query():
    assert Timing.of([4.0, 8.0, 6.0, 10.0, 2.0], 2, "way") == Timing(3.0, 2.0, 4.0, 2, 5, "way")


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
        assert case.ceilings[case.bound] == max(case.ceilings.values()) > 0
        assert case.speedup > 0
        assert case.ours.low <= case.ours.seconds <= case.ours.high
        assert case.peers["numpy"].way == "bitwise_count, argpartition"
        assert case.to_dict()["ratios"] == case.ratios


def test_derived_numbers():
    ours, peer = Timing(2e-6, 1e-6, 3e-6, 4, 5), Timing(8e-6, 8e-6, 8e-6, 4, 5, "it")
    case = Case(
        "random",
        64,
        1000,
        10,
        4,
        2,
        8.1,
        1000,
        ours,
        {"faiss": peer},
        {"popcount": 1e-6, "memory": 1e-7},
        1.9,
    )
    assert case.comparisons_per_second == pytest.approx(5e8)
    assert case.ratios == pytest.approx({"faiss": 4})
    assert case.fractions == pytest.approx({"popcount": 0.5, "memory": 0.05})
    assert case.bound == "popcount"
    line = bench_report.line(case, ["faiss"])
    assert line.split() == (
        "64 1,000 10 4 2 µs 1 µs-3 µs 0.50 8.10 50 %* 5 % 4.0".split()  # noqa: SIM905
    )
    assert len(line) == len(bench_report.heading(["faiss"]))
    facts = bench_report.machine()
    text = bench_report.rules([case], facts, 3)
    assert "faiss: it" in text
    assert "seed 3" in text
    assert "Beware" not in text
    assert "Beyond" not in text
    early = Case(
        **{name: getattr(case, name) for name in vars(case)}
        | {"ceilings": {"popcount": 4e-6, "memory": 1e-7}}
    )
    assert "Beyond 100 %" in bench_report.rules([early], facts, 3)
    busy = Case(**{name: getattr(case, name) for name in vars(case)} | {"speedup": 1.1})
    assert "2 threads were at worst 1.10 times as fast as one" in " ".join(
        bench_report.rules([busy], facts, 3).split()
    )


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
    assert "NumPy did the work" in bench_report.rules([case], bench_report.machine(), 0)
    assert len(bench_report.line(case, ["numpy"])) == len(bench_report.heading(["numpy"]))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plot(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    cases = list(measure(Settings(1, (16, 24), (100, 200), queries=3, peers=("numpy",), rounds=1)))
    path = tmp_path / f"times{suffix}"
    bench_report.plot(cases, path)
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (0.0123, "12.3 ms"), (1e-3, "1 ms"), (5e-5, "50 µs"), (2e-8, "20 ns")],
)
def test_durations(seconds, text):
    assert bench_report.duration(seconds) == text


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


def test_faiss_leaves_the_threads_of_the_process_as_they_were():
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    codes = make_workload("random", 64, 100, 4, seed=1).codes
    for search in variants("faiss", codes, threads=before + 1).values():
        search(codes.packed[:4], 3)
        assert faiss.omp_get_max_threads() == before
