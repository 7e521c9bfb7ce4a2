"""The nearest groups beside a walk through all items in order: many ties, groups of every size, every kind of index."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slow_search import BACKENDS, backend, clustered, distances, found

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search import Groups, HammingIndex, Hits, MultiIndex, grouping, table_scan
from cmah.search.grouping import first_of_groups

KINDS = (HammingIndex, MultiIndex)


@pytest.fixture(autouse=True)
def _by_tables(monkeypatch):
    """A multi-index searches by its tables however much it costs."""
    monkeypatch.setattr(table_scan, "SHARE", 1e9)


def index_of(codes, kind=HammingIndex, ids=None):
    index = kind(codes.bits)
    index.add(codes, ids=ids)
    return index


def slow_groups(row, labels, k, allowed=None):
    """(distance, position) of the nearest item of each of the k nearest groups, given all items' distances."""
    seen, hits = set(), []
    for distance, position in found(row):
        label = labels[position]
        if (allowed is None or position in allowed) and (label == "" or label not in seen):
            seen.add(label)
            hits.append((distance, position))
    return hits[:k]


def pairs(hits):
    assert type(hits) is Hits
    assert (hits.distances.dtype, hits.positions.dtype) == (np.int32, np.int64)
    assert hits.ids.shape == hits.distances.shape == hits.positions.shape
    rows = zip(hits.distances.tolist(), hits.positions.tolist(), strict=True)
    return [list(zip(*row, strict=True)) for row in rows]


def few_codes(n, bits, seed):
    """Random codes of a few bits, so that most distances are ties."""
    return BinaryCodes.from_bits(np.random.default_rng([seed, bits]).integers(0, 2, (n, bits)))


def random_labels(n, kind, seed):
    random = np.random.default_rng(seed)
    if kind == "views":
        return np.arange(n) // 4
    if kind == "numbers":
        return random.integers(-3, 4, n) * 10**12
    if kind == "one":
        return np.zeros(n, dtype=np.uint64)
    if kind == "nearly one":  # a group that holds nearly all items
        return np.where(random.random(n) < 0.95, "most", random.integers(0, 3, n).astype(str))
    if kind == "alone":
        return np.full(n, "")
    return random.choice(["", "a", "b", "ab", "c"], n)


@pytest.mark.parametrize(("name", "kind"), [("numpy", HammingIndex), ("compiled", MultiIndex)])
@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(0, 60),
    q=st.integers(0, 5),
    bits=st.integers(1, 9),
    k=st.integers(1, 70),
    labels=st.sampled_from(("views", "numbers", "one", "nearly one", "alone", "text")),
    seed=st.integers(0, 999),
    part=st.sampled_from((None, 0.0, 0.3, 0.9)),
    memory=st.sampled_from((1, 50, 1 << 20)),
)
@example(n=60, q=5, bits=2, k=4, labels="nearly one", seed=0, part=None, memory=1)
def test_the_same_as_walking_through_all(name, kind, n, q, bits, k, labels, seed, part, memory):
    database, queries = few_codes(n, bits, seed), few_codes(q, bits, seed + 1)
    labels = random_labels(n, labels, seed)
    mask = None if part is None else np.random.default_rng(seed).random(n) < part
    allowed = None if mask is None else set(np.flatnonzero(mask).tolist())
    index = index_of(database, kind, ids=[f"item {i}" for i in range(n)])
    with backend(name), pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "ENTRIES", memory)
        hits = index.search(queries, k, group=labels, subset=mask)
    want = [slow_groups(row, labels.tolist(), k, allowed) for row in distances(queries, database)]
    assert pairs(hits) == want
    assert hits.ids.tolist() == [[f"item {p}" for _, p in row] for row in want]
    inside = labels if mask is None else labels[mask]
    groups = len(set(inside.tolist()) - {""}) + int((inside == "").sum() if inside.dtype.kind == "U" else 0)
    assert hits.ids.shape == (q, min(k, groups))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bits", [8, 24, 64])
def test_larger_sets_by_either_backend(kind, name, bits):
    """Ties between equal codes of several groups, blocks that are full, queries that need several rounds."""
    database, queries = clustered(1500, bits), clustered(40, bits, 1)
    rows = distances(queries, database)
    index = index_of(database, kind)
    with backend(name):
        for labels in (np.arange(1500) // 12, np.where(np.arange(1500) < 1400, 0, np.arange(1500))):
            numbered = Groups.of(labels)
            for k in (1, 10, 60):
                want = [slow_groups(row, labels.tolist(), k) for row in rows]
                assert pairs(index.search(queries, k, group=labels)) == want
                assert pairs(index.search(queries, k, group=numbered, threads=2)) == want


def test_groups_of_one_item_are_the_plain_search():
    codes, queries = clustered(300, 24), clustered(9, 24, 1)
    index = index_of(codes)
    plain = index.search(queries, 20)
    for labels in (np.arange(300)[::-1], [""] * 300, index.ids.astype(str)):
        hits = index.search(queries, 20, group=labels)
        for name, value in vars(plain).items():
            np.testing.assert_array_equal(value, getattr(hits, name))
            assert value.dtype == getattr(hits, name).dtype


def test_names_of_groups_do_not_matter():
    codes, queries = clustered(300, 24), clustered(9, 24, 1)
    labels = np.random.default_rng(0).integers(0, 40, 300)
    index = index_of(codes)
    plain = index.search(queries, 20, group=labels)
    for other in (
        -labels,
        labels * 7 + 1,
        labels.astype(str),
        np.random.default_rng(1).permutation(40)[labels],
    ):
        np.testing.assert_array_equal(index.search(queries, 20, group=other).positions, plain.positions)


def test_labels_are_of_the_items_as_they_are_now():
    codes, queries = clustered(90, 24), clustered(4, 24, 1)
    labels = np.arange(90) // 6
    index = index_of(codes)
    gone = np.random.default_rng(0).permutation(90)[:40]
    index.remove(gone)
    with pytest.raises(CodesError, match="group has 90 labels, expected 50, one for each item of the index"):
        index.search(queries, 5, group=labels)
    left = np.setdiff1d(np.arange(90), gone)
    rows = distances(queries, codes[left])
    want = [slow_groups(row, labels[left].tolist(), 5) for row in rows]
    hits = index.search(queries, 5, group=labels[left])
    assert pairs(hits) == want
    np.testing.assert_array_equal(hits.ids, left[hits.positions])


def test_with_a_subset_the_labels_are_still_of_all_items():
    index = index_of(clustered(20, 24), ids=[f"i{i}" for i in range(20)])
    queries = clustered(2, 24, 1)
    hits = index.search(queries, 5, subset=["i3", "i4", "i19"], group=np.arange(20) // 10)
    assert hits.ids.shape == (2, 2)
    with pytest.raises(CodesError, match="group has 3 labels, expected 20"):
        index.search(queries, 5, subset=["i3", "i4", "i19"], group=[1, 1, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_search(kind):
    index, queries = kind(24), clustered(3, 24)
    for labels in ([], np.empty(0, dtype=np.int64), np.empty(0, dtype="U3"), Groups.of([])):
        assert index.search(queries, 5, group=labels).ids.shape == (3, 0)
    index.add(clustered(6, 24))
    assert index.search(queries[:0], 5, group=np.arange(6) // 2).ids.shape == (0, 3)
    assert index.search(queries, 5, group=np.arange(6), subset=[]).ids.shape == (3, 0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2], "group has 2 labels, expected 3, one for each item of the index"),
        (Groups.of([1, 2, 3, 4]), "group has 4 labels, expected 3"),
        ([[1, 2, 3]], r"labels of group have shape \[1, 3\], expected \[n\]"),
        ("chair", r"labels of group have shape \[\], expected \[n\]"),
        ([1.0, 2.0, 3.0], "labels of group are float64, expected whole numbers or text"),
        ([True, False, True], "labels of group are bool, expected whole numbers or text"),
        (["a", "b", None], "labels of group are object, expected whole numbers or text"),
        (["a", 1, 2], "labels of group are text and int, expected whole numbers or text"),
        (["a", "b\0", "b"], r"labels of group: 'b\\x00' ends in a NUL"),
    ],
)
def test_labels_that_are_none(labels, message):
    index = index_of(clustered(3, 24))
    with pytest.raises(CodesError, match=message):
        index.search(clustered(1, 24), 2, group=labels)


def test_other_arguments_are_checked_as_ever():
    index, labels = index_of(clustered(3, 24)), [1, 1, 2]
    for wrong, message in (({"k": 0}, "k is 0"), ({"k": 1.5}, "k is 1.5"), ({"threads": 0}, "threads is 0")):
        with pytest.raises(CodesError, match=message):
            index.search(clustered(1, 24), group=labels, **wrong)
    with pytest.raises(CodesError, match="threads is 0"):
        index.search(clustered(0, 24), group=labels, threads=0)
    with pytest.raises(CodesError, match="codes of 16 bits, expected 24"):
        index.search(clustered(1, 16), group=labels)


def test_no_more_is_looked_at_together_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(grouping, "ENTRIES", 1000)
    index, asked = index_of(clustered(2000, 24)), []
    scan = HammingIndex._scan

    def counting(self, blocks, packed, k, radius, threads):
        asked.append((len(packed), k))
        return scan(self, blocks, packed, k, radius, threads)

    monkeypatch.setattr(HammingIndex, "_scan", counting)
    index.search(clustered(300, 24, 1), 5, group=np.where(np.arange(2000) < 1900, 0, np.arange(2000)))
    assert all(q * k <= 1000 or q == 1 for q, k in asked)
    assert max(k for _, k in asked) <= 1904  # the largest four groups, and one more item
    assert sum(q for q, k in asked if k == 20) == 300


def test_groups():
    groups = Groups.of(["b", "a", "b", "", "a", "", "c"])
    assert groups.numbers.tolist() == [0, 1, 0, 2, 1, 3, 4]
    assert (len(groups), groups.count, groups.sizes.tolist()) == (7, 5, [2, 2, 1, 1, 1])
    assert groups.at(np.array([6, 4, 1])).numbers.tolist() == [0, 1, 1]
    assert Groups.of([5, -5, 5, 0]).numbers.tolist() == [0, 1, 0, 2]
    assert Groups.of(np.array([2**64 - 1, 0, 2**64 - 1], dtype=np.uint64)).numbers.tolist() == [0, 1, 0]
    assert (len(Groups.of([])), Groups.of([]).count) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_so_many_items_are_of_k_groups_and_no_fewer(labels, data):
    groups = Groups.of(labels)
    k = data.draw(st.integers(1, groups.count))
    by_size = sorted(labels, key=lambda label: (-labels.count(label), label))  # the worst order
    enough = groups.items_for(k)
    assert len(set(by_size[:enough])) == k
    assert len(set(by_size[: enough - 1])) == k - 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=40).map(
        lambda e: sorted(e, key=lambda x: x[0])
    ),
    st.integers(1, 6),
)
def test_first_of_groups(entries, k):
    chosen, seen = [], []
    for number, entry in enumerate(entries):
        if entry not in seen and sum(row == entry[0] for row, _ in seen) < k:
            seen.append(entry)
            chosen.append(number)
    rows, groups = (np.array([entry[i] for entry in entries], dtype=np.int64) for i in (0, 1))
    assert first_of_groups(rows, groups, k).tolist() == chosen
