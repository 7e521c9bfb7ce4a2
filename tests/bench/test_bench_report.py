"""The table, its rules and the picture of a benchmark."""

from dataclasses import replace

import pytest

from cmah.bench import bench_report
from cmah.bench.kernel_choice import Kernel
from cmah.bench.measuring import Case, Settings, measure
from cmah.bench.timing import Timing


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("cmah.bench.timing.TURN", 1e-4)
    monkeypatch.setattr("cmah.bench.ceilings.TURN", 1e-4)


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
        "64 1,000 10 4 2 µs 1 µs-3 µs 0.50 8.10 popcount 50 %* 5 % 4.0".split()  # noqa: SIM905
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


def test_the_ceiling_that_fits_the_kernel_is_shown():
    ours = Timing(2e-6, 1e-6, 3e-6, 4, 5)
    planes = Case(
        *("random", 64, 1000, 10, 4, 2, 8.1, 1000, ours, {}, {"logic": 1e-6, "memory": 1e-7}, 1.9),
        Kernel("bit planes", 4, 256, 30),
        {"adders_per_second": 1e9, "operations_per_second": 5e9, "operations_per_cycle": 3.96},
    )
    counting = replace(
        planes, kernel=Kernel("popcount"), ceilings={"popcount": 1e-6, "memory": 1e-7}, logic={}
    )
    assert planes.bound == "logic"
    assert bench_report.line(planes, []).split()[-5:] == ["planes/4", "50", "%*", "5", "%"]
    for cases, heads in (
        ([planes], ["planes/4"]),
        ([counting], ["popcount"]),
        ([counting, planes], ["planes/4", "popcount"]),
    ):
        facts = bench_report.machine() | {"processor": "CPU", "vector_features": ["AVX2", "NEON"]}
        text = " ".join(bench_report.rules(cases, facts, 3).split())
        named = {"planes/4": "planes/4 (4 bits looked up at a time)", "popcount": "popcount"}
        assert [name for name, head in named.items() if f"{head}, compute: share" in text] == heads
        assert ("does 5.00 x 10^9 logic operations of 256 bits a second, 4.0 a cycle." in text) == (
            planes in cases
        )
        assert "CPU, AVX2, NEON, 2 threads" in text
    early = replace(planes, ceilings={"logic": 4e-6, "memory": 1e-7})
    assert "Beyond 100 %" in bench_report.rules([planes, early], facts, 3)


@pytest.mark.slow
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
