"""cmah bench, as a user calls it."""

import json
import sys

import numpy as np
import pytest

from cmah.codes import BinaryCodes

SMALL = ("bench", "--bits", "16,24", "--n", "2e2", "--queries", "3", "--threads", "1", "--against", "numpy")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("cmah.bench.timing.TURN", 1e-4)
    monkeypatch.setattr("cmah.bench.ceilings.TURN", 1e-4)


def test_a_table_and_its_rules(call, tmp_path):
    path = tmp_path / "made" / "numbers.json"
    status, out, err = call(*SMALL, "-k", "1,5", "--seed", 3, "--json", path)
    assert (status, err) == (0, "")
    head, *rows = out.partition("\n\n")[0].splitlines()
    assert head.split()[:4] == ["bits", "n", "k", "queries"]
    assert head.endswith("numpy ÷ ours")
    assert [row.split()[:4] for row in rows] == [[bits, "200", k, "3"] for bits in ("16", "24") for k in "15"]
    assert "data: random, seed 3" in out
    assert f"numpy {np.__version__}" in " ".join(out.split())
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [(case["bits"], case["k"]) for case in record["cases"]] == [(16, 1), (16, 5), (24, 1), (24, 5)]
    assert record["settings"]["seed"] == 3
    assert record["machine"]["versions"]["numpy"] == np.__version__
    assert record["cold"] is None


def test_json_on_standard_output_is_all_there_is(call, tmp_path):
    codes = tmp_path / "codes.npz"
    BinaryCodes.from_bits(
        np.random.default_rng(0).integers(0, 2, (40, 24)), ids=[f"i{i}" for i in range(40)]
    ).save(codes)
    status, out, _ = call(
        "bench", "--data", codes, "--query", codes, "--against", "", "-k", 50, "--json", "-"
    )
    assert status == 0
    (case,) = json.loads(out)["cases"]
    assert [case[key] for key in ("data", "bits", "n", "k", "peers", "ratios")] == [
        "codes.npz",
        24,
        40,
        40,
        {},
        {},
    ]


@pytest.mark.slow
def test_plot(call, tmp_path):
    pytest.importorskip("matplotlib")
    assert call(*SMALL, "--plot", tmp_path / "times.svg")[0] == 0
    assert (tmp_path / "times.svg").stat().st_size > 1000


def test_a_peer_that_is_not_installed_is_left_out(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    status, out, err = call(*SMALL[:-1], "faiss,numpy")
    assert status == 0
    assert "faiss is left out" in err
    assert "pip install faiss-cpu" in err
    assert out.splitlines()[0].endswith("numpy ÷ ours")
    assert "faiss ÷" not in out


def test_a_difference_is_an_error(call, monkeypatch):
    from cmah.bench import measuring

    def wrong(name, codes, threads):
        return {
            "a way": lambda packed, k: (np.full((len(packed), k), 99), np.zeros((len(packed), k), np.int64))
        }

    monkeypatch.setattr(measuring, "variants", wrong)
    status, out, err = call(*SMALL)
    assert (status, out) == (2, "")
    assert err.startswith(
        "Error: numpy (a way), random, 16 bits, n = 200, k = 10: query 0 has distances [99 99"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--n", "1.5"), "expected whole numbers, 1 or more"),
        (("--n", "0"), "expected whole numbers, 1 or more"),
        (("--n", "inf"), "expected whole numbers such as"),
        (("--bits", "16,x"), "expected whole numbers such as"),
        (("--bits", "5000"), "bits is 5000, expected 1 to 4096"),
        (("--against", "annoy"), "no such peer: 'annoy'"),
        (("--data", "nothing.npz"), "nothing.npz: no such file"),
        (("--query", "nothing.npz"), "queries from a file are for codes from a file"),
        (("--plot", "times.txt"), "expected a name that ends with .png or .svg"),
    ],
)
def test_mistakes(call, options, message):
    status, out, err = call("bench", *options)
    assert (status, out) == (2, "")
    assert message in err


def test_a_plot_replaces_pictures_only(call, tmp_path):
    (tmp_path / "times.png").write_text("years of work")
    status, _, err = call("bench", "--plot", tmp_path / "times.png")
    assert (status, "choose another name" in err) == (2, True)
    assert (tmp_path / "times.png").read_text() == "years of work"


def test_a_plot_that_cannot_be_drawn_is_told_first(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = call(*SMALL, "--plot", "times.png")
    assert (status, out) == (2, "")
    assert "matplotlib" in err
