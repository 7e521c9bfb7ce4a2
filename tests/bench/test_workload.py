"""What a benchmark searches: random, clustered and given codes."""

import numpy as np
import pytest

from cmah.bench.workload import make_workload
from cmah.codes import BinaryCodes
from cmah.errors import CodesError


def bits_of(codes):
    return np.unpackbits(codes.packed, axis=1, count=codes.bits)


def distances(codes, queries):
    return (bits_of(queries)[:, None] != bits_of(codes)[None]).sum(axis=2)


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
