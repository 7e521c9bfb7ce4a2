"""The multi-index gives what the flat index gives, in every state it can be in, and refuses damaged tables."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_index import CHECKSUMS, COMMITS, SECTIONS, commit, last_commit, write_version_1
from slow_search import BACKENDS, backend, clustered, distances, found

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search import HammingIndex, MultiIndex, index_file, table_scan
from cmah.search.hash_tables import MOST_READ

FREE, NONE = 1e9, 0.0  # shares of the flat scan's cost that are always and never enough


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Search by tables however much it costs, so that these tests test it."""
    monkeypatch.setattr(table_scan, "SHARE", FREE)


@pytest.fixture
def refused_scan(monkeypatch):
    """Fail where the flat scan is used."""
    monkeypatch.setattr(table_scan, "scan", None)


def index_of(codes, ids=None, kind=MultiIndex):
    index = kind(codes.bits)
    index.add(codes, ids=ids)
    return index


def assert_same(a, b):
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, getattr(b, name))
        assert value.dtype == getattr(b, name).dtype


def assert_searches_alike(a, b, queries, threads=None):
    for k in (1, 10, len(a) + 5):
        assert_same(a.search(queries, k, threads=threads), b.search(queries, k, threads=threads))
    for radius in (0, 1, 3, 6):
        near = a.search_radius(queries, radius, threads=threads)
        assert_same(near, b.search_radius(queries, radius, threads=threads))


@pytest.mark.parametrize("bits", [1, 8, 20, 24, 63, 64, 72])
@pytest.mark.parametrize("n", [1, 37, 3000])
def test_the_same_as_plain_distances(bits, n, refused_scan):
    codes, queries = clustered(n, bits), clustered(6, bits, 1)
    rows = distances(queries, codes)
    with backend("compiled"):
        index = index_of(codes)
        for k in (1, 10):
            hits = index.search(queries, k)
            for i, row in enumerate(rows):
                want = found(row, k)
                assert list(zip(hits.distances[i].tolist(), hits.positions[i].tolist(), strict=True)) == want
        for radius in (0, 3, 5):
            near = index.search_radius(queries, radius)
            both = list(zip(near.distances.tolist(), near.positions.tolist(), strict=True))
            for i, row in enumerate(rows):
                assert both[near.offsets[i] : near.offsets[i + 1]] == found(row, radius=radius)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [24, 64, 72, 320, 4096])
def test_the_same_as_the_flat_index_where_it_may_give_up(bits, monkeypatch):
    monkeypatch.setattr(table_scan, "SHARE", 0.5)
    codes, queries = clustered(2000, bits), clustered(150, bits, 1)
    with backend("compiled"):
        assert_searches_alike(index_of(codes, kind=HammingIndex), index_of(codes), queries)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 300),
    q=st.integers(0, 90),
    k=st.integers(1, 20),
    share=st.sampled_from((NONE, 0.5, 20.0, FREE)),
)
def test_whatever_is_given_up(n, q, k, share):
    random = np.random.default_rng([n, q])
    near, far = clustered(q, 24, 1), BinaryCodes.from_bits(random.integers(0, 2, (q, 24)))
    queries = BinaryCodes.from_packed(np.where(random.random((q, 1)) < 0.5, near.packed, far.packed), 24)
    codes = clustered(n, 24)
    before, table_scan.SHARE = table_scan.SHARE, share
    try:
        with backend("compiled"):
            flat, index = index_of(codes, kind=HammingIndex), index_of(codes)
            assert_same(flat.search(queries, k), index.search(queries, k))
            assert_same(flat.search_radius(queries, 4), index.search_radius(queries, 4))
    finally:
        table_scan.SHARE = before


@pytest.fixture
def scanned(monkeypatch):
    """The numbers of queries that were given to the flat scan, call by call."""
    counts, scan = [], table_scan.scan

    def counting(blocks, packed, *rest):
        counts.append(len(packed))
        return scan(blocks, packed, *rest)

    monkeypatch.setattr(table_scan, "scan", counting)
    return counts


def test_a_search_that_is_not_worth_it_is_the_flat_scan(monkeypatch, scanned):
    codes, queries = clustered(3000, 64), clustered(500, 64, 1)
    with backend("compiled"):
        index, flat = index_of(codes), index_of(codes, kind=HammingIndex)
        for share, expected in ((FREE, []), (NONE, [500])):
            monkeypatch.setattr(table_scan, "SHARE", share)
            scanned.clear()
            assert_same(index.search(queries, 5), flat.search(queries, 5))
            assert scanned == expected


def test_some_queries_by_tables_and_some_by_the_scan(monkeypatch, scanned):
    monkeypatch.setattr(table_scan, "PATIENCE", 1000)
    random = np.random.default_rng(0)
    codes, far = clustered(3000, 64), BinaryCodes.from_bits(random.integers(0, 2, (200, 64)))
    mixed = np.where(random.random((200, 1)) < 0.5, codes.packed[:200], far.packed)
    queries = BinaryCodes.from_packed(mixed, 64)
    with backend("compiled"):
        index, flat = index_of(codes), index_of(codes, kind=HammingIndex)
        for share in (20.0, 40.0, 80.0, 160.0):
            monkeypatch.setattr(table_scan, "SHARE", share)
            assert_same(index.search(queries, 5), flat.search(queries, 5))
    assert any(20 < count < 180 for count in scanned), scanned


@pytest.mark.parametrize("name", BACKENDS)
def test_add_remove_subset_and_ids(name):
    codes, queries = clustered(400, 24), clustered(9, 24, 1)
    names = [f"item {i}" for i in range(400)]
    with backend(name):
        flat, index = (index_of(codes[:300], names[:300], kind) for kind in (HammingIndex, MultiIndex))
        assert_searches_alike(flat, index, queries)
        for each in (flat, index):
            each.add(codes[300:], names[300:])
        assert_searches_alike(flat, index, queries)
        for each in (flat, index):
            each.remove(names[10:200])
        assert_searches_alike(flat, index, queries)
        subset = names[200:260]
        assert_same(flat.search(queries, 7, subset=subset), index.search(queries, 7, subset=subset))
        mask = np.arange(len(flat)) % 3 == 0
        assert_same(flat.search_radius(queries, 4, subset=mask), index.search_radius(queries, 4, subset=mask))


@pytest.mark.parametrize("kind", [HammingIndex, MultiIndex])
@pytest.mark.parametrize("mmap", [True, False])
def test_saved_and_opened(tmp_path, kind, mmap, refused_scan):
    codes, queries = clustered(500, 24), clustered(9, 24, 1)
    flat, index = index_of(codes, kind=HammingIndex), index_of(codes)
    index.save(tmp_path / "a.cmah")
    opened = kind.open(tmp_path / "a.cmah", mmap=mmap, verify=True)
    assert type(opened) is MultiIndex
    assert opened.kind == "multi"
    with backend("compiled"):
        assert_searches_alike(flat, opened, queries)
    opened.save(tmp_path / "b.cmah")
    assert (tmp_path / "a.cmah").read_bytes() == (tmp_path / "b.cmah").read_bytes()
    flat.save(tmp_path / "flat.cmah")
    assert type(HammingIndex.open(tmp_path / "flat.cmah")) is HammingIndex
    with backend("compiled"):
        assert_searches_alike(flat, MultiIndex.open(tmp_path / "flat.cmah"), queries)


def test_the_same_file_with_and_without_numba(tmp_path):
    for name in BACKENDS:
        with backend(name):
            index_of(clustered(300, 40)).save(tmp_path / name)
    files = [(tmp_path / name).read_bytes() for name in BACKENDS]
    assert files[0] == files[1]


def test_empty(tmp_path):
    index, queries = MultiIndex(24), clustered(3, 24, 1)
    index.save(tmp_path / "empty.cmah")
    for each in (index, HammingIndex.open(tmp_path / "empty.cmah", verify=True)):
        with backend("compiled"):
            assert each.search(queries, 4).distances.shape == (3, 0)
            assert each.search_radius(queries, 4).offsets.tolist() == [0, 0, 0, 0]
    full = index_of(clustered(20, 24))
    with backend("compiled"):
        assert full.search(queries[:0], 4).distances.shape == (0, 4)
        assert full.search_radius(queries[:0], 4).offsets.tolist() == [0]
        with pytest.raises(CodesError, match="threads"):
            full.search(queries, 4, threads=0)


@pytest.mark.slow
def test_threads_and_batches_change_nothing():
    codes, queries = clustered(3000, 64), clustered(700, 64, 1)
    with backend("compiled"):
        flat, index = index_of(codes, kind=HammingIndex), index_of(codes)
        for threads in (1, 3):
            assert_searches_alike(flat, index, queries[:: 1 if threads == 3 else 7], threads)
        fresh = index_of(codes)  # its tables are made by whoever comes first
        with ThreadPoolExecutor(4) as pool:
            for hits in pool.map(lambda _: fresh.search(queries, 10), range(8)):
                assert_same(hits, flat.search(queries, 10))


def rewritten(path, change):
    """A copy of an index file whose tables `change` has changed, with checksums that fit."""
    data = bytearray(path.read_bytes())
    version = struct.unpack_from("<I", data, 8)[0]
    place = 40 + 24 * SECTIONS[version].index("tables")
    offset, size = struct.unpack_from("<QQ", data, place)
    tables = np.frombuffer(bytes(data[offset : offset + size]), dtype=np.uint8).copy()
    changed = change(tables)
    tables = tables if changed is None else changed
    data = data[:offset] + tables.tobytes() + bytes(-len(tables) % 64)
    struct.pack_into("<QI", data, place + 8, len(tables), zlib.crc32(tables))
    if version == 2:  # the dataset behind the tables is empty
        struct.pack_into("<Q", data, place + 24, len(data))
        _, items, segments, generation = last_commit(bytes(data))
        data[COMMITS[1] : COMMITS[1] + 32] = commit(len(data), items, segments, generation)
    end = CHECKSUMS[version]
    struct.pack_into("<I", data, end, zlib.crc32(data[:end]))
    other = path.with_name("other.cmah")
    other.write_bytes(data)
    return other


@pytest.fixture(params=[1, 2])
def saved(tmp_path, request):
    index, path = index_of(clustered(500, 24)), tmp_path / "a.cmah"
    if request.param == 1:
        write_version_1(path, clustered(500, 24).packed, 24, tables=index.tables().data.tobytes())
    else:
        index.save(path)
    assert (rewritten(tmp_path / "a.cmah", lambda tables: None)).read_bytes() == (
        tmp_path / "a.cmah"
    ).read_bytes()
    return tmp_path / "a.cmah"


def test_tables_of_impossible_sizes_are_refused(saved):
    def set_word(word, value):
        def change(tables):
            tables[: 4 * (MOST_READ + 1)].view("<u4")[word] = value

        return change

    impossible = [
        set_word(0, 0),
        set_word(0, MOST_READ + 1),
        set_word(0, 1),
        set_word(1, 0),
        set_word(1, 2**31),
    ]
    impossible += [set_word(1, 27), set_word(1, 9), set_word(MOST_READ, 1), lambda tables: tables[:-64]]
    impossible += [lambda tables: tables[:32], lambda tables: np.concatenate([tables, tables[:64]])]
    for change in impossible:
        with pytest.raises(CodesError, match=r"other\.cmah: .*tables"):
            HammingIndex.open(rewritten(saved, change))


def test_wrong_tables_with_sound_checksums_crash_nothing(saved):
    queries = clustered(40, 24, 1)
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(60):

        def change(tables, trial=trial):
            where = random.integers(64, len(tables), 1 if trial % 2 else 300)
            tables[where] = random.integers(0, 256, len(where))

        path = rewritten(saved, change)
        if path.read_bytes() == saved.read_bytes():
            continue
        index = HammingIndex.open(path)
        with backend("compiled"):
            try:
                index.search(queries, 9)
                index.search_radius(queries, 6)
            except CodesError:
                refused += 1
        if trial % 2 == 0:
            with pytest.raises(CodesError, match=r"other\.cmah: the tables are not those of the codes"):
                HammingIndex.open(path, verify=True)
    assert refused


def test_a_flipped_bit_in_the_tables_is_found(saved, tmp_path, monkeypatch):
    data = bytearray(saved.read_bytes())
    data[-100] ^= 4
    (tmp_path / "flipped.cmah").write_bytes(data)
    with pytest.raises(CodesError, match="tables"):
        HammingIndex.open(tmp_path / "flipped.cmah")
    monkeypatch.setattr(index_file, "ALWAYS_VERIFIED", 0)  # as in a large file
    HammingIndex.open(tmp_path / "flipped.cmah")
    with pytest.raises(CodesError, match="tables"):
        HammingIndex.open(tmp_path / "flipped.cmah", verify=True)
