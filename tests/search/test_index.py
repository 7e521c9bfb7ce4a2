"""The index against plain distances, its ids, its refusals and its file."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search import HammingIndex
from cmah.search.index_file import HEADER


def make(n, bits, seed=0, **known):
    random = np.random.default_rng(seed)
    signs = np.where(random.standard_normal((max(n // 3, 1), bits)) < 0, -1, 1).astype(np.int8)
    return BinaryCodes.from_signs(signs[random.integers(0, len(signs), n)], **known)  # a third are duplicates


def distances(a, b):
    return (a.signs()[:, None] != b.signs()[None]).sum(axis=2)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 40), q=st.integers(0, 4), bits=st.integers(1, 150), k=st.integers(1, 45))
def test_search_is_a_stable_sort(n, q, bits, k):
    database, queries = make(n, bits, 1), make(q, bits, 2)
    index = HammingIndex(bits)
    index.add(database)
    hits = index.search(queries, k)
    expected = distances(queries, database)
    order = np.argsort(expected, axis=1, kind="stable")[:, :k]
    assert hits.ids.shape == hits.distances.shape == (q, min(k, n))
    np.testing.assert_array_equal(hits.positions, order)
    np.testing.assert_array_equal(hits.ids, order)
    np.testing.assert_array_equal(hits.distances, np.take_along_axis(expected, order, axis=1))


@pytest.mark.parametrize("radius", [0, 3, 10, 32, 99])
def test_radius(radius):
    database, queries = make(50, 32, 1), make(5, 32, 1)
    index = HammingIndex(32)
    index.add(database, ids=np.arange(50) * 7)
    near = index.search_radius(queries, radius)
    for i, row in enumerate(distances(queries, database)):
        part = slice(near.offsets[i], near.offsets[i + 1])
        order = [j for j in np.argsort(row, kind="stable") if row[j] <= radius]
        assert near.positions[part].tolist() == order
        assert near.ids[part].tolist() == [7 * j for j in order]
        assert near.distances[part].tolist() == row[order].tolist()


def test_adding_in_parts_is_adding_at_once():
    codes = make(30, 24)
    once, parts = HammingIndex(24), HammingIndex(24)
    once.add(codes)
    for part in (codes[:11], codes[11:11], codes[11:]):
        parts.add(part)
    assert len(once) == len(parts) == 30
    for a, b in zip(vars(once.search(codes, 5)).values(), vars(parts.search(codes, 5)).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert parts.codes == once.codes == codes


def test_ids():
    index = HammingIndex(24)
    index.add(make(2, 24))
    index.add(make(2, 24), ids=[70, -5])
    assert index.ids.tolist() == [0, 1, 70, -5]
    assert index.search(make(2, 24)[:1], 4).ids.dtype == np.int64
    with pytest.raises(CodesError, match="id 1 is there twice"):
        index.add(make(1, 24), ids=[1])
    with pytest.raises(CodesError, match="some ids are text and some numbers"):
        index.add(make(1, 24), ids=["one"])
    with pytest.raises(CodesError, match=r"ids have shape \[2\], expected \[1\]"):
        index.add(make(1, 24), ids=[8, 9])
    with pytest.raises(CodesError, match="ids are float64"):
        index.add(make(1, 24), ids=[0.5])
    assert len(index) == 4
    assert index.ids.tolist() == [0, 1, 70, -5]
    named = HammingIndex(24)
    named.add(make(2, 24, ids=["a", "long name"]))
    named.add(make(1, 24), ids=["β"])
    assert named.ids.tolist() == ["a", "long name", "β"]


def test_refusals():
    index = HammingIndex(24, space="one")
    index.add(make(3, 24))
    with pytest.raises(CodesError, match="codes of 16 bits, expected 24"):
        index.search(make(1, 16))
    with pytest.raises(CodesError, match=r"truncate\(24\) gives such codes"):
        index.search(make(1, 48, prefixes=(24, 48)))
    with pytest.raises(CodesError, match="codes of space two, expected one"):
        index.add(make(1, 24, space="two"))
    with pytest.raises(CodesError, match="k is 0"):
        index.search(make(1, 24), 0)
    with pytest.raises(CodesError, match="radius is -1"):
        index.search_radius(make(1, 24), -1)
    with pytest.raises(CodesError, match="ndarray, expected BinaryCodes"):
        index.search(np.zeros((1, 3), np.uint8))
    for bits in (0, 4097):
        with pytest.raises(CodesError, match="expected 1 to 4096"):
            HammingIndex(bits)


def test_space_comes_from_the_first_codes_that_name_one():
    index = HammingIndex(24)
    index.add(make(1, 24))
    assert index.space == ""
    index.add(make(1, 24, space="one"))
    assert index.space == "one"
    with pytest.raises(CodesError, match="space"):
        index.search(make(1, 24, space="two"))


@pytest.mark.parametrize("ids", [None, [5, -1, 1 << 60], ["a", "", "Stühle/β.obj"]])
@pytest.mark.parametrize("bits", [1, 9, 64, 72])
def test_file(tmp_path, ids, bits):
    index = HammingIndex(bits, space="räume")
    index.add(make(3, bits), ids=ids)
    index.save(tmp_path / "index.cmah")
    again = HammingIndex.open(tmp_path / "index.cmah")
    assert (again.bits, again.space, len(again)) == (bits, "räume", 3)
    assert again.ids.tolist() == index.ids.tolist()
    assert again.ids.dtype.kind == index.ids.dtype.kind
    assert again.codes == index.codes
    again.add(make(1, bits), ids=None if ids is None else ["new"] if isinstance(ids[0], str) else [99])
    assert len(again) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["index.cmah"]


def test_empty_index(tmp_path):
    HammingIndex(64).save(tmp_path / "empty.cmah")
    index = HammingIndex.open(tmp_path / "empty.cmah")
    assert len(index) == 0
    assert index.search(make(2, 64), 3).ids.shape == (2, 0)
    assert index.search_radius(make(2, 64), 3).offsets.tolist() == [0, 0, 0]


def test_size(tmp_path):
    """bits/8 bytes an object and at most 4 KiB."""
    for bits in (16, 48, 64, 1024):
        index = HammingIndex(bits)
        index.add(make(1000, bits))
        index.save(tmp_path / "index.cmah")
        assert 1000 * bits // 8 <= (tmp_path / "index.cmah").stat().st_size <= 1000 * bits // 8 + 4096


@pytest.fixture
def saved(tmp_path):
    index = HammingIndex(40, space="one")
    index.add(make(7, 40), ids=[f"item {i}" for i in range(7)])
    path = tmp_path / "index.cmah"
    index.save(path)
    return path


def test_every_changed_byte_is_noticed(saved):
    data = saved.read_bytes()
    good = HammingIndex.open(saved)
    for place in range(len(data)):
        for bit in (0, 7):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            saved.write_bytes(damaged)
            try:
                index = HammingIndex.open(saved)
            except CodesError:
                continue
            # only the filling between sections may change unnoticed, and then nothing else has
            assert place >= HEADER
            assert (index.codes, index.space) == (good.codes, good.space)


def test_every_truncation_is_noticed(saved):
    data = saved.read_bytes()
    for size in range(len(data)):
        saved.write_bytes(data[:size])
        with pytest.raises(CodesError, match=str(saved)):
            HammingIndex.open(saved)
    saved.write_bytes(data + b"\0")
    with pytest.raises(CodesError, match="truncated or extended"):
        HammingIndex.open(saved)


def with_header(data, place, layout, value):
    """The file with another value in its header, and the header's checksum put right again."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, value)
    struct.pack_into("<I", changed, 136, zlib.crc32(bytes(changed[:136])))
    return bytes(changed)


@pytest.mark.parametrize(
    ("place", "layout", "value", "message"),
    [
        (8, "<I", 2, "index version 2; this cmah reads version 1"),
        (12, "<I", 0, "names 0 bits"),
        (12, "<I", 5000, "names 5000 bits"),
        (12, "<I", 24, "35 bytes of codes, expected 21"),
        (16, "<Q", 1 << 60, "35 bytes of codes, expected"),
        (24, "<I", 9, "ids of kind 9"),
        (24, "<I", 0, "bytes of ids, expected none"),
        (24, "<I", 1, "bytes of ids, expected 56"),
        (40, "<Q", 1 << 40, "the section of codes begins at byte"),
        (48, "<Q", 1 << 50, "the section of ids begins at byte"),
        (120, "<Q", 1 << 50, "truncated or extended"),
        (56, "<I", 0, "the section of codes is damaged"),
    ],
)
def test_headers_that_lie(saved, place, layout, value, message):
    saved.write_bytes(with_header(saved.read_bytes(), place, layout, value))
    with pytest.raises(CodesError, match=message):
        HammingIndex.open(saved)


def test_other_files(tmp_path):
    with pytest.raises(CodesError, match="no such file"):
        HammingIndex.open(tmp_path / "nothing.cmah")
    with pytest.raises(CodesError, match="not a file"):
        HammingIndex.open(tmp_path)
    make(2, 8).save(tmp_path / "codes.npz")
    with pytest.raises(CodesError, match="not an index file"):
        HammingIndex.open(tmp_path / "codes.npz")


def test_ids_that_are_no_text_are_refused():
    index = HammingIndex(8)
    with pytest.raises(CodesError, match="cannot be written as UTF-8"):
        index.add(BinaryCodes.from_packed(np.zeros((1, 1), np.uint8), 8), ids=np.array(["\udc80"]))
    assert len(index) == 0
